"""Measure the first lesson against a plain TensorFlow loop: a step, the peak memory, and the time to equal cost.

    python scripts/authors/benchmark.py       what `make bench` does: about a quarter of an hour on two cores
    python scripts/authors/benchmark.py 256   at other sizes, in pixels

"Ours" is the notebook: its own cells are executed. The reference has the published settings of TensorFlow's style
transfer tutorial (Adam, rate 0.02, beta_1 0.99, epsilon 0.1; Gram matrices by einsum over positions), in float32.
Both minimise the notebook's objective through the notebook's network, so that their costs can be compared; another
lesson would need another reference. Prints a table for scripts/README.md; the peak memory is read on Linux alone.
"""

import math
import multiprocessing
import os
import platform
import re
import statistics
import sys
import tempfile
import types
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from timeit import timeit

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import nst_utils
from nst.backend import tf
from nst.lesson import Lesson

SIDES = ("reference", "float32", "bfloat16")
STEPS = 1000  # of the reference, to its cost


def settings(side, **more):
    """Return settings in the precision of a side."""
    return {"PRECISION": "float32" if side == "reference" else side, "WEIGHTS": "standin", "RESUME": "", **more}


def make_step(size, side):
    """Return a function that does one step of a side and returns J of the picture before it."""
    cells = Lesson().run(settings(side, SIZES=[size]), train=False)
    run = nst_utils.Run(cells["settings"], cells["load_network"], cells["mean_gram_matrix"])
    at = next(run.sizes())
    image = tf.Variable(at.start)
    if side == "reference":
        step, optimizer = reference_step(cells, run, at, image)
    else:
        optimizer = cells["make_optimizer"](run.settings, at.epochs, at.refines)
        goals = run.look(at.content_image)[-1:], run.look_at_style(at.style_images)
        graph = tf.function(cells["train_step"])
        step = lambda: graph(run, image, *goals, optimizer)[0]  # noqa: E731
    optimizer.build([image])
    return lambda: float(step())


def reference_step(cells, run, at, image):
    """Return the step and the optimiser of the plain loop, for an image."""
    optimizer = tf.keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=0.1)
    wanted, smoothness = run.settings, cells["compute_smoothness_cost"]

    def gram(a):
        positions = tf.cast(tf.shape(a)[1] * tf.shape(a)[2], tf.float32)
        return tf.linalg.einsum("bijc,bijd->bcd", a, a) / positions

    content_target = run.look(at.content_image)[-1]
    style_targets = [gram(a) for a in run.look(at.style_images[0])[:-1]]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            *style, content = run.look(image)
            J = wanted.ALPHA * tf.reduce_mean((content - content_target) ** 2) / 4
            for (_, weight), a, target in zip(wanted.STYLE_LAYERS, style, style_targets, strict=True):
                J += wanted.BETA * weight * tf.reduce_sum((gram(a) - target) ** 2) / (4 * a.shape[-1] ** 2)
            objective = J + wanted.SMOOTHNESS * smoothness(image)
            objective += wanted.COLOUR_SMOOTHNESS * smoothness(nst_utils.colour(image))
        optimizer.apply_gradients([(tape.gradient(objective, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
        return J

    return step, optimizer


def seconds_per_step(size):
    """Return the median seconds of a step of each side; they take turns, so that a busy moment hits all."""
    steps = [make_step(size, side) for side in SIDES]
    times = [[timeit(step, number=1) for step in steps] for _ in range(11)]  # the first two trace and warm up
    return [statistics.median(column) for column in zip(*times[2:], strict=True)]


def peak_memory(size, side):
    """Return the peak memory in GB of this process, which does a few steps of one side and nothing else."""
    step = make_step(size, side)
    for _ in range(4):
        step()
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e9


def seconds_to_cost(goal, size, side, sizes):
    """Return how long a run of ours takes, saving included, until its J at the last size has fallen to a goal."""
    silent = types.SimpleNamespace(say=lambda text: None, update=lambda image, history, last: None)
    with tempfile.TemporaryDirectory() as folder:
        wanted = settings(side, IMAGE_SIZE=size, SIZES=sizes, OUTPUT_DIR=folder)
        run = Lesson().run(wanted, watch=lambda run: silent)["run"]
    rows = run.history[sum(epochs for _, epochs in run.plan[:-1]) :]
    return next((row["seconds"] for row in rows if row["J"] <= goal), math.nan)


def row(what, values, unit):
    """Return a row of the table: a value for each side, and how much better ours are than the reference."""
    reference, *ours = values
    cells = [f"{reference:.3g} {unit}", *(f"{value:.3g} {unit} ({reference / value:.2f}×)" for value in ours)]
    return f"| {what} | {' | '.join(cells)} |"


def main():
    """Measure and print."""
    os.chdir(ROOT)
    rows, measured = [], [int(size) for size in sys.argv[1:]] or [256, 400, 800]
    for size in measured:
        rows.append(row(f"a step at {size} px", seconds_per_step(size), "s"))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
            rows.append(row(f"peak memory at {size} px", processes.map(peak_memory, [size] * 3, SIDES), "GB"))
    size = measured[len(measured) // 2]
    step = make_step(size, "reference")
    spent = timeit(step, number=STEPS)
    goal = step()
    for what, sizes in ((f"to J = {goal:.1f} at {size} px", [size]), ("the same from coarse to fine", [])):
        rows.append(row(what, [spent, *(seconds_to_cost(goal, size, side, sizes) for side in SIDES[1:])], "s"))
    memory = psutil.virtual_memory().total / 2**30
    print(f"\n{psutil.cpu_count()} cores, {platform.platform()}, {memory:.0f} GB, TensorFlow {tf.__version__}\n")
    print("|  | reference, float32 | ours, float32 | ours, bfloat16 |\n| --- | --- | --- | --- |", *rows, sep="\n")


if __name__ == "__main__":
    main()
