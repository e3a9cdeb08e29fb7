"""The functions that the notebook defines, taken from the notebook, and nst/lesson.py, which takes them from there."""

import hashlib
import inspect
import json

import numpy as np
import pytest

import nst_utils
from conftest import SETTINGS, paint, prepare, train
from nst.backend import tf
from nst.lesson import describe_lesson, lesson_cells, run_cell, run_lesson


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
    A = activations(3, 8, 1)[0, :, :, 0]
    shuffled = tf.gather(A, np.random.default_rng(1).permutation(8), axis=1)
    assert np.allclose(lesson["gram_matrix"](A), lesson["gram_matrix"](shuffled), rtol=1e-5)


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


def test_smoothness_cost_is_least_for_a_flat_picture_and_grows_with_edges(lesson, picture):
    cost = lesson["compute_smoothness_cost"]
    assert np.isclose(cost(tf.fill((1, 4, 5, 3), 0.3)), 0.001)
    x = picture(12, 9).numpy()
    mirrored = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    neighbours = [mirrored[:, i : i + 12, j : j + 9] for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))]
    expected = np.sqrt(sum((x - neighbour) ** 2 for neighbour in neighbours) / 2 + 1e-6).mean()
    assert np.isclose(cost(tf.constant(x)), expected, rtol=1e-5)
    assert cost(tf.constant(2 * x)) > 1.9 * expected


# ---- costs through a network


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_costs_are_float32_in_every_precision(lesson, tiny_vgg, picture, precision):
    outputs = nst_utils.get_layer_outputs(tiny_vgg, ["block1_conv1", "block2_conv1"], precision)
    a, b = (outputs(nst_utils.preprocess_image(picture(40, 36, seed))) for seed in (1, 2))
    assert a[0].dtype == precision
    for J in (lesson["compute_content_cost"](a, b), lesson["compute_style_cost"](a, b, [("block1_conv1", 1.0)])):
        assert J.dtype == tf.float32
        assert J > 0


def test_gradient_agrees_with_finite_differences(lesson, tiny_vgg, picture):
    style_layers = [("block1_conv1", 0.5), ("block2_conv2", 0.5)]
    outputs = nst_utils.get_layer_outputs(tiny_vgg, ["block1_conv1", "block2_conv2", "block2_conv1"])
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


# ---- the training


@pytest.mark.parametrize(("refines", "share", "memory"), [(False, 1.0, 0.9), (True, 0.4, 0.5)])
def test_rate_falls_to_zero_and_refining_is_gentler(lesson, refines, share, memory):
    optimizer = lesson["make_optimizer"](20, refines)
    rate = optimizer._learning_rate  # Keras shows the schedule nowhere else
    assert np.isclose(rate(0), share * lesson["LEARNING_RATE"])
    assert np.isclose(rate(10), 0.5 * share * lesson["LEARNING_RATE"])
    assert rate(20) == 0
    assert (optimizer.beta_1, optimizer.beta_2) == (memory, memory)


def test_training_lowers_the_cost_and_stays_in_range(folder):
    run = paint(EPOCHS=20, BETA=400.0)
    costs = [row[2:] for row in run.history]
    assert costs[0][1] == 0, "the picture starts as the content image"
    assert costs[-1][0] < 0.5 * costs[0][0]
    for J, J_content, J_style in costs:
        assert np.isclose(J, 10.0 * J_content + 400.0 * J_style, rtol=1e-5), "J is equation (5) of the settings"
    image = run.generated_image.numpy()
    assert image.min() >= 0
    assert image.max() <= 1
    assert np.abs(image - run.content_image).max() > 0.05


def test_picture_after_40_steps_is_as_it_always_was(tmp_path):
    """Guards what a student gets with the settings of the notebook; a change of these may change these numbers.

    They are those of 20 epochs at 64 and 20 at 96 pixels, in float32 on a CPU, as history.csv has them.
    """
    settings = {"WEIGHTS": "standin", "PRECISION": "float32", "SIZES": [64, 96], "EPOCHS": 20}
    costs = [row[2:] for row in run_lesson(settings | {"OUTPUT_DIR": str(tmp_path / "run")})["run"].history]
    assert costs[0] == pytest.approx((487.769, 0.0, 2.43884), rel=0.002), "before the first step"
    assert costs[19] == pytest.approx((132.89, 3.5565, 0.48663), rel=0.02), "before the last one at the first size"
    assert costs[20] == pytest.approx((118.71, 3.6750, 0.40977), rel=0.02), "enlarged"
    assert costs[39] == pytest.approx((41.159, 1.8628, 0.11266), rel=0.02), "before the last one"


# ---- nst/lesson.py


def test_lesson_runs_with_other_settings_in_a_namespace_of_its_own(folder):
    first = run_lesson(SETTINGS | {"EPOCHS": 2, "OUTPUT_DIR": str(folder)})
    assert first["EPOCHS"] == 2
    assert len(first["run"].history) == 2
    second = run_lesson({"BETA": 7.0}, train=False)
    assert "run" not in second
    assert second["BETA"] == 7.0
    assert second["EPOCHS"] == 160, "settings that are not given are the notebook's"
    assert first["train_step"] is not second["train_step"]


def test_environment_wins_over_the_settings_of_a_lesson(folder, monkeypatch):
    monkeypatch.setenv("NST_EPOCHS", "3")
    assert len(run_lesson(SETTINGS | {"EPOCHS": 2})["run"].history) == 3


def test_a_program_that_runs_the_lesson_decides_and_watches(folder, monkeypatch, capsys):
    class View:
        def __init__(self, run):
            self.run, self.epochs, self.said = run, [], []

        def update(self, image, history, last):
            self.epochs.append((len(history), last))

        def say(self, text):
            self.said.append(text)

    monkeypatch.setenv("NST_EPOCHS", "3")
    views = []
    watch = lambda run: views.append(View(run)) or views[0]  # noqa: E731
    run = run_lesson(SETTINGS | {"EPOCHS": 2}, environ={}, watch=watch)["run"]
    assert len(run.history) == 2, "the program has read the environment, or does not want it"
    assert views[0].run is run
    assert views[0].epochs == [(1, False), (2, True)]
    assert views[0].said == ["Painting with tiny weights in float32 on CPU."]
    assert capsys.readouterr().out == ""


def test_parameters_as_papermill_injects_them(folder, monkeypatch):
    """Papermill puts a cell of its own after the one tagged parameters, with lists in place of tuples."""
    monkeypatch.setenv("NST_PRECISION", "float32")  # "auto" would be measured first
    names = {"__name__": "__main__"}
    for source, tags in lesson_cells():
        run_cell(source, names)
        if "parameters" in tags:
            run_cell('# Parameters\nIMAGE_SIZE = 48\nEPOCHS = 2\nSTYLE_LAYERS = [["block1_conv1", 1]]\n', names)
            run_cell('CONTENT_LAYER = "block2_conv1"\n', names)
    facts = json.loads((names["run"].folder / "settings.json").read_text())
    assert facts["settings"]["STYLE_LAYERS"] == [["block1_conv1", 1]]
    assert facts["settings"]["CONTENT_LAYER"] == "block2_conv1"
    assert facts["generated_image"] == {"width": 48, "height": 32}
    assert facts["epochs_done"] == 2


def test_sources_of_cells_can_be_read(lesson):
    assert inspect.getsource(lesson["gram_matrix"]).startswith("def gram_matrix(A):\n")


def test_lesson_is_described_by_the_sources_of_its_cells(lesson, notebook):
    sources = [cell.source for cell in notebook.cells if "lesson" in cell.metadata.get("tags", [])]
    sha256 = hashlib.sha256("\n\n".join(sources).encode()).hexdigest()
    assert describe_lesson(lesson) == {"sha256": sha256, "as_saved": True}
    assert describe_lesson(lesson | {"BETA": 7.0})["as_saved"], "settings are recorded by themselves"


def source_of(name):
    """Return the source of the lesson's cell that defines a function."""
    (source,) = [source for source, _ in lesson_cells() if f"def {name}(" in source]
    return source


@pytest.mark.parametrize("name", ["gram_matrix", "total_cost", "train_step"])
def test_function_that_is_not_as_saved_is_noticed(lesson, name):
    names = dict(lesson)
    run_cell(source_of(name).replace('"""', '"""My own: ', 1), names)
    assert not describe_lesson(names)["as_saved"], "another source"
    run_cell(source_of(name), names)
    assert describe_lesson(names)["as_saved"], "the cell as it was, run again"
    names[name] = len
    assert not describe_lesson(names)["as_saved"], "no function with a source"
    del names[name]
    assert not describe_lesson(names)["as_saved"], "missing"


def test_decorator_belongs_to_the_function(lesson):
    names = dict(lesson)
    run_cell(source_of("total_cost").replace("@tf.function\n", ""), names)
    assert not describe_lesson(names)["as_saved"]


def test_changed_function_takes_effect_with_the_training_cell_and_is_recorded(folder):
    names = prepare()
    before = train(names)
    run_cell(source_of("compute_layer_style_cost").replace("(4 * n_C ** 2)", "(2 * n_C ** 2)"), names)
    after = train(names)
    assert after.history[0][4] == pytest.approx(2 * before.history[0][4])
    facts = [json.loads((run.folder / "settings.json").read_text())["lesson"] for run in (before, after)]
    assert [fact["as_saved"] for fact in facts] == [True, False]
    assert facts[0]["sha256"] == facts[1]["sha256"]


def test_edited_cells_have_another_sum(lesson, edit_notebook):
    before = describe_lesson(lesson)["sha256"]
    edit_notebook()
    assert describe_lesson(lesson)["sha256"] != before
