"""The exercise and its checks: mistakes are named, right answers pass, and what is missing is said."""

import inspect

import nbformat
import pytest

import nst_utils
from conftest import SETTINGS
from nst.backend import tf
from nst.lesson import Lesson, run_cell
from nst.mistakes import COSTS
from scripts.authors.make_exercise import EXERCISE, HINTS, make

CONTENT = """
def compute_content_cost(content_output, generated_output):
    a_C, a_G = (tf.cast(output[-1], tf.float32) for output in (content_output, generated_output))
    _, n_H, n_W, n_C = a_G.shape
    return """
GRAM = "def gram_matrix(A):\n    return "
MEAN_GRAM = """
def mean_gram_matrix(a):
    if a.shape.rank < 4:
        return a
    _, n_H, n_W, n_C = a.shape
    return """
LAYER = """
def compute_layer_style_cost(a_S, a_G):
    _, n_H, n_W, n_C = a_G.shape
    d = mean_gram_matrix(a_S) - mean_gram_matrix(a_G)
    return """
STYLE = "def compute_style_cost(S, G, layers):\n    J = tf.constant(0.0)\n    "
J_LAYER = "compute_layer_style_cost"
TOTAL = "def total_cost(J_content, J_style, alpha=10, beta=40):\n    return "
STEP = inspect.getsource(Lesson().run(train=False)["train_step"])

MISTAKES = {  # name: (what is written, words of what is said)
    "content of all layers": (
        "def compute_content_cost(C, G):\n"
        "    return sum(tf.reduce_sum((c - g) ** 2) / (4 * tf.size(c, tf.float32)) for c, g in zip(C, G))",
        "adds up all layers",
    ),
    "content of the first layer": (
        CONTENT.replace("[-1]", "[0]") + "tf.reduce_sum((a_C - a_G) ** 2) / (4 * n_H * n_W * n_C)",
        "compares the first layer",
    ),
    "content without divisor": (CONTENT + "tf.reduce_sum((a_C - a_G) ** 2)", "divisor is missing"),
    "content as a mean": (CONTENT + "tf.reduce_mean((a_C - a_G) ** 2)", "the mean of the squares"),
    "content without n_C": (
        CONTENT + "tf.reduce_sum((a_C - a_G) ** 2) / (4 * n_H * n_W)",
        "number of channels is miss",
    ),
    "content by halves": (CONTENT + "tf.reduce_mean((a_C - a_G) ** 2) / 2", "2 times what it should"),
    "content without square": (CONTENT + "tf.reduce_mean(tf.abs(a_C - a_G)) / 4", "not squared"),
    "content doubled, not squared": (CONTENT + "tf.reduce_mean((a_C - a_G) * 2) / 4", "not squared"),
    "content as a difference of squares": (
        CONTENT + "tf.reduce_mean(a_C ** 2 - a_G ** 2) / 4",
        "a difference of squares",
    ),
    "content in 64 bits": (
        CONTENT.replace("float32", "float64") + "tf.reduce_mean((a_C - a_G) ** 2) / 4",
        "It returns float64, and should return float32: tf.cast(…, tf.float32).",
    ),
    "content of a shape of three": (
        CONTENT.replace("_, n_H", "n_H") + "0.0",
        "Activations have four lengths: _, n_H, n_W, n_C = a.shape.",
    ),
    "content with a sign": (CONTENT + "-tf.reduce_mean((a_C - a_G) ** 2) / 4", "Its sign is wrong."),
    "content added": (CONTENT + "tf.reduce_mean((a_C + a_G) ** 2) / 4", "go through the equation"),
    "content with a root": (CONTENT + "tf.norm(a_C - a_G)", "root"),
    "content in 16 bits": (
        CONTENT.replace("tf.cast(output[-1], tf.float32)", "output[-1]") + "tf.reduce_mean((a_C - a_G) ** 2) / 4",
        "It returns bfloat16",
    ),
    "content of the photo alone": (
        CONTENT.replace("in (content_output, generated_output)", "in (content_output, content_output)")
        + "tf.reduce_mean((a_C - a_G) ** 2) / 4",
        "does it look at both pictures",
    ),
    "content as a squared sum": (CONTENT + "tf.reduce_sum(a_C - a_G) ** 2 / (4 * n_H * n_W * n_C)", "squares the sum"),
    "content without brackets": (CONTENT + "tf.reduce_sum((a_C - a_G) ** 2) / 4 * n_H * n_W * n_C", "needs brackets"),
    "content in NumPy": (
        CONTENT + "np.sum((a_C.numpy() - a_G.numpy()) ** 2) / (4 * n_H * n_W * n_C)",
        "a value of Python or NumPy, through which no gradient",
    ),
    "content by float": (
        CONTENT + "tf.constant(float(tf.reduce_mean((a_C - a_G) ** 2)) / 4)",
        "taken out of TensorFlow on the way, through which no gradient",
    ),
    "content returns nothing": (CONTENT.replace("return", "J =") + "tf.reduce_mean((a_C - a_G) ** 2) / 4", "nothing"),
    "content per position": (CONTENT + "tf.reduce_mean((a_C - a_G) ** 2, axis=-1)", "the shape (1, 2, 3)"),
    "gram without transpose": (GRAM + "tf.matmul(A, A)", "one of the two factors is transposed"),
    "gram of positions": (GRAM + "tf.matmul(A, A, transpose_a=True)", "positions with positions"),
    "gram entry by entry": (GRAM + "A * A", "entry by entry"),
    "gram divided": (GRAM + "tf.matmul(A, A, transpose_b=True) / A.shape[1]", "It divides as well"),
    "gram in 16 bits": (GRAM + "tf.matmul(A, A, transpose_b=True)", "It returns bfloat16"),
    "gram cast late": (GRAM + "tf.cast(tf.matmul(A, A, transpose_b=True), tf.float32)", "cast too late"),
    "reshape in NumPy": (
        MEAN_GRAM + "gram_matrix(np.reshape(a, (-1, n_C)).T) / (n_H * n_W)",
        "taken out of TensorFlow on the way",
    ),
    "reshape without transpose": (
        MEAN_GRAM + "gram_matrix(tf.reshape(a, (n_C, n_H * n_W))) / (n_H * n_W)",
        "mixes channels and positions",
    ),
    "Gram matrix without brackets": (
        MEAN_GRAM + "gram_matrix(tf.transpose(tf.reshape(a, (-1, n_C)))) / n_H * n_W",
        "the whole divisor needs brackets",
    ),
    "reshape of positions": (MEAN_GRAM + "gram_matrix(tf.reshape(a, (-1, n_C))) / (n_H * n_W)", "one row per channel"),
    "gram not per position": (
        MEAN_GRAM + "gram_matrix(tf.transpose(tf.reshape(a, (-1, n_C))))",
        "not yet per position",
    ),
    "gram of a gram": (
        MEAN_GRAM.replace("    if a.shape.rank < 4:\n        return a\n", "")
        + "gram_matrix(tf.transpose(tf.reshape(a, (-1, n_C)))) / (n_H * n_W)",
        "a Gram matrix already",
    ),
    "style without divisor": (LAYER + "tf.reduce_sum(d ** 2)", "The divisor is missing"),
    "style of activations that are no matrices": (
        LAYER.replace("d = ", "d = gram_matrix(a_S) - gram_matrix(a_G)  # ") + "tf.reduce_sum(d ** 2) / (4 * n_C ** 2)",
        "mean_gram_matrix makes it of activations",
    ),
    "step with a list of gradients": (
        STEP.replace("tape.gradient(objective, generated_image)", "tape.gradient(objective, [generated_image])"),
        "Each pair is (gradient, variable)",
    ),
    "content with a name that is not there": (
        CONTENT.replace("output[-1]", "outputs[-1]", 1) + "a_c.shape",
        "not defined",
    ),
    "style with a doubled divisor": (
        LAYER + "tf.reduce_sum(d ** 2) / (4 * n_C ** 2 * (n_H * n_W) ** 2)",
        "in the divisor twice",
    ),
    "style with the content's divisor": (
        LAYER + "tf.reduce_sum(d ** 2) / (4 * n_H * n_W * n_C)",
        "of the content cost",
    ),
    "style mean for sum": (LAYER + "tf.reduce_mean(d ** 2) / (4 * n_C ** 2)", "a mean where equation (3) has a sum"),
    "style without square": (LAYER + "tf.reduce_sum(tf.abs(d)) / (4 * n_C ** 2)", "not squared"),
    "style with a root": (LAYER + "tf.sqrt(tf.reduce_sum(d ** 2)) / (4 * n_C ** 2)", "root"),
    "style of activations": (LAYER + "tf.reduce_sum((a_S - a_G) ** 2) / (4 * n_C ** 2)", "compares activations"),
    "style for one size": (
        LAYER.replace("d = ", "d = 0  # ")
        + "tf.reduce_sum((mean_gram_matrix(a_S) * int(tf.size(a_S)) - mean_gram_matrix(a_G) * int(tf.size(a_G)))"
        " ** 2) / (4 * n_C ** 4 * (n_H * n_W) ** 2)",
        "for pictures of one size alone",
    ),
    "content layer in the style": (
        STYLE + f"return sum({J_LAYER}(s, g) for s, g in zip(S, G))",
        "The content layer is among those",
    ),
    "one layer too late": (
        STYLE + f"return sum(w * {J_LAYER}(s, g) for (_, w), s, g in zip(layers, S[1:], G[1:]))",
        "The content layer is among those",
    ),
    "style without weights": (
        STYLE + f"return sum({J_LAYER}(s, g) for s, g in zip(S[:-1], G[:-1]))",
        "weights of STYLE_LAYERS are missing",
    ),
    "style divided by layers": (
        STYLE + f"return sum(w * {J_LAYER}(s, g) for (_, w), s, g in zip(layers, S, G)) / len(layers)",
        "divided by the number of layers",
    ),
    "style of the last layer": (
        STYLE + f"for (_, w), s, g in zip(layers, S, G):\n        J = w * {J_LAYER}(s, g)\n    return J",
        "the last layer alone",
    ),
    "style of the first layer": (
        STYLE + f"for (_, w), s, g in zip(layers, S, G):\n        J += w * {J_LAYER}(s, g)\n        return J",
        "the first layer alone",
    ),
    "alpha and beta exchanged": (TOTAL + "beta * J_content + alpha * J_style", "exchanged"),
    "total with numbers of its own": (TOTAL + "10 * J_content + 40 * J_style", "does not use its arguments"),
    "total without alpha": (TOTAL + "J_content + beta * J_style", "alpha is missing"),
    "step without tape": (
        STEP.replace("with tf.GradientTape() as tape:", "with tf.GradientTape() as tape:\n        pass\n    if True:"),
        "must be computed within the tape",
    ),
    "step that looks too early": (
        STEP.replace("    with tf.Grad", "    a_G = run.look(generated_image)\n    with tf.Grad").replace(
            "        a_G = run.look(generated_image)\n", ""
        ),
        "must stand within the tape",
    ),
    "step without colour": (
        STEP.replace("settings.COLOUR_SMOOTHNESS * J_tv_colour", "0.0"),
        "One of the two smoothness costs is missing",
    ),
    "step with the notebook's smoothness": (
        STEP.replace("settings.SMOOTHNESS", "SMOOTHNESS").replace("settings.COLOUR", "COLOUR"),
        "SMOOTHNESS and COLOUR_SMOOTHNESS are the notebook's",
    ),
    "step with the notebook's weights": (
        STEP.replace("settings.ALPHA", "ALPHA").replace("settings.BETA", "BETA"),
        "ALPHA and BETA are the notebook's",
    ),
    "step with the notebook's layers": (STEP.replace("settings.STYLE_LAYERS", "STYLE_LAYERS[:1]"), "STYLE_LAYERS too"),
    "step without the run's layers": (
        STEP.replace("a_S, a_G, settings.STYLE_LAYERS", "a_S, a_G, [('x', 1.0)] * 5"),
        "hand over run.settings.STYLE_LAYERS",
    ),
    "step with activations exchanged": (
        STEP.replace("content_cost(a_C, a_G)", "content_cost(a_C, a_S)"),
        "run.look saw",
    ),
    "step with another look": (
        STEP.replace("run.look(gen", "tf.keras.Sequential([tf.keras.layers.Dense(9)])(gen"),
        "looked at by run.look",
    ),
    "step with exchanged weights": (
        STEP.replace("settings.ALPHA, b", "settings.BETA, b").replace("beta=settings.BETA", "beta=settings.ALPHA"),
        "are exchanged",
    ),
    "step that returns the objective": (STEP.replace("return J,", "return objective,"), "J is the objective"),
    "step with the pair reversed": (
        STEP.replace("[(gradient, generated_image)]", "[(generated_image, gradient)]"),
        "Each pair is (gradient, variable)",
    ),
    "step with a name that is not there": (STEP.replace("colour(gen", "color(gen"), "no attribute 'color'"),
    "step on J alone": (STEP.replace("tape.gradient(objective", "tape.gradient(J"), "gradient of J alone"),
    "step on the style": (STEP.replace("tape.gradient(objective", "tape.gradient(J_style"), "one cost alone"),
    "step uphill": (STEP.replace("[(gradient,", "[(-gradient,"), "It climbs"),
    "step without clipping": (
        STEP.replace("tf.clip_by_value(generated_image, 0.0, 1.0)", "generated_image"),
        "not clipped",
    ),
    "step on a new variable": (
        STEP.replace("    with tf.Grad", "    generated_image = tf.Variable(generated_image)\n    with tf.Grad"),
        "another variable is changed",
    ),
    "step not applied": (STEP.replace("optimizer.apply_gradients(", "print("), "not given the gradient"),
    "step without optimizer": (
        STEP.replace(
            "optimizer.apply_gradients([(gradient, generated_image)])", "generated_image.assign_sub(gradient)"
        ),
        "without the optimiser",
    ),
    "step without weights": (
        STEP.replace(", alpha=settings.ALPHA, beta=settings.BETA", ""),
        "are not handed to total_cost",
    ),
    "step in another order": (STEP.replace("return J, J_content", "return J_content, J"), "in another order"),
    "step with one cost": (STEP.replace("return J, J_content, J_style", "return J"), "three costs"),
    "step returns nothing": (STEP.replace("return J, J_content, J_style", ""), "It returns nothing"),
    "step by NumPy": (
        STEP.replace("return J, ", "return J.numpy(), "),
        "not in the graph that tf.function makes",
    ),
}
RIGHT = {
    "content by a mean": CONTENT + "tf.reduce_mean(tf.square(a_C - a_G)) / 4",
    "content by tensordot": CONTENT + "tf.tensordot(a_C - a_G, a_C - a_G, 4) / (4 * n_H * n_W * n_C)",
    "gram by einsum": "def gram_matrix(A):\n    A = tf.cast(A, tf.float32)\n    return tf.einsum('ik,jk->ij', A, A)",
    "gram by @": "def gram_matrix(A):\n    A = tf.cast(A, 'float32')\n    return A @ tf.transpose(A)",
    "gram by a loop": "def gram_matrix(A):\n    A = tf.cast(A, tf.float32)\n"
    "    return tf.stack([tf.reduce_sum(A * row, axis=1) for row in tf.unstack(A)])",
    "transposed first": MEAN_GRAM
    + "gram_matrix(tf.reshape(tf.transpose(a, (3, 0, 1, 2)), (n_C, -1))) / tf.cast(n_H * n_W, tf.float32)",
    "style by a mean": LAYER.replace("_, n_H, n_W, n_C = a_G.shape\n", "\n") + "tf.reduce_mean(d ** 2) / 4",
    "style by indices": STYLE
    + f"for i, (_, w) in enumerate(layers):\n        J = J + w * {J_LAYER}(S[i], G[i])\n    return J",
    "total turned round": TOTAL + "beta * J_style + alpha * J_content",
    "step by another name": STEP.replace("gradient = tape.gradient(objective, generated_image)", "").replace(
        "(gradient, ", "(tape.gradient(objective, [generated_image])[0], "
    ),
}


@pytest.fixture
def write(lesson):
    """A function that defines a function of the exercise among those of the lesson, and returns it."""

    def write(source):
        names = dict(lesson)
        run_cell(f"import numpy as np\n{source.strip()}\n", names)
        return names[source.partition("def ")[2].partition("(")[0]]

    return write


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name, write):
    source, words = MISTAKES[name]
    with pytest.raises(nst_utils.CheckError) as error:
        nst_utils.check(write(source))
    assert words in str(error.value)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_written_in_other_ways_pass(name, write, capsys):
    function = write(RIGHT[name])
    nst_utils.check(function)
    assert capsys.readouterr().out == f"{function.__name__} is right.\n"


def test_the_lessons_own_functions_are_right(lesson):
    for name in HINTS:
        nst_utils.check(lesson[name])


def test_what_is_not_written_is_no_mistake(write):
    with pytest.raises(
        nst_utils.CheckError, match=r"^write gram_matrix first\. If you have: the line that raises must"
    ):
        nst_utils.check(write("def gram_matrix(A):\n    raise NotImplementedError('write gram_matrix first')"))


def test_what_is_checked_knows_what_it_calls(write):
    """A mistake further up is not the fault of the function that calls it."""
    divided = GRAM + "tf.matmul(A, A, transpose_b=True) / A.shape[1]\n"
    function = write(f"{STYLE}return {J_LAYER}(S[0], G[0])\n\n{divided}")
    with pytest.raises(nst_utils.CheckError, match=r"^gram_matrix: It divides as well. .* mean_gram_matrix divides"):
        nst_utils.check(function)
    function = write(RIGHT["transposed first"] + "\n\n" + GRAM + "A * A")
    with pytest.raises(nst_utils.CheckError, match=r"^gram_matrix: It multiplies entry by entry"):
        nst_utils.check(function)
    with pytest.raises(nst_utils.CheckError, match="There is no check of print. There are checks of compute_content"):
        nst_utils.check(print)


def test_what_works_alone_and_not_in_a_graph_is_said_of_each_argument(write):
    for lengths in ("tf.shape(a).numpy()", "a.numpy().shape"):
        source = MEAN_GRAM.replace("n_C = a.shape", f"n_C = {lengths}")
        answer = "gram_matrix(tf.transpose(tf.reshape(a, (-1, n_C)))) / (n_H * n_W)"
        with pytest.raises(
            nst_utils.CheckError, match="It is right alone, but not in the graph that tf.function makes"
        ):
            nst_utils.check(write(source + answer))


def test_what_comes_of_names_of_the_notebook_is_said(write):
    with pytest.raises(nst_utils.CheckError, match="go through the equation, and see whether it uses its arguments"):
        nst_utils.check(write(TOTAL + "ALPHA * J_content + BETA * J_style"))
    with pytest.raises(nst_utils.CheckError, match="(?s)mixed types.*each weight comes in a pair with a name"):
        nst_utils.check(
            write(STYLE + "return sum(w * compute_layer_style_cost(a, b) for w, a, b in zip(layers, S, G))")
        )
    with pytest.raises(nst_utils.CheckError, match="(?s)same dtype.*Lengths from a.shape are numbers"):
        nst_utils.check(write(CONTENT + "tf.reduce_sum((a_C - a_G) ** 2) / (4 * tf.size(a_C))"))


def test_a_hint_on_shapes_belongs_to_an_error_on_shapes(write):
    for answer in ("gram_matrix(a.shape())", "gram_matrix(a.reshape(3, 4))", "a[0, 0, 0, 0, 0, 0]"):
        with pytest.raises(nst_utils.CheckError) as error:
            nst_utils.check(write(MEAN_GRAM + answer))
        assert "gram_matrix wants" not in str(error.value), answer
    with pytest.raises(nst_utils.CheckError, match="In train_step, .*(?s:.)*An image has the shape .1, H, W, 3."):
        nst_utils.check(write(STEP.replace("run.look(generated_image)", "run.look(generated_image[0])")))


def test_no_message_gives_the_answer_away(lesson):
    for trials in COSTS.values():
        for trial in trials(lesson):
            for message in (*trial.mistakes, trial.fails):
                assert "tf." not in message
                assert "transpose_b" not in message


# ---- the notebook


def test_the_exercise_is_made_from_the_lesson():
    assert nbformat.read(EXERCISE, as_version=4) == make(), "run python scripts/authors/make_exercise.py"


def test_every_answer_is_left_out():
    lesson, cells = Lesson(), make().cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert code.count("# YOUR CODE HERE") == len(HINTS) == code.count("nst_utils.check(")
    for line in (
        "(a_C - a_G) ** 2",
        "transpose_b",
        "tf.transpose(",
        "difference ** 2",
        "weight * ",
        "alpha * J",
        "tape",
    ):
        assert line in "\n".join(source for source, _ in lesson.cells)
        assert line not in code


def test_what_is_not_written_is_said_and_what_is_written_paints(folder, lesson):
    """The training cell paints with the student's own functions, in the exercise as in the lesson."""
    exercise = Lesson(EXERCISE)
    small = SETTINGS | {"EPOCHS": 2, "OUTPUT_DIR": str(folder)}
    with pytest.raises(nst_utils.RunError, match="^write mean_gram_matrix first$"):
        exercise.run(small)
    assert not folder.exists()
    blanks = {
        name: index for index, (source, _) in enumerate(exercise.cells) for name in HINTS if f"def {name}(" in source
    }
    answers = {name: inspect.getsource(lesson[name]) for name in HINTS}
    for name, index in list(blanks.items())[:-1]:
        exercise.cells[index] = answers[name], set()
    with pytest.raises(nst_utils.RunError, match="^write train_step first$"):
        exercise.run(small)
    exercise.cells[blanks["train_step"]] = answers["train_step"], set()
    assert exercise.run(small)["run"].state == "finished"


# ---- errors within a lesson's functions


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "tf.matmul(A, A, transpose_b=True)",
            "tf.matmul(A, A)",
            r"In gram_matrix, line 11 .*tf.matmul\(A, A\).*At hand: A \(",
        ),
        (
            "return tf.cast(alpha",
            "tf.cast(alpha",
            r"In train_step, line \d+ .*objective = .*At hand: J None.*returns nothing",
        ),
    ],
)
def test_an_error_is_shown_at_the_readers_own_line(old, new, said, folder):
    lesson = Lesson()
    lesson.cells = [(source.replace(old, new), tags) for source, tags in lesson.cells]
    with pytest.raises(nst_utils.RunError, match=f"(?s){said}") as error:
        lesson.run(SETTINGS | {"EPOCHS": 1, "OUTPUT_DIR": str(folder)})
    assert str(error.value).count("\n") <= 5


@pytest.mark.parametrize("name", ["total_cost", "train_step"])
def test_a_function_of_tf_function_is_checked_too(lesson, capsys, name):
    nst_utils.check(tf.function(lesson[name]))
    assert capsys.readouterr().out == f"{name} is right.\n"
