"""The functions that the notebook defines, taken from the notebook: properties, references, hand-worked values."""

import numpy as np
import pytest

import nst_utils
from conftest import run_cell

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


def test_gram_matrices_of_targets_are_computed_when_traced(lesson):
    a_S, a_G = activations(4, 5, 3, seed=1), activations(3, 4, 3, seed=2)
    cost = lesson["compute_layer_style_cost"]

    def gram_matrices(function, *inputs):
        operations = tf.function(function).get_concrete_function(*inputs).graph.get_operations()
        return sum(operation.type in ("MatMul", "BatchMatMulV2") for operation in operations)

    assert gram_matrices(cost, a_S, a_G) == 2
    assert gram_matrices(lambda a: cost(a_S, a), a_G) == 1, "that of a target of known value is left in the graph"


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


@pytest.fixture
def ready(lesson, tiny_vgg, picture):
    """The notebook's cells from the targets to the training step, on a tiny network and small pictures."""
    namespace = dict(lesson)
    namespace["vgg_model_outputs"] = nst_utils.get_layer_outputs(
        tiny_vgg, namespace["STYLE_LAYERS"] + [(namespace["CONTENT_LAYER"], 1)]
    )
    namespace.update(content_image=picture(48, 64, 1), style_image=picture(50, 40, 2), EPOCHS=20)
    return namespace


def run_cells(notebook, namespace, *marks):
    for mark in marks:
        (cell,) = [c for c in notebook.cells if c.cell_type == "code" and mark in c.source]
        run_cell(cell, namespace)


def test_training_step_lowers_the_cost_and_stays_in_range(ready, notebook):
    run_cells(notebook, ready, "a_S = vgg_model_outputs", "tf.Variable(content_image)", "def train_step")
    start = ready["generated_image"].numpy()
    costs = [[float(cost) for cost in ready["train_step"](ready["generated_image"])] for _ in range(20)]
    assert costs[0][1] == 0, "the picture starts as the content image"
    assert costs[-1][0] < 0.7 * costs[0][0]
    for J, J_content, J_style in costs:
        assert np.isclose(J, ready["ALPHA"] * J_content + ready["BETA"] * J_style, rtol=1e-5)
    image = ready["generated_image"].numpy()
    assert image.min() >= 0
    assert image.max() <= 1
    assert np.abs(image - start).max() > 0.05


def test_edited_settings_take_effect_when_the_cells_below_are_run_again(ready, notebook):
    cells = ("a_S = vgg_model_outputs", "tf.Variable(content_image)", "def compute_style_cost", "def train_step")
    run_cells(notebook, ready, *cells)
    before = [float(cost) for cost in ready["train_step"](ready["generated_image"])]
    ready["BETA"] *= 2
    ready["STYLE_LAYERS"] = [(name, weight * 3) for name, weight in ready["STYLE_LAYERS"]]
    run_cells(notebook, ready, *cells)
    after = [float(cost) for cost in ready["train_step"](ready["generated_image"])]
    assert np.isclose(after[2], 3 * before[2], rtol=1e-4)
    assert np.isclose(after[0], 6 * before[0], rtol=1e-4)
