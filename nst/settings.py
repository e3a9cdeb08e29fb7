"""The settings that count: read, decided between those who give them, and checked by the table."""

import ast
import difflib
import itertools
import os
import sys
from pathlib import Path

from nst.context import current
from nst.errors import SettingsError
from nst.files import fit_name
from nst.spelling import check_names, doubtful_names
from nst.table import SETTINGS

KINDS = {str: "a text in quotes", bool: "True or False", int: "a whole number", float: "a number", list: "a list"}
TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
OF_ONE_LESSON = ("BETA", "STYLE_LAYERS", "CONTENT_LAYER"), ("MIXTURE", "LAST_EPOCHS")
OF_EACH_LESSON = "ALPHA", "LEARNING_RATE", "SMOOTHNESS", "COLOUR_SMOOTHNESS", "BETA", "MIXTURE", "LAST_EPOCHS"
SAID = {}  # what was said last of each setting that comes from elsewhere


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
        if name.isupper() or name.upper() in SETTINGS:
            raise SettingsError(f"{name} is no setting of this lesson.{_do_you_mean(name, self)}")
        raise AttributeError(name)

    def __setattr__(self, name, value):
        """Refuse it: the training would not see it."""
        if name not in SETTINGS:
            raise SettingsError(f"{name} is no setting.{_do_you_mean(name, SETTINGS)}")
        raise SettingsError(f"Settings are read from their cell: write {name} = {_shown(value)} there, and run it.")

    def __or__(self, others):
        """Return Settings in which others win."""
        return Settings({**self, **others})


def read_settings(namespace):
    """Return the settings of a namespace as they are now, or as what wins over them has them: see decide.

    Args:
        namespace: dict that holds them, such as globals(); its "In", if it has one, are the cells that made it.

    Returns:
        Settings: those names of the table that the namespace has.

    Raises:
        SettingsError: as check_names and decide.
    """
    cells = namespace.get("In", ())
    check_names(cells)
    for name, meant in doubtful_names(cells):
        _say(name, f"{name} is no setting, in case you mean {meant}.")
    return decide({name: namespace[name] for name in SETTINGS if name in namespace}, current().settings)


def decide(notebook, explicit=None, environ=None):
    """Return the settings that count. What wins: an explicit value, then an NST_ variable, then the notebook.

    IMAGE_SIZE and SIZES name the same thing: the one that wins over the other decides. Where neither does, the last of
    SIZES is IMAGE_SIZE.

    Args:
        notebook: dict of the settings of a lesson.
        explicit: dict of those that a call, a panel or a command line gives. Of a lesson's own run it is what the
            program that runs it gives (nst.context).
        environ: dict of environment variables; os.environ when None. What a variable changes is printed, once.

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
            _say(f"{variable} elsewhere", f"{variable} is passed over: this lesson has no {name}.")
        elif name not in explicit and not (name == "SIZES" and "IMAGE_SIZE" in explicit):
            variables[name] = _from_text(name, environ[variable])
            _say(variable, f"{name} = {variables[name]!r} (from {variable})")
    values = {**notebook, **variables, **explicit}
    rank = {name: 2 * (name in explicit) + (name in variables) for name in ("IMAGE_SIZE", "SIZES")}
    if rank["IMAGE_SIZE"] > rank["SIZES"] and "SIZES" in values:
        values["SIZES"] = []
    if values.get("RESUME") and values.get("OUTPUT_DIR"):
        if values["OUTPUT_DIR"] != values["RESUME"]:
            _say("OUTPUT_DIR", "OUTPUT_DIR is passed over: the run goes on in its own folder.")
        values["OUTPUT_DIR"] = ""
    settings = check_settings(values)
    if settings.SIZES and settings.SIZES[-1] != settings.IMAGE_SIZE:
        _say("SIZES", f"IMAGE_SIZE = {settings.SIZES[-1]} (the last of SIZES)")
        settings["IMAGE_SIZE"] = settings.SIZES[-1]
    return settings


def _say(name, text):
    """Print what is said under a name, unless that was said last."""
    if SAID.get(name) != text:
        print(text)
    SAID[name] = text


def _do_you_mean(name, names, before=""):
    """Return a sentence with the names most like one, nearest first, or with all."""
    begun = [other for other in names if other.startswith(name.upper())]
    near = list(dict.fromkeys([*begun, *difflib.get_close_matches(name.upper(), list(names), n=3, cutoff=0.5)]))[:3]
    if near:
        return f" Do you mean {' or '.join(before + other for other in near)}?"
    return f" The settings are: {', '.join(before + other for other in names)}."


def _from_text(name, text):
    """Return the value of an environment variable as one of its setting's kinds."""
    default, allowed, _, kinds = SETTINGS[name]
    in_brackets = text.lstrip().startswith("[") and not os.path.isfile(text)
    kind = list if list in kinds and in_brackets else (kinds or (type(default),))[0]
    try:
        if kind is bool:
            return TRUTHS[text.strip().lower()]
        return _as_list(ast.literal_eval(text)) if kind is list else kind(text)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        wanted = allowed if kind is list else KINDS[kind]
        raise SettingsError(f"NST_{name}={_shown(text)} does not convert. It must be {wanted}.") from None


def _as_list(value):
    if not isinstance(value, (list, tuple)):  # a text would fall into letters
        raise TypeError
    return list(value)


def check_settings(settings):
    """Return settings in Python's own types, with whole numbers as numbers where these do, and ~ as the home folder.

    Args:
        settings: dict of settings, not necessarily all; NumPy's numbers and lists made of tuples will do.

    Returns:
        Settings.

    Raises:
        SettingsError: a value that cannot work; the message names the setting, its value and what is allowed.
    """
    if not isinstance(settings, dict):
        raise SettingsError(f"Settings are what read_settings returns, as current_settings() does, not {settings!r}.")
    checked = Settings()
    for name, value in settings.items():
        if name not in SETTINGS:
            raise SettingsError(f"{name} is no setting.{_do_you_mean(name, SETTINGS)}")
        default, allowed, works, kinds = SETTINGS[name]
        kinds = kinds or (type(default),)
        value = _plain(value)
        if kinds == (float,) and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        if type(value) not in kinds:
            raise SettingsError(f"{name} = {_shown(value)} cannot work: it must be {allowed or KINDS[kinds[0]]}.")
        try:
            fine = works(value)
        except SettingsError as error:
            raise SettingsError(f"{name} cannot work: {error}") from None
        except (TypeError, ValueError, OSError):  # a name too long for a folder, or one that must not be looked into
            fine = False
        if not fine:
            raise SettingsError(f"{name} = {_shown(value)} cannot work: it must be {allowed}.")
        checked[name] = value
    styles = len(style_pictures(checked.STYLE_IMAGE))
    for name in ("STYLE_MASKS", "STYLE_PARTS"):
        if (masks := len(getattr(checked, name))) not in (0, styles):
            raise SettingsError(f"{name} has {masks} masks and STYLE_IMAGE {styles} pictures: give one for each.")
    if "BETA" in checked and checked.ALPHA == checked.BETA == 0:
        raise SettingsError("ALPHA = BETA = 0 leaves nothing to minimise: give at least one of them a value above 0.")
    return checked


def _shown(value):
    """Return a value as it would be written, or how it begins."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


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


def has_gram_matrices(settings):
    """Return whether a dict of settings, also that of a record, is one of the first lesson."""
    return "BETA" in settings


def styles_that_count(settings):
    """Return the style pictures that settings paint with as (path, weight), with None for a weight that has no say.

    Weights have none with masks, nor in the second lesson, whose neighbours are found in all of them.
    """
    styles = style_pictures(settings.STYLE_IMAGE)
    if settings.STYLE_MASKS or not has_gram_matrices(settings):
        return [(path, None) for path, _ in styles]
    return [(path, weight) for path, weight in styles if weight]


def name_of_pair(settings, most=80):
    """Return <content>-<style>, after which a run's folder is named, of at most so many bytes each."""
    styles = "+".join(Path(path).stem for path, _ in styles_that_count(settings))
    return f"{fit_name(Path(settings.CONTENT_IMAGE).stem, most)}-{fit_name(styles, most)}"


def check_own(settings, used):
    """Return a list of the settings that are another lesson's, and say so; and look whether all of its own are there.

    Args:
        settings: Settings, checked.
        used: set of the names that the lesson's functions use.

    Raises:
        SettingsError: one of those that have another value in each lesson is used, and missing.
    """
    if missing := [name for name in OF_EACH_LESSON if name in used and name not in settings]:
        raise SettingsError(
            f"Not set: {', '.join(missing)}. Bring back what is missing in the cell of settings, and run it."
        )
    for own, others in itertools.permutations(OF_ONE_LESSON):
        if used & {*own} and not used & {*others} and (idle := [name for name in others if name in settings]):
            print(f"{', '.join(idle)}: no function of this lesson looks at it.")
            return idle
    return []


def differing(settings, others):
    """Return the names in which two dicts of settings, as records have them, differ; a missing one has its default."""
    settings, others = from_record(settings), from_record(others)
    names = [name for name in SETTINGS if name in settings or name in others]
    return [name for name in names if getattr(settings, name) != getattr(others, name)]


def from_record(settings):
    """Return the settings of a record, not checked, with tuples where JSON has made lists of them."""
    return Settings({name: _plain(value) for name, value in settings.items() if name in SETTINGS})
