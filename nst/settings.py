"""Everything that a reader can turn: one table, from which reading, converting and checking follow."""

import ast
import difflib
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nst.errors import SettingsError
from nst.lesson import ENVIRON
from nst.vgg19 import check_layer_name

STARTS = ("content", "noise", "style")  # INIT, or else the path of a picture


class Setting(NamedTuple):
    """kind: type of the value, or types. does: for the README. allowed: what is said when works(value) is false."""

    kind: type | tuple
    does: str
    allowed: str = ""
    works: Callable = lambda value: True


def _whole(does, what, least, most=sys.maxsize, zero=False):
    allowed = f"{'0, or ' * zero}a whole number{what}, {least} or more"
    if most < sys.maxsize:
        allowed = f"a whole number{what}, {least} to {most}"
    return Setting(int, does, allowed, lambda value: least <= value <= most or (zero and value == 0))


def _weight(does):
    return Setting(float, does, "a finite number, 0 or more", _is_weight)


def _is_weight(value):
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _text(does):
    return Setting(str, does, "a text in quotes that is not empty", bool)


def _are_weighted(value, is_name):
    if not value or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in value):
        return False
    return all(is_name(name) and _is_weight(weight) for name, weight in value) and any(weight for _, weight in value)


def _are_layers(value):
    return _are_weighted(value, _is_layer)


def _are_pictures(value):
    return bool(value) if isinstance(value, str) else _are_weighted(value, lambda path: path and type(path) is str)


def _is_start(value):
    return value in STARTS or bool(Path(value).suffix)


def _is_layer(name):
    check_layer_name(name)
    return True


def _are_sizes(value):
    in_order = all(small < large for small, large in itertools.pairwise(value))
    return in_order and all(type(size) is int and 32 <= size <= 20_000 for size in value)


def _is_free(folder):
    return not folder or not Path(folder).exists() or (Path(folder).is_dir() and not any(Path(folder).iterdir()))


SETTINGS = {
    "CONTENT_IMAGE": _text("what to paint"),
    "STYLE_IMAGE": Setting(
        (str, list),
        "how to paint it: a picture, or a list of (picture, weight) to mix several; the weights' ratios count",
        'a text in quotes that is not empty, or a list of (picture, weight), e.g. [("a.jpg", 3), ("b.jpg", 1)], with '
        "weights that are finite and 0 or more, at least one above 0",
        _are_pictures,
    ),
    "IMAGE_SIZE": _whole("long side of the picture, in pixels", " of pixels", 32, 20_000),
    "EPOCHS": _whole(
        "steps of the optimiser at the first, smallest size; each further size gets half of those of the one before, "
        "but not less than 20 (or `EPOCHS`, if that is less)",
        "",
        1,
    ),
    "ALPHA": _weight("weight of the content cost"),
    "BETA": _weight("weight of the style cost"),
    "CONTENT_LAYER": Setting(
        str, "layer whose activations are the content; an earlier one keeps more detail", "a layer's name", _is_layer
    ),
    "STYLE_LAYERS": Setting(
        list,
        "list of (layer, weight); early layers are fine strokes and colour, late ones large shapes",
        'a list of (layer name, weight), e.g. [("block1_conv1", 0.5), ("block2_conv1", 0.5)], with weights that are '
        "finite and 0 or more, at least one above 0",
        _are_layers,
    ),
    "WEIGHTS": Setting(
        str,
        '`"imagenet"`, `"standin"`, `"auto"` (the first if it can be had, else the second) or a path to a Keras VGG19 '
        "`.h5` without top",
        '"auto", "imagenet", "standin" or the path of a .h5 file',
        lambda value: value in ("auto", "imagenet", "standin") or value.endswith(".h5"),
    ),
    "SIZES": Setting(
        list,
        "sizes to go through, from coarse to fine, such as `[300, 600, 1200]`, of which the last counts as "
        "`IMAGE_SIZE`; `[]` begins with 142 to 200 and grows by √2 up to `IMAGE_SIZE`, if that is larger",
        "[] or whole numbers of pixels, 32 to 20000, each larger than the one before, e.g. [300, 600, 1200]",
        _are_sizes,
    ),
    "INIT": Setting(
        str,
        'what the picture begins as: `"content"`, `"noise"`, `"style"` (the first style image) or a picture; the last '
        "two are cut to the photo's shape",
        '"content", "noise", "style" or the path of a picture',
        _is_start,
    ),
    "SEED": _whole("of the noise; the same seed gives the same picture", "", 0),
    "STROKE_SIZE": Setting(
        float,
        "size of the style image beside the picture's: `0.5` paints with fine strokes, `2` with broad ones",
        "a number from 0.1 to 10",
        lambda value: 0.1 <= value <= 10,
    ),
    "KEEP_COLOURS": Setting(
        str,
        'keeps the photo\'s colours: `"luminance"` takes light and dark alone from the painting, `"match"` gives the '
        'style image the photo\'s palette first; `""` does not',
        '"", "luminance" or "match"',
        ("", "luminance", "match").__contains__,
    ),
    "STYLE_MASKS": Setting(
        list,
        "list of one picture per style image, of the photo's proportions, white where that style paints; weights in "
        "`STYLE_IMAGE` do not count then, and where no mask is white the photo stays; `[]` for none",
        "a list of pictures, one per style image, or []",
        lambda value: all(isinstance(path, str) and path for path in value),
    ),
    "LEARNING_RATE": Setting(
        float,
        "of the first step at the first size, in units of the range from black to white, and 0.4 of it at each further "
        "size; it falls to 0 along a cosine",
        "a number above 0, at most 1",
        lambda value: 0 < value <= 1,
    ),
    "SMOOTHNESS": _weight("weight of the difference between neighbouring pixels"),
    "COLOUR_SMOOTHNESS": _weight("the same for their colours alone, light and dark left out"),
    "POOLING": Setting(
        str,
        'between the blocks of VGG19: `"max"`, as it was trained, or `"average"`',
        '"max" or "average"',
        ("max", "average").__contains__,
    ),
    "NORMALISE_ACTIVATIONS": Setting(
        bool, "mean activation of each layer set to one; `False` for the course's raw numbers"
    ),
    "PRECISION": Setting(
        str,
        '`"float32"`, `"bfloat16"`, or the faster of the two',
        '"auto", "float32" or "bfloat16"',
        ("auto", "float32", "bfloat16").__contains__,
    ),
    "TILE": _whole(
        "side of the tiles in which a large picture is looked at, in pixels; `0` takes tiles, of at most 1024, where "
        "the whole does not fit into the free memory (not on a GPU, where memory is not checked)",
        " of pixels",
        64,
        zero=True,
    ),
    "SAVE_EVERY": _whole("epochs between two snapshots", " of epochs", 1),
    "OUTPUT_DIR": Setting(
        str,
        'folder of the run, which must be empty or new; `""` takes the next free `output/<content>-<style>-<NNN>`',
        'a folder that is empty or new, since nothing is ever overwritten, or "" for a new one each time',
        _is_free,
    ),
    "RESUME": Setting(str, "folder of a stopped run, to continue it with its own settings"),
}
_KINDS = {str: "a text in quotes", bool: "True or False", int: "a whole number", float: "a number", list: "a list"}
_TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def read_settings(namespace, environ=None):
    """Return the settings of a namespace as they are now, or as an environment variable NST_<NAME> has them.

    Args:
        namespace: dict that holds them, such as globals().
        environ: dict of environment variables; when None that of the program that runs the lesson, or os.environ.

    Returns:
        dict of all settings, each of its own type. What the environment changes is printed.

    Raises:
        SettingsError: missing or misspelt, unknown NST_ name, or a value that cannot work.
    """
    environ = namespace.get(ENVIRON) if environ is None else environ
    environ = os.environ if environ is None else environ
    for name in SETTINGS:
        if name not in namespace:
            near = difflib.get_close_matches(name, [n for n in namespace if n.isupper() and n not in SETTINGS], n=1)
            hint = f"{near[0]} is no setting: write {name}." if near else "Run the cells with the settings."
            raise SettingsError(f"{name} is missing. {hint}")
    settings = with_environment({name: namespace[name] for name in SETTINGS}, environ)
    settings = check_settings(settings)
    if settings["SIZES"] and settings["IMAGE_SIZE"] != settings["SIZES"][-1]:
        settings["IMAGE_SIZE"] = settings["SIZES"][-1]
        print(f"IMAGE_SIZE = {settings['IMAGE_SIZE']} (the last of SIZES)")
    return settings


def with_environment(settings, environ):
    """Return settings with the values of NST_ variables in place of theirs, and print these.

    Raises:
        SettingsError: unknown NST_ name, or a value that does not convert.
    """
    settings = dict(settings)
    for variable in sorted(name for name in environ if name.startswith("NST_")):
        name = variable.removeprefix("NST_")
        if name not in SETTINGS:
            allowed = ", ".join(f"NST_{known}" for known in SETTINGS)
            raise SettingsError(f"{variable} is no setting of this notebook. Allowed are: {allowed}.")
        settings[name] = _from_text(name, environ[variable])
        print(f"{name} = {settings[name]!r} (from {variable})")
    return settings


def _from_text(name, text):
    """Return the value of an environment variable as one of its setting's kind."""
    kind = SETTINGS[name].kind
    if type(kind) is tuple:  # a list, or else a text
        kind = list if text.lstrip().startswith("[") else str
    try:
        if kind is bool:
            return _TRUTHS[text.strip().lower()]
        return list(ast.literal_eval(text)) if kind is list else kind(text)
    except (ValueError, SyntaxError, TypeError, KeyError):
        allowed = SETTINGS[name].allowed if kind is list else _KINDS[kind]
        raise SettingsError(f"NST_{name}={text!r} does not convert. It must be {allowed}.") from None


def check_settings(settings):
    """Return settings with whole numbers as numbers where these do, and ~ as the home folder.

    Args:
        settings: dict of all settings.

    Raises:
        SettingsError: a value that cannot work; the message names the setting, its value and what is allowed.
    """
    checked = {}
    for name, value in settings.items():
        kind, _, allowed, works = SETTINGS[name]
        if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        if type(value) not in (kind if type(kind) is tuple else (kind,)):
            raise SettingsError(f"{name} = {value!r} cannot work: it must be {allowed or _KINDS[kind]}.")
        value = _expand_home(value)
        try:
            fine = works(value)
        except SettingsError as error:
            raise SettingsError(f"{name} cannot work: {error}") from None
        except (TypeError, OSError):  # a name too long for a folder, or one that must not be looked into
            fine = False
        if not fine:
            raise SettingsError(f"{name} = {value!r} cannot work: it must be {allowed}.")
        checked[name] = value
    styles, masks = len(style_pictures(checked["STYLE_IMAGE"])), len(checked["STYLE_MASKS"])
    if masks not in (0, styles):
        raise SettingsError(f"STYLE_MASKS has {masks} masks and STYLE_IMAGE {styles} pictures: give one for each.")
    if checked["ALPHA"] == checked["BETA"] == 0:
        raise SettingsError("ALPHA = BETA = 0 leaves nothing to minimise: give at least one of them a value above 0.")
    return checked


def _expand_home(value):
    """Return a copy of a value, a list's entries too, in which texts that begin with ~ name the home folder."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_expand_home, value))
    return os.path.expanduser(value) if isinstance(value, str) else value


def style_pictures(style_image):
    """Return STYLE_IMAGE, a path or a list of (path, weight), as such a list with weights that add up to 1."""
    pictures = [(style_image, 1.0)] if isinstance(style_image, str) else style_image
    largest = max(weight for _, weight in pictures)  # first, so that the sum of weights is finite
    total = sum(weight / largest for _, weight in pictures)
    return [(path, weight / largest / total) for path, weight in pictures]
