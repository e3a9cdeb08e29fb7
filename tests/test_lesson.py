"""The functions that the notebook defines, taken from the notebook: properties, references, hand-worked values."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nst_utils
from conftest import ROOT, run_cell

tf = nst_utils.tf


def activations(height, width, channels, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(1, 2, (1, height, width, channels)).astype(np.float32))


def in_both_modes(function):
    return [function, tf.function(function)]


# ---- the course's published checks


def test_course_content_cost(lesson):
    tf.random.set_seed(1)
    a_C = tf.random.normal([1, 1, 4, 4, 3], mean=1, stddev=4)
    a_G = tf.random.normal([1, 1, 4, 4, 3], mean=1, stddev=4)
    assert np.isclose(lesson["compute_content_cost"](a_C, a_G), 7.0568767)
    assert lesson["compute_content_cost"](a_C, a_C) == 0


def test_course_gram_matrix(lesson):
    tf.random.set_seed(1)
    A = tf.random.normal([3, 2 * 1], mean=1, stddev=4)
    assert np.allclose(lesson["gram_matrix"](A)[0], [63.1888, -26.721275, -7.7320204])


def test_course_layer_style_cost(lesson):
    tf.random.set_seed(1)
    a_S = tf.random.normal([1, 4, 4, 3], mean=1, stddev=4)
    a_G = tf.random.normal([1, 4, 4, 3], mean=1, stddev=4)
    assert np.isclose(lesson["compute_layer_style_cost"](a_S, a_G), 14.017805)


def test_course_total_cost(lesson):
    J = lesson["total_cost"](0.2, 0.8)
    assert tf.is_tensor(J)
    assert J == 34


# ---- content cost


@pytest.mark.parametrize("shape", [(5, 3, 4), (2, 7, 1)])
def test_content_cost_is_the_formula(lesson, shape):
    a_C, a_G = activations(*shape, seed=1), activations(*shape, seed=2)
    n_H, n_W, n_C = shape
    expected = ((a_C.numpy() - a_G.numpy()) ** 2).sum() / (4 * n_H * n_W * n_C)
    for cost in in_both_modes(lesson["compute_content_cost"]):
        assert np.isclose(cost([None, a_C], [None, a_G]), expected)
        assert cost([a_C], [a_C]) == 0


def test_only_the_last_output_is_content(lesson):
    a, b = activations(3, 4, 2, seed=1), activations(3, 4, 2, seed=2)
    assert lesson["compute_content_cost"]([a, a], [b, a]) == 0
    assert lesson["compute_content_cost"]([a, a], [a, b]) > 0


# ---- Gram matrix


def test_gram_matrix_of_ones_counts_the_positions(lesson):
    assert np.array_equal(lesson["gram_matrix"](tf.ones((3, 5))), np.full((3, 3), 5.0))


def test_gram_matrix_is_symmetric_and_positive(lesson):
    G = lesson["gram_matrix"](activations(4, 6, 5)[0, 0])  # (6, 5)
    assert np.allclose(G, np.transpose(G))
    assert np.linalg.eigvalsh(G).min() > -1e-3


def test_gram_matrix_forgets_where(lesson):
    A = tf.constant(np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32))
    shuffled = tf.gather(A, np.random.default_rng(1).permutation(8), axis=1)
    assert np.allclose(lesson["gram_matrix"](A), lesson["gram_matrix"](shuffled), atol=1e-5)


def test_gradient_of_the_gram_matrix_is_that_of_tensorflow(lesson):
    A = tf.Variable(activations(3, 4, 2)[0, :, :, 0])
    for dG in (tf.eye(3), tf.constant([[0.0, 1.0, 2.0], [3.0, 0.0, 4.0], [5.0, 6.0, 7.0]])):  # symmetric and not
        with tf.GradientTape(persistent=True) as tape:
            ours = tf.reduce_sum(dG * lesson["gram_matrix"](A))
            reference = tf.reduce_sum(dG * tf.matmul(A, A, transpose_b=True))
        assert np.allclose(tape.gradient(ours, A), tape.gradient(reference, A), rtol=1e-5)


# ---- style cost


def test_layer_style_cost_is_the_formula(lesson):
    a_S, a_G = activations(5, 3, 4, seed=1), activations(5, 3, 4, seed=2)
    A_S, A_G = (a.numpy()[0].reshape(15, 4).T for a in (a_S, a_G))
    expected = ((A_S @ A_S.T - A_G @ A_G.T) ** 2).sum() / (4 * 4**2 * 15**2)
    for cost in in_both_modes(lesson["compute_layer_style_cost"]):
        assert np.isclose(cost(a_S, a_G), expected, rtol=1e-5)
        assert cost(a_S, a_S) == 0


def test_layer_style_cost_does_not_depend_on_the_style_images_size(lesson):
    a_S, a_G = activations(4, 6, 3, seed=1), activations(5, 3, 3, seed=2)
    twice = tf.concat([a_S, a_S], axis=1)
    cost = lesson["compute_layer_style_cost"]
    assert np.isclose(cost(a_S, a_G), cost(twice, a_G), rtol=1e-5)
    assert float(cost(a_S, twice)) == pytest.approx(0, abs=1e-8)


def test_style_cost_weighs_the_layers(lesson):
    a_S, a_G = [[activations(4, 5, 3, seed=s + i) for i in range(3)] for s in (0, 10)]
    layer = [float(lesson["compute_layer_style_cost"](s, g)) for s, g in zip(a_S, a_G, strict=True)]
    J = lesson["compute_style_cost"](a_S, a_G, [("x", 0.3), ("y", 2.0)])
    assert np.isclose(J, 0.3 * layer[0] + 2.0 * layer[1])  # the third is content


def test_style_cost_refuses_lists_that_do_not_match(lesson):
    a = [activations(2, 2, 2)] * 3
    with pytest.raises(ValueError, match="zip"):
        lesson["compute_style_cost"](a, a, [("only", 1.0)])


def test_gram_matrices_stand_for_their_activations(lesson):
    a_S, a_G = activations(4, 5, 3, seed=1), activations(3, 4, 3, seed=2)
    cost, gram = lesson["compute_layer_style_cost"], lesson["mean_gram_matrix"]
    for S in (a_S, gram(a_S)):
        for G in (a_G, gram(a_G)):
            assert np.isclose(cost(S, G), cost(a_S, a_G), rtol=1e-6)


# ---- total cost and smoothness


def test_total_cost_takes_floats_and_tensors(lesson):
    for J in (lesson["total_cost"](1.0, 2.0, 3, 4), lesson["total_cost"](tf.constant(1.0), tf.constant(2.0), 3, 4)):
        assert tf.is_tensor(J)
        assert J.dtype == tf.float32
        assert J == 11


def test_smoothness_cost_is_zero_for_a_flat_picture_and_grows_with_edges(lesson, picture):
    cost = lesson["compute_smoothness_cost"]
    assert cost(tf.fill((1, 4, 5, 3), 0.3)) == 0
    x = picture(12, 9).numpy()
    expected = (np.abs(np.diff(x, axis=1)).sum() + np.abs(np.diff(x, axis=2)).sum()) / x.size
    assert np.isclose(cost(tf.constant(x)), expected, rtol=1e-5)


# ---- costs through a network


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_costs_are_float32_in_every_precision(lesson, tiny_vgg, picture, precision):
    layers = [("block1_conv1", 1.0), ("block2_conv1", 1.0)]
    outputs = nst_utils.get_layer_outputs(tiny_vgg, layers, precision)
    a, b = (outputs(nst_utils.preprocess_image(picture(40, 36, seed))) for seed in (1, 2))
    for J in (lesson["compute_content_cost"](a, b), lesson["compute_style_cost"](a, b, layers[:1])):
        assert J.dtype == tf.float32
        assert J > 0


def test_gradient_agrees_with_finite_differences(lesson, tiny_vgg, picture):
    style_layers = [("block1_conv1", 0.5), ("block2_conv2", 0.5)]
    outputs = nst_utils.get_layer_outputs(tiny_vgg, [*style_layers, ("block2_conv1", 1)])
    a_C = outputs(nst_utils.preprocess_image(picture(33, 47, 1)))
    a_S = outputs(nst_utils.preprocess_image(picture(40, 36, 2)))

    def cost(image):
        a_G = outputs(nst_utils.preprocess_image(image))
        J_style = lesson["compute_style_cost"](a_S, a_G, style_layers)
        return lesson["total_cost"](lesson["compute_content_cost"](a_C, a_G), J_style, 10.0, 40.0)

    def gradient_of_cost(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            J = cost(image)
        return tape.gradient(J, image)

    x = picture(33, 47, 3)
    for function in in_both_modes(gradient_of_cost):
        gradient = function(x)
        direction = gradient / tf.norm(gradient)
        step = 0.01
        difference = (cost(x + step * direction) - cost(x - step * direction)) / (2 * step)
        assert np.isclose(difference, tf.norm(gradient), rtol=0.01), "slope along the gradient"


# ---- pictures in tiles


@pytest.fixture
def look_at(lesson, tiny_vgg, picture):
    """A function that returns a Look for a tile size, with the notebook's layers on a tiny network."""
    layers = [*lesson["STYLE_LAYERS"], (lesson["CONTENT_LAYER"], 1)]

    def make(tile, precision="float32"):
        network = nst_utils.get_layer_outputs(tiny_vgg, layers, precision)
        return nst_utils.Look(network, lesson["mean_gram_matrix"], tile, [picture(80, 90)])

    return make


def costs_and_gradient(lesson, look, image, a_C, a_S):
    def run(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            a_G = look(image)
            J_content = lesson["compute_content_cost"](a_C, a_G)
            J_style = lesson["compute_style_cost"](a_S, a_G, lesson["STYLE_LAYERS"])
            J = lesson["total_cost"](J_content, J_style, 1000.0, 40.0)
        return J, J_content, J_style, tape.gradient(J, image)

    return [[result.numpy() for result in function(image)] for function in in_both_modes(run)]


@pytest.mark.parametrize(("tile", "shape"), [(64, (203, 171)), (100, (203, 171)), (48, (33, 250))])
def test_tiles_give_the_costs_and_the_gradient_of_the_whole(lesson, look_at, picture, tile, shape):
    """Odd sizes, image borders included: every activation is counted once and sees all its pixels."""
    image, content, style = picture(*shape, 1), picture(*shape, 2), picture(140, 150, 3)
    whole, tiled = look_at(10_000), look_at(tile)
    assert tiled.splits(image)
    assert not whole.splits(image)
    a_C, a_S = whole(content), whole(style)
    assert np.allclose(tiled(content)[-1], a_C[-1], rtol=1e-4, atol=1e-6), "content activations, put together"
    for S in (a_S, tiled(style)):
        expected = costs_and_gradient(lesson, whole, image, a_C, S)[0]
        for found in costs_and_gradient(lesson, tiled, image, tiled(content), S):
            assert np.allclose(found[:3], expected[:3], rtol=1e-5)
            assert np.linalg.norm(found[3] - expected[3]) < 1e-3 * np.linalg.norm(expected[3])
            assert np.abs(found[3] - expected[3]).max() < 1e-3 * np.abs(expected[3]).max(), "a seam"


def test_a_margin_too_narrow_would_be_noticed(lesson, look_at, picture):
    image = picture(203, 171, 1)
    whole, tiled = look_at(10_000), look_at(64)
    tiled.margin -= 48
    expected, found = (
        costs_and_gradient(lesson, look, image, whole(image), whole(image))[0] for look in (whole, tiled)
    )
    assert not np.allclose(found[0], expected[0], rtol=1e-5, atol=1e-9)


def test_margin_is_what_the_deepest_layer_sees_beyond_its_cell(tiny_vgg, lesson, picture):
    margins = {}
    for name in ("block1_conv1", "block1_conv2", "block2_conv1", "block5_conv1"):
        network = nst_utils.get_layer_outputs(tiny_vgg, [("block1_conv1", 1), (name, 1)])
        look = nst_utils.Look(network, lesson["mean_gram_matrix"], 64, [picture(40, 40)])
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
    exact, whole, tiled = (costs_and_gradient(lesson, look, image, look(content), a_S)[0] for look in looks)
    assert np.allclose(tiled[:3], exact[:3], rtol=0.02)
    assert np.linalg.norm(tiled[3] - exact[3]) < 1.5 * np.linalg.norm(whole[3] - exact[3])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to a processor here")
def test_tiles_on_a_single_processor():
    """A graph that calls back into TensorFlow needs two threads, also where there is one processor."""
    code = """if True:
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import nst_utils, numpy as np
        layers = {name: (np.ones((3, 3, 3, 3), np.float32), np.ones(3, np.float32)) for name in nst_utils.LAYER_NAMES}
        network = nst_utils.get_layer_outputs(nst_utils.VGG19("", "", layers), [("block1_conv1", 1)] * 2)
        image = nst_utils.tf.zeros((1, 80, 80, 3))
        gram = lambda a: nst_utils.tf.reduce_mean(a) * nst_utils.tf.ones((3, 3))
        look = nst_utils.Look(network, gram, 64, [image])
        assert look.splits(image)
        nst_utils.tf.function(look)(image)
        print("done")
    """
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout == "done\n", result.stderr


# ---- the training step


@pytest.fixture
def ready(lesson, tiny_vgg, notebook):
    """The notebook's cells up to the training, on a tiny network and small pictures."""
    namespace = dict(lesson, IMAGE_SIZE=64, EPOCHS=20, vgg=tiny_vgg, PRECISION="float32")
    cells = ("content_image = ", "vgg_model_outputs = ", "look = ", "sizes = ")
    functions = ("def compute_style_cost", "def compute_targets", "def prepare", "def train_step")
    run_cells(notebook, namespace, *cells, *functions)
    return namespace


def run_cells(notebook, namespace, *marks):
    for mark in marks:
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and mark in cell.source]
        run_cell(cells[0], namespace)


def test_training_step_lowers_the_cost_and_stays_in_range(ready):
    ready["a_C"], ready["a_S"] = ready["compute_targets"](64)
    generated_image, ready["optimizer"], _ = ready["prepare"](64, 20)
    step = tf.function(ready["train_step"])
    costs = [[float(cost) for cost in step(generated_image)] for _ in range(20)]
    assert costs[0][1] == 0, "the picture starts as the content image"
    assert costs[-1][0] < 0.7 * costs[0][0]
    for J, J_content, J_style in costs:
        assert np.isclose(J, ready["ALPHA"] * J_content + ready["BETA"] * J_style, rtol=1e-5)
    image = generated_image.numpy()
    assert image.min() >= 0
    assert image.max() <= 1
    assert np.abs(image - ready["content_image"]).max() > 0.05


def test_edited_settings_take_effect_when_the_cells_below_are_run_again(ready, notebook):
    def first_costs():
        ready["a_C"], ready["a_S"] = ready["compute_targets"](64)
        image, ready["optimizer"], _ = ready["prepare"](64, 20)
        return [float(cost) for cost in tf.function(ready["train_step"])(image)]

    before = first_costs()
    ready["BETA"] *= 2
    ready["STYLE_LAYERS"] = [(name, weight * 3) for name, weight in ready["STYLE_LAYERS"]]
    run_cells(notebook, ready, "def train_step")
    after = first_costs()
    assert np.isclose(after[2], 3 * before[2], rtol=1e-4)
    assert np.isclose(after[0], 6 * before[0], rtol=1e-4)


def test_a_larger_size_starts_from_the_picture_before(ready):
    small, optimizer, rate = ready["prepare"](64, 20)
    assert np.array_equal(small.numpy(), nst_utils.load_image(ready["CONTENT_IMAGE"], 64))
    assert np.isclose(rate(0), ready["LEARNING_RATE"])
    assert rate(20) == 0
    picture = np.linspace(0, 1, small.shape[1] * 64 * 3, dtype=np.float32).reshape(small.shape)
    large, optimizer, rate = ready["prepare"](128, 8, picture)
    assert large.shape[2] == 128
    assert np.abs(tf.image.resize(large, small.shape[1:3], antialias=True) - picture)[:, 6:-6, 6:-6].max() < 0.02
    assert np.isclose(rate(0), 0.4 * ready["LEARNING_RATE"])
    assert rate(8) == 0
