"""Put pictures of runs side by side, for the README and the notebook. It is no part of the lesson.

    python scripts/make_examples.py strips output/summer_palace-village_street_in_auvers-001 …
    python scripts/make_examples.py compare <folder painted at once> <folder painted from coarse to fine>
    python scripts/make_examples.py large <folder>

Writes into images/examples: <content>-<style>.jpg (content, style, result) for each folder; coarse-to-fine.jpg (both
pictures, and below each a detail); large.jpg (a smaller copy and two details). Details have all their pixels.
"""

import json
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "images" / "examples"
HEIGHT, GAP = 300, 8
DETAIL = (600, 400)


def in_a_row(pictures):
    """Return pictures of one height side by side."""
    row = Image.new("RGB", (sum(p.width for p in pictures) + GAP * (len(pictures) - 1), pictures[0].height), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def in_a_column(rows):
    """Return pictures of one width below each other."""
    column = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + GAP * (len(rows) - 1)), "white")
    top = 0
    for row in rows:
        column.paste(row, (0, top))
        top += row.height + GAP
    return column


def result(folder):
    """Return what a run has painted."""
    return Image.open(Path(folder) / "generated_image.png").convert("RGB")


def resized(picture, width=None, height=None):
    """Return a picture of a width or a height, aspect ratio kept."""
    scale = width / picture.width if width else height / picture.height
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def detail(picture, across, down):
    """Return a part of a picture around a point given in shares of its width and height."""
    left, top = round(across * picture.width - DETAIL[0] / 2), round(down * picture.height - DETAIL[1] / 2)
    return picture.crop((left, top, left + DETAIL[0], top + DETAIL[1]))


def strips(*folders):
    """Write content, style and result of each run."""
    for folder in folders:
        settings = json.loads((Path(folder) / "settings.json").read_text(encoding="utf-8"))["settings"]
        sources = [Image.open(ROOT / settings[name]).convert("RGB") for name in ("CONTENT_IMAGE", "STYLE_IMAGE")]
        row = in_a_row([resized(picture, height=HEIGHT) for picture in (*sources, result(folder))])
        name = f"{Path(settings['CONTENT_IMAGE']).stem}-{Path(settings['STYLE_IMAGE']).stem}"
        row.save(EXAMPLES / f"{name}.jpg", quality=90)


def compare(at_once, from_coarse):
    """Write two results of the same size and a detail of each."""
    pictures = [result(at_once), result(from_coarse)]
    rows = [[resized(p, width=DETAIL[0]) for p in pictures], [detail(p, 0.45, 0.45) for p in pictures]]
    in_a_column([in_a_row(row) for row in rows]).save(EXAMPLES / "coarse-to-fine.jpg", quality=88)


def large(folder):
    """Write a smaller copy of a result and two details."""
    picture = result(folder)
    details = in_a_row([detail(picture, 0.36, 0.4), detail(picture, 0.72, 0.58)])
    in_a_column([resized(picture, width=details.width), details]).save(EXAMPLES / "large.jpg", quality=88)


if __name__ == "__main__":
    {"strips": strips, "compare": compare, "large": large}[sys.argv[1]](*sys.argv[2:])
