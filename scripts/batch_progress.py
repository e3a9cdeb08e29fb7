"""How a batch stands: a line per job on the terminal and in a log file, what is left, and a gallery up to date."""

import sys
import threading
import time

from gallery import PICTURES_BETWEEN
from nst.errors import RunError


class Progress:
    """What a batch tells while it works. Its methods may be called from several threads.

    Args:
        total: number of jobs.
        gallery: gallery.Gallery, which is written after every tenth picture and at the end.
        log: path of the log file, to which is added.

    Attributes:
        failures: list of (Job, message).

    Raises:
        RunError: the log file cannot be written.
    """

    def __init__(self, total, gallery, log):
        self.failures = []
        self._total, self._gallery, self._running, self._began = total, gallery, set(), {}
        self._painted = self._skipped = 0
        self._started, self._lock, self._open_line = None, threading.RLock(), False
        try:
            self._log = open(log, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed in close)
        except OSError as error:
            raise RunError(f"{log} could not be opened: {error.strerror}. Check the folder's permissions.") from None

    def say(self, text):
        """Print a line of its own, and keep it in the log."""
        with self._lock:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=self._log)
            print("\r\x1b[K" * self._open_line + text, flush=True)
            self._open_line = False

    def began(self, job, worker):
        """Tell that a worker has begun a job, perhaps again."""
        with self._lock:
            self._started = self._started or time.monotonic()
            self._began[id(job)] = time.monotonic()
            self._running.add(id(job))
            self._tell(f"began     {job.name} on {worker}")

    def ended(self, job):
        """Note that a worker is done with a job, well or not; what it has left comes later."""
        with self._lock:
            self._running.discard(id(job))

    def finished(self, job, folder):
        """Tell that a job's folder is there."""
        with self._lock:
            self._painted += 1
            self._running.discard(id(job))
            seconds = time.monotonic() - self._began.pop(id(job), time.monotonic())
            self._tell(f"finished  {folder.name} in {seconds:.0f} s")
            if self._painted % PICTURES_BETWEEN == 0:
                self._gallery.write(self.failures)

    def skipped(self, job, folder):
        """Tell that a job has been painted before."""
        with self._lock:
            self._skipped += 1
            self._tell(f"there     {folder.name}")

    def failed(self, job, message):
        """Tell that a job cannot be painted."""
        with self._lock:
            self._running.discard(id(job))
            self.failures.append((job, message))
            self._tell(f"failed    {job.name}: {message}")

    def _tell(self, text):
        done = self._painted + self._skipped
        left = self._total - done - len(self.failures)
        status = f"{done} of {self._total} done, {len(self._running)} running, {len(self.failures)} failed"
        if self._painted:
            seconds = (time.monotonic() - self._started) / self._painted * left
            status += f", about {seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f} left"
        if sys.stdout.isatty():
            self.say(text)
            print(status, end="", flush=True)
            self._open_line = True
        else:
            self.say(f"{text} ({status})")

    def close(self):
        """Write the gallery, and say what failed."""
        try:
            self._gallery.write(self.failures)
        except RunError as error:
            self.say(str(error))
        text = f"{self._painted} painted, {self._skipped} there already, {len(self.failures)} failed."
        self.say("\n".join([text, *(f"{job.name}: {message}" for job, message in self.failures)]))
        self.say(f"Gallery: {self._gallery.path}")
        self._log.close()
