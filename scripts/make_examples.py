"""Paint and compose all pictures of the README and the notebook, in images/examples. It is no part of the lesson.

    python scripts/make_examples.py          all of it: about 50 minutes on two cores
    python scripts/make_examples.py strips   one of: strips, gallery, coarse, large, edges

strips: content, style and result of two pairs; gallery: three photos by three paintings; coarse: 1200 pixels, painted
at once and from coarse to fine, with details; large: 3840×2160 pixels in full and details with all their pixels, edges
included; edges: parts of the four edges of three sizes, four times as large (for looking, into output/). Each picture
is painted with the notebook's own cells and the stand-in weights into output/examples; what is finished there is not
painted again.
"""

import json
import os
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from nst.lesson import describe_lesson, run_lesson

EXAMPLES, RUNS = ROOT / "images" / "examples", ROOT / "output" / "examples"
PHOTOS = ("summer_palace", "chelsea_the_cat", "astronaut")
PAINTINGS = ("village_street_in_auvers", "great_wave", "composition_viii")
HEIGHT, GAP = 300, 8
DETAIL = (600, 400)


def paint(name, photo, painting, **settings):
    """Return the result of a run, as a Pillow image, painted now or before with the same lesson."""
    folder = RUNS / name
    record = folder / "settings.json"
    if record.exists():
        facts = json.loads(record.read_text(encoding="utf-8"))
        if facts["state"] != "finished" or facts["lesson"]["sha256"] != describe_lesson({})["sha256"]:
            sys.exit(f"{folder.relative_to(ROOT)} is unfinished, or painted with other cells: move it away.")
    else:
        print(f"— {name}", flush=True)
        content = photo if Path(photo).suffix else f"images/{photo}.jpg"
        run_lesson(
            {
                "CONTENT_IMAGE": content,
                "STYLE_IMAGE": f"images/{painting}.jpg",
                "WEIGHTS": "standin",
                "OUTPUT_DIR": str(folder),
                **settings,
            }
        )
    return Image.open(folder / "generated_image.png").convert("RGB")


def source(name):
    """Return a bundled picture."""
    return Image.open(ROOT / "images" / f"{name}.jpg").convert("RGB")


def composed(pictures, across):
    """Return pictures put together, in a row or in a column; they have one height, or one width."""
    lengths = [p.width if across else p.height for p in pictures]
    along, other = sum(lengths) + GAP * (len(pictures) - 1), pictures[0].height if across else pictures[0].width
    whole, at = Image.new("RGB", (along, other) if across else (other, along), "white"), 0
    for picture, length in zip(pictures, lengths, strict=True):
        whole.paste(picture, (at, 0) if across else (0, at))
        at += length + GAP
    return whole


def resized(picture, width=None, height=None):
    """Return a picture of a width, a height or both; if both are given, it is cut in the middle to fit."""
    scale = max((width or 0) / picture.width, (height or 0) / picture.height)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    left, top = (picture.width - (width or picture.width)) // 2, (picture.height - (height or picture.height)) // 2
    return picture.crop((left, top, left + (width or picture.width), top + (height or picture.height)))


def detail(picture, across, down, size=DETAIL):
    """Return a part of a picture, its corner at shares of what is left of the width and the height."""
    left, top = round(across * (picture.width - size[0])), round(down * (picture.height - size[1]))
    return picture.crop((left, top, left + size[0], top + size[1]))


def strips():
    """Write content, style and result of two pairs."""
    for photo, painting in ((PHOTOS[0], PAINTINGS[0]), ("coffee", "summertime")):
        name = f"{photo}-{painting}"
        row = [resized(p, height=HEIGHT) for p in (source(photo), source(painting), paint(name, photo, painting))]
        composed(row, across=True).save(EXAMPLES / f"{name}.jpg", quality=90)


def gallery():
    """Write three photos by three paintings, with the paintings above and the photos on the left."""
    width, height = 360, 264
    rows = [[Image.new("RGB", (width, height), "white"), *(resized(source(name), width, height) for name in PAINTINGS)]]
    for photo in PHOTOS:
        results = [paint(f"{photo}-{painting}", photo, painting) for painting in PAINTINGS]
        rows.append([resized(picture, width=width) for picture in (source(photo).resize(results[0].size), *results)])
    composed([composed(row, across=True) for row in rows], across=False).save(EXAMPLES / "gallery.jpg", quality=88)


def controls():
    """Write four controls: kept colours, two paintings mixed, broad strokes, and a style for the tower alone."""
    village, wave = (f"images/{name}.jpg" for name in PAINTINGS[:2])
    pictures = [
        paint("luminance", PHOTOS[0], PAINTINGS[0], KEEP_COLOURS="luminance"),
        paint("mixed", PHOTOS[0], PAINTINGS[0], STYLE_IMAGE=[(village, 1), (wave, 1)]),
        paint("broad", PHOTOS[0], PAINTINGS[0], STROKE_SIZE=2.0),
        paint("tower", PHOTOS[0], PAINTINGS[2], STYLE_MASKS=["images/masks/summer_palace_tower.png"]),
    ]
    composed([resized(p, width=360) for p in pictures], across=True).save(EXAMPLES / "controls.jpg", quality=88)


def coarse():
    """Write the palace at 1200 pixels, painted at once and from coarse to fine, and a detail of each."""
    pair = PHOTOS[0], PAINTINGS[0]
    pictures = [paint("at-once", *pair, IMAGE_SIZE=1200, SIZES=[1200], EPOCHS=100), large_palace(1200)]
    rows = [[resized(p, width=DETAIL[0]) for p in pictures], [detail(p, 0.9, 0.25) for p in pictures]]
    rows = [composed(row, across=True) for row in rows]
    composed(rows, across=False).save(EXAMPLES / "coarse-to-fine.jpg", quality=86)


def large_palace(size):
    """Return the palace at a size; over 1600 pixels it is cut to 16:9, as a large screen is."""
    photo = PHOTOS[0]
    if size > 1600:
        photo = str(RUNS / "summer_palace-16x9.png")
        RUNS.mkdir(parents=True, exist_ok=True)
        source(PHOTOS[0]).crop((0, 20, 640, 380)).save(photo)
    return paint(f"palace-{size}", photo, PAINTINGS[0], IMAGE_SIZE=size)


def large():
    """Write a smaller copy of the palace at 3840×2160 pixels, and details: in the middle, and at two corners."""
    picture = large_palace(3840)
    details = [detail(picture, *where) for where in ((0.33, 0.35), (0.0, 0.0), (1.0, 1.0))]
    details = composed(details, across=True)
    both = [resized(picture, width=details.width), details]
    composed(both, across=False).save(EXAMPLES / "large.jpg", quality=80)


def edges():
    """Write parts of the four edges of pictures of three sizes, enlarged four times, for looking."""
    for picture in (paint(f"{PHOTOS[0]}-{PAINTINGS[0]}", PHOTOS[0], PAINTINGS[0]), *map(large_palace, (1200, 3840))):
        parts = [detail(picture, *where, (150, 100)) for where in ((0.5, 0.0), (0.5, 1.0), (0.0, 0.5), (1.0, 0.5))]
        parts = [p.resize((600, 400), Image.Resampling.NEAREST) for p in parts]
        rows = [composed(parts[:2], across=True), composed(parts[2:], across=True)]
        composed(rows, across=False).save(RUNS / f"edges-{picture.width}.png")


if __name__ == "__main__":
    os.chdir(ROOT)
    makers = {maker.__name__: maker for maker in (strips, gallery, controls, coarse, large, edges)}
    for chosen in sys.argv[1:] or makers:
        makers[chosen]()
