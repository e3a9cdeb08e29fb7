"""What runs have left, shown: side by side, or as a moving picture."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from IPython import get_ipython
from IPython.display import display
from PIL import Image

from nst.errors import RunError, SettingsError
from nst.images import write_file
from nst.plots import draw_grid, show_figure, spread
from nst.records import all_runs
from nst.settings import SETTINGS

MOST_LINES = 5  # of settings in a title
MOST_SNAPSHOTS = 24  # in a moving picture
FADES = 5  # pictures between two snapshots
MOVIE_BYTES = 500_000  # a notebook stores four bytes for three


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

    Raises:
        SettingsError: last is no number of runs.
    """
    if type(last) is not int or last < 1:
        raise SettingsError(f"last = {last!r} cannot work: it must be a whole number, 1 or more.")
    folders = {path.resolve(): path for path in all_runs()}.values()
    folders = [folder for folder in folders if (folder / "settings.json").is_file()]
    runs = []
    for folder in sorted(folders, key=lambda folder: (folder / "settings.json").stat().st_mtime_ns, reverse=True):
        runs += _read_run(folder) if len(runs) < last else []
    if not runs:
        print("No picture has been painted yet. Run the training cell.")
        return
    titles, records, pictures = zip(*reversed(runs), strict=True)
    for title_lines in _differences(records):
        titles = [f"{title}\n{line}" for title, line in zip(titles, title_lines, strict=True)]
    show_figure(draw_grid([pictures], columns=list(titles)), " | ".join(title.replace("\n", ", ") for title in titles))


def _read_run(folder):
    """Return what a run has left as a list of (title, record, picture); empty if that is no whole run."""
    try:
        record = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        record = {"settings": dict(record["settings"]), "lesson": dict(record["lesson"])}
        with Image.open(folder / "generated_image.png") as picture:
            return [(f"{folder.name}\n{_last_cost(folder)}", record, np.asarray(picture.convert("RGB")))]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _last_cost(folder):
    try:
        rows = (folder / "history.csv").read_text(encoding="utf-8").split()
        return f"J {float(rows[-1].split(',')[2]):.4g}"
    except (OSError, ValueError, IndexError):  # or no epoch yet
        return "J not known"


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
    """Show how a picture was painted: at most 24 snapshots, each fading into the next.

    The animated WebP of at most 500 kB is kept in the run's folder as making-of.webp, made anew each time.

    Args:
        run: Run, or the folder of one.

    Raises:
        RunError: there are no snapshots, or as write_file.
    """
    folder = getattr(run, "folder", run)
    if folder is None:
        raise RunError("This run has no snapshots yet: it has not begun.")
    folder = Path(folder)
    paths = spread(sorted(folder.glob("image_*.jpg")), MOST_SNAPSHOTS)
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
