"""Paint many pictures on many workers: every photo with every painting and every combination of settings, by Dask.

    python -m batch --content photos/ --style images/great_wave.jpg --set BETA=200 --set BETA=800

Each is a run of a lesson in a folder of its own; a gallery shows them all. Started again, it paints what is missing.
"""

import signal

if __name__ == "__main__":  # what follows takes a second: until there are handlers, Ctrl-C ends it without a word
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import importlib.util
import io
import sys
from pathlib import Path

from batch.jobs import describe_grid, plan_jobs, read_grid
from nst.errors import NSTError, SettingsError
from nst.files import open_streams
from nst.lesson import Lesson
from nst.signals import on_stop_signals

NEEDED = ("cloudpickle", "distributed")  # from requirements.txt in this folder


def read_options(arguments=None):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m batch", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    pictures = {"nargs": "+", "default": [], "action": "extend", "metavar": "PICTURE"}
    add("--content", help="photos, folders, or patterns like 'photos/*.jpg'", **pictures)
    add("--style", help="paintings, likewise", **pictures)
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; given twice, it has two values")
    add("--lesson", metavar="NOTEBOOK", help="the notebook that paints; default: the first lesson")
    add("--chain", action="store_true", help="each picture begins with the one before it, as for frames of a clip")
    add("--output", type=Path, default=Path("output/gallery"), metavar="FOLDER", help="default: output/gallery")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://host:8786")
    where.add_argument("--workers", type=int, metavar="N", help="number of workers on this machine")
    options = parser.parse_args(arguments)
    if options.workers is not None and options.workers < 1:
        parser.error("--workers must be 1 or more")
    if options.scheduler == "":
        parser.error("--scheduler needs an address")
    return options


def plan(options):
    """Return the lesson and the jobs of a batch, or None and the messages that say why nothing can be started."""
    try:
        lesson = Lesson(options.lesson)
        saved = lesson.settings()
    except SettingsError as error:
        return None, [str(error)]
    given, problems = read_grid(saved, options.content, options.style, options.set, without=options.output)
    jobs, more = plan_jobs(saved, given, options.chain)
    if problems or more:
        return None, [*problems, *more]
    print(describe_grid(given, jobs), flush=True)
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        requirements = Path(__file__).with_name("requirements.txt")
        return None, [f"Dask is missing. Install it with: {sys.executable} -m pip install -r {requirements}"]
    return lesson, jobs


class _Console(io.TextIOWrapper):
    """Standard output, which may be piped into head: when it ends, or its disk is full, the log still has it all."""

    def write(self, text):
        with contextlib.suppress(OSError):
            super().write(text)

    def flush(self):
        with contextlib.suppress(OSError):
            super().flush()


def _stop(number, frame):
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise SystemExit(128 + number)


def main():
    """Paint what is missing; return the exit status."""
    options = read_options()
    lesson, jobs = plan(options)
    if lesson is None:
        print("\n".join(["Nothing was started:", *jobs]), file=sys.stderr)
        return 2

    progress, well, give_back = None, False, None
    try:
        # Imported here, since they take seconds: what cannot work has been said before.
        from batch.client import check_jobs, connect, first_to_paint, local_cluster, make_kit, paint_all
        from batch.gallery import Gallery
        from batch.progress import Progress
        from batch.records import Paintings, take_folder

        if wrong := check_jobs(jobs):
            print(f"Nothing was started: {wrong}", file=sys.stderr)
            return 2
        kit, weights, weights_sha256 = make_kit(lesson, jobs[0].settings.WEIGHTS)
        give_back = take_folder(options.output)
        paintings = Paintings(options.output, lesson, weights_sha256)
        progress = Progress(sum(1 + len(job.chain) for job in jobs), Gallery(paintings), options.output / "batch.log")
        missing = [job for job in (first_to_paint(job, paintings, progress) for job in jobs) if job]
        if missing:
            cluster = connect(options.scheduler) if options.scheduler else local_cluster(missing, options.workers)
            with cluster as client:
                progress.say(f"Dask's dashboard: {client.dashboard_link}")
                paint_all(client, missing, paintings, (kit, lesson.name, weights), progress)
    except NSTError as error:
        print(error if progress else f"Nothing was started: {error}", file=sys.stderr)
        return 1 if progress else 2
    except SystemExit:
        print("\nStopped. Give the same command again, and it goes on with what is missing.", file=sys.stderr)
        raise
    finally:
        if progress:
            well = progress.close()
        if give_back:
            give_back()
    return 0 if well else 1


if __name__ == "__main__":
    open_streams()
    encoding, lines = sys.stdout.encoding, sys.stdout.isatty()
    sys.stdout = _Console(sys.stdout.detach(), encoding, "replace", line_buffering=lines)
    with on_stop_signals(_stop):
        sys.exit(main())
