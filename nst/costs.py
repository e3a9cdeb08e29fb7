"""What a lesson hands over to a run, and its costs: each a finite number that a picture changes, or a sentence."""

import inspect
import math
import numbers

from nst.backend import keras, tf
from nst.errors import RunError

WEIGHTS = ("ALPHA", "BETA", "SMOOTHNESS", "COLOUR_SMOOTHNESS")
FAR_OUTSIDE = 2.0  # values of a picture, which are between 0 and 1 when it is shown
ENORMOUS = 1e6  # a weight from which on it is the likely cause, not a function


def as_numbers(costs, history):
    """Return a dict of name to float of costs.

    Args:
        costs: dict of name to scalar, the sum of the others first: of these is told first what is wrong.
        history: list of rows of the epochs before.

    Raises:
        RunError: one is None, or more than one number, or the names are not those of before.
    """
    if taken := {"epoch", "seconds"} & costs.keys():
        raise RunError(f"run.record counts by itself: leave {' and '.join(sorted(taken))} out.")
    if history and (before := costs_of(history[-1])).keys() != costs.keys():
        raise RunError(f"run.record gets {', '.join(costs)}, and got {', '.join(before)} in the epoch before.")
    found = {name: _as_number(name, cost) for name, cost in reversed(costs.items())}
    return {name: found[name] for name in costs}


def _as_number(name, cost):
    if cost is None:
        raise RunError(f"{name} is None: the function that computes it returns nothing.")
    try:
        return float(cost)
    except (TypeError, ValueError):
        shape = getattr(cost, "shape", type(cost).__name__)
        raise RunError(f"{name} must be one number, and is {shape}: add it up in its function.") from None


def check_function(function, arguments, name):
    """Look whether what a lesson hands over under a name is a function of so many arguments. RunError: it is not."""
    if isinstance(function, keras.Model):
        raise RunError("Run takes the function that makes the network, such as load_network, not what it returns.")
    if not callable(function):
        raise RunError(f"{name} must be a function: leave the brackets after its name away.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one that Python knows nothing of
        return
    try:
        signature.bind(*range(arguments))
    except TypeError as error:
        many = f"{arguments or 'no'} argument{'s' * (arguments != 1)}"
        raise RunError(f"{name} must be a function of {many} ({error}): see functools.partial.") from None


def check_network(make, settings):
    """Return the network that a lesson's function makes of settings. RunError: it is none."""
    network, name = make(settings), getattr(make, "__name__", "load_network")
    if not isinstance(network, keras.Model) or not hasattr(network, "weights_name"):
        raise RunError(f"{name} returned {type(network).__name__}: it must return what get_layer_outputs returns.")
    return network


@tf.autograph.experimental.do_not_convert
def check_image(image):
    """Look whether what is to be looked at has the shape of an image. RunError: it has not."""
    shape = getattr(image, "shape", ())
    if len(shape) != 4:
        found = f"this one {tuple(shape)}" if shape else f"this is a {type(image).__name__}"
        raise RunError(f"An image has the shape (1, H, W, 3), and {found}.")
    largest = float(tf.reduce_max(tf.abs(image))) if tf.executing_eagerly() else 0.0
    if largest > FAR_OUTSIDE:
        raise RunError(f"An image has values from 0 to 1, and this one as large as {largest:.0f}: it is prepared here.")


def check_plan(plan, name):
    """Look whether a plan is a list of (size, epochs), whole numbers; name is the function's. RunError: it is not."""
    pairs = plan if isinstance(plan, (list, tuple)) and plan else [None]
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs) or not all(
        isinstance(number, numbers.Integral) and number > 0 for pair in pairs for number in pair
    ):
        raise RunError(f"{name} returns {plan}: it must return a list of (size, epochs), whole numbers above 0.")


def check_trained(variables, optimizer, picture, shape):
    """Look whether what a lesson wants to train can be trained, and return the function that makes an image of it.

    picture is that function, or None for a single variable that is the image; shape is what it must have.

    Raises:
        RunError: a variable is none, there is no optimizer, or picture() returns something else.
    """
    if not all(isinstance(variable, tf.Variable) for variable in variables):
        raise RunError("What is painted must be a tf.Variable: generated_image = tf.Variable(size.start).")
    if not any(variable.trainable for variable in variables):
        raise RunError("What is painted cannot be trained: leave trainable=False away.")
    if isinstance(optimizer, type) or not isinstance(getattr(optimizer, "variables", None), (list, tuple)):
        what = optimizer if isinstance(optimizer, (type, str)) else type(optimizer).__name__
        raise RunError(f"The optimizer is {what}: its function must return one, as tf.keras.optimizers.Adam().")
    if picture is None:
        if sum(variable.trainable for variable in variables) > 1:
            raise RunError("Of several variables the third argument of run.epochs makes the picture: a function.")
        picture = lambda: tf.convert_to_tensor(variables[0])  # noqa: E731
    name = getattr(getattr(picture, "func", picture), "__name__", "picture").replace("<lambda>", "picture")
    check_function(picture, 0, name)
    if (found := getattr(image := picture(), "shape", None)) != shape:
        what = f"an image of shape {tuple(found)}" if found else type(image).__name__
        raise RunError(f"{name} returns {what}: it must return an image of shape {tuple(shape)}.")
    if (largest := float(tf.reduce_max(tf.abs(image)))) > FAR_OUTSIDE:
        raise RunError(f"{name} has values as large as {largest:.0f}, and those of an image go from 0 to 1.")
    return picture


def unmoved(history):
    """Return a sentence on the costs that the first step has left as they were, if there are any."""
    first, second = history[:2]
    names = [name for name, cost in costs_of(first).items() if second[name] == cost]
    if len(names) == len(costs_of(first)):
        return "The first step has changed no cost: the picture stays as it is. Is the optimizer given the gradient?"
    return names and (
        f"The first step has not changed {', '.join(names)}: nothing is left to improve, or what computes it does not "
        "look at the generated image."
    )


def not_finite(costs, settings, epoch, kept):
    """Return the error of an epoch in which a cost or the picture is not finite.

    Args:
        costs: dict of name to value.
        settings: Settings.
        epoch: its number.
        kept: epochs after which the picture is kept, 0 for none.
    """
    wrong = [name for name, cost in costs.items() if not math.isfinite(cost)] or ["the picture"]
    weights = {name: settings[name] for name in WEIGHTS if name in settings}
    name = max(weights, key=weights.get, default="")
    likely = f"Look at the function of {wrong[-1]}" if wrong[-1] in costs else "Look at the functions of the costs"
    likely += ": a division by 0, a logarithm of 0, or a root of 0, whose slope is not finite."
    if weights.get(name, 0.0) > ENORMOUS:
        likely = f"The likely cause is {name} = {weights[name]:g}, which outweighs the others: lower it."
    picture = f" The picture is that after epoch {kept} again." if kept else ""
    return RunError(f"In epoch {epoch} not finite: {', '.join(wrong)}. {likely}{picture}")


def costs_of(row):
    """Return a dict of name to value of the costs in a row of a run's history."""
    return {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
