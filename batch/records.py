"""What a batch has painted: the folders in its output folder, found by their records and added as they come back."""

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import zipfile
from pathlib import Path

from batch.jobs import input_files, is_gallery
from nst.errors import ImageError, RunError
from nst.files import lock, write_file
from nst.settings import from_record

RECORD = "settings.json"
PICTURE = "generated_image.png"
TEMPORARY = ".nst-{}.part"


def take_folder(output):
    """Make the folder of a batch, and return the function that gives it back: until then no other batch gets it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{output} could not be made: {error.strerror}. Set --output to another folder.") from None
    if os.path.lexists(page := output / "index.html") and not is_gallery(page):
        raise RunError(f"{page} is no gallery, and would be written over. Set --output to another folder.")
    return lock(output)


class Paintings:
    """The finished runs in a folder, output, and which of them count today.

    Those count that a Lesson as it is now has painted with the weights of a sha256. facts is a dict of pathlib.Path of
    each run's folder to its record, the content of settings.json, oldest first.
    """

    def __init__(self, output, lesson, weights_sha256):
        self.output, self._cells, self._weights = output, lesson.sha256, weights_sha256
        self.facts, self._by_settings, self._names = {}, {}, list(lesson.settings())
        for leftover in output.glob(TEMPORARY.format("*")):  # of a batch that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        records = output.glob(f"*/{RECORD}")
        for record in sorted(records, key=lambda path: (path.stat().st_mtime_ns, path)):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # not a run's record
                facts = json.loads(record.read_text(encoding="utf-8"))
                if facts["state"] == "finished" and record.with_name(PICTURE).is_file():
                    self._keep(record.parent, facts)

    def _keep(self, folder, facts):
        self._by_settings.setdefault(self._as_text(from_record(facts["settings"])), []).append(folder)
        self.facts[folder] = facts

    def _as_text(self, settings):
        return json.dumps([getattr(settings, name) for name in self._names])

    def find(self, job):
        """Return the folder in which a job has been painted already, or None.

        What counts is a complete record with the same settings, input files, weights and cells of the lesson. A setting
        that a record does not know counts with its default; one that the lesson does not have any more does not count.
        """
        folders = self._by_settings.get(self._as_text(job.settings), [])
        return next((folder for folder in folders if self._is_of(job, self.facts[folder])), None)

    def _is_of(self, job, facts):
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):  # a picture that is gone, an old record
            return (
                facts["weights"]["sha256"] == self._weights
                and facts["lesson"]["cells"] == self._cells
                and described_files(facts) == {path: sha256_of(path) for path in input_files(job.settings)}
            )
        return False

    def add(self, job, archive, names):
        """Put a run that comes back from a worker into a folder of its own, whole or not at all; return the folder.

        archive is a zip file of the run's folder, as bytes, and names a dict of the paths of input files on the worker
        to those here, which the record gets. ImageError: it is not of the job's files; RunError: it cannot be written.
        """
        temporary = self.output / TEMPORARY.format(os.getpid())
        with zipfile.ZipFile(io.BytesIO(archive)) as run:
            record = run.read(RECORD).decode()
            for there, here in names.items():
                record = record.replace(json.dumps(there), json.dumps(here))
            facts = json.loads(json.dumps(json.loads(record) | {"settings": job.settings}))
            if not self._is_of(job, facts):
                raise ImageError(
                    "it came back painted from other pictures, weights or cells than are here now. Has one of them "
                    "been changed or removed meanwhile? Start the batch again: it goes on."
                )
            try:
                temporary.mkdir()
                for name in run.namelist():
                    content = run.read(name) if name != RECORD else (json.dumps(facts, indent=2) + "\n").encode()
                    write_file(temporary / Path(name).name, content)
                ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
                folder = next(f for f in (self.output / f"{job.name}{end}" for end in ends) if not f.exists())
                temporary.rename(folder)
            except OSError as error:
                raise RunError(f"{job.name} could not be written into {self.output}: {error.strerror}.") from None
        self._keep(folder, facts)
        return folder


def sha256_of(path):
    """Return the sha256 of a file as it is now."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def described_files(facts):
    """Return a dict of path to sha256 of the input files that a record describes, wherever it does."""
    if isinstance(facts, dict) and facts.keys() >= {"file", "sha256"}:
        return {facts["file"]: facts["sha256"]}
    parts = facts.values() if isinstance(facts, dict) else facts if isinstance(facts, list) else ()
    return {path: sha256 for part in parts for path, sha256 in described_files(part).items()}
