"""Put content, style and result of some runs side by side, for the README and the top of the notebook.

    python scripts/make_examples.py output/summer_palace-village_street_in_auvers-001 …

Writes images/examples/<content>-<style>.jpg for each run folder. It is no part of the lesson.
"""

import json
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
HEIGHT, GAP = 300, 8


def strip(folder):
    """Return the three pictures of a run in a row, all of one height."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["settings"]
    files = (ROOT / settings["CONTENT_IMAGE"], ROOT / settings["STYLE_IMAGE"], folder / "generated_image.png")
    pictures = [Image.open(file).convert("RGB") for file in files]
    pictures = [p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in pictures]
    row = Image.new("RGB", (sum(p.width for p in pictures) + 2 * GAP, HEIGHT), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row, f"{Path(settings['CONTENT_IMAGE']).stem}-{Path(settings['STYLE_IMAGE']).stem}"


def main():
    """Write one strip per folder named on the command line."""
    (ROOT / "images" / "examples").mkdir(exist_ok=True)
    for folder in sys.argv[1:]:
        row, name = strip(Path(folder))
        row.save(ROOT / "images" / "examples" / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()
