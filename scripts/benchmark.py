"""Measure how fast the notebook paints, against a plain TensorFlow loop, and how large.

    python scripts/benchmark.py              what `make bench` does: about 15 minutes on two cores
    python scripts/benchmark.py --large      what `make bench SIZE=large` does: 1600 and 3840 pixels, about 20 minutes

Both write output/benchmark*.json and print a table for the README. "Ours" is the notebook: its own cells are executed.
The reference is a loop with the published settings of TensorFlow's style transfer tutorial (Adam with rate 0.02, beta_1
0.99 and epsilon 0.1; Gram matrices by einsum over positions) in float32. Both minimise the notebook's objective through
the notebook's network, so that their costs can be compared. This script is no part of the lesson.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import nst_utils
from nst.backend import tf
from nst.lesson import run_lesson

OUTPUT = ROOT / "output"
FIXED = {"WEIGHTS": "standin", "OUTPUT_DIR": "", "RESUME": ""}
OURS = ("float32", "bfloat16")
PEAK_SIZE = 3072  # side of the square matrices whose product measures the machine's peak


class Ours:
    """The notebook's training at one size, step by step, or from coarse to fine up to a size.

    Args:
        size: long side in pixels.
        precision: "float32" or "bfloat16".
        sizes: as SIZES.
    """

    def __init__(self, size, precision, sizes=()):
        settings = {"IMAGE_SIZE": size, "SIZES": list(sizes), "PRECISION": precision, **FIXED}
        self.cells = run_lesson(settings, train=False)
        self.run = self.cells["run"] = nst_utils.Run(self.cells)
        self.sizes = self.run.sizes()
        self.next_size()

    def next_size(self):
        """Begin to paint at the next size; return whether there is one."""
        size = next(self.sizes, None)
        if size is None:
            return False
        start, self.content, self.styles, self.epochs, refines = size
        self.cells["a_C"] = self.run.look(self.content)[-1:]
        self.cells["a_S"] = [self.cells["mean_gram_matrix"](a) for a in self.run.look_at_style(self.styles)]
        self.image = self.run.generated_image = tf.Variable(start)
        self.cells["optimizer"] = optimizer = self.cells["make_optimizer"](self.epochs, refines)
        optimizer.build([self.image])
        self.graph = tf.function(self.cells["train_step"])
        return True

    def step(self):
        """Do one step; return J of the picture before it."""
        return float(self.graph(self.image)[0])

    def score(self, image):
        """Return J, equation (5), of an image."""
        a_G = self.run.look(image)
        J_content = self.cells["compute_content_cost"](self.cells["a_C"], a_G)
        J_style = self.cells["compute_style_cost"](self.cells["a_S"], a_G, self.cells["STYLE_LAYERS"])
        return float(self.cells["total_cost"](J_content, J_style, self.cells["ALPHA"], self.cells["BETA"]))


class Reference:
    """Plain TensorFlow with the tutorial's optimiser and Gram matrices, on the notebook's objective, float32."""

    def __init__(self, size):
        ours = Ours(size, "float32", [size])
        cells, look, layers = ours.cells, ours.run.look, ours.cells["STYLE_LAYERS"]
        self.image = ours.image
        optimizer = tf.keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=0.1)
        optimizer.build([self.image])

        def gram(a):
            positions = tf.cast(tf.shape(a)[1] * tf.shape(a)[2], tf.float32)
            return tf.linalg.einsum("bijc,bijd->bcd", a, a) / positions

        content_target = look(ours.content)[-1]
        style_targets = [gram(a) for a in ours.run.look_at_style(ours.styles)[:-1]]
        smoothness = cells["compute_smoothness_cost"]

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                *style, content = look(self.image)
                J_style = tf.add_n(
                    [
                        weight * tf.reduce_sum((gram(a) - target) ** 2) / (4 * a.shape[-1] ** 2)
                        for (_, weight), a, target in zip(layers, style, style_targets, strict=True)
                    ]
                )
                J = cells["ALPHA"] * tf.reduce_mean((content - content_target) ** 2) / 4 + cells["BETA"] * J_style
                objective = J + cells["SMOOTHNESS"] * smoothness(self.image)
                objective += cells["COLOUR_SMOOTHNESS"] * smoothness(nst_utils.colour(self.image))
            optimizer.apply_gradients([(tape.gradient(objective, self.image), self.image)])
            self.image.assign(tf.clip_by_value(self.image, 0.0, 1.0))
            return J

        self.step = lambda: float(step())


def seconds(function):
    """Return how long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def medians(functions, repeats):
    """Return the median seconds of each function; they take turns, so that a busy moment hits all."""
    for function in functions.values():
        function(), function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def measure_steps(sizes, repeats):
    """Return seconds per step of the reference and of ours, by size."""
    found = {}
    for size in sizes:
        sides = {"reference": Reference(size), **{name: Ours(size, name, [size]) for name in OURS}}
        turns = repeats if size < 800 else repeats // 2
        found[size] = medians({name: side.step for name, side in sides.items()}, turns)
        print(f"{size} px: {', '.join(f'{name} {value:.3f} s' for name, value in found[size].items())}", flush=True)
    return found


def measure_equal_cost(size, reference_steps):
    """Run all side by side; return when ours falls to the cost that the reference ends with, and how costs agree."""
    reference, sides = Reference(size), {name: Ours(size, name, [size]) for name in OURS}
    judge = sides["float32"]
    per_epoch = max(1, round(reference_steps / judge.epochs))
    clocks, tracks, worst = dict.fromkeys(("reference", *OURS), 0.0), {name: [] for name in sides}, 0.0
    for _ in range(judge.epochs):
        for _ in range(per_epoch):
            clocks["reference"] += seconds(reference.step)
        for name, side in sides.items():
            before, recorded = side.image.numpy(), []
            clocks[name] += seconds(lambda: recorded.append(side.step()))  # noqa: B023
            if name == "bfloat16":
                worst = max(worst, abs(recorded[0] / judge.score(before) - 1))
            tracks[name].append((clocks[name], judge.score(side.image)))
    goal = judge.score(reference.image)
    found = {"goal": goal, "reference_steps": per_epoch * judge.epochs, "reference_seconds": clocks["reference"]}
    found["low_precision_worst"] = worst
    tracks |= {f"{name}, coarse to fine": from_coarse_to_fine(size, name, judge) for name in OURS}
    for name, track in tracks.items():
        reached = next(((i + 1, clock) for i, (clock, J) in enumerate(track) if goal >= J), (None, math.nan))
        found[name] = {"epoch": reached[0], "seconds": reached[1], "final_J": track[-1][1], "all_seconds": track[-1][0]}
        found[name]["ratio"] = clocks["reference"] / reached[1]
    found["low_precision_final"] = abs(found["bfloat16"]["final_J"] / found["float32"]["final_J"] - 1)
    return found


def from_coarse_to_fine(size, precision, judge):
    """Paint as the notebook does by default; return (seconds since the start, J) after each epoch at the last size."""
    side, clock, going = Ours(size, precision), 0.0, True
    while going:
        track = []
        for _ in range(side.epochs):
            clock += seconds(side.step)
            if side.image.shape == judge.image.shape:
                track.append((clock, judge.score(side.image)))
        began = time.perf_counter()
        going = side.next_size()
        clock += time.perf_counter() - began
    return track


def measure_parts(size, repeats):
    """Return the seconds of a step of ours and of its parts timed alone, its operations, and the machine's peak."""
    side = Ours(size, "auto", [size])
    precision = nst_utils.choose_precision()
    names = [name for name, _ in side.cells["STYLE_LAYERS"]] + [side.cells["CONTENT_LAYER"]]
    vgg = nst_utils.load_vgg19("standin", pooling=side.cells["POOLING"])
    network = nst_utils.get_layer_outputs(vgg, names, precision)
    activations = network(nst_utils.preprocess_image(side.image))
    functions, operations = {"step": side.step}, 0

    def convolution(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.nn.conv2d(x, tf.convert_to_tensor(layer.kernel), 1, "SAME")
        return tape.gradient(y, x, output_gradients=y)[0, 0, 0, 0]

    def run(function, *inputs):
        graph = tf.function(function).get_concrete_function(*inputs)
        return lambda: tf.nest.map_structure(lambda a: a.numpy(), graph(*inputs))

    height, width = side.image.shape[1:3]
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):
            halvings = int(layer.name[len("block")]) - 1
            x = tf.random.uniform((1, height >> halvings, width >> halvings, layer.kernel.shape[2]), dtype=precision)
            functions[layer.name] = run(lambda x, layer=layer: convolution(layer, x), x)
            operations += 2 * 2 * 9 * math.prod(x.shape) * layer.filters
    gram = side.cells["mean_gram_matrix"]

    def grams(*activations):
        with tf.GradientTape() as tape:
            tape.watch(activations)
            total = tf.add_n([tf.reduce_sum(gram(a) ** 2) for a in activations])
        return [gradient[0, 0, 0, 0] for gradient in tape.gradient(total, activations)]

    functions["grams"] = run(grams, *activations[:-1])
    operations += sum(2 * 2 * math.prod(a.shape) * a.shape[-1] for a in activations[:-1])
    smoothness, image = side.cells["compute_smoothness_cost"], tf.Variable(side.image)
    optimizer = tf.keras.optimizers.Adam(1e-9)
    optimizer.build([image])

    @tf.function
    def elementwise():
        with tf.GradientTape() as tape:
            x = tf.cast(nst_utils.preprocess_image(image), precision)
            cost = smoothness(image) + smoothness(nst_utils.colour(image)) + tf.reduce_sum(tf.cast(x, tf.float32))
        optimizer.apply_gradients([(tape.gradient(cost, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
        return cost

    functions["element-wise"] = lambda: elementwise().numpy()
    matrix = tf.random.normal((PEAK_SIZE, PEAK_SIZE), dtype=precision)
    functions["peak"] = run(lambda a: tf.matmul(a, a)[0, 0], matrix)
    found = medians(functions, repeats)
    peak = 2 * PEAK_SIZE**3 / found.pop("peak")
    step, grams, rest = (found.pop(name) for name in ("step", "grams", "element-wise"))
    parts = {"convolutions": sum(found.values()), "Gram matrices": grams, "element-wise": rest}
    parts["rest (ReLU, pooling, overlap)"] = step - sum(parts.values())
    share = operations / step / peak
    return {"precision": precision, "step": step, "parts": parts, "peak_gflops": peak / 1e9, "share_of_peak": share}


def peak_memory():
    """Return this process's peak resident memory in GB."""
    with contextlib.suppress(OSError):  # Linux; resource's figure begins with that of the process that started this one
        return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e9
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e9
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def child(*arguments):
    """Run this script in a process of its own and return what it says last, as JSON."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if not line.startswith("{"):
            print(f"  {line}", end="", flush=True)
    if process.wait() != 0:
        raise SystemExit(process.returncode)
    return json.loads(line)


def run_child(what, *arguments):
    """Do what child() asks for, and print the result as one line of JSON."""
    if what == "memory":
        name, size = arguments
        side = Reference(int(size)) if name == "reference" else Ours(int(size), name, [int(size)])
        for _ in range(4):
            side.step()
        print(json.dumps({"peak_gb": peak_memory()}))
    else:
        started = time.perf_counter()
        run = run_lesson(json.loads(arguments[0]) | FIXED)["run"]
        facts = {"seconds": time.perf_counter() - started, "peak_gb": peak_memory(), "tile": run.settings["TILE"]}
        facts |= {"precision": nst_utils.choose_precision(), "folder": run.folder.as_posix()}
        print(json.dumps({**facts, "size": list(run.generated_image.shape[2:0:-1])}))


def describe_machine():
    """Return the machine and the packages, in one line."""
    model, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        model, flags = (re.search(rf"{key}\s*: (.*)", text)[1] for key in ("model name", "flags"))
    units = [unit for unit in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if unit in flags.split()]
    memory = psutil.virtual_memory().total / 2**30
    cores, versions = psutil.cpu_count(), f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    return f"{cores} cores, {model} ({', '.join(units[:2])}), {memory:.0f} GB, {versions}"


def table(rows):
    """Return rows as a Markdown table whose first row is the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "| --- " * len(rows[0]) + "|", *body])


def compare(sizes, reference_steps, repeats):
    """Measure all that make bench shows; return the facts and the table."""
    facts = {"machine": describe_machine(), "steps": measure_steps(sizes, repeats)}
    middle = sizes[len(sizes) // 2]
    facts["parts"] = measure_parts(middle, repeats)
    names = ("reference", *OURS)
    facts["memory"] = {size: {n: child("memory", n, size)["peak_gb"] for n in names} for size in sizes[1:] or sizes}
    print(f"to equal cost, {reference_steps} reference steps …", flush=True)
    facts["equal_cost"] = equal = measure_equal_cost(middle, reference_steps)
    rows = [("", "reference, float32", "ours, float32", "ours, bfloat16", "target")]
    for size, times in facts["steps"].items():
        ours = [f"{times[name]:.3f} s ({times['reference'] / times[name]:.2f}×)" for name in OURS]
        rows.append((f"a step at {size} px", f"{times['reference']:.3f} s", *ours, "1.15× in float32, 4.5× with AMX"))
    sides = [equal[name] for name in OURS]
    ours = [f"{side['seconds']:.1f} s, {side['epoch']} epochs ({side['ratio']:.1f}×)" for side in sides]
    reference = f"{equal['reference_seconds']:.0f} s, {equal['reference_steps']} steps"
    rows.append((f"to J = {equal['goal']:.1f} at {middle} px", reference, *ours, "25× in float32, 40× in bfloat16"))
    rows.append(("J at the end", f"{equal['goal']:.1f}", *(f"{side['final_J']:.1f}" for side in sides), ""))
    sides = [equal[f"{name}, coarse to fine"] for name in OURS]
    ours = [
        f"{side['seconds']:.1f} s ({side['ratio']:.1f}×); J = {side['final_J']:.1f} after {side['all_seconds']:.1f} s"
        for side in sides
    ]
    rows.append(("the same from coarse to fine, as by default", "", *ours, "25× in float32, 40× in bfloat16"))
    for size, peaks in facts["memory"].items():
        values = [f"{peaks[name]:.2f} GB" for name in names]
        rows.append((f"peak memory at {size} px", *values, "at most the reference's"))
    worst, final = (f"{equal[f'low_precision_{key}']:.2%}" for key in ("worst", "final"))
    rows.append(("cost against that of the same picture in float32", "", "", f"{worst} off at most", "1 %"))
    rows.append(("final J against ours in float32", "", "", f"{final} off", "2 %"))
    parts = facts["parts"]
    split = ", ".join(f"{name} {value / parts['step']:.0%}" for name, value in parts["parts"].items())
    lines = [
        table(rows),
        "",
        f"Where a step of ours at {middle} px goes ({parts['precision']}, parts timed alone): {split}. It does "
        f"{parts['share_of_peak']:.0%} of the machine's peak, a {PEAK_SIZE}² {parts['precision']} matrix product at "
        f"{parts['peak_gflops']:.0f} GFLOP/s.",
    ]
    return facts, "\n".join(lines)


def paint_large(sizes, tile):
    """Paint the large pictures of make bench SIZE=large; return the facts and the table."""
    folder = OUTPUT / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    wide = folder / "summer_palace-16x9.png"
    with Image.open(ROOT / "images" / "summer_palace.jpg") as photo:
        photo.crop((0, 20, 640, 380)).save(wide)
    rows, facts = [("picture", "time", "peak memory", "target")], {"machine": describe_machine(), "pictures": {}}
    targets = {1600: "4 min, 6 GB", 3840: "15 min, 8 GB, at most 1.3 times the memory of 1920"}
    for size in sizes:
        settings = {"IMAGE_SIZE": size}
        if size != 1600:
            settings |= {"CONTENT_IMAGE": wide.as_posix(), "TILE": tile}
        if size == 1920:  # what counts is its memory, which a few epochs show
            settings["EPOCHS"] = 20
        found = facts["pictures"][size] = child("paint", json.dumps(settings))
        how = f"tiles of {found['tile']} pixels" if found["tile"] else "whole"
        name = f"{found['size'][0]}×{found['size'][1]}, {how}, {found['precision']}"
        rows.append((name, f"{found['seconds'] / 60:.1f} min", f"{found['peak_gb']:.2f} GB", targets.get(size, "")))
    return facts, table(rows)


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="paint large pictures instead")
    parser.add_argument("--sizes", type=int, nargs="+", help="long sides in pixels")
    parser.add_argument("--steps", type=int, default=1000, help="steps of the reference")
    parser.add_argument("--repeats", type=int, default=15, help="timed steps per side")
    parser.add_argument("--tile", type=int, default=1024, help="side of the tiles of the large pictures")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    for name in [name for name in os.environ if name.startswith("NST_")]:
        del os.environ[name]  # what is measured does not depend on them

    if arguments.child:
        run_child(*arguments.child)
        return
    if arguments.large:
        facts, text = paint_large(arguments.sizes or (1600, 1920, 3840), arguments.tile)
    else:
        facts, text = compare(arguments.sizes or [256, 400, 800], arguments.steps, arguments.repeats)
    file = arguments.output / f"benchmark{'-large' * arguments.large}.json"
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"\n{facts['machine']}\n\n{text}\n\nWritten to {file.name} in {arguments.output.name}/.")


if __name__ == "__main__":
    main()
