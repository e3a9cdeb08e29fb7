"""A run's folder: what is written into it, each file whole or not at all, and how a stopped run is read back."""

import contextlib
import csv
import hashlib
import io
import json
import os
import platform
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from nst.backend import keras, tf
from nst.errors import RunError, SettingsError
from nst.images import save_image, write_file
from nst.settings import STARTS, style_pictures

OUTPUT_FOLDER = Path("output")
CHECKPOINT = "checkpoint.npz"
CHECKPOINT_VERSION = 4
ITS_OWN = ("OUTPUT_DIR", "RESUME", "TILE")  # what a run that is continued takes from the settings of today
PAINTED = []  # the folders of this process's runs, in their order, wherever they are
HISTORY_COLUMNS = ("epoch", "seconds", "J", "J_content", "J_style")


class Records:
    """The files of one run.

    Args:
        facts: dict for settings.json; its "settings" name the folder, which is made when the first file is saved.
        folder: pathlib.Path of a run to be continued, or None.

    Attributes:
        folder: pathlib.Path; None until something has been saved.
        snapshots: list of pathlib.Path.
    """

    def __init__(self, facts, folder=None):
        self.facts, self.folder = facts, folder
        self.snapshots = sorted(folder.glob("image_*.jpg")) if folder else []
        self._written, self._made = set(), []
        for leftover in folder.glob(".*.part") if folder else ():  # of a run that was killed
            leftover.unlink()
        PAINTED.extend([folder] if folder else [])

    def save_masks(self):
        """Copy the masks, which are often made for one run, into its folder, as style_mask_N."""
        for number, path in enumerate(self.facts["settings"]["STYLE_MASKS"], 1):
            write_file(self._path(f"style_mask_{number}{Path(path).suffix}"), Path(path).read_bytes())

    def save_picture(self, image):
        """Write the result, generated_image.png."""
        save_image(image, self._path("generated_image.png"))

    def save_snapshot(self, image, epoch):
        """Write image_NNNNN.jpg, the picture after so many epochs."""
        path = self._path(f"image_{epoch:05d}.jpg")
        save_image(image, path)
        self.snapshots = [*(p for p in self.snapshots if p != path), path]

    def save_checkpoint(self, image, optimizer, history):
        """Write all that is needed to go on: the picture, the optimizer's variables, the history and the facts."""
        state = {f"optimizer_{i}": v.numpy() for i, v in enumerate(optimizer.variables)}
        state |= {"image": image, "history": np.array(history, np.float64).reshape(-1, len(HISTORY_COLUMNS))}
        state |= {"version": CHECKPOINT_VERSION, "facts": json.dumps(self.facts)}
        write_file(self._path(CHECKPOINT), lambda file: np.savez(file, **state))

    def save_texts(self, state, history, last=False):
        """Write settings.json, with how the run stands, and history.csv.

        Args:
            state: "running", "finished", "stopped" or "failed".
            history: list of rows, as HISTORY_COLUMNS.
            last: whether this is the last time. Before, a file that another program holds open (a spreadsheet, on
                Windows) is left for the next time: the checkpoint has all that it would say.
        """
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([HISTORY_COLUMNS, *history])
        facts = {"state": state, "epochs_done": len(history), **self.facts}
        for name, text in (("settings.json", json.dumps(facts, indent=2) + "\n"), ("history.csv", table.getvalue())):
            try:
                write_file(self._path(name), text.encode())
            except RunError as error:
                if last or not isinstance(error.__cause__, PermissionError):
                    raise

    def remove_checkpoint(self):
        """Remove the checkpoint of a run that is finished."""
        self._path(CHECKPOINT).unlink(missing_ok=True)

    def discard(self):
        """Remove the files that were written and the folders that were made, if nothing else is in them."""
        for path in self._written:
            path.unlink(missing_ok=True)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folder, self.snapshots, self._written, self._made = None, [], set(), []

    def _path(self, name):
        """Return the path of a file in the folder, which is made if it is not there yet."""
        if self.folder is None:
            self.folder = self._make_folder(self.facts["settings"])
            PAINTED.append(self.folder)
        self._written.add(self.folder / name)
        return self.folder / name

    def _make_folder(self, settings):
        """Make and return OUTPUT_DIR, or the next free output/<content>-<style>-<NNN>."""
        if not settings["OUTPUT_DIR"]:
            folder, self._made = claim_folder(OUTPUT_FOLDER, name_of_pair(settings))
            return folder
        folder = Path(settings["OUTPUT_DIR"])
        try:
            self._made = [p for p in (*reversed(folder.parents), folder) if not p.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            open(folder / "settings.json", "x").close()  # fails if another run has just taken the folder
        except FileExistsError:
            raise SettingsError(
                f"{folder} is a file, or has just been taken by another run. Set OUTPUT_DIR to another folder."
            ) from None
        except OSError as error:
            raise _not_made(folder, error) from None
        self._written.add(folder / "settings.json")
        return folder


def name_of_pair(settings):
    """Return <content>-<style>, after which a run's folder is named."""
    styles = "+".join(Path(path).stem for path, weight in style_pictures(settings["STYLE_IMAGE"]) if weight)
    return f"{Path(settings['CONTENT_IMAGE']).stem[:80]}-{styles[:80]}"


def parent_folder(settings):
    """Return where new folders are made: OUTPUT_DIR, unlike in the notebook, since many of them follow each other."""
    parent = settings["OUTPUT_DIR"] or OUTPUT_FOLDER
    if not isinstance(parent, (str, Path)):
        raise SettingsError(f"OUTPUT_DIR = {parent!r} cannot work: it must be a text in quotes.")
    return Path(os.path.expanduser(parent))


def all_runs():
    """Return the folders in output/ and, wherever they are, those of this process's runs: a list of pathlib.Path."""
    return [*OUTPUT_FOLDER.glob("*"), *PAINTED]


def claim_folder(parent, stem):
    """Make the next free folder <parent>/<stem>-<NNN>, which no other run gets then.

    Args:
        parent: folder, which is made if it is not there yet.
        stem: what its name begins with.

    Returns:
        pathlib.Path of the folder, and the list of all folders that were made, outer ones first.

    Raises:
        RunError: it could not be made.
        SettingsError: the parent is a file.
    """
    parent = Path(parent)
    try:
        made = [p for p in (*reversed(parent.parents), parent) if not p.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        numbers = [path.name[len(stem) + 1 :] for path in parent.iterdir() if path.name.startswith(f"{stem}-")]
        number = max((int(n) for n in numbers if n.isdecimal()), default=0)
        while True:
            number += 1
            folder = parent / f"{stem}-{number:03d}"
            with contextlib.suppress(FileExistsError):  # another run was faster
                folder.mkdir()
                return folder, [*made, folder]
    except FileExistsError:
        raise SettingsError(f"{parent} is a file. Set OUTPUT_DIR to another folder.") from None
    except OSError as error:
        raise _not_made(parent, error) from None


def _not_made(folder, error):
    return RunError(f"{folder} could not be made: {error.strerror}. Set OUTPUT_DIR to another folder.")


def read_checkpoint(folder):
    """Return the checkpoint of a stopped run.

    Args:
        folder: the run's folder.

    Returns:
        dict of image (float32, shape (1, H, W, 3)), history (list of rows), facts (dict, as in settings.json) and
        optimizer (list of the values of its variables).

    Raises:
        SettingsError: there is none, it is damaged, or another version of the tutorial wrote it.
    """
    path = Path(folder) / CHECKPOINT
    if not path.is_file():
        raise SettingsError(
            f'RESUME = "{folder}": there is no {CHECKPOINT} in this folder, so nothing to continue; a finished run has '
            f'none. Name the folder of a run that was stopped, or set RESUME = "" for a new run.'
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            state = dict(arrays)
        if state.get("version", 1) != CHECKPOINT_VERSION:
            raise SettingsError(
                f'RESUME = "{folder}": another version of this tutorial has written its {CHECKPOINT}, which cannot be '
                'continued with this one. Set RESUME = "" for a new run.'
            )
        count = sum(name.startswith("optimizer_") for name in state)
        return {
            "image": state["image"],
            "history": [(int(row[0]), *row[1:].tolist()) for row in state["history"]],
            "facts": json.loads(str(state["facts"])),
            "optimizer": [state[f"optimizer_{i}"] for i in range(count)],
        }
    except SettingsError:
        raise
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise SettingsError(
            f'RESUME = "{folder}" cannot be continued: its {CHECKPOINT} is damaged. Set RESUME = "" for a new run.'
        ) from None


def settings_of_run(facts, settings):
    """Return the settings of a stopped run, and print which of these differ from those of today.

    Args:
        facts: dict, from its checkpoint.
        settings: dict of the settings of today.
    """
    saved = {name: value for name, value in facts["settings"].items() if name in settings and name not in ITS_OWN}
    saved |= {"OUTPUT_DIR": "", "PRECISION": facts["precision"]}
    saved |= {name: _with_pairs(saved[name]) for name in ("STYLE_LAYERS", "STYLE_IMAGE")}
    if saved["WEIGHTS"] == "auto":
        saved["WEIGHTS"] = facts["weights"]["name"]
    print(f"Continuing {settings['RESUME']} with its own settings.")
    for name, value in saved.items():
        if value != settings[name] and name not in ("OUTPUT_DIR", "PRECISION", "WEIGHTS"):
            print(f"{name} = {value!r} there, so {settings[name]!r} is not used")
    return saved


def _with_pairs(value):
    """Return a value as it was before JSON made lists of its tuples."""
    return [tuple(pair) for pair in value] if isinstance(value, list) else value


def facts_that_go_on(facts, checkpoint):
    """Return the facts of a run that goes on: what it is made of must be the same, and its lessons are kept.

    Args:
        facts: dict of today.
        checkpoint: dict, from read_checkpoint.

    Raises:
        SettingsError: a file or a size is not what the run began with.
    """
    before, folder = checkpoint["facts"], facts["settings"]["RESUME"]
    for key in (*describe_sources(facts["settings"]), "generated_image", "weights", "sizes"):
        if before[key] != facts[key]:
            raise SettingsError(f'RESUME = "{folder}": {key} is not what the run began with. Start anew.')
    lessons = before.get("lesson_before", [])
    if before["lesson"] != facts["lesson"]:
        print("The lesson's cells have changed since this run began; the rest is painted with the new ones.")
        lessons = [*lessons, before["lesson"]]
    return facts | {"lesson_before": lessons}


def describe_sources(settings):
    """Return what a record says of the pictures that a run is made from: their names in the settings, and sha256."""
    styles = style_pictures(settings["STYLE_IMAGE"])
    return {
        "content_image": _describe_file(settings["CONTENT_IMAGE"]),
        "style_images": [{**_describe_file(path), "weight": weight} for path, weight in styles],
        "style_masks": [_describe_file(path) for path in settings["STYLE_MASKS"]],
        "init_image": None if settings["INIT"] in STARTS else _describe_file(settings["INIT"]),
    }


def _describe_file(path):
    return {"file": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def describe_versions():
    """Return the versions of what a picture depends on."""
    modules = {"tensorflow": tf, "keras": keras, "numpy": np, "pillow": Image, "matplotlib": matplotlib}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in modules.items()}}
