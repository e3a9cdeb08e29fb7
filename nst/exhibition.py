"""What runs have left, shown: side by side, or as a moving picture."""

import io
import json
from pathlib import Path

import numpy as np
from IPython import get_ipython
from IPython.display import display
from PIL import Image

from nst.checkpoints import changed_functions
from nst.described import picture_output
from nst.errors import RunError, SettingsError
from nst.files import write_file
from nst.plots import draw_grid, show_figure, spread
from nst.records import all_runs
from nst.settings import differing, from_record, has_gram_matrices

MOST_LINES = 5  # of settings in a title
MOST_SNAPSHOTS = 24  # in a moving picture
MOVIE_WIDTH = 400  # pixels


def label(value):
    """Return a setting's value in few letters."""
    if isinstance(value, (str, Path)) and Path(value).suffix:
        return Path(value).stem
    if isinstance(value, (list, tuple)):
        text = ", ".join(" ".join(map(label, one)) if isinstance(one, (list, tuple)) else label(one) for one in value)
        return f"[{text if len(text) <= 40 else text[:39] + '…'}]"
    text = getattr(value, "__name__", str(value))  # of a function
    return f"{value:g}" if isinstance(value, float) else repr(value) if value == "" else text


def show_runs(last=3):
    """Show the pictures of the last runs side by side, each with its costs and the settings in which they differ.

    These are the runs in output/ and, wherever they are, those of this session; costs are of history.csv's last row.

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
            return [(f"{folder.name}\n{_last_costs(folder)}", record, np.asarray(picture.convert("RGB")))]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _last_costs(folder):
    try:
        text = (folder / "history.csv").read_text(encoding="utf-8")
        names, *_, last = (line.split(",") for line in text.split())
        costs = zip(names[2:], last[2:], strict=True)
        return "  ".join(f"{name} {float(cost):.4g}" for name, cost in costs) or "J not known"
    except (OSError, ValueError):  # or no epoch yet
        return "J not known"


def _differences(records):
    """Return lists of lines, one per record: of which lesson, and each setting that differs; not all if many."""
    first, *others = records
    names = dict.fromkeys(name for other in others for name in differing(first["settings"], other["settings"]))
    lessons = ["Gram matrices" if has_gram_matrices(one["settings"]) else "nearest neighbours" for one in records]
    mixed = len({*lessons}) > 1
    found = [lessons] if mixed else []
    for name in (name for name in names if name not in ("OUTPUT_DIR", "RESUME")):
        if mixed and not all(name in one["settings"] for one in records):
            continue  # only one of the lessons has it
        found.append([f"{name} = {label(getattr(from_record(one['settings']), name))}" for one in records])
    for name in dict.fromkeys(n for other in others for n in changed_functions(first["lesson"], other["lesson"])):
        found.append([f"{name} {one['lesson'].get('functions', {}).get(name, '(none)')[:6]}" for one in records])
    more = len(found) - MOST_LINES
    return found if more <= 0 else [*found[:MOST_LINES], [f"and {more} more"] * len(records)]


def animate(run):
    """Show how a picture was painted: at most 24 snapshots, one after the other, also kept as making-of.webp.

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
    height = round(MOVIE_WIDTH * pictures[-1].height / pictures[-1].width)
    first, *others = [picture.resize((MOVIE_WIDTH, height)) for picture in pictures]  # also of the smaller sizes
    movie, seconds = io.BytesIO(), {"duration": [300] * len(others) + [2000], "loop": 0}  # milliseconds
    first.save(movie, "WEBP", save_all=True, append_images=others, quality=70, **seconds)
    write_file(folder / "making-of.webp", movie.getvalue())
    text = f"{len(paths)} snapshots of {folder.name}, one after the other"
    if get_ipython() is None:
        print(text)
    else:
        epochs = [int(path.stem.removeprefix("image_")) for path in (paths[0], paths[-1])]
        words = f"A moving picture: {text}, from epoch {epochs[0]} to epoch {epochs[1]}."
        display(picture_output(movie.getvalue(), text, words, "webp"), raw=True)
