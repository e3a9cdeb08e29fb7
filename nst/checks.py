"""Checks of exercise.ipynb: what is wrong with a function is said by the mistake that gives the same numbers."""

import contextlib
import functools
import inspect
import io
import re

import numpy as np

from nst.backend import tf
from nst.blame import own_error
from nst.errors import CheckError
from nst.lesson import Lesson
from nst.mistakes import COSTS
from nst.toy_step import ToyRun, step_mistakes

NEEDS = {  # in the lesson's order: which others a function calls
    "compute_content_cost": [],
    "gram_matrix": [],
    "mean_gram_matrix": ["gram_matrix"],
    "compute_layer_style_cost": ["mean_gram_matrix"],
    "compute_style_cost": ["compute_layer_style_cost"],
    "total_cost": [],
    "train_step": ["compute_content_cost", "compute_style_cost", "total_cost"],
}
VALUE = (
    "It returns {}, through which no gradient flows back to the picture: compute with TensorFlow from beginning to "
    "end, without float(), .numpy() or NumPy."
)
# what a hint on shapes is for, in an error
SHAPES = (
    r"\b[Ss]hapes?\b(?!')|imensions|ncompatible|not enough values|mixed types|Cannot convert '|No gradients|None values"
)
STEP_HINTS = (
    (
        "No gradients|None values",
        "Without a gradient there is no step: the costs must be computed within the tape, from generated_image.",
    ),
    (r"zip\(\)", "The layers are the run's: hand over run.settings.STYLE_LAYERS."),
    (r"\b[Ss]hapes\b|imensions|ncompatible", "a_C and a_S are what run.look saw of the photo and of the painting."),
)
RATE = 0.02  # of the step that is tried: far enough for some pixels to leave the range from 0 to 1


def check(function):
    """Say that a function of the exercise is right, or what is wrong with it.

    It is tried on small random activations beside the lesson's own. What it calls is checked first.

    Args:
        function: one of those that exercise.ipynb leaves to you, such as gram_matrix.

    Raises:
        CheckError: it is not right yet: the mistake in a sentence, with a hint.
    """
    function = inspect.unwrap(function) if callable(function) else function  # of a decorator, such as tf.function
    name = getattr(function, "__name__", repr(function))
    if name not in NEEDS:
        raise CheckError(f"There is no check of {name}. There are checks of {', '.join(NEEDS)}.")
    _check(name, function.__globals__ | {name: function})
    print(f"{name} is right.")


def _check(name, namespace):
    for needed in NEEDS[name]:
        _check(needed, namespace)
    try:
        _check_step(namespace) if name == "train_step" else _check_cost(name, namespace)
    except CheckError as error:
        named = re.search(rf"\b{name}\b", str(error))
        raise CheckError(str(error) if named else f"{name}: {error}") from None


@functools.cache
def _right():
    """Return the lesson's own functions, a dict."""
    with contextlib.redirect_stdout(io.StringIO()):
        return Lesson().run(train=False)


def _call(function, arguments, hints=()):
    """Return what a function returns, or raise what its failure means; hints are pairs of a pattern and a text."""
    try:
        return function(*arguments)
    except NotImplementedError as error:
        if "write " not in str(error):
            raise CheckError(str(own_error(error) or error)) from None
        first = str(error).strip().splitlines()[-1].removeprefix("NotImplementedError: ").strip()
        raise CheckError(f"{first}. If you have: the line that raises must go, and the cell be run again.") from None
    except Exception as error:
        text = str(own_error(error) or f"{type(error).__name__}: {error}")
        said = text.partition("\n    ")[2].partition("\n")[2] or text  # without the line of the cell
        hints = hints[:1] if "optimizer.apply" in text else hints  # which has others of its own
        found = [hint for pattern, hint in hints if hint and re.search(pattern, said.partition("\n")[0])]
        raise CheckError("\n".join([text, *found])) from None


def _check_cost(name, namespace):
    function, right = namespace.get(name), _right()
    if function is None:
        raise CheckError("It is not there: run its cell.")
    trials = list(COSTS[name](right))
    for trial in trials:
        arguments = trial.arguments
        tensors = [tensor for tensor in tf.nest.flatten(arguments) if tf.is_tensor(tensor)]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            answer = _call(function, arguments, [(SHAPES, trial.fails)])
        _compare(answer, right[name](*arguments), trial.mistakes)
        gradients = [gradient for gradient in tape.gradient(answer, tensors) if gradient is not None]
        if not gradients:
            raise CheckError(VALUE.format("what was taken out of TensorFlow on the way"))
        if not all(np.isfinite(tf.cast(gradient, tf.float32)).all() for gradient in gradients):
            raise CheckError(
                "Its gradient is not finite where both pictures agree, which is where the painting begins: a root has "
                "an infinite slope at 0."
            )
    for trial in trials:
        _call_in_graph(function, trial.arguments)


def _call_in_graph(function, arguments):
    try:
        return _call(tf.function(function), arguments)
    except CheckError as error:
        raise CheckError(
            f"It is right alone, but not in the graph that tf.function makes of a step.\n{error}"
        ) from None


def _compare(answer, right, mistakes):
    """Raise what is wrong with an answer, by the mistake that gives the same."""
    if answer is None:
        raise CheckError("It returns nothing. Its last line must return what it has computed.")
    if not hasattr(answer, "__array__") and not isinstance(answer, (int, float)):
        raise CheckError(f"It returns a {type(answer).__name__}, and should return one tensor.")
    if tf.is_tensor(answer) and answer.dtype != right.dtype:
        few = "16 bits are too few for a long sum, so cast what comes in first"
        why = few if answer.dtype.size == 2 else f"tf.cast(…, tf.{right.dtype.name})"
        raise CheckError(f"It returns {answer.dtype.name}, and should return {right.dtype.name}: {why}.")
    same = functools.partial(_same, np.asarray(answer, np.float32))
    if not same(right):
        for message, answers in mistakes.items():
            if any(same(wrong) for wrong in answers):
                raise CheckError(message)
        raise CheckError(_unlike(np.asarray(answer, np.float32), right.numpy()))
    if not tf.is_tensor(answer):
        raise CheckError(VALUE.format("a value of Python or NumPy"))


def _same(answer, other):
    other = np.asarray(other, np.float32)
    return answer.shape == other.shape and np.allclose(answer, other, rtol=1e-4, atol=1e-7)


def _unlike(answer, right):
    """Return how an answer differs that no known mistake gives."""
    if answer.shape != right.shape:
        return f"It returns the shape {answer.shape}, and should return {right.shape}."
    if not answer.any():
        return "It is 0 also where it should not be: does it look at both pictures?"
    if np.allclose(answer, -right, rtol=1e-4):
        return "Its sign is wrong."
    with np.errstate(all="ignore"):
        factor = answer.sum() / right.sum()
        simple = any(abs(f - np.round(f)) < 1e-5 * f for f in (factor, 1 / factor))  # any two numbers have a factor
    if (right.ndim or simple) and np.allclose(answer, factor * right, rtol=1e-4):
        return (
            f"It returns {factor:.4g} times what it should: look at the factors and the divisor of the equation, and "
            "whether it uses its arguments alone."
        )
    return (
        f"It returns {answer.ravel()[0]:.4g} where it should return {right.ravel()[0]:.4g}: go through the equation, "
        "and see whether it uses its arguments alone."
    )


def _check_step(namespace):
    function, right = namespace["train_step"], _right()
    run = ToyRun(right)
    wrong, wrong_costs, costs = step_mistakes(right, run, RATE, namespace)
    expected, _, _ = _step(right["train_step"], run)
    picture, answer, optimizer = _step(function, run)
    if answer is None:
        raise CheckError("It returns nothing. The training records J, J_content and J_style.")
    if not isinstance(answer, (list, tuple)) or len(answer) != 3:
        raise CheckError("It should return three costs: J, J_content and J_style.")
    for name, cost, own in zip(("J", "J_content", "J_style"), costs, answer, strict=True):
        if own is None or not _same(np.asarray(own, np.float32), cost):
            raise CheckError(_wrong_cost(name, own, costs, wrong_costs))
    if _same(picture, run.start):
        if optimizer.iterations == 0:
            raise CheckError("The picture stays as it is: the optimiser is not given the gradient.")
        raise CheckError(
            "The picture stays as it is, because another variable is changed. No new one is needed: generated_image "
            "gets its new values by assign."
        )
    if optimizer.iterations == 0:
        raise CheckError("The picture is changed without the optimiser, which knows how large a step should be.")
    if picture.min() < 0.0 or picture.max() > 1.0:
        raise CheckError(
            "Pixels are not clipped: some have left the range from 0 to 1. That is done after the optimiser's step, "
            "and the result is assigned."
        )
    for message, pictures in wrong.items():
        if any(_same(picture, one) for one in pictures):
            raise CheckError(message)
    if not np.allclose(picture, expected, atol=1e-5):
        raise CheckError("The picture changes, but not against the gradient of the objective by its pixels.")
    _call_in_graph(function, (run, tf.Variable(run.start), run.a_C, run.a_S, tf.keras.optimizers.SGD(RATE)))


def _step(function, run):
    """Return the picture after a step, what the step returns, and the optimizer."""
    variable, optimizer = tf.Variable(run.start), tf.keras.optimizers.SGD(RATE)
    try:
        answer = _call(function, (run, variable, run.a_C, run.a_S, optimizer), STEP_HINTS)
    except CheckError:
        if "look" in function.__code__.co_names:
            raise
        raise CheckError(
            "The picture is looked at by run.look, whose network, tiles and masks are the run's."
        ) from None
    return variable.numpy(), answer, optimizer


def _wrong_cost(name, own, costs, wrong):
    """Return what is wrong with a cost that a step returns."""
    own = np.asarray(np.nan if own is None else own, np.float32)
    if any(_same(own, cost) for cost in costs):
        return "It returns the costs in another order: J, J_content, J_style."
    for message, values in wrong.items():
        if name == "J" and any(_same(own, value) for value in values):
            return message
    of = {"J": "total_cost", "J_content": "compute_content_cost", "J_style": "compute_style_cost"}[name]
    return (
        f"{name} is not what {of} gives for what run.look sees before the step: look at what it is handed. All "
        "weights, STYLE_LAYERS too, are in run.settings."
    )
