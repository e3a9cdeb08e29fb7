"""Looking at a picture: tiles give what the whole gives, and are taken where the memory asks for them."""

import math
import os
import re

import numpy as np
import pytest

from conftest import run_python
from nst import tiles
from nst.backend import tf
from nst.errors import RunError
from nst.images import preprocess_image
from nst.tiles import Look
from nst.vgg19 import LAYER_NAMES, VGG19, get_layer_outputs


@pytest.fixture
def look_at(lesson, tiny_vgg):
    """A function that returns a Look for a tile size, with the notebook's layers on a tiny network."""
    names = [*(name for name, _ in lesson["STYLE_LAYERS"]), lesson["CONTENT_LAYER"]]

    def make(tile, precision="float32", pooling="max"):
        network = get_layer_outputs(tiny_vgg._replace(pooling=pooling), names, precision)
        return Look(network, lesson["mean_gram_matrix"], tile, (80, 90))

    return make


def costs_and_gradient(lesson, look, image, a_C, a_S, in_graph=True):
    def run(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            a_G = look(image)
            J_content = lesson["compute_content_cost"](a_C, a_G)
            J_style = lesson["compute_style_cost"](a_S, a_G, lesson["STYLE_LAYERS"])
            J = lesson["total_cost"](J_content, J_style, 1000.0, 40.0)
        return J, J_content, J_style, tape.gradient(J, image)

    return [result.numpy() for result in (tf.function(run) if in_graph else run)(image)]


# ---- the mirrored margin


@pytest.mark.parametrize("shape", [(45, 71), (33, 64)])
def test_pictures_are_looked_at_with_a_mirrored_margin_of_which_no_cell_counts(lesson, look_at, picture, shape):
    image, look = picture(*shape), look_at(10_000)
    mirrored = np.pad(image, ((0, 0), (16, 16), (16, 16), (0, 0)), "reflect")
    activations = look.network(preprocess_image(mirrored))
    names = [*(name for name, _ in lesson["STYLE_LAYERS"]), lesson["CONTENT_LAYER"]]
    for found, a, name in zip(look(image), activations, names, strict=True):
        stride = 2 ** (int(name[5]) - 1)
        first, (rows, columns) = 16 // stride, (math.ceil(length / stride) for length in shape)
        assert found.shape[1:3] == (rows, columns), f"{name}: cells that begin in the picture"
        assert np.allclose(found, a[:, first : first + rows, first : first + columns], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("tile", [0, 48])
def test_gradients_flow_through_the_mirror(look_at, picture, tile):
    """Along the gradient of the two outermost rows, of which the margin holds one more copy or none."""
    image, look = picture(67, 40).numpy(), look_at(tile, pooling="average")
    weights = [tf.random.stateless_normal(a.shape, (1, 2)) for a in look(image)]

    def cost(image):
        return tf.add_n([tf.reduce_mean(w * a) for w, a in zip(weights, look(image), strict=True)])

    with tf.GradientTape() as tape:
        x = tf.Variable(image)
        J = cost(x)
    gradient = tape.gradient(J, x).numpy()
    for row in (0, 1, 66):
        direction = np.zeros_like(gradient)
        direction[:, row] = gradient[:, row] / np.linalg.norm(gradient[:, row])
        slope = (cost(image + 0.01 * direction) - cost(image - 0.01 * direction)) / 0.02
        assert np.isclose(slope, np.linalg.norm(gradient[:, row]), rtol=0.02), row


# ---- tiles and the whole


@pytest.mark.parametrize(
    ("tile", "shape", "pooling"),
    [
        (100, (139, 171), "max"),
        (48, (33, 250), "average"),
        pytest.param(64, (267, 235), "max", marks=pytest.mark.slow),
    ],
)
def test_tiles_give_the_costs_and_the_gradient_of_the_whole(lesson, look_at, picture, tile, shape, pooling):
    """Odd sizes, image borders included: every activation is counted once and sees all its pixels."""
    image, content, style = picture(*shape, 1), picture(*shape, 2), picture(130, 40, 3)
    whole, tiled = look_at(10_000, pooling=pooling), look_at(tile, pooling=pooling)
    assert tiled.splits(image)
    assert not whole.splits(image)
    a_C, a_S = whole(content), whole(style)
    in_tiles = tiled(content)
    assert np.allclose(in_tiles[-1], a_C[-1], rtol=1e-4, atol=1e-6), "content activations, put together"
    expected = costs_and_gradient(lesson, whole, image, a_C, a_S)
    for S, in_graph in ((a_S, True), (tiled(style), False)):
        found = costs_and_gradient(lesson, tiled, image, in_tiles, S, in_graph)
        assert np.allclose(found[:3], expected[:3], rtol=1e-5), "J, J_content, J_style"
        assert np.linalg.norm(found[3] - expected[3]) < 1e-3 * np.linalg.norm(expected[3]), "gradient"
        assert np.abs(found[3] - expected[3]).max() < 1e-3 * np.abs(expected[3]).max(), "a seam"


@pytest.mark.parametrize("deepest", ["block2_conv1", "block2_conv2", "block3_conv1", "block4_conv1"])
def test_tiles_of_a_shallow_network_give_its_whole(tiny_vgg, picture, lesson, deepest):
    """Its margin is narrower than the mirrored one, and the last cells begin in the picture and end beyond."""
    network = get_layer_outputs(tiny_vgg, ["block1_conv1", deepest])
    whole, tiled = (Look(network, lesson["mean_gram_matrix"], tile, (80, 90)) for tile in (10_000, 48))
    image = picture(101, 75)
    assert tiled.splits(image)
    assert np.allclose(whole(image)[-1], tiled(image)[-1], rtol=1e-4, atol=1e-6)


def test_a_margin_too_narrow_would_be_noticed(lesson, look_at, picture):
    image = picture(203, 171, 1)
    whole, tiled = look_at(10_000), look_at(64)
    tiled.margin -= 48
    found = whole(image), tiled(image)
    a_C, a_S = (tf.zeros_like(found[0][-1]), [tf.zeros_like(a) for a in found[1]])
    exact, narrow = (
        [lesson["compute_content_cost"]([a_C], [a[-1]]), lesson["compute_style_cost"](a_S, a, lesson["STYLE_LAYERS"])]
        for a in found
    )
    assert not np.allclose(exact, narrow, rtol=1e-5, atol=1e-9)


def test_margin_is_what_the_deepest_layer_sees_beyond_its_cell(tiny_vgg):
    margins = {}
    for name in ("block1_conv1", "block1_conv2", "block2_conv1", "block5_conv1"):
        look = Look(get_layer_outputs(tiny_vgg, ["block1_conv1", name]), tf.identity, 64, (40, 40))
        margins[name] = look.margin, look.stride
    assert margins["block1_conv1"] == (1, 1)
    assert margins["block1_conv2"] == (2, 1)
    assert margins["block2_conv1"] == (4, 2), "2 + 2 · 1 pixels"
    assert margins["block5_conv1"] == (80, 16), "70 pixels of a VGG19, to the next multiple of 16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_targets_are_rounded_as_the_training_step_rounds(look_at, picture, precision):
    """Else low precision adds several per cent to the cost: a graph joins operations and rounds less often."""
    look, image = look_at(10_000, precision), picture(60, 70)
    for eager, traced in zip(look(image), tf.function(look)(image), strict=True):
        assert np.allclose(tf.cast(eager, tf.float32), tf.cast(traced, tf.float32), rtol=1e-5, atol=1e-6)


def test_tiles_in_low_precision_are_as_good_as_the_whole(lesson, look_at, picture):
    """Rounding, and ties in the pooling, move the gradient; cutting must not move it further."""
    image, content = picture(100, 90, 1), picture(100, 90, 2)
    looks = [look_at(10_000), look_at(10_000, "bfloat16"), look_at(64, "bfloat16")]
    a_S = [tf.zeros(a.shape) for a in looks[-1](image)]  # far from the image's, so that rounding does not decide
    exact, whole, tiled = (costs_and_gradient(lesson, look, image, look(content), a_S) for look in looks)
    assert np.allclose(tiled[:3], exact[:3], rtol=0.02)
    assert np.linalg.norm(tiled[3] - exact[3]) < 1.5 * np.linalg.norm(whole[3] - exact[3])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to a processor here")
def test_tiles_on_a_single_processor():
    """A graph that calls back into TensorFlow needs two threads, also where there is one processor."""
    program = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import numpy as np
        from nst.backend import tf
        from nst.tiles import Look
        from nst.vgg19 import LAYER_NAMES, VGG19, get_layer_outputs

        layers = {name: (np.ones((3, 3, 3, 3), np.float32), np.ones(3, np.float32)) for name in LAYER_NAMES}
        network = get_layer_outputs(VGG19("", "", layers), ["block1_conv1"] * 2)
        image = tf.zeros((1, 80, 80, 3))
        look = Look(network, lambda a: tf.reduce_mean(a) * tf.ones((3, 3)), 64, (80, 80))
        assert look.splits(image)
        tf.function(look)(image)
        print("done")
    """
    assert run_python(program).stdout == "done\n"


# ---- memory


@pytest.fixture
def memory(monkeypatch):
    """A function that sets how many bytes seem to be free, on a CPU."""
    monkeypatch.setattr(tiles, "device", lambda: "CPU")

    def set_free(free):
        monkeypatch.setattr(tiles, "free_memory", lambda: free)

    return set_free


@pytest.fixture(scope="module")
def wide_network():
    """A network with layers as wide as those of a VGG19, which takes 3.2 kB per pixel."""
    layers, n_in = {}, 3
    for name, n_C in zip(LAYER_NAMES, (64, 64, 128, 128, 256), strict=False):
        layers[name] = np.zeros((3, 3, n_in, n_C), np.float32), np.zeros(n_C, np.float32)
        n_in = n_C
    return get_layer_outputs(VGG19("wide", "", layers), ["block1_conv1", "block3_conv1"])


@pytest.fixture
def look_for(wide_network):
    """A function that returns a Look for the size of the largest image."""
    return lambda height, width, tile=0: Look(wide_network, tf.identity, tile, (height, width))


def test_tiles_are_taken_only_where_the_memory_asks_for_them(memory, look_for, capsys):
    memory(10_000_000_000)
    assert look_for(1500, 2000).tile == 0
    assert look_for(100, 100, tile=70).tile == 70
    assert capsys.readouterr().out == ""
    memory(4_000_000_000)
    look = look_for(1500, 2000)
    assert 512 < look.tile <= 1024
    assert look.memory(1500, 2000) < 4_000_000_000
    assert look.splits(tf.zeros((1, 1500, 2000, 3)))
    assert not look.splits(tf.zeros((1, 100, 100, 3)))
    said = f"2000×1500 pixels do not fit into the free memory as a whole: tiles of {look.tile} pixels.\n"
    assert capsys.readouterr().out == said
    memory(2_200_000_000)
    assert 128 <= look_for(1500, 2000).tile < look.tile


def test_too_large_pictures_are_refused_with_the_size_that_fits(memory, look_for):
    memory(1_000_000_000)
    with pytest.raises(RunError, match="2000×1500 pixels need about .* GB of memory, and 1.0 GB are free") as error:
        look_for(1500, 2000)
    size = int(re.search(r"Set IMAGE_SIZE = (\d+) or less, or close other programs", str(error.value))[1])
    assert 32 < size < 2000
    look_for(size * 3 // 4, size)
    memory(200_000_000)
    with pytest.raises(RunError, match="2000×1500 pixels need .* Set TILE = 0 for tiles that fit, or close"):
        look_for(1500, 2000, tile=1024)
    memory(1000)
    with pytest.raises(RunError, match="are free. Close other programs"):
        look_for(300, 400)


def test_memory_is_not_checked_on_a_gpu(memory, look_for, monkeypatch):
    memory(1000)
    monkeypatch.setattr(tiles, "device", lambda: "NVIDIA H200")
    assert look_for(1500, 2000).tile == 0
    assert look_for(1500, 2000, tile=512).tile == 512
