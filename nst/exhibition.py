"""What runs have left, shown: side by side, or as a moving picture."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from IPython import get_ipython
from IPython.display import display
from PIL import Image

import nst.records
from nst.errors import RunError
from nst.images import write_file
from nst.plots import draw_grid, show_figure
from nst.records import PAINTED
from nst.settings import SETTINGS

MOST_LINES = 5  # of settings in a title
FADES = 5  # pictures between two snapshots
MOVIE_BYTES = 1_100_000  # a notebook stores four bytes for three: 1.5 MB


def label(value):
    """Return a setting's value in few letters."""
    if isinstance(value, str) and Path(value).suffix:
        return Path(value).stem
    if isinstance(value, (list, tuple)):
        text = ", ".join(" ".join(map(label, one)) if isinstance(one, (list, tuple)) else label(one) for one in value)
        return f"[{text if len(text) <= 40 else text[:39] + '…'}]"
    return f"{value:g}" if isinstance(value, float) else repr(value) if value == "" else str(value)


def show_runs(last=3):
    """Show the pictures of the last runs side by side, each with J and the settings in which they differ.

    These are the runs in output/ and, wherever they are, those of this session; J is that of history.csv's last row.

    Args:
        last: how many at the most.
    """
    folders = {path.resolve(): path for path in (*nst.records.OUTPUT_FOLDER.glob("*"), *PAINTED)}.values()
    folders = [folder for folder in folders if (folder / "generated_image.png").is_file()]
    folders = [folder for folder in folders if (folder / "settings.json").is_file()]
    folders = sorted(folders, key=lambda folder: (folder / "settings.json").stat().st_mtime_ns)[-last:]
    if not folders:
        print("No picture has been painted yet. Run the training cell.")
        return
    records = [json.loads((folder / "settings.json").read_text(encoding="utf-8")) for folder in folders]
    titles = [f"{folder.name}\n{_last_cost(folder)}" for folder in folders]
    for title_lines in _differences(records):
        titles = [f"{title}\n{line}" for title, line in zip(titles, title_lines, strict=True)]
    pictures = []
    for folder in folders:
        with Image.open(folder / "generated_image.png") as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    show_figure(draw_grid([pictures], columns=titles), " | ".join(title.replace("\n", ", ") for title in titles))


def _last_cost(folder):
    rows = (folder / "history.csv").read_text(encoding="utf-8").split()
    return f"J {float(rows[-1].split(',')[2]):.4g}" if len(rows) > 1 else "J not known"


def _differences(records):
    """Return a list of lines for each setting in which records differ, with a line per record; not all if many."""
    found = []
    for name in (name for name in SETTINGS if name not in ("OUTPUT_DIR", "RESUME")):
        values = [record["settings"].get(name) for record in records]
        if any(value != values[0] for value in values):
            found.append([f"{name} = {label(value)}" for value in values])
    lessons = [record["lesson"] for record in records]
    if any(lesson != lessons[0] for lesson in lessons):
        found.append([f"cells {lesson['sha256'][:6]}{'' if lesson['as_saved'] else ', edited'}" for lesson in lessons])
    more = len(found) - MOST_LINES
    return found if more <= 0 else [*found[:MOST_LINES], [f"and {more} more"] * len(records)]


def animate(run):
    """Show how a picture was painted: its snapshots, each fading into the next, as an animated WebP in its folder.

    Args:
        run: Run, or the folder of one.

    Raises:
        RunError: there are no snapshots, or as write_file.
    """
    folder = Path(getattr(run, "folder", run))
    paths = sorted(folder.glob("image_*.jpg"))
    if not paths:
        raise RunError(f"{folder} has no snapshots (image_00000.jpg, …). Name the folder of a run.")
    pictures = []
    for path in paths:
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    movie, shown = _movie(pictures), pictures[-1].copy()
    write_file(folder / "making-of.webp", movie)
    shown.thumbnail((480, 480))
    still = io.BytesIO()
    shown.save(still, "JPEG", quality=85)
    text = f"{len(paths)} snapshots of {folder.name}, one fading into the next"
    movie, still = (base64.b64encode(content).decode() for content in (movie, still.getvalue()))
    tag = f'<img src="data:image/webp;base64,{movie}" alt="{text}" style="max-width: 100%">'
    if get_ipython() is None:
        print(text)
        return
    display({"text/html": tag, "image/jpeg": still, "text/plain": text}, raw=True)


def _movie(pictures, width=480):
    """Return pictures as an animated WebP, each fading into the next, in at most MOVIE_BYTES."""
    size = pictures[-1].size
    size = (min(width, size[0]), round(size[1] * min(width, size[0]) / size[0]))
    keys = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    frames, milliseconds = [keys[0]], [600]
    for before, after in zip(keys, keys[1:], strict=False):
        frames += [Image.blend(before, after, (i + 1) / FADES) for i in range(FADES)]
        milliseconds += [60] * (FADES - 1) + [160]
    milliseconds[-1] = 2000
    for quality in (80, 65, 50, 35, 20):
        buffer = io.BytesIO()
        frames[0].save(
            buffer, "WEBP", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, quality=quality
        )
        if buffer.tell() <= MOVIE_BYTES:
            return buffer.getvalue()
    return _movie(pictures, width * 2 // 3)  # many snapshots: smaller
