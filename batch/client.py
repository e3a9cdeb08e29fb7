"""A batch as the machine sees it that starts it: the workers, what is sent to them, and what comes back."""

import contextlib
import functools
import io
import logging
import math
import os
import tempfile
import uuid
import zipfile
from collections import deque
from pathlib import Path

import cloudpickle
import dask
from distributed import Client, LocalCluster, as_completed, get_worker

import batch.worker
from batch.jobs import input_files, next_link, with_paths
from batch.records import PICTURE
from nst.backend import free_memory
from nst.errors import ImageError, NSTError, RunError
from nst.files import fit_name
from nst.images import MAX_ASPECT_RATIO, MIN_SIDE, load_image
from nst.lesson import ROOT
from nst.settings import style_pictures
from nst.sources import check_sources
from nst.vgg19 import NORMALISATION_FILE, WEIGHTS_FOLDER, load_vgg19

PROCESS_MEMORY = 2.0e9  # bytes of a process that paints, beside its picture: 1.5e9 were measured
PIXEL_MEMORY, PIXELS_AT_ONCE = 4.5e3, 1300**2  # bytes by nst.tiles, which looks at more in tiles
SECONDS_TO_CONNECT = 10
RETRIES = 2  # of a picture that fails for a reason that may lie in the worker's machine
NO_SIGNAL = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is for the program that began it

cloudpickle.register_pickle_by_value(batch.worker)


def make_kit(lesson, weights):
    """Return what every worker needs, as bytes of a zip archive; what WEIGHTS is there; and the sha256 of the weights.

    weights are as the setting WEIGHTS: "auto" is decided here, for all workers.
    """
    vgg, folder = load_vgg19(weights, normalise=False), WEIGHTS_FOLDER.name
    helpers = [path for path in sorted((ROOT / "nst").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    helpers += [ROOT / name for name in ("nst_utils.py", "batch/__init__.py", "batch/child.py")]
    files = {path.relative_to(ROOT).as_posix(): path for path in helpers} | {lesson.name: lesson.path}
    files |= {f"{folder}/{path.name}": path for path in (WEIGHTS_FOLDER / NORMALISATION_FILE, vgg.file)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, path in files.items():
            archive.write(path, name)
    name = vgg.name if vgg.name in ("standin", "imagenet") else f"{folder}/{vgg.file.name}"
    return buffer.getvalue(), name, vgg.sha256


def check_jobs(jobs):
    """Look at the pictures of all jobs, and note in those that cannot work why; return what is wrong with all alike.

    Paintings are decoded, since many jobs hang on each; photos are not, since there are many of them.
    """
    links = [link for job in jobs for link in (job, *job.chain)]
    for link in links:
        try:
            check_sources(link.settings)
            paintings = [path for path, _ in style_pictures(link.settings.STYLE_IMAGE)]
            link.error = next(filter(None, map(_damage, paintings)), "")
        except (NSTError, OSError, ValueError) as error:
            link.error = str(error)
    return links[0].error if len({link.error for link in links}) == 1 else ""


@functools.cache
def _damage(path):
    """Return what is wrong with a picture that can be opened when it is decoded, or ""."""
    try:
        load_image(path, MIN_SIDE * MAX_ASPECT_RATIO, enlarge=False)
    except NSTError as error:
        return str(error)
    return ""


def connect(address):
    """Return a client of the Dask cluster with a scheduler at an address, or raise RunError if there is none."""
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what matters of it is said in plain words
    try:
        return Client(address, timeout=SECONDS_TO_CONNECT)
    except Exception as error:  # each kind of address has errors of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"There is no Dask scheduler at {address} ({reason}). Start one with: dask scheduler, or leave --scheduler "
            "away to paint on this machine."
        ) from None


@contextlib.contextmanager
def local_cluster(jobs, workers=None):
    """Run a Dask cluster of so many workers, each a process, on this machine, and yield a client of it.

    When None it is one worker for two cores, as far as the memory that the largest picture needs and the jobs go.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        pixels = max(_most_pixels(job) for job in jobs)
        room = free_memory() / (PROCESS_MEMORY + PIXEL_MEMORY * min(pixels, PIXELS_AT_ONCE))
        workers = max(1, min(cores // 2, len(jobs), int(min(room, cores))))  # with one core not faster: see README.md
    share = {"TF_NUM_INTRAOP_THREADS": str(max(1, cores // workers))}
    of_each = {"threads_per_worker": 1, "processes": True, "memory_limit": 0, "env": share, "preload": [NO_SIGNAL]}
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with (
        tempfile.TemporaryDirectory(prefix="nst-", ignore_cleanup_errors=True) as folder,
        dask.config.set({"distributed.scheduler.allowed-failures": 2, "temporary-directory": folder}),
        LocalCluster(n_workers=workers, **of_each, **here) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _most_pixels(job):
    with contextlib.suppress(NSTError):  # a picture that has got lost: it is said when it is to be painted
        return max(map(math.prod, check_sources(job.settings)))
    return 0


def paint_all(client, jobs, paintings, kit, watch):
    """Have jobs painted, and keep each picture's folder as soon as it is there.

    No more jobs are with the scheduler than keep the workers busy, so neither it nor this process holds them all. kit
    is its bytes, the name of the lesson in it, and what WEIGHTS is on the workers; watch is a Progress. RunError: a
    folder cannot be written, or the scheduler has gone.
    """
    kit, lesson, weights = kit
    _forget_left_behind(client)
    name = f"nst-{client.id}"
    try:
        client.register_plugin(batch.worker.Studio(kit, lesson, name), name=name)
    except OSError as error:
        raise RunError(
            f"A worker cannot keep what it needs, some {len(kit) / 1e6:.0f} MB: {error.strerror or error}. Make room "
            "in its temporary folder, or set TMPDIR to another."
        ) from None

    def paint(*job):  # it stands here, since Dask sends by value what has no name
        return get_worker().plugins[name].paint(*job)

    def hear(event):
        _, facts = event
        if facts.get("action") == "remove-worker":
            watch.say(f"lost      {facts['worker']}: what it painted goes to another, as soon as there is one")
        elif facts.get("job") in running:
            watch.began(running[facts["job"]][0], facts["worker"])

    waiting, running, futures, completed = deque(jobs), {}, {}, as_completed()
    for topic in (name, "all"):
        client.subscribe_topic(topic, hear)
    if not client.nthreads():
        watch.say("There is no worker yet: the batch waits for one. Start it with: dask worker, and the same address.")
    try:
        while waiting or running:
            while waiting and len(running) < 2 * max(1, sum(client.nthreads().values())):
                job, key = waiting.popleft(), f"paint-{uuid.uuid4().hex}"
                try:
                    settings, files, names = pack(job.settings, weights)
                except OSError as error:
                    fail(job, f"{error.filename} cannot be read any more: {error.strerror}.", watch)
                    continue
                running[key] = job, names
                futures[key] = client.submit(paint, key, settings, files, key=key, retries=RETRIES)
                completed.add(futures[key])
            if not running:
                continue
            future = futures.pop(next(completed).key)
            job, names = running.pop(future.key)
            result = _outcome(future)
            future.release()
            if isinstance(result, str):
                for there, here in names.items():
                    result = result.replace(there, here).replace(there.replace("/", "\\"), here)
                fail(job, result, watch)
                continue
            try:
                folder = paintings.add(job, result, names)
            except ImageError as error:
                fail(job, str(error), watch)
                continue
            watch.finished(job, folder)
            link = first_to_paint(next_link(job, folder / PICTURE), paintings, watch)
            waiting.extendleft([link] if link else [])
    finally:
        if client.status == "running":
            with contextlib.suppress(OSError):  # the same signal may have ended the workers
                for topic in (name, "all"):
                    client.unsubscribe_topic(topic)
                client.cancel(list(futures.values()))
                client.unregister_worker_plugin(name)


def _forget_left_behind(client):
    """Have workers remove the kits of batches that were killed: those whose client is not there any more."""

    def left_behind(dask_scheduler):
        names = [name for name in dask_scheduler.worker_plugins if name.startswith("nst-")]
        return [name for name in names if name.removeprefix("nst-") not in dask_scheduler.clients]

    for name in client.run_on_scheduler(left_behind):
        with contextlib.suppress(ValueError):  # another batch was faster
            client.unregister_worker_plugin(name)


def _outcome(future):
    """Return the archive that a job has left, or a text that says what went wrong."""
    if future.cancelled():
        raise RunError("The scheduler has gone, and the jobs with it. Start the batch again: it goes on.")
    if (error := future.exception()) is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":
        return (
            "It was given up, since each of the workers that had it has died: for want of memory, or ended by someone."
        )
    return str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"


def pack(settings, weights):
    """Return the settings of a job as a worker has them, and its files there as dicts: to their bytes, and to here."""
    names = {f"pictures/{i}/{fit_name('picture' + Path(p).suffix)}": p for i, p in enumerate(input_files(settings))}
    there = {here: path for path, here in names.items()}
    files = {path: Path(here).read_bytes() for path, here in names.items()}
    own = {"WEIGHTS": weights} if "WEIGHTS" in settings else {}
    return dict(with_paths(settings, there.get) | own), files, names


def first_to_paint(job, paintings, watch):
    """Return the first job of a chain that has not been painted yet, or None; tell what is passed over or fails."""
    while job:
        if job.error:
            return fail(job, job.error, watch)
        if not (folder := paintings.find(job)):
            return job
        watch.skipped(job, folder)
        job = next_link(job, folder / PICTURE)
    return None


def fail(job, message, watch):
    """Tell that a job cannot be painted, and with it the rest of its chain."""
    watch.failed(job, message)
    for before, link in zip((job, *job.chain), job.chain, strict=False):
        watch.failed(link, f"it begins with the picture of {before.settings.CONTENT_IMAGE}, which failed.")
