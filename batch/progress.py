"""How a batch stands: a line per job on the terminal and in a log file, what is left, and a gallery up to date."""

import contextlib
import shutil
import sys
import threading
import time

from nst.errors import RunError


class Progress:
    """What a batch of so many jobs tells while it works. Its methods may be called from several threads.

    gallery is a Gallery, log the path of the log file, to which is added, and failures a list of (Job, message).
    """

    def __init__(self, total, gallery, log):
        self.failures = []
        self._total, self._gallery, self._began = total, gallery, {}  # the jobs that are being painted: when they began
        self._painted = self._skipped = 0
        self._started, self._lock, self._open_line = None, threading.RLock(), False
        try:
            self._log = open(log, "a", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115 (closed in close)
        except OSError as error:
            raise RunError(f"{log} could not be opened: {error.strerror}. Check the folder's permissions.") from None

    def say(self, text):
        """Print a line of its own, and keep it in the log."""
        with self._lock:
            with contextlib.suppress(OSError):  # a full disk: what else is to be written says so
                print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=self._log)
            print("\r\x1b[K" * self._open_line + text, flush=True)
            self._open_line = False

    def began(self, job, worker):
        """Tell that a worker has begun a job, perhaps again."""
        with self._lock:
            begins = "again     " if id(job) in self._began else "began     "
            self._began[id(job)] = time.monotonic()
            self._started = self._started or self._began[id(job)]
            self._tell(f"{begins}{job.name} on {worker}")

    def finished(self, job, folder):
        """Tell that a job's folder is there. That it has begun may not have been told: Dask promises no order."""
        with self._lock:
            now = time.monotonic()
            self._started = self._started or now
            self._painted += 1
            self._tell(f"finished  {folder.name} in {now - self._began.pop(id(job), now):.0f} s")
        self._gallery.write(self.failures, sparingly=True)

    def skipped(self, job, folder):
        """Tell that a job has been painted before."""
        with self._lock:
            self._skipped += 1
            self._tell(f"there     {folder.name}")

    def failed(self, job, message):
        """Tell that a job cannot be painted."""
        with self._lock:
            self._began.pop(id(job), None)
            photo = job.settings.CONTENT_IMAGE
            message = message if photo in message else f"{photo}: {message}"
            self.failures.append((job, message))
            self._tell(f"failed    {job.name}: {message}")

    def _tell(self, text):
        done = self._painted + self._skipped
        status = f"{done} of {self._total} done, {len(self.failures)} failed"
        if self._painted:
            left = self._total - done - len(self.failures)
            seconds = round((time.monotonic() - self._started) / self._painted * left)
            status += f", about {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
        if not sys.stdout.isatty():
            return self.say(f"{text} ({status})")
        self.say(text)
        print(status[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        self._open_line = True

    def close(self):
        """Write the gallery, and say what failed; return whether all is well."""
        wrong = ""
        try:
            self._gallery.write(self.failures)
        except RunError as error:
            wrong = str(error)
        self.say(f"{self._painted} painted, {self._skipped} there already, {len(self.failures)} failed.")
        for job, message in self.failures:
            self.say(f"{job.name}: {message}")
        self.say(wrong or f"Gallery: {self._gallery.path}")
        with contextlib.suppress(OSError):
            self._log.close()
        return not (wrong or self.failures)
