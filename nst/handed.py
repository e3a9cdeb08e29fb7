"""What a lesson hands over to a run (functions, variables, images): looked at before it fails where nobody looks."""

import inspect
import numbers

from nst.backend import keras, tf
from nst.errors import RunError

FAR_OUTSIDE = 2.0  # values of a picture, which are between 0 and 1 when it is shown


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
    if tf.executing_eagerly():
        _check_range(image, "What is looked at (run.look prepares it)")


def check_styles(images, parts):
    """Look whether images are a list with one for each style image, as parts are. RunError: they are not."""
    if not isinstance(images, (list, tuple)) or len(images) != len(parts):
        raise RunError("look_at_style takes the list of all style images, size.style_images.")


def _check_range(image, name):
    largest = float(tf.reduce_max(tf.abs(image)))
    if largest > FAR_OUTSIDE:
        raise RunError(f"{name} has values as large as {largest:.0f}, and those of an image go from 0 to 1.")


def check_plan(make, settings, shapes):
    """Return the list of (size, epochs) that a lesson's function makes of settings. RunError: it is none."""
    plan, name = make(settings, shapes), getattr(make, "__name__", "plan")
    pairs = plan if isinstance(plan, (list, tuple)) and plan else [None]
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs) or not all(
        isinstance(number, numbers.Integral) and number > 0 for pair in pairs for number in pair
    ):
        raise RunError(f"{name} returns {plan}: it must return a list of (size, epochs), whole numbers above 0.")
    return plan


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
    _check_range(image, name)
    return picture
