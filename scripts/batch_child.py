"""A process in which a worker of a batch paints: pictures one after the other, asked for and answered in lines of JSON.

A line in: {"folder": where to paint, "settings": those that differ}. Lines out: {"epoch": number} for each epoch, then
{"error": message or null, "retry": whether it may work elsewhere}. Why a process: see scripts/README.md.
"""

import json
import os
import queue
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nst.errors import ImageError, NSTError, SettingsError
from nst.lesson import run_lesson

SECONDS_IDLE = 60.0  # then it ends by itself: the program that wanted the pictures may be gone


class _Reporter:
    """A view of a run that answers a line per epoch."""

    def __init__(self, answer):
        self._answer = answer

    def say(self, text):
        """Pass over how the run begins or ends."""

    def update(self, image, history, last):
        """Report the epoch."""
        self._answer(epoch=len(history))


def _requests():
    """Yield what is asked for, and end the process at once when the worker has gone."""
    lines = queue.SimpleQueue()

    def read():
        for line in sys.stdin:
            lines.put(line)
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            yield json.loads(lines.get(timeout=SECONDS_IDLE))
        except queue.Empty:
            return


def main():
    """Paint what is asked for until no more is."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    for request in _requests():
        settings = request["settings"]
        if settings["WEIGHTS"].endswith(".h5"):
            settings["WEIGHTS"] = str(ROOT / settings["WEIGHTS"])
        os.chdir(request["folder"])
        try:
            run = run_lesson(settings, environ={}, watch=lambda run: _Reporter(answer))["run"]
        except NSTError as error:
            answer(error=str(error), retry=not isinstance(error, (ImageError, SettingsError)))
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}", retry=True)
        else:
            answer(error=None if run.state == "finished" else f"The run was {run.state}.", retry=True)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
