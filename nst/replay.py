"""Paint with a lesson's own cells, with settings from elsewhere, and a picture of its own."""

import contextlib
import difflib
import os
import time

from nst.errors import SettingsError
from nst.files import claim_folder
from nst.lesson import FIRST, Lesson
from nst.records import parent_folder
from nst.settings import check_settings, decide, from_record, name_of_pair
from nst.table import SETTINGS

SMALL = {"IMAGE_SIZE": 200, "SIZES": [], "EPOCHS": 60}  # for what is tried rather than framed


def decide_small(lesson, explicit):
    """Return the Settings with which a small picture is painted.

    What wins: an explicit value, then an NST_ variable, then the notebook as last saved, made small.

    Args:
        lesson: Lesson.
        explicit: dict of the settings that a call gives.

    Returns:
        Settings, checked but for OUTPUT_DIR, which is where new folders are made.

    Raises:
        SettingsError: as decide, or a run to continue.
    """
    if explicit.get("RESUME"):
        raise SettingsError("RESUME goes on with a run in the notebook. Here each picture is a new one: leave it out.")
    saved = lesson.settings()
    small = {name: value for name, value in SMALL.items() if name in saved}
    environ = dict(os.environ)
    parent = explicit.get("OUTPUT_DIR") or environ.pop("NST_OUTPUT_DIR", "") or saved.get("OUTPUT_DIR", "")
    decided = decide(saved | small, {**explicit, "RESUME": "", "OUTPUT_DIR": ""}, environ)
    return decided | {"OUTPUT_DIR": parent}


def take_functions(lesson, given):
    """Return the settings that a call gives, and the functions; None stands for the lesson's own.

    SettingsError: a function of a name that none of the lesson's has.
    """
    names = lesson.functions()
    for name, value in given.items():
        if name not in names and name not in SETTINGS and (value is None or callable(value)):
            near = difflib.get_close_matches(name, names, n=1) or sorted(names)
            raise SettingsError(f"{name} is no function of {lesson.name}. Do you mean {' or '.join(near)}?")
    settings = {name: value for name, value in given.items() if name not in names}
    return settings, {name: value for name, value in given.items() if name in names and value is not None}


def say_what_paints(lesson, wanted):
    """Print which cells are replayed, and which settings an exercise may have left in them and all of some Settings.

    Those on the screen may have been changed and not saved. The first lesson came with the defaults of the table.
    """
    saved = time.strftime("%d %b, %H:%M", time.localtime(lesson.path.stat().st_mtime))
    print(f"Painting with the cells of {lesson.name} as last saved ({saved}).")
    for name, value in from_record(lesson.settings() if lesson.name == FIRST else {}).items():
        if value != SETTINGS[name].default and all(value == settings[name] for settings in wanted):
            print(f"{name} = {value!r} is saved there; the lesson came with {SETTINGS[name].default!r}.")


def paint(lesson=None, **settings):
    """Paint a picture with a lesson's cells, small unless you say otherwise, and show it while it grows.

    Args:
        lesson: path of its notebook; the first lesson when None.
        **settings: values that win over NST_ variables and over the notebook as last saved. OUTPUT_DIR is where the
            picture's folder is made. A function by the name of one of the lesson's takes its place.

    Returns:
        nst.runs.Run.

    Raises:
        SettingsError: a setting that has an unknown name or cannot work. And as Run.
    """
    lesson = Lesson(lesson)
    settings, functions = take_functions(lesson, settings)
    decided = decide_small(lesson, settings)
    say_what_paints(lesson, [decided])
    with own_folder(decided) as decided:
        return lesson.run(decided, functions=functions)["run"]


@contextlib.contextmanager
def own_folder(settings):
    """Yield checked settings with a new folder of their own, which is gone afterwards if nothing is in it."""
    parent = parent_folder(settings)
    settings = check_settings(settings | {"OUTPUT_DIR": ""})
    folder, _ = claim_folder(parent, name_of_pair(settings))
    try:
        yield settings | {"OUTPUT_DIR": folder.as_posix()}
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
