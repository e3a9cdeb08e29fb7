"""Looking at a picture: tiles give what the whole gives, and are taken where the memory asks for them."""

import math
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from conftest import POSIX, ROOT, SETTINGS, costs_of, everything_in, facts_of, paint, write_lesson
from nst import tiles
from nst.backend import tf
from nst.errors import RunError
from nst.images import preprocess_image
from nst.layers import LAYER_NAMES
from nst.lesson import Lesson
from nst.tiles import Look
from nst.vgg19 import VGG19, get_layer_outputs

STYLE_LAYERS = Lesson().settings()["STYLE_LAYERS"]
NAMES = [*(name for name, _ in STYLE_LAYERS), "block4_conv2"]
IN_TILES = {"IMAGE_SIZE": 96, "TILE": 64, "EPOCHS": 2}


@pytest.fixture
def look_at(lesson, tiny_vgg):
    """A function that returns a Look for a tile size, with the notebook's layers on a tiny network."""

    def make(tile, precision="float32", pooling="max", names=NAMES, reduce=lesson["mean_gram_matrix"]):
        network = get_layer_outputs(tiny_vgg._replace(pooling=pooling), names, precision)
        return Look(network, reduce, tile, (80, 90))

    return make


def test_pictures_are_looked_at_with_a_mirrored_margin_of_which_no_cell_counts(look_at, picture):
    image, look = picture(45, 71), look_at(10_000)
    mirrored = np.pad(image, ((0, 0), (16, 16), (16, 16), (0, 0)), "reflect")
    activations = look.network(preprocess_image(mirrored))
    for found, a, name in zip(look(image), activations, NAMES, strict=True):
        stride = 2 ** (int(name[5]) - 1)
        first, (rows, columns) = 16 // stride, (math.ceil(length / stride) for length in (45, 71))
        assert found.shape[1:3] == (rows, columns), f"{name}: cells that begin in the picture"
        assert np.allclose(found, a[:, first : first + rows, first : first + columns], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize(("tile", "shape", "pooling"), [(100, (139, 171), "max"), (48, (33, 250), "average")])
def test_tiles_give_the_costs_and_the_gradient_of_the_whole(lesson, look_at, picture, tile, shape, pooling):
    """Odd sizes, image borders included: every activation is counted once and sees all its pixels."""
    image, content, style = picture(*shape, 1), picture(*shape, 2), picture(130, 40, 3)
    whole, tiled = look_at(10_000, pooling=pooling), look_at(tile, pooling=pooling)
    assert [tiled.splits(image), whole.splits(image)] == [True, False]
    results = []
    for look, a_S in ((whole, whole(style)), (tiled, whole(style)), (tiled, tiled(style))):
        with tf.GradientTape() as tape:
            tape.watch(image)
            a_G, a_C = look(image), look(content)
            J_content = lesson["compute_content_cost"](a_C, a_G)
            J_style = lesson["compute_style_cost"](a_S, a_G, STYLE_LAYERS)
            J = lesson["total_cost"](J_content, J_style, 1000.0, 40.0)
        results.append([J, J_content, J_style, a_C[-1], tape.gradient(J, image)])
    (*costs, activations, gradient), *others = results
    for *found, a_C, g in others:
        assert np.allclose(found, costs, rtol=1e-5), "J, J_content, J_style"
        assert np.allclose(a_C, activations, rtol=1e-4, atol=1e-6), "content activations, put together"
        assert tf.norm(g - gradient) < 1e-3 * tf.norm(gradient)
        assert np.abs(g - gradient).max() < 1e-3 * np.abs(gradient).max(), "a seam"


def pooled(a, side):
    return tf.nn.avg_pool(a, side, side, "SAME")


@pytest.mark.parametrize("deepest", ["block2_conv2", "block4_conv1"])
@pytest.mark.parametrize(
    "reduce",
    [tf.identity, lambda a: pooled(a, 2), lambda a: pooled(a, 3), lambda a: tf.reduce_mean(a**3)],
    ids=["all", "2 by 2", "3 by 3", "one number"],
)
def test_what_is_kept_of_a_tile_is_what_the_function_keeps_of_the_whole(look_at, picture, deepest, reduce):
    """Of each place or as a mean, whichever the function returns, with its gradient.

    The margin of a shallow network is narrower than the mirrored one, and its tiles could begin within a place.
    """
    names, image, results = ["block1_conv1", "block2_conv1", deepest], picture(101, 75), []
    for tile in (10_000, 48):
        look = look_at(tile, "float32", "average", names, reduce)
        with tf.GradientTape() as tape:
            tape.watch(image)
            *kept, last = look(image)
            kept = [*(kept if look.splits(image) else map(reduce, kept)), last]
            J = tf.add_n([tf.reduce_mean(a**2) for a in kept])
        results.append([*kept, tape.gradient(J, image)])
    for expected, found in zip(*results, strict=True):
        assert found.shape == expected.shape
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_targets_are_rounded_as_the_training_step_rounds(look_at, picture, precision):
    """Else low precision adds several per cent to the cost: a graph joins operations and rounds less often."""
    look, image = look_at(10_000, precision), picture(60, 70)
    for eager, traced in zip(look(image), tf.function(look)(image), strict=True):
        assert np.allclose(tf.cast(eager, tf.float32), tf.cast(traced, tf.float32), rtol=1e-5, atol=1e-6)


# ---- runs in tiles


def test_a_run_in_tiles_costs_what_the_whole_costs(folder):
    whole, tiled = paint(**IN_TILES | {"TILE": 0}), paint(**IN_TILES)
    assert [a.shape.rank for a in tiled.look(tiled.content_image)] == [2, 4], "Gram matrices, and the content"
    assert np.allclose(costs_of(tiled), costs_of(whole), rtol=1e-4, atol=1e-9)
    with pytest.raises(RunError, match="trained without tf.function. .* step = train_step if run.tiled else"):
        tf.function(lambda image: tiled.look(image))(tiled.content_image)


def test_two_runs_in_tiles_at_once_finish(folder):
    """And paint what one alone paints."""
    runs = []
    paint_one = lambda: runs.append(Lesson().run(SETTINGS | IN_TILES)["run"])  # noqa: E731
    threads = [threading.Thread(target=paint_one, daemon=True) for _ in range(2)]
    for step in (threading.Thread.start, lambda thread: thread.join(240)):
        list(map(step, threads))
    assert [run.state for run in runs] == ["finished"] * 2, "they wait for each other"
    assert costs_of(runs[0]) == costs_of(runs[1]) == costs_of(paint(**IN_TILES))


PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from nst.lesson import Lesson
run = Lesson(sys.argv[1]).run()["run"]
assert run.tiled
print(run.state, len(run.history))
"""


@POSIX
def test_a_run_in_tiles_needs_one_thread_only_and_can_be_interrupted(tmp_path):
    """It stops after the step with everything saved."""
    folder = tmp_path / "run"
    path = write_lesson(tmp_path / "lesson.ipynb", **IN_TILES | {"EPOCHS": 100_000, "OUTPUT_DIR": str(folder)})
    environ = os.environ | {"TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    command, pipe = [sys.executable, "-u", "-c", PROGRAM, path], subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    too_long, lines = threading.Timer(240, process.kill), []
    too_long.start()
    for line in process.stdout:
        if "epoch 1/" in line and "epoch 1/" not in "".join(lines):  # at its end the run says it again
            process.send_signal(signal.SIGINT)
        lines.append(line)
    too_long.cancel()
    assert process.wait() == 0, "".join(lines)
    assert lines[-1] == f"stopped {facts_of(folder)['epochs_done']}\n"
    assert 1 <= facts_of(folder)["epochs_done"] < 100_000
    assert {"generated_image.png", "checkpoint.npz"} <= everything_in(folder).keys()


# ---- memory


@pytest.fixture
def look_for(monkeypatch):
    """A function that makes a Look as wide as VGG19, for an image's size, where so many bytes seem to be free."""
    layers, n_in = {}, 3
    for name, n_C in zip(LAYER_NAMES, (64, 64, 128, 128, 256), strict=False):
        layers[name] = np.zeros((3, 3, n_in, n_C), np.float32), np.zeros(n_C, np.float32)
        n_in = n_C
    network = get_layer_outputs(VGG19("wide", "", layers), ["block1_conv1", "block3_conv1"])

    def make(free, height, width, tile=0, device="CPU"):
        monkeypatch.setattr(tiles, "device", lambda: device)
        monkeypatch.setattr(tiles, "free_memory", lambda: free)
        return Look(network, lambda a: tf.reduce_mean(a, (0, 1, 2)), tile, (height, width))

    return make


def test_tiles_are_taken_only_where_the_memory_asks_for_them(look_for, capsys):
    assert look_for(1e10, 1500, 2000).tile == 0
    assert look_for(1e10, 100, 100, tile=70).tile == 70
    assert look_for(1e3, 1500, 2000, device="NVIDIA H200").tile == 0, "on a GPU memory is not checked"
    assert capsys.readouterr().out == ""
    look = look_for(4e9, 1500, 2000)
    assert 512 < look.tile <= 1024
    assert look.memory(1500, 2000) < 4e9
    assert look.splits(tf.zeros((1, 1500, 2000, 3)))
    assert not look.splits(tf.zeros((1, 100, 100, 3)))
    said = f"2000×1500 pixels do not fit into the free memory as a whole: tiles of {look.tile} pixels.\n"
    assert capsys.readouterr().out == said
    assert 128 <= look_for(2.2e9, 1500, 2000).tile < look.tile


def test_too_large_pictures_are_refused_with_the_size_that_fits(look_for):
    with pytest.raises(RunError, match="2000×1500 pixels need about .* GB of memory, and 1.0 GB are free") as error:
        look_for(1e9, 1500, 2000)
    size = int(re.search(r"Set IMAGE_SIZE = (\d+) or less, or close other programs", str(error.value))[1])
    assert 32 < size < 2000
    look_for(1e9, size * 3 // 4, size)
    with pytest.raises(RunError, match="2000×1500 pixels need .* Set TILE = 0 for tiles that fit, or close"):
        look_for(2e8, 1500, 2000, tile=1024)
    with pytest.raises(RunError, match="are free. Close other programs"):
        look_for(1e3, 300, 400)
