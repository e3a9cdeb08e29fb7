"""A process in which a worker of a batch paints: pictures one after the other, asked for and answered in lines of JSON.

A line in: {"folder": where to paint, "settings": those that count}. Lines out: {"epoch": number} for each epoch, then
{"error": message or null, "retry": whether it may work elsewhere, "folder": of the run}. Why a process: see README.md.
"""

import json
import os
import sys
from types import SimpleNamespace

from nst.errors import ImageError, NSTError, SettingsError
from nst.lesson import ROOT, Lesson


def main():
    """Paint what is asked for until no more is, or an answer finds that the worker has gone."""
    answers, sys.stdout = sys.stdout, sys.stderr
    lesson = Lesson(ROOT / sys.argv[1])

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    view = SimpleNamespace(say=print, update=lambda image, history, last: answer(epoch=len(history)))
    for request in map(json.loads, sys.stdin):
        settings = request["settings"]
        if settings.get("WEIGHTS", "").endswith(".h5"):
            settings["WEIGHTS"] = str(ROOT / settings["WEIGHTS"])
        os.chdir(request["folder"])
        try:
            run = lesson.run(settings, watch=lambda run: view)["run"]
        except NSTError as error:
            answer(error=str(error), retry=not isinstance(error, (ImageError, SettingsError)))
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}", retry=True)
        else:
            error = None if run.state == "finished" else f"The run was {run.state}."
            answer(error=error, retry=True, folder=str(run.folder))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
