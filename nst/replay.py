"""Paint with the notebook's own cells, with settings from elsewhere: which of them win, and a picture of its own."""

import contextlib
import difflib
import os
import time

from nst.errors import SettingsError
from nst.lesson import NOTEBOOK, run_lesson, saved_settings
from nst.records import claim_folder, name_of_pair, parent_folder
from nst.settings import SETTINGS, read_settings, with_environment

SMALL = {"IMAGE_SIZE": 200, "SIZES": []}  # for what is tried rather than framed


def decide_settings(fixed, turned=()):
    """Return the settings to paint with, but for those that are turned.

    What wins: a value that is turned (compared, or set in the panel), then an NST_ variable, then a value fixed in the
    call, then the notebook as last saved, made small.

    Args:
        fixed: dict of the settings that a call gives.
        turned: names of the settings whose values come later.

    Returns:
        dict of all settings, not checked yet.

    Raises:
        SettingsError: a name that is no setting, an NST_ variable that does not convert, or a run to continue.
    """
    for name in (*fixed, *turned):
        if name not in SETTINGS:
            near = difflib.get_close_matches(name.upper(), SETTINGS, n=1, cutoff=0.4)
            raise SettingsError(f"{name} is no setting." + (f" Do you mean {near[0]}?" if near else ""))
    if fixed.get("RESUME"):
        raise SettingsError("RESUME goes on with a run in the notebook. Here each picture is a new one: leave it out.")
    saved = saved_settings()
    decided, later = {name: saved[name] for name in SETTINGS} | SMALL | fixed, {"RESUME", *turned}
    if "NST_IMAGE_SIZE" in os.environ or "IMAGE_SIZE" in turned:  # SIZES would win over it
        decided["SIZES"] = []
    if "IMAGE_SIZE" in turned:
        later.add("SIZES")
    environ = {name: text for name, text in os.environ.items() if name.removeprefix("NST_") not in later}
    return with_environment(decided, environ) | {"RESUME": ""}


def say_what_paints():
    """Print which cells are replayed, since those on the screen may have been changed and not saved."""
    saved = time.strftime("%d %b, %H:%M", time.localtime(NOTEBOOK.stat().st_mtime))
    print(f"Painting with the cells of {NOTEBOOK.name} as last saved ({saved}).")


def paint(**settings):
    """Paint a picture with the notebook's cells, small unless you say otherwise, and show it while it grows.

    Args:
        **settings: values that differ from those in the notebook as last saved; an NST_ variable still wins. OUTPUT_DIR
            is where the picture's folder is made.

    Returns:
        nst.runs.Run.

    Raises:
        SettingsError: a setting that has an unknown name or cannot work. And as Run.
    """
    decided = decide_settings(settings)
    say_what_paints()
    with own_folder(decided) as decided:
        return run_lesson(decided, environ={})["run"]


@contextlib.contextmanager
def own_folder(settings):
    """Yield checked settings with a new folder of their own, which is gone afterwards if nothing is in it."""
    parent = parent_folder(settings)
    settings = read_settings(settings | {"OUTPUT_DIR": ""}, environ={})
    folder, _ = claim_folder(parent, name_of_pair(settings))
    try:
        yield settings | {"OUTPUT_DIR": folder.as_posix()}
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
