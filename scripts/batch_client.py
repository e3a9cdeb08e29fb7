"""A batch as the machine sees it that starts it: the workers, what is sent to them, and what comes back."""

import contextlib
import io
import logging
import math
import os
import uuid
import zipfile
from collections import deque
from pathlib import Path

import cloudpickle
import dask
from distributed import Client, LocalCluster, as_completed, get_worker

import batch_worker
import nst.lesson
from batch_jobs import input_files, next_link, with_paths
from batch_records import PICTURE
from nst.backend import free_memory
from nst.errors import RunError
from nst.sources import check_sources
from nst.tiles import Look
from nst.vgg19 import IMAGENET_FILE, NORMALISATION_FILE, STANDIN_FILE, WEIGHTS_FOLDER, get_layer_outputs, load_vgg19

ROOT = Path(__file__).resolve().parent.parent
RUN = "run"  # the run's folder in that of a job, on a worker
PROCESS_MEMORY = 2.0e9  # bytes of a process that paints, beside its picture: 1.5e9 were measured
CORES_PER_WORKER = 2  # fewer were not faster, and take more memory: see scripts/README.md
SECONDS_TO_CONNECT = 10
RETRIES = 2  # of a picture that fails for a reason that may lie in the worker's machine

cloudpickle.register_pickle_by_value(batch_worker)


def make_kit(weights):
    """Return what every worker needs: the lesson, the helpers and the weights, as a zip archive.

    Args:
        weights: as the setting WEIGHTS; "auto" is decided here, for all workers.

    Returns:
        bytes of the archive, what WEIGHTS is on the workers, and the sha256 of the weights file.

    Raises:
        WeightsError: they cannot be had.
    """
    vgg = load_vgg19(weights, normalise=False)
    bundled = {"standin": STANDIN_FILE, "imagenet": IMAGENET_FILE}.get(vgg.name)
    file = WEIGHTS_FOLDER / bundled if bundled else Path(weights)
    folder = WEIGHTS_FOLDER.name
    files = {f"{folder}/{path.name}": path for path in (WEIGHTS_FOLDER / NORMALISATION_FILE, file)}
    files |= {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "nst").glob("*.py"))}
    files |= {name: ROOT / name for name in ("nst_utils.py", "scripts/batch_child.py")}
    files["neural_style_transfer.ipynb"] = nst.lesson.NOTEBOOK
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, path in files.items():
            archive.write(path, name)
    return buffer.getvalue(), vgg.name if bundled else f"{folder}/{file.name}", vgg.sha256


def connect(address):
    """Return a client of the Dask cluster with a scheduler at an address.

    Raises:
        RunError: there is none.
    """
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what matters of it is said in plain words
    try:
        return Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise RunError(
            f"There is no Dask scheduler at {address} ({str(error).splitlines()[0]}). Start one with: dask scheduler, "
            "or leave --scheduler away to paint on this machine."
        ) from None


@contextlib.contextmanager
def local_cluster(jobs, workers=None):
    """Run a Dask cluster on this machine, and yield a client of it.

    Args:
        jobs: list of Job; the largest picture says how much memory a worker needs.
        workers: number of workers, each a process; when None one for two cores, as far as memory and jobs go.

    Raises:
        RunError: the memory is too small for a single one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        largest = max(jobs, key=lambda job: math.prod(_largest_shape(job.settings)))
        room = free_memory() / (PROCESS_MEMORY + _memory(largest.settings))
        workers = max(1, min(cores // CORES_PER_WORKER, len(jobs), int(min(room, cores))))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 2}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            env={"TF_NUM_INTRAOP_THREADS": str(max(1, cores // workers))},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _largest_shape(settings):
    """Return the (H, W) of the largest picture that is looked at."""
    return max(check_sources(settings), key=math.prod)


def _memory(settings):
    """Return about how many bytes it takes to paint a picture, by the model of nst.tiles."""
    names = [name for name, _ in settings["STYLE_LAYERS"]] + [settings["CONTENT_LAYER"]]
    precision = "bfloat16" if settings["PRECISION"] == "bfloat16" else "float32"  # "auto" may become either
    network = get_layer_outputs(load_vgg19(settings["WEIGHTS"], normalise=False), names, precision)
    shape = _largest_shape(settings)
    return Look(network, None, settings["TILE"], shape, len(settings["STYLE_MASKS"])).memory(*shape)


def paint_all(client, jobs, paintings, kit, watch):
    """Have jobs painted, and keep each picture's folder as soon as it is there.

    No more jobs are with the scheduler than keep the workers busy, so neither it nor this process holds them all.

    Args:
        client: distributed.Client.
        jobs: list of Job, those of which the first link of the chain is to be painted.
        paintings: Paintings.
        kit: bytes of the kit, and what WEIGHTS is on the workers.
        watch: object with the methods began(job, worker), ended(job), finished(job, folder), skipped(job, folder) and
            failed(job, message).

    Raises:
        RunError: a folder cannot be written, or the scheduler has gone.
    """
    kit, weights = kit
    name = f"nst-{uuid.uuid4().hex}"
    client.register_plugin(batch_worker.Studio(kit, name), name=name)

    def paint(*job):  # it stands here, since Dask sends by value what has no name
        return get_worker().plugins[name].paint(*job)

    waiting, running, futures, completed = deque(jobs), {}, {}, as_completed()
    client.subscribe_topic(name, lambda event: _pass_on(running, watch, **event[1]))
    try:
        while waiting or running:
            while waiting and len(running) < 2 * max(1, sum(client.nthreads().values())):
                job, key = waiting.popleft(), f"paint-{uuid.uuid4().hex}"
                try:
                    settings, files, names = pack(job.settings | {"WEIGHTS": weights})
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
            archive, message = _outcome(future)
            future.release()
            if message:
                for there, here in names.items():
                    message = message.replace(there, here)
                fail(job, message, watch)
                continue
            folder = paintings.add(job, archive, names)
            watch.finished(job, folder)
            link = first_to_paint(next_link(job, folder / PICTURE), paintings, watch)
            waiting.extendleft([link] if link else [])
    finally:
        if client.status == "running":
            client.unsubscribe_topic(name)
            client.cancel(list(futures.values()))
            client.unregister_worker_plugin(name)


def _pass_on(running, watch, job, worker, begins):
    """Pass on what a worker tells of a job."""
    if job in running:
        job, _ = running[job]
        watch.began(job, worker) if begins else watch.ended(job)


def _outcome(future):
    """Return the archive that a job has left, and the message of what went wrong."""
    if future.cancelled():
        raise RunError("The scheduler has gone, and the jobs with it. Start the batch again: it goes on.")
    error = future.exception()
    if error is None:
        result = future.result()
        return (None, result) if isinstance(result, str) else (result, "")
    return None, str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"


def pack(settings):
    """Return the settings of a job as a worker has them, its input files, and how these are called here.

    Args:
        settings: dict of settings.

    Returns:
        dict of settings, dict of path on the worker to bytes, and dict of path on the worker to path here.
    """
    names = {f"pictures/{i}/{Path(path).name}": path for i, path in enumerate(input_files(settings))}
    there = {here: path for path, here in names.items()}
    files = {path: Path(here).read_bytes() for path, here in names.items()}
    return with_paths(settings, there.get) | {"OUTPUT_DIR": RUN}, files, names


def first_to_paint(job, paintings, watch):
    """Return the first job of a chain that has not been painted yet, or None; tell what is passed over or fails.

    Args:
        job: Job, the first of its chain; or None.
        paintings, watch: as for paint_all.
    """
    while job:
        if job.error:
            return fail(job, job.error, watch)
        folder = paintings.find(job)
        if folder is None:
            return job
        watch.skipped(job, folder)
        job = next_link(job, folder / PICTURE)
    return None


def fail(job, message, watch):
    """Tell that a job cannot be painted, and with it the rest of its chain."""
    watch.failed(job, message)
    for link in job.chain:
        watch.failed(link, f"it begins with {job.settings['CONTENT_IMAGE']}, which failed: {message}")
