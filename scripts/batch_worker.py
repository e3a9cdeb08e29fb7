"""What happens on a Dask worker: it keeps the lesson and its weights, and has pictures painted in child processes.

A worker knows nothing of this repository: Dask sends this module by value (cloudpickle), so it imports nothing of it.
"""

import contextlib
import hashlib
import io
import json
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from distributed import WorkerPlugin


class Studio(WorkerPlugin):
    """The lesson, its weights and the processes that paint, on each worker that there is or that joins later.

    Args:
        kit: bytes of a zip archive of the repository: the notebook, the helpers and the weights.
        name: text under which workers find it, and the topic under which they tell when a picture begins and ends.
    """

    def __init__(self, kit, name):
        self.kit, self.sha256, self.name = kit, hashlib.sha256(kit).hexdigest(), name

    def setup(self, worker):
        """Unpack the kit on a worker, if it has arrived as it was sent."""
        found = hashlib.sha256(self.kit).hexdigest()
        if found != self.sha256:
            raise ValueError(f"The lesson and its weights arrived damaged: sha256 {found}, expected {self.sha256}.")
        self.worker, self.processes, self.idle = worker, set(), []
        self.folder = tempfile.mkdtemp(prefix="nst-", dir=worker.local_directory)
        with zipfile.ZipFile(io.BytesIO(self.kit)) as archive:
            archive.extractall(self.folder)
        self.kit = None

    def teardown(self, worker):
        """End the processes."""
        for process in list(self.processes):
            process.kill()

    def paint(self, key, settings, files):
        """Paint a picture.

        Args:
            key: name of the task.
            settings: dict of settings, whose paths are relative to a folder that is made for this picture.
            files: dict of such paths to the bytes of the pictures.

        Returns:
            bytes of a zip archive of the run's folder; or a text that says why this picture cannot be painted.

        Raises:
            RuntimeError: it could not be painted here, but may be elsewhere.
        """
        with self._told(key), tempfile.TemporaryDirectory(dir=self.worker.local_directory) as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
            with self._process() as process:
                error, retry = process.paint(folder, settings, lambda: self._is_wanted(key))
            if error and retry:
                raise RuntimeError(error)
            return error or _zipped(Path(folder, settings["OUTPUT_DIR"]))

    @contextlib.contextmanager
    def _told(self, key):
        """Tell the client when a job begins and when it ends."""
        event = {"job": key, "worker": self.worker.address}
        self.worker.log_event(self.name, event | {"begins": True})
        try:
            yield
        finally:
            self.worker.log_event(self.name, event | {"begins": False})

    @contextlib.contextmanager
    def _process(self):
        """Lend a process that paints: one that waits, or a new one. It waits again afterwards, if all went well."""
        process = self._waiting_process() or _Process(self.folder)
        self.processes.add(process)
        keep = False
        try:
            yield process
            keep = True
        finally:
            if keep:
                self.idle.append(process)
            else:
                self.processes.remove(process)
                process.close()

    def _waiting_process(self):
        with contextlib.suppress(IndexError):  # none waits
            while not (process := self.idle.pop()).is_alive():  # it has waited for too long
                self.processes.remove(process)
                process.close()
            return process
        return None

    def _is_wanted(self, key):
        """Return whether a task has not been cancelled meanwhile: Dask itself lets a running one go on."""
        task = self.worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"


class _Process:
    """A child process that paints (scripts/batch_child.py)."""

    def __init__(self, kit):
        self._log = tempfile.TemporaryFile(dir=kit)  # noqa: SIM115 (closed in close)
        command = [sys.executable, str(Path(kit, "scripts", "batch_child.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._child = subprocess.Popen(command, cwd=kit, text=True, encoding="utf-8", start_new_session=True, **pipes)

    def is_alive(self):
        return self._child.poll() is None

    def paint(self, folder, settings, is_wanted):
        """Return the message of what went wrong, or None, and whether it may work elsewhere."""
        answer = {}
        with contextlib.suppress(OSError):  # it has died: no answer comes
            print(json.dumps({"folder": folder, "settings": settings}), file=self._child.stdin, flush=True)
        while "error" not in answer:
            line = self._child.stdout.readline()
            if not line.endswith("\n") or not is_wanted():
                return self._last_words(), True
            answer = json.loads(line)
        return answer["error"], answer["retry"]

    def _last_words(self):
        self.kill()
        status = self._child.returncode
        if status == -signal.SIGKILL:
            return "The process that painted was killed, by the system for want of memory or by someone."
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"The process that painted ended with status {status}: {lines[-1]}"

    def kill(self):
        """End the process, whatever it does."""
        self._child.kill()
        self._child.wait()

    def close(self):
        """End the process and close what led to it."""
        self.kill()
        for file in (self._child.stdin, self._child.stdout, self._log):
            with contextlib.suppress(OSError):
                file.close()


def _zipped(folder):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # PNG and JPEG are compressed
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()
