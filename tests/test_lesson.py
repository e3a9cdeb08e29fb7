"""The functions that the notebook defines, taken from the notebook, and nst/lesson.py, which takes them from there."""

import inspect
import json
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

import nst_utils
from conftest import NOTEBOOK, SETTINGS, costs_of, facts_of, paint, replace, write_lesson
from nst.backend import tf
from nst.errors import SettingsError
from nst.lesson import FIRST, SECOND, Lesson, describe_functions, names_used, run_cell


def activations(height, width, channels, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(1, 2, (1, height, width, channels)).astype(np.float32))


# ---- the functions of the lesson


def test_published_checks_of_the_course(lesson):
    def normal(*shape):
        return tf.random.normal(shape, mean=1, stddev=4)

    tf.random.set_seed(1)
    assert np.isclose(lesson["compute_content_cost"](normal(1, 1, 4, 4, 3), normal(1, 1, 4, 4, 3)), 7.0568767)
    tf.random.set_seed(1)
    assert np.allclose(lesson["gram_matrix"](normal(3, 2))[0], [63.1888, -26.721275, -7.7320204])
    tf.random.set_seed(1)
    assert np.isclose(lesson["compute_layer_style_cost"](normal(1, 4, 4, 3), normal(1, 4, 4, 3)), 14.017805)
    assert lesson["total_cost"](0.2, 0.8) == 34
    assert lesson["total_cost"](0.2, 0.8).dtype == tf.float32


def test_costs_are_the_formulas_and_zero_at_equality(lesson, picture):
    a, b = activations(5, 3, 4, seed=1), activations(5, 3, 4, seed=2)
    cost = lesson["compute_content_cost"]
    assert np.isclose(cost([None, a], [None, b]), ((a.numpy() - b.numpy()) ** 2).sum() / (4 * 5 * 3 * 4))
    assert cost([b, a], [a, a]) == 0
    cost = lesson["compute_layer_style_cost"]
    A, B = (activations.numpy()[0].reshape(15, 4).T for activations in (a, b))
    expected = ((A @ A.T - B @ B.T) ** 2).sum() / (4 * 4**2 * 15**2)
    for style in (a, tf.concat([a, a], axis=1), lesson["mean_gram_matrix"](a)):
        assert np.isclose(cost(style, b), expected, rtol=1e-5), "whatever the style image's size"
    assert cost(a, a) == 0
    x = picture(12, 9).numpy()
    mirrored = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    neighbours = [mirrored[:, i : i + 12, j : j + 9] for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))]
    expected = np.sqrt(sum((x - neighbour) ** 2 for neighbour in neighbours) / 2 + 1e-6).mean()
    assert np.isclose(lesson["compute_smoothness_cost"](tf.constant(x)), expected, rtol=1e-5)


def test_gram_matrix_counts_is_symmetric_and_forgets_where(lesson):
    assert np.array_equal(lesson["gram_matrix"](tf.ones((3, 5))), np.full((3, 3), 5.0))
    A = activations(4, 6, 1)[0, :, :, 0]
    G, shuffled = (lesson["gram_matrix"](A) for A in (A, tf.gather(A, [3, 0, 5, 1, 4, 2], axis=1)))
    assert np.allclose(G, np.transpose(G))
    assert np.allclose(G, shuffled, rtol=1e-5)
    assert np.linalg.eigvalsh(G).min() > -1e-3


def test_picture_after_40_steps_is_as_it_always_was(tmp_path):
    """Guards what a student gets with the settings of the notebook; a change of these may change these numbers.

    They are those of 20 epochs at 64 and 20 at 96 pixels, in float32 on a CPU, as history.csv has them.
    """
    settings = {"WEIGHTS": "standin", "PRECISION": "float32", "SIZES": [64, 96], "IMAGE_SIZE": 96, "EPOCHS": 20}
    costs = costs_of(Lesson().run(settings | {"OUTPUT_DIR": str(tmp_path / "run")})["run"])
    assert costs[0] == pytest.approx((487.769, 0.0, 2.43884), rel=0.002), "before the first step"
    assert costs[19] == pytest.approx((132.89, 3.5565, 0.48663), rel=0.02), "before the last one at the first size"
    assert costs[20] == pytest.approx((118.71, 3.6750, 0.40977), rel=0.02), "enlarged"
    assert costs[39] == pytest.approx((41.159, 1.8628, 0.11266), rel=0.02), "before the last one"


def test_gradient_agrees_with_finite_differences(lesson, tiny_vgg, picture):
    network = nst_utils.get_layer_outputs(tiny_vgg, ["block1_conv1", "block2_conv2", "block2_conv1"])
    a_C, a_S = (network(nst_utils.preprocess_image(picture(*shape))) for shape in ((33, 47, 1), (40, 36, 2)))

    def cost(image):
        a_G = network(nst_utils.preprocess_image(image))
        J_style = lesson["compute_style_cost"](a_S, a_G, [("block1_conv1", 0.5), ("block2_conv2", 0.5)])
        return lesson["total_cost"](lesson["compute_content_cost"](a_C, a_G), J_style, 10.0, 40.0)

    x = tf.Variable(picture(33, 47, 3))
    with tf.GradientTape() as tape:
        J = cost(x)
    gradient = tape.gradient(J, x)
    step = 0.01 * gradient / tf.norm(gradient)
    assert np.isclose((cost(x + step) - cost(x - step)) / 0.02, tf.norm(gradient), rtol=0.01), "slope"


# ---- nst/lesson.py


def test_a_program_that_runs_a_lesson_decides_and_watches(folder, monkeypatch, capsys):
    said, epochs = [], []
    view = SimpleNamespace(say=said.append, update=lambda image, history, last: epochs.append((len(history), last)))
    monkeypatch.setenv("NST_EPOCHS", "3")
    monkeypatch.setenv("NST_SEED", "4")
    settings = {name: value for name, value in SETTINGS.items() if name != "SEED"} | {"EPOCHS": 2}
    run = Lesson().run(settings, lambda run: view)["run"]
    assert (len(run.history), run.settings.SEED) == (2, 4), "it wins over a variable, and this over the notebook"
    assert (said, epochs) == (["Painting with tiny weights in float32 on CPU."], [(1, False), (2, True)])
    assert capsys.readouterr().out == "SEED = 4 (from NST_SEED)\n", "once, however often the settings are read"
    facts = facts_of(run.folder)
    assert (facts["lesson"]["notebook"], facts["lesson"]["cells"]) == (NOTEBOOK.name, Lesson().sha256)
    names = Lesson().run({"BETA": 7.0}, train=False)
    assert (names["settings"].BETA, names["settings"].EPOCHS, "run" in names) == (7.0, 3, False)


def add_cell(source, *tags):
    """Return a function for write_lesson that puts a cell of code above the training."""

    def edit(cells):
        (place,) = (i for i, cell in enumerate(cells) if "training" in cell.metadata.get("tags", []))
        cells.insert(place, nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}))

    return edit


MAGIC = """
%time 1 + 1
!ls

def doubled(J):
    %matplotlib inline
    return 2 * J
"""
CONTINUED = "assert 2 == (7\n% 5)"


def test_any_cell_above_the_training_belongs_to_the_lesson_unless_it_shows(folder, tmp_path):
    """Without tags; lines that speak to Jupyter do no harm."""

    def edit(cells):
        add_cell("raise ZeroDivisionError", "shows")(cells)
        add_cell(MAGIC)(cells)
        add_cell(CONTINUED)(cells)
        replace("    return J, J_content, J_style", "    return doubled(J), J_content, J_style")(cells)

    path = write_lesson(tmp_path / "mine.ipynb", edit=edit)
    mine, plain = nst_utils.paint(path, EPOCHS=1, IMAGE_SIZE=64), paint(EPOCHS=1)
    assert costs_of(mine)[0][0] == pytest.approx(2 * costs_of(plain)[0][0])


def test_sum_of_the_cells_changes_with_all_but_the_settings_and_what_shows(tmp_path):
    def sha256(edit=lambda cells: None, **settings):
        return Lesson(write_lesson(tmp_path / "lesson.ipynb", edit=edit, **settings)).sha256

    before = sha256()
    assert sha256(BETA=7.0, RESUME="output/old") == before
    assert sha256(replace("EPOCHS = 5", "EPOCHS = 5  # a comment")) == before
    assert sha256(add_cell("print(1)", "shows")) == before
    assert sha256(replace("J_content = {compute", "the content cost = {compute")) == before, "a toy"
    assert sha256(lambda cells: cells.append(nbformat.v4.new_code_cell("a = 1"))) == before, "below the training"
    for text in ("import tensorflow as tf", "tf.matmul(A, A", "with nst_utils.Run"):
        assert sha256(replace(text, f" {text}")) != before
    assert sha256(add_cell("a = 1")) != before


@pytest.mark.parametrize("name", ["paint", "compare", "Panel"])
def test_a_lesson_that_cannot_be_run_is_named(name, tmp_path):
    cells = [{"cell_type": "code", "source": "EPOCHS = 3", "metadata": {"tags": ["settings"]}}]
    (tmp_path / "text.ipynb").write_text("no notebook")
    (tmp_path / "untrained.ipynb").write_text(json.dumps({"cells": cells}))
    for message in (
        "gone.ipynb cannot be read: No such file",
        "text.ipynb is no notebook",
        "untrained.ipynb is no lesson: .* none tagged training",
    ):
        with pytest.raises(SettingsError, match=message):
            getattr(nst_utils, name)(lesson=str(tmp_path / message.split()[0]), BETA=[1, 2])


def test_settings_of_a_lesson_are_read_without_the_rest_of_it(tmp_path):
    def edit(cells):
        cells[2].source = "raise ZeroDivisionError"

    path = write_lesson(tmp_path / "lesson.ipynb", edit=edit, BETA=7.0)
    assert Lesson(path).settings() == SETTINGS | {"BETA": 7.0}
    write_lesson(path, edit=replace("EPOCHS = 5", "EPOCHS = len(run.plan)"))
    with pytest.raises(SettingsError, match="settings in lesson.ipynb does not stand alone: name 'run' is not defined"):
        Lesson(path).settings()


@pytest.mark.parametrize("name", ["paint", "compare", "Panel"])
def test_a_misspelt_name_among_saved_settings_is_told(tmp_path, name):
    path = write_lesson(tmp_path / "lesson.ipynb", edit=replace("BETA = 40.0", "BETA = 40.0\nbetta = 800.0"))
    for call in (getattr(nst_utils, name), lambda lesson, **settings: Lesson(lesson).run(train=False)):
        with pytest.raises(SettingsError, match="^betta is no setting. Do you mean BETA"):
            call(lesson=str(path), ALPHA=[1, 2])


def test_functions_are_described_by_their_sources(lesson):
    assert inspect.getsource(lesson["gram_matrix"]).startswith("def gram_matrix(A):\n")
    names, found = Lesson().run(train=False), []
    for source in ("", "\n    # mine"):
        run_cell(f"@tf.function\ndef decorated(x):\n    return x{source}", names)
        exec("def typed_in(): pass", names)
        found.append(describe_functions(names["load_network"]))
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"decorated"}
    assert {"gram_matrix", "total_cost", "train_step"} <= found[0].keys()
    exec("step = tf.function(train_step)\nmine = lambda x: x", names)
    run_cell("def train_step(): pass", names)
    assert names["step"].python_function is not names["train_step"]
    assert describe_functions(names["load_network"]).keys() - found[0].keys() == {"mine"}, "step is of the run before"
    assert found[0]["typed_in"] == "unknown"


def test_the_names_that_functions_use_are_found_wherever_they_stand():
    for lesson, own, other in ((FIRST, "BETA", "MIXTURE"), (SECOND, "MIXTURE", "BETA")):
        names = Lesson(lesson).run(train=False)
        used = names_used(names["load_network"])
        assert {own, "ALPHA", "SMOOTHNESS"} <= used and other not in used
        run_cell(f"def mine(settings):\n    return [(lambda: settings.{other})() for _ in range(2)]", names)
        assert other in names_used(names["load_network"]), "within what stands within"


def test_cells_of_ones_own_that_cannot_be_replayed(tmp_path, folder):
    def lesson(source):
        def add(cells):
            cells.insert(9, nbformat.v4.new_code_cell(source))

        return Lesson(write_lesson(tmp_path / "mine.ipynb", edit=add))

    for source in ("help?", "?help", "files = !ls", "t = %timeit -o 1", "a = 1\n%time a"):
        lesson(source).run(train=False)
    with pytest.raises(
        SettingsError, match="^The cell that begins 'if True' is not whole: expected ':', line 1. Mend it,"
    ):
        lesson("if True\n    1").functions()
    with pytest.raises(
        SettingsError, match="mine.ipynb, the cell that begins 'print.content_image.': name 'content_image'"
    ):
        lesson("print(content_image)").run(train=False)
