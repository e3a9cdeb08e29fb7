"""A run's folder: what is written into it, each file whole or not at all."""

import contextlib
import csv
import io
import json
import os
from pathlib import Path

import numpy as np

from nst.checkpoints import CHECKPOINT
from nst.errors import RunError, SettingsError
from nst.files import claim_folder, lock, make_folder, write_file
from nst.images import save_image
from nst.settings import name_of_pair

OUTPUT_FOLDER = Path("output")
PAINTED = []  # the folders of this process's runs, in their order, wherever they are


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
        self._written, self._made, self._unlock = set(), [], lock(folder) if folder else None
        for leftover in folder.glob(".*.part") if folder else ():  # of a run that was killed
            leftover.unlink()
        PAINTED.extend([folder] if folder else [])

    def save_masks(self):
        """Copy the masks, which are often made for one run, into its folder, as style_mask_N."""
        for number, path in enumerate(self.facts["settings"].STYLE_MASKS, 1):
            write_file(self._path(f"style_mask_{number}{Path(path).suffix}"), Path(path).read_bytes())

    def save_picture(self, image):
        """Write the result, generated_image.png."""
        save_image(image, self._path("generated_image.png"))

    def save_snapshot(self, image, epoch):
        """Write image_NNNNN.jpg, the picture after so many epochs."""
        path = self._path(f"image_{epoch:05d}.jpg")
        save_image(image, path)
        self.snapshots = [*(p for p in self.snapshots if p != path), path]

    def save_checkpoint(self, arrays):
        """Write all that is needed to go on, from checkpoints.pack_checkpoint."""
        write_file(self._path(CHECKPOINT), lambda file: np.savez(file, **arrays))

    def save_texts(self, state, history, last=False):
        """Write settings.json, with how the run stands, and history.csv, a list of dicts with the same keys.

        Before the last time, a file that another program holds open (a spreadsheet, on Windows) is left for the next
        time: the checkpoint has all that it would say.
        """
        table = io.StringIO()
        writer = csv.DictWriter(table, history[0] if history else ("epoch", "seconds"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
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
        self.close()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folder, self.snapshots, self._written, self._made = None, [], set(), []

    def close(self):
        """Let another run go on in the folder."""
        if self._unlock:
            self._unlock()
        self._unlock = None

    def _path(self, name):
        """Return the path of a file in the folder, which is made if it is not there yet."""
        if self.folder is None:
            self.folder = self._make_folder(self.facts["settings"])
            self._unlock = lock(self.folder)
            PAINTED.append(self.folder)
        self._written.add(self.folder / name)
        return self.folder / name

    def _make_folder(self, settings):
        """Make and return OUTPUT_DIR, or the next free output/<content>-<style>-<NNN>."""
        if not settings.OUTPUT_DIR:
            folder, self._made = claim_folder(OUTPUT_FOLDER, name_of_pair(settings))
            return folder
        folder = Path(settings.OUTPUT_DIR)
        self._made = make_folder(folder)
        try:
            open(folder / "settings.json", "x").close()  # fails if another run has just taken the folder
        except FileExistsError:
            raise SettingsError(
                f"{folder} has just been taken by another run. Set OUTPUT_DIR to another folder."
            ) from None
        except OSError as error:
            raise RunError(f"{folder} cannot be written into: {error.strerror}. Set OUTPUT_DIR to another.") from None
        self._written.add(folder / "settings.json")
        return folder


def parent_folder(settings):
    """Return where new folders are made: OUTPUT_DIR, unlike in the notebook, since many of them follow each other."""
    parent = settings.OUTPUT_DIR or OUTPUT_FOLDER
    if not isinstance(parent, (str, Path)):
        raise SettingsError(f"OUTPUT_DIR = {parent!r} cannot work: it must be a text in quotes.")
    return Path(os.path.expanduser(parent))


def all_runs():
    """Return the folders in output/ and, wherever they are, those of this process's runs: a list of pathlib.Path."""
    return [*OUTPUT_FOLDER.glob("*"), *PAINTED]
