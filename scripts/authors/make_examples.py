"""Paint and compose the pictures of the README and the notebook, in images/examples.

    python scripts/authors/make_examples.py          all of it: about 50 minutes on two cores
    python scripts/authors/make_examples.py strips   one of: strips, both, without, controls, presets, coarse, large

Each picture is painted with the notebook's own cells and the stand-in weights into output/examples; what is finished
there is not painted again.
"""

import os
import sys
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from nst.lesson import SECOND, Lesson

EXAMPLES, RUNS = ROOT / "images" / "examples", ROOT / "output" / "examples"
PHOTOS = ("summer_palace", "chelsea_the_cat", "astronaut")
PAINTINGS = ("village_street_in_auvers", "great_wave", "composition_viii")
GAP, DETAIL = 8, (600, 400)


def paint(name, photo=PHOTOS[0], painting=PAINTINGS[0], notebook=None, functions=None, **settings):
    """Return the result of a run, as a Pillow image, painted now or before with the same cells."""
    lesson = Lesson(notebook)
    folder = RUNS / f"{name}-{lesson.sha256[:8]}"
    if not (folder / "generated_image.png").exists():
        print(f"— {name}", flush=True)
        pair = {"CONTENT_IMAGE": f"images/{photo}.jpg", "STYLE_IMAGE": f"images/{painting}.jpg"}
        settings = {**pair, "WEIGHTS": "standin", "OUTPUT_DIR": str(folder), "RESUME": "", **settings}
        lesson.run(settings, functions=functions)
    return Image.open(folder / "generated_image.png").convert("RGB")


def source(name):
    """Return a bundled picture."""
    return Image.open(ROOT / "images" / f"{name}.jpg").convert("RGB")


def scaled(picture, width=100_000, height=100_000):
    """Return a picture of a width or a height."""
    return ImageOps.contain(picture, (width, height), Image.Resampling.LANCZOS)


def save(name, quality, *rows):
    """Write rows of pictures as one; those of a row have one height."""
    width = max(sum(picture.width + GAP for picture in row) for row in rows) - GAP
    whole, top = Image.new("RGB", (width, sum(row[0].height + GAP for row in rows) - GAP), "white"), 0
    for row in rows:
        left = 0
        for picture in row:
            whole.paste(picture, (left, top))
            left += picture.width + GAP
        top += row[0].height + GAP
    whole.save(EXAMPLES / f"{name}.jpg", quality=quality)


def details(picture, *places):
    """Return parts of a picture, their corners at shares of what is left of the width and the height."""
    left, top = picture.width - DETAIL[0], picture.height - DETAIL[1]
    corners = [(round(x * left), round(y * top)) for x, y in places]
    return [picture.crop((x, y, x + DETAIL[0], y + DETAIL[1])) for x, y in corners]


def strips():
    """Write content, style and result of two pairs."""
    for photo, painting in ((PHOTOS[0], PAINTINGS[0]), ("coffee", "summertime")):
        name = f"{photo}-{painting}"
        row = source(photo), source(painting), paint(name, photo, painting)
        save(name, 90, [scaled(picture, height=300) for picture in row])


def both():
    """Write three pairs as the first lesson paints them and, below, as the second does."""
    pairs = list(zip(PHOTOS, (PAINTINGS[0], PAINTINGS[1], PAINTINGS[1]), strict=True))
    rows = [
        [paint(f"{photo}-{painting}", photo, painting, notebook) for photo, painting in pairs]
        for notebook in (None, SECOND)
    ]
    save("both-lessons", 90, *([scaled(picture, height=300) for picture in row] for row in rows))


def without():
    """Write what two steps of the second lesson do, small: left without the step, right with it."""
    small, pixels = {"notebook": SECOND, "IMAGE_SIZE": 200}, {"laplacian_pyramid": lambda image: [image]}
    astronaut = [paint(f"alpha-{a}", PHOTOS[2], PAINTINGS[1], ALPHA=a, **small) for a in (0.0, 0.04)]
    palace = paint("pixels", functions=pixels, **small), paint("pyramid", **small)
    save("without-content-cost", 92, [scaled(picture, height=300) for picture in astronaut])
    save("without-pyramid", 92, [scaled(picture, width=400) for picture in palace])


def controls():
    """Write four controls: kept colours, two paintings mixed, broad strokes, and a style for the tower alone."""
    pictures = [
        paint("luminance", KEEP_COLOURS="luminance"),
        paint("mixed", STYLE_IMAGE=[(f"images/{name}.jpg", 1) for name in PAINTINGS[:2]]),
        paint("broad", STROKE_SIZE=2.0),
        paint("tower", painting=PAINTINGS[2], STYLE_MASKS=["images/masks/summer_palace_tower.png"]),
    ]
    save("controls", 88, [scaled(picture, width=360) for picture in pictures])


def presets():
    """Write the palace as an oil painting, as a print and as a line drawing, small and in few steps."""
    small = {"notebook": SECOND, "IMAGE_SIZE": 192, "EPOCHS": 30, "LAST_EPOCHS": 5}
    lines = ["images/masks/composition_viii_lines.png"]
    pictures = [
        paint("oil", painting=PAINTINGS[0], STROKE_SIZE=2.0, ALPHA=0.02, **small),
        paint("print", painting=PAINTINGS[1], SMOOTHNESS=0.2, COLOUR_SMOOTHNESS=1.0, **small),
        paint("drawing", painting=PAINTINGS[2], STYLE_PARTS=lines, ALPHA=0.02, **small),
    ]
    save("presets", 88, [scaled(picture, width=360) for picture in pictures])


def coarse():
    """Write the palace at 1200 pixels, painted at once and from coarse to fine, and a detail of each."""
    pictures = paint("at-once", IMAGE_SIZE=1200, SIZES=[1200], EPOCHS=100), paint("palace-1200", IMAGE_SIZE=1200)
    whole = [scaled(picture, width=DETAIL[0]) for picture in pictures]
    save("coarse-to-fine", 86, whole, [details(picture, (0.9, 0.25))[0] for picture in pictures])


def large():
    """Write a smaller copy of the palace at 3840×2160 pixels, and details: in the middle, and at two corners."""
    wide = RUNS / "summer_palace-16x9.png"
    wide.parent.mkdir(parents=True, exist_ok=True)
    source(PHOTOS[0]).crop((0, 20, 640, 380)).save(wide)
    picture = paint("palace-3840", CONTENT_IMAGE=wide.as_posix(), IMAGE_SIZE=3840)
    parts = details(picture, (0.33, 0.35), (0.0, 0.0), (1.0, 1.0))
    save("large", 80, [scaled(picture, width=3 * DETAIL[0] + 2 * GAP)], parts)


if __name__ == "__main__":
    os.chdir(ROOT)
    makers = {maker.__name__: maker for maker in (strips, both, without, controls, presets, coarse, large)}
    for chosen in sys.argv[1:] or makers:
        makers[chosen]()
