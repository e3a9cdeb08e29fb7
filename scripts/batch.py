"""Paint many pictures on many workers: every photo with every painting and every combination of settings, by Dask.

    python scripts/batch.py --content 'photos/*.jpg' --style images/great_wave.jpg --set BETA=200 --set BETA=800

Each picture is a run of the notebook in a folder of its own; a gallery, index.html, shows them all. Started again, it
paints what is missing. This script is no part of the lesson.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def read_options(arguments=None):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--content", nargs="+", default=[], metavar="PICTURE", help="photos, or patterns such as 'photos/*.jpg'")
    add("--style", nargs="+", default=[], metavar="PICTURE", help="paintings, likewise")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting; given twice, it has two values")
    add("--chain", action="store_true", help="each picture begins with the one before it, as for frames of a clip")
    add("--output", type=Path, default=Path("output/gallery"), metavar="FOLDER", help="default: output/gallery")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://host:8786")
    where.add_argument("--workers", type=int, metavar="N", help="number of workers on this machine")
    options = parser.parse_args(arguments)
    if options.workers is not None and options.workers < 1:
        parser.error("--workers must be 1 or more")
    return options


class _Stopped(BaseException):
    """A signal, its argument, ends the batch."""


def _stop(number, frame):
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)  # a second one ends it at once
    raise _Stopped(number)


def main():
    """Paint what is missing; return the exit status."""
    options = read_options()

    # Imported here, since each worker on this machine imports this file as well, and needs no TensorFlow.
    from batch_client import connect, first_to_paint, local_cluster, make_kit, paint_all
    from batch_jobs import check_jobs, plan_jobs, read_grid
    from batch_progress import Progress
    from batch_records import Paintings
    from gallery import Gallery
    from nst.errors import NSTError

    grid, problems = read_grid(options.content, options.style, options.set)
    jobs, more = plan_jobs(grid, options.chain)
    if problems or more:
        print("\n".join(["Nothing was started:", *problems, *more]), file=sys.stderr)
        return 2
    progress = None
    try:
        *kit, weights_sha256 = make_kit(jobs[0].settings["WEIGHTS"])
        paintings = Paintings(options.output, weights_sha256)
        check_jobs(jobs)
        progress = Progress(sum(1 + len(job.chain) for job in jobs), Gallery(paintings), options.output / "batch.log")
        missing = [job for job in (first_to_paint(job, paintings, progress) for job in jobs) if job]
        if missing:
            cluster = connect(options.scheduler) if options.scheduler else local_cluster(missing, options.workers)
            with cluster as client:
                progress.say(f"Dask's dashboard: {client.dashboard_link}")
                paint_all(client, missing, paintings, kit, progress)
    except NSTError as error:
        print(error, file=sys.stderr)
        return 1
    except _Stopped as stopped:
        print("\nStopped. Give the same command again, and it goes on with what is missing.", file=sys.stderr)
        return 128 + stopped.args[0]
    finally:
        if progress:
            progress.close()
    return 1 if progress.failures else 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(main())
elif __name__ == "__mp_main__":  # a worker on this machine: Ctrl-C is for the program that started it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
