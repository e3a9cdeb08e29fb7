"""What happens on a Dask worker: it keeps the lesson and its weights, and has pictures painted in child processes.

A worker knows nothing of this repository: Dask sends this module by value (cloudpickle), so it imports nothing of it.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

from distributed import WorkerPlugin


class Studio(WorkerPlugin):
    """The lesson, its weights and the processes that paint, on each worker that there is or that joins later.

    kit is a zip archive of the repository (notebook, helpers, weights), as bytes, and lesson the notebook's name. Under
    name workers find this, and tell that a picture begins.
    """

    def __init__(self, kit, lesson, name):
        self.kit, self.lesson, self.name = kit, lesson, name

    def setup(self, worker):
        """Unpack the kit on a worker."""
        self.worker, self.processes, self.own = worker, set(), threading.local()
        self.folder = tempfile.mkdtemp(prefix="nst-", dir=worker.local_directory)
        with zipfile.ZipFile(io.BytesIO(self.kit)) as archive:
            archive.extractall(self.folder)
        self.kit = None

    def teardown(self, worker):
        """End the processes, and remove what was sent: the batch is over."""
        for process in list(self.processes):
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def paint(self, key, settings, files):
        """Paint a picture; return the bytes of a zip archive of the run's folder, or a text: why it cannot be painted.

        The paths in settings are relative to a folder that is made for this picture, and files a dict of them to their
        bytes; key names the task. RuntimeError: it could not be painted here, but may be elsewhere.
        """
        self.worker.log_event(self.name, {"job": key, "worker": self.worker.address})
        with tempfile.TemporaryDirectory(dir=self.worker.local_directory) as folder:
            for name, content in files.items():
                Path(folder, name).parent.mkdir(parents=True)
                Path(folder, name).write_bytes(content)
            answer = self._process().paint(folder, settings, lambda: self._is_wanted(key))
            if answer["error"] and answer["retry"]:
                raise RuntimeError(answer["error"])
            if answer["error"]:
                return answer["error"]
            return Path(shutil.make_archive(f"{folder}/run", "zip", Path(folder, answer["folder"]))).read_bytes()

    def _process(self):
        """Return the process that paints for this thread: a new one if there is none, or it has ended."""
        process = getattr(self.own, "process", None)
        if not process or not process.is_alive():
            self.processes.discard(process)
            process = self.own.process = _Process(self.folder, self.lesson)
            self.processes.add(process)
        return process

    def _is_wanted(self, key):  # a task that is cancelled Dask itself lets go on
        return getattr(self.worker.state.tasks.get(key), "state", "cancelled") != "cancelled"


class _Process:
    """A child process that paints (child.py), with the kit as its repository and no settings of the worker's own."""

    def __init__(self, kit, lesson):
        self._log = tempfile.TemporaryFile(dir=kit)  # noqa: SIM115 (closed with this object, as the pipes are)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NST_")}
        environment["TMPDIR"] = str(kit)  # TensorFlow leaves files there when it is killed, as it is in the end
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(kit), environment.get("PYTHONPATH")]))
        options = {"cwd": kit, "env": environment, "text": True, "encoding": "utf-8", "start_new_session": True}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._child = subprocess.Popen([sys.executable, "-m", "batch.child", lesson], **options, **pipes)

    def is_alive(self):
        return self._child.poll() is None

    def paint(self, folder, settings, is_wanted):
        """Return the last answer: error, a message or None; retry, whether it may work elsewhere; folder of the run."""
        with contextlib.suppress(OSError):  # it has died: no answer comes
            print(json.dumps({"folder": folder, "settings": settings}), file=self._child.stdin, flush=True)
        while True:
            line = self._child.stdout.readline()
            if not line.endswith("\n") or not is_wanted():
                return {"error": self._last_words(), "retry": True}
            if line.startswith("{") and "error" in (answer := json.loads(line)):
                return answer

    def _last_words(self):
        self.kill()
        status = self._child.returncode
        if status == -9:  # SIGKILL
            return "The process that painted was killed, by the system for want of memory or by someone."
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"The process that painted ended with status {status}: {lines[-1]}"

    def kill(self):
        """End the process, whatever it does."""
        self._child.kill()
        self._child.wait()
