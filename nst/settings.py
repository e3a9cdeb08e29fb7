"""Everything that a reader can turn: one table, and one function that decides which value counts."""

import ast
import difflib
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nst.context import current
from nst.errors import SettingsError
from nst.layers import check_layer_name

STARTS = ("content", "noise", "style")  # INIT, or else the path of a picture
KINDS = {str: "a text in quotes", bool: "True or False", int: "a whole number", float: "a number", list: "a list"}
TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Setting(NamedTuple):
    """A line of the table.

    default: what counts where a lesson does not have the setting, or did not have it when a record was written.
    allowed: what is said when works(value) is false. kinds: types of the value; that of the default when empty.
    """

    default: Any
    allowed: str = ""
    works: Callable = lambda value: True
    kinds: tuple = ()


def whole_number(default, least, most=sys.maxsize, of="", or_zero=False):
    """Return the Setting of a whole number, from the least to the most, of pixels, say."""
    bounds = f"{least} to {most}" if most < sys.maxsize else f"{least} or more"
    allowed = f"{'0, or ' * or_zero}a whole number{' of ' * bool(of)}{of}, {bounds}"
    return Setting(default, allowed, lambda value: least <= value <= most or (or_zero and value == 0))


def weight(default):
    """Return the Setting of a finite number that is not negative."""
    return Setting(default, "a finite number, 0 or more", _is_weight)


def share(default):
    """Return the Setting of a number from 0 to 1."""
    return Setting(default, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def choice(default, *others):
    """Return the Setting of one of some texts."""
    texts = [f'"{text}"' for text in (default, *others)]
    return Setting(default, f"{', '.join(texts[:-1])} or {texts[-1]}", (default, *others).__contains__)


def text(default):
    """Return the Setting of a text that is not empty."""
    return Setting(default, "a text in quotes that is not empty", bool)


def pictures():
    """Return the Setting of a list of paths."""
    allowed = "a list of pictures, one per style image, or []"
    return Setting([], allowed, lambda value: all(type(path) is str and path for path in value))


def _is_weight(value):
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _are_weighted(value, is_name):
    if not value or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return False
    return all(is_name(name) and _is_weight(weight) for name, weight in value) and any(weight for _, weight in value)


def _are_layers(value):
    return _are_weighted(value, _is_layer)


def _is_layer(name):
    check_layer_name(name)
    return True


def _are_pictures(value):
    return bool(value) if isinstance(value, str) else _are_weighted(value, lambda path: path and type(path) is str)


def _are_sizes(value):
    in_order = all(small < large for small, large in itertools.pairwise(value))
    return in_order and all(type(size) is int and 32 <= size <= 20_000 for size in value)


def _is_start(value):
    return value in STARTS or bool(Path(value).suffix) or Path(value).is_file()


def _is_free(folder):
    return not folder or not Path(folder).exists() or (Path(folder).is_dir() and not any(Path(folder).iterdir()))


SETTINGS = {
    "CONTENT_IMAGE": text("images/summer_palace.jpg"),
    "STYLE_IMAGE": Setting(
        "images/village_street_in_auvers.jpg",
        'a text in quotes that is not empty, or a list of (picture, weight), e.g. [("a.jpg", 3), ("b.jpg", 1)], with '
        "weights that are finite and 0 or more, at least one above 0",
        _are_pictures,
        (str, list),
    ),
    "IMAGE_SIZE": whole_number(512, 32, 20_000, of="pixels"),
    "EPOCHS": whole_number(160, 1),
    "ALPHA": weight(10.0),
    "BETA": weight(200.0),
    "CONTENT_LAYER": Setting("block4_conv2", "a layer's name", _is_layer),
    "STYLE_LAYERS": Setting(
        [(f"block{b}_conv1", 0.5**b) for b in range(1, 6)],
        'a list of (layer, weight), e.g. [("block1_conv1", 0.2)], with weights that are finite and 0 or more, at least '
        "one above 0",
        _are_layers,
    ),
    "WEIGHTS": Setting(
        "auto",
        '"auto", "imagenet", "standin" or the path of a .h5 file',
        lambda value: value in ("auto", "imagenet", "standin") or value.endswith(".h5"),
    ),
    "SIZES": Setting(
        [],
        "[] or whole numbers of pixels, 32 to 20000, each larger than the one before, e.g. [300, 600, 1200]",
        _are_sizes,
    ),
    "INIT": Setting("content", '"content", "noise", "style" or the path of a picture', _is_start),
    "SEED": whole_number(0, 0),
    "STROKE_SIZE": Setting(1.0, "a number from 0.1 to 10", lambda value: 0.1 <= value <= 10),
    "KEEP_COLOURS": choice("", "luminance", "match"),
    "STYLE_MASKS": pictures(),
    "STYLE_PARTS": pictures(),
    "LEARNING_RATE": Setting(0.05, "a number above 0, at most 1", lambda value: 0 < value <= 1),
    "SMOOTHNESS": weight(30.0),
    "COLOUR_SMOOTHNESS": weight(200.0),
    "MIXTURE": share(0.75),
    "LAST_EPOCHS": whole_number(15, 0),
    "POOLING": choice("max", "average"),
    "NORMALISE_ACTIVATIONS": Setting(True),
    "PRECISION": choice("auto", "float32", "bfloat16"),
    "TILE": whole_number(0, 64, of="pixels", or_zero=True),
    "SAVE_EVERY": whole_number(20, 1, of="epochs"),
    "OUTPUT_DIR": Setting(
        "", 'a folder that is empty or new, since no run writes over another, or "" for a new one each time', _is_free
    ),
    "RESUME": Setting(""),
}


class Settings(dict):
    """A dict of settings whose values are attributes, too: settings.BETA.

    A setting of the table that is missing has its default as an attribute, and is no key.
    """

    def __getattr__(self, name):
        """Return the value of a setting."""
        if name in self:
            return self[name]
        if name in SETTINGS:
            return SETTINGS[name].default
        if name.isupper():
            raise SettingsError(f"{name} is no setting of this lesson.{_do_you_mean(name, self)}")
        raise AttributeError(name)

    def __or__(self, others):
        """Return Settings in which others win."""
        return Settings({**self, **others})


def read_settings(namespace):
    """Return the settings of a namespace as they are now, or as what wins over them has them: see decide.

    Args:
        namespace: dict that holds them, such as globals().

    Returns:
        Settings: those names of the table that the namespace has.

    Raises:
        SettingsError: a misspelt name, or as decide.
    """
    mine = [name for name in namespace if name.isupper() and not name.startswith("_") and name not in SETTINGS]
    for name in SETTINGS:
        if name not in namespace and (near := difflib.get_close_matches(name, mine, n=1, cutoff=0.75)):
            raise SettingsError(f"{name} is missing, and {near[0]} is no setting: write {name}.")
    return decide({name: namespace[name] for name in SETTINGS if name in namespace}, current().settings)


def decide(notebook, explicit=None, environ=None):
    """Return the settings that count. What wins: an explicit value, then an NST_ variable, then the notebook.

    IMAGE_SIZE and SIZES name the same thing: the one that wins over the other decides. Where neither does, the last of
    SIZES is IMAGE_SIZE.

    Args:
        notebook: dict of the settings of a lesson.
        explicit: dict of those that a call, a panel or a command line gives. Of a lesson's own run it is what the
            program that runs it gives (nst.context).
        environ: dict of environment variables; os.environ when None. What a variable changes is printed.

    Returns:
        Settings with the notebook's names, checked.

    Raises:
        SettingsError: a name that is no setting, a variable that does not convert, or a value that cannot work.
    """
    explicit, environ = explicit or {}, os.environ if environ is None else environ
    for name in explicit:
        if name not in notebook:
            raise SettingsError(f"{name} is no setting of this lesson.{_do_you_mean(name, notebook)}")
    variables = {}
    for variable in sorted(name for name in environ if name.startswith("NST_")):
        name = variable.removeprefix("NST_")
        if name not in SETTINGS:
            raise SettingsError(f"{variable} is no setting.{_do_you_mean(name, SETTINGS, 'NST_')}")
        if name not in notebook:
            print(f"{variable} is passed over: this lesson has no {name}.")
        elif name not in explicit:
            variables[name] = _from_text(name, environ[variable])
            print(f"{name} = {variables[name]!r} (from {variable})")
    values = {**notebook, **variables, **explicit}
    rank = {name: 2 * (name in explicit) + (name in variables) for name in ("IMAGE_SIZE", "SIZES")}
    if rank["IMAGE_SIZE"] > rank["SIZES"] and "SIZES" in values:
        values["SIZES"] = []
    settings = check_settings(values)
    if settings.SIZES and settings.SIZES[-1] != settings.IMAGE_SIZE:
        print(f"IMAGE_SIZE = {settings.SIZES[-1]} (the last of SIZES)")
        settings["IMAGE_SIZE"] = settings.SIZES[-1]
    return settings


def _do_you_mean(name, names, before=""):
    """Return a sentence with the names most like one, nearest first, or with all."""
    near = difflib.get_close_matches(name.upper(), list(names), n=3, cutoff=0.5)
    if near:
        return f" Do you mean {' or '.join(before + other for other in near)}?"
    return f" The settings are: {', '.join(before + other for other in names)}."


def _from_text(name, text):
    """Return the value of an environment variable as one of its setting's kinds."""
    default, allowed, _, kinds = SETTINGS[name]
    kind = list if list in kinds and text.lstrip().startswith("[") else (kinds or (type(default),))[0]
    try:
        if kind is bool:
            return TRUTHS[text.strip().lower()]
        return list(ast.literal_eval(text)) if kind is list else kind(text)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        wanted = allowed if kind is list else KINDS[kind]
        raise SettingsError(f"NST_{name}={text!r} does not convert. It must be {wanted}.") from None


def check_settings(settings):
    """Return settings in Python's own types, with whole numbers as numbers where these do, and ~ as the home folder.

    Args:
        settings: dict of settings, not necessarily all; NumPy's numbers and lists made of tuples will do.

    Returns:
        Settings.

    Raises:
        SettingsError: a value that cannot work; the message names the setting, its value and what is allowed.
    """
    checked = Settings()
    for name, value in settings.items():
        default, allowed, works, kinds = SETTINGS[name]
        kinds = kinds or (type(default),)
        value = _plain(value)
        if kinds == (float,) and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        if type(value) not in kinds:
            raise SettingsError(f"{name} = {value!r} cannot work: it must be {allowed or KINDS[kinds[0]]}.")
        try:
            fine = works(value)
        except SettingsError as error:
            raise SettingsError(f"{name} cannot work: {error}") from None
        except (TypeError, ValueError, OSError):  # a name too long for a folder, or one that must not be looked into
            fine = False
        if not fine:
            raise SettingsError(f"{name} = {value!r} cannot work: it must be {allowed}.")
        checked[name] = value
    styles = len(style_pictures(checked.STYLE_IMAGE))
    for name in ("STYLE_MASKS", "STYLE_PARTS"):
        if (masks := len(getattr(checked, name))) not in (0, styles):
            raise SettingsError(f"{name} has {masks} masks and STYLE_IMAGE {styles} pictures: give one for each.")
    if "BETA" in checked and checked.ALPHA == checked.BETA == 0:
        raise SettingsError("ALPHA = BETA = 0 leaves nothing to minimise: give at least one of them a value above 0.")
    return checked


def _plain(value, within=list):
    """Return a value without NumPy's types, paths as texts, ~ as the home folder, and pairs as tuples in a list."""
    value = value.tolist() if hasattr(value, "tolist") else value  # also of a single number
    if isinstance(value, (list, tuple)):
        return within(_plain(one, tuple) for one in value)
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    return os.path.expanduser(value) if isinstance(value, str) else value


def style_pictures(style_image):
    """Return STYLE_IMAGE, a path or a list of (path, weight), as such a list with weights that add up to 1."""
    pictures = [(style_image, 1.0)] if isinstance(style_image, str) else style_image
    largest = max(weight for _, weight in pictures)  # first, so that the sum of weights is finite
    total = sum(weight / largest for _, weight in pictures)
    return [(path, weight / largest / total) for path, weight in pictures]


def differing(settings, others):
    """Return the names in which two dicts of settings, as records have them, differ; a missing one has its default."""
    settings, others = from_record(settings), from_record(others)
    names = [name for name in SETTINGS if name in settings or name in others]
    return [name for name in names if getattr(settings, name) != getattr(others, name)]


def from_record(settings):
    """Return the settings of a record, not checked, with tuples where JSON has made lists of them."""
    return Settings({name: _plain(value) for name, value in settings.items() if name in SETTINGS})
