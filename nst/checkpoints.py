"""What a stopped run has left, read back, and what of it must be as it was for the run to go on."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from nst.errors import SettingsError
from nst.settings import Settings, from_record

CHECKPOINT = "checkpoint.npz"
VERSION = 5
OF_TODAY = ("OUTPUT_DIR", "RESUME", "TILE")  # what a run that goes on takes from the settings of today
SOURCES = ("content_image", "style_images", "style_masks", "style_parts", "init_image", "weights", "sizes")


def pack_checkpoint(size, start, image, variables, optimizer, history, facts):
    """Return the arrays of a checkpoint.

    size is the number of the size that is being painted; start and image what the picture was at its beginning and is
    now, float32 RGB in [0, 1], shape (1, H, W, 3); variables and optimizer lists of variables; history a list of rows;
    facts a dict, as in settings.json.
    """
    words = {"version": VERSION, "size": size, "history": history, "facts": facts}
    arrays = {"words": json.dumps(words), "start": start, "image": image}
    for name, values in (("variable", variables), ("optimizer", optimizer)):
        arrays |= {f"{name}_{i}": value.numpy() for i, value in enumerate(values)}
    return arrays


def read_checkpoint(folder):
    """Return a stopped run's checkpoint, from its folder: a dict of what pack_checkpoint gets, with variables' values.

    Raises:
        SettingsError: there is none, it is damaged, or another version of the tutorial wrote it.
    """
    path = Path(folder) / CHECKPOINT
    if not os.path.isfile(path):  # whatever that name may be
        if not os.path.isdir(folder):
            raise SettingsError(f'RESUME = "{folder}": there is no such folder. Name that of a run that was stopped.')
        raise SettingsError(
            f'RESUME = "{folder}": there is no {CHECKPOINT} in this folder, so nothing to continue; a finished run has '
            f'none. Name the folder of a run that was stopped, or set RESUME = "" for a new run.'
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            state = dict(arrays)
        words = json.loads(str(state["words"])) if "words" in state else {}
        if words.get("version") == VERSION:
            counts = {name: sum(key.startswith(f"{name}_") for key in state) for name in ("variable", "optimizer")}
            variables, optimizer = ([state[f"{name}_{i}"] for i in range(n)] for name, n in counts.items())
            images = {name: state[name] for name in ("start", "image")}
            return words | images | {"variables": variables, "optimizer": optimizer}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise SettingsError(
            f'RESUME = "{folder}" cannot be continued: its {CHECKPOINT} is damaged. Set RESUME = "" for a new run.'
        ) from None
    raise SettingsError(
        f'RESUME = "{folder}": another version of this tutorial has written its {CHECKPOINT}, which cannot be '
        'continued with this one. Set RESUME = "" for a new run.'
    )


def restore(checkpoint, variables, optimizer, folder):
    """Give variables, of the picture and of the optimiser, the values that they have in a checkpoint.

    Raises:
        SettingsError: they are not those of the run in the folder.
    """
    pairs = [*zip((variables, optimizer), (checkpoint["variables"], checkpoint["optimizer"]), strict=True)]
    if any([tuple(v.shape) for v in there] != [value.shape for value in values] for there, values in pairs):
        raise SettingsError(
            f'RESUME = "{folder}": the run began with other variables or another optimiser. Start anew.'
        )
    for there, values in pairs:
        for variable, value in zip(there, values, strict=True):
            bfloat16 = value.dtype.kind == "V"  # which NumPy's files do not know
            variable.assign(value.view(variable.numpy().dtype) if bfloat16 else value)


def settings_of_run(facts, settings):
    """Return the Settings of a stopped run, from its facts, and print which of them differ from those of today.

    Raises:
        SettingsError: it has settings that the lesson of today does not have.
    """
    saved = from_record(facts["settings"])
    if others := [name for name in saved if name not in settings]:
        raise SettingsError(
            f'RESUME = "{settings.RESUME}": the run has {", ".join(others)}, which this lesson does not have. '
            "Go on with it in the notebook in which it began."
        )
    saved = Settings({name: getattr(saved, name) for name in settings if name not in OF_TODAY})
    print(f"Continuing {settings.RESUME} with its own settings.")
    for name, value in saved.items():
        if value != settings[name]:
            print(f"{name} = {value!r} there, so {settings[name]!r} is not used")
    own = {"OUTPUT_DIR": "", "PRECISION": facts["precision"]}
    if saved.WEIGHTS == "auto":
        own["WEIGHTS"] = facts["weights"]["name"]
    return settings | saved | own


def facts_that_go_on(facts, before):
    """Return the facts of today of a run that goes on, with the lessons of before.

    Raises:
        SettingsError: a file or a size is not what the run began with.
    """
    for key in SOURCES:
        if before[key] != json.loads(json.dumps(facts[key])):
            folder = facts["settings"].RESUME
            raise SettingsError(f'RESUME = "{folder}": {key} is not what the run began with. Start anew.')
    changed = changed_functions(before["lesson"], facts["lesson"])
    if changed:
        print(f"Changed since this run was stopped: {', '.join(changed)}. The rest is painted with the new code.")
    lessons = before.get("lesson_before", [])
    return facts | {"lesson_before": [*lessons, before["lesson"]] if changed else lessons}


def changed_functions(lesson, other):
    """Return the names of the functions that two records' lessons both have and that differ."""
    functions, others = lesson.get("functions", {}), other.get("functions", {})
    return [name for name in functions if others.get(name, functions[name]) != functions[name]]
