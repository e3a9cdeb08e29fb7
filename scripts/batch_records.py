"""What a batch has painted: the folders in its output folder, found by their records and added as they come back."""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import zipfile
from pathlib import Path

from batch_jobs import input_files
from nst.errors import RunError
from nst.images import write_file
from nst.lesson import describe_lesson

RECORD = "settings.json"
PICTURE = "generated_image.png"


class Paintings:
    """The finished runs in a folder.

    Args:
        output: pathlib.Path of the folder, which is made if it is not there.
        weights_sha256: of the weights file with which is painted today.

    Attributes:
        facts: dict of pathlib.Path of a run's folder to its record, the content of settings.json, oldest first.

    Raises:
        RunError: the folder cannot be made.
    """

    def __init__(self, output, weights_sha256):
        self.output = output
        self._weights, self._lesson = weights_sha256, describe_lesson({})["sha256"]
        self.facts, self._by_settings = {}, {}
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{output} could not be made: {error.strerror}. Set --output to another folder.") from None
        for leftover in output.glob(".*.part"):  # of a batch that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        records = output.glob(f"*/{RECORD}")
        for record in sorted(records, key=lambda path: (path.stat().st_mtime_ns, path)):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not a run's record
                facts = json.loads(record.read_text(encoding="utf-8"))
                if facts["state"] == "finished" and record.with_name(PICTURE).is_file():
                    self._keep(record.parent, facts)

    def _keep(self, folder, facts):
        self._by_settings.setdefault(_as_text(facts["settings"]), []).append(folder)
        self.facts[folder] = facts

    def find(self, job):
        """Return the folder in which a job has been painted already, or None.

        What counts is a complete record with the same settings, input files, weights and cells of the lesson.
        """
        for folder in self._by_settings.get(_as_text(job.settings), []):
            if self._is_of(job, self.facts[folder]):
                return folder
        return None

    def _is_of(self, job, facts):
        with contextlib.suppress(OSError):  # a picture that is not there any more
            return self._describes(facts, job)
        return False

    def _describes(self, facts, job):
        return (
            facts["state"] == "finished"
            and facts["weights"]["sha256"] == self._weights
            and facts["lesson"] == {"sha256": self._lesson, "as_saved": True}
            and _described_files(facts) == {path: _sha256_of(path) for path in input_files(job.settings)}
        )

    def add(self, job, archive, names):
        """Put a run that comes back from a worker into a folder of its own, whole or not at all.

        Args:
            job: Job.
            archive: bytes of a zip archive of the run's folder.
            names: dict of the paths of input files on the worker to those here, which the record gets.

        Returns:
            pathlib.Path of the folder: the job's name, with a number where that is taken.

        Raises:
            RunError: it cannot be written, or is not of the job's files.
        """
        temporary = self.output / f".{job.name}.{os.getpid()}.part"
        with zipfile.ZipFile(io.BytesIO(archive)) as run:
            facts = json.loads(run.read(RECORD)) | {"settings": job.settings}
            facts = json.loads(json.dumps(_renamed(facts, names)))
            if not self._is_of(job, facts):
                raise RunError(
                    f"{job.name} came back painted from other pictures, weights or cells than are here now. Has one of "
                    "them been changed meanwhile? Start the batch again: it goes on."
                )
            try:
                temporary.mkdir()
                for name in run.namelist():
                    content = run.read(name) if name != RECORD else (json.dumps(facts, indent=2) + "\n").encode()
                    write_file(temporary / Path(name).name, content)
                folder = self._rename(temporary, job.name)
            except OSError as error:
                raise RunError(f"{job.name} could not be written into {self.output}: {error.strerror}.") from None
        self._keep(folder, facts)
        return folder

    def _rename(self, temporary, name):
        for number in itertools.count(1):
            folder = self.output / (name if number == 1 else f"{name}-{number}")
            if not folder.exists():
                with contextlib.suppress(FileExistsError):
                    temporary.rename(folder)
                    return folder
        return None


def _as_text(settings):
    return json.dumps(settings, sort_keys=True)


def _sha256_of(path):
    status = os.stat(path)
    return _sha256_at(path, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=1000)
def _sha256_at(path, stamp):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _renamed(facts, names):
    """Return a record in which input files have other names."""
    if isinstance(facts, list):
        return [_renamed(part, names) for part in facts]
    if isinstance(facts, dict):
        return {key: names.get(part, part) if key == "file" else _renamed(part, names) for key, part in facts.items()}
    return facts


def _described_files(facts):
    """Return a dict of path to sha256 of the input files that a record describes, wherever it does."""
    if isinstance(facts, dict) and facts.keys() >= {"file", "sha256"}:
        return {facts["file"]: facts["sha256"]}
    parts = facts.values() if isinstance(facts, dict) else facts if isinstance(facts, list) else ()
    return {path: sha256 for part in parts for path, sha256 in _described_files(part).items()}
