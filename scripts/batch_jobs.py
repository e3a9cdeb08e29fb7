"""The jobs of a batch: which pictures with which settings, and whether each can work."""

import ast
import contextlib
import glob
import io
import itertools
import os
import re
from dataclasses import dataclass

from nst.errors import NSTError, SettingsError
from nst.lesson import run_lesson
from nst.records import name_of_pair
from nst.runs import Run
from nst.settings import SETTINGS, STARTS, check_settings, read_settings

NOT_IN_A_BATCH = {
    "OUTPUT_DIR": "each picture gets a folder of its own in --output",
    "RESUME": "start the batch again instead: it goes on with what is missing",
}


@dataclass
class Job:
    """A picture to be painted.

    settings: dict of all settings, with paths as they were given. name: of its folder. chain: jobs that begin with this
    one's picture, each with that of the one before. error: why it cannot be painted, or "".
    """

    settings: dict
    name: str
    chain: tuple = ()
    error: str = ""


def read_grid(content, style, assignments):
    """Return the values of the settings of a batch.

    Args:
        content, style: lists of paths and patterns such as "photos/*.jpg"; an empty one leaves the setting as it is.
        assignments: list of texts "NAME=value", whose values are Python literals.

    Returns:
        dict of setting to list of values, and a list of messages that say what of it cannot work.
    """
    grid, problems = {}, []
    for name, patterns in (("CONTENT_IMAGE", content), ("STYLE_IMAGE", style)):
        for pattern in patterns:
            paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True), key=by_number)
            if not paths:
                problems.append(f"{pattern}: there is no such picture.")
            grid.setdefault(name, []).extend(paths)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name not in SETTINGS or not equals:
            problems.append(f"--set {assignment}: write NAME=value, with one of these names: {', '.join(SETTINGS)}.")
        elif name in NOT_IN_A_BATCH:
            problems.append(f"--set {assignment}: not in a batch; {NOT_IN_A_BATCH[name]}.")
        else:
            try:
                value = ast.literal_eval(text)
                grid.setdefault(name, []).append(value)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                problems.append(
                    f"--set {assignment}: the value must be a Python literal. A text needs quotes, which the shell "
                    f"must leave alone: --set {name}='\"{text}\"'."
                )
    if len(grid.get("WEIGHTS", [])) > 1:
        problems.append("WEIGHTS has several values: all pictures of a batch are painted with the same weights.")
    return {name: _without_repetition(values) for name, values in grid.items()}, problems


def by_number(path):
    """Return what sorts paths as people do: frame_10 after frame_9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)]


def _without_repetition(values):
    return list({repr(value): value for value in values}.values())


def plan_jobs(given, chain=False):
    """Return the jobs of all combinations of values, and what of their settings cannot work.

    Which value wins: that of the grid, then an NST_ variable, then the notebook as it was saved.

    Args:
        given: dict of setting to list of values.
        chain: whether each picture begins with the one before it.

    Returns:
        list of Job, of which only the first of each chain stands there itself, and a list of messages.
    """
    try:
        base = read_settings(run_lesson(train=False))
    except SettingsError as error:
        return [], [str(error)]
    if chain and "INIT" in given:
        return [], ["--chain gives INIT its values: leave --set INIT away."]
    grid = {"CONTENT_IMAGE": [base["CONTENT_IMAGE"]], "STYLE_IMAGE": [base["STYLE_IMAGE"]]}
    grid |= {name: values for name, values in given.items() if values}
    others = [name for name in grid if name != "CONTENT_IMAGE"]
    several = [name for name in others if name != "STYLE_IMAGE" and len(grid[name]) > 1]
    combinations, problems = [], []
    for numbers in itertools.product(*(range(len(grid[name])) for name in others)):
        settings = base | {name: grid[name][k] for name, k in zip(others, numbers, strict=True)}
        combinations.append((numbers, settings))
        problems.append(_problem(settings))
    if any(problems):  # each combination tells one; the values by themselves tell more
        problems += [_problem(base | {name: value}) for name, values in grid.items() for value in values]
        return [], [problem for problem in _without_repetition(problems) if problem]
    chains = {}
    for content, (numbers, settings) in itertools.product(grid["CONTENT_IMAGE"], combinations):
        settings = check_settings(settings | {"CONTENT_IMAGE": content})
        if settings["SIZES"]:
            settings["IMAGE_SIZE"] = settings["SIZES"][-1]
        job = Job(settings, _name(settings, {n: k for n, k in zip(others, numbers, strict=True) if n in several}))
        chains.setdefault(numbers if chain else (content, numbers), []).append(job)
    jobs = []
    for first, *rest in chains.values():
        first.chain = tuple(rest)
        jobs.append(first)
    return jobs, []


def _problem(settings):
    """Return what of some settings cannot work, or ""."""
    try:
        check_settings(settings)
    except SettingsError as error:
        return str(error)
    return ""


def _name(settings, numbers):
    """Return the name of a job's folder: its pictures, and the settings of which there are several values."""
    name = name_of_pair(settings)
    for setting, number in numbers.items():
        value = settings[setting]
        text = f"{value:g}" if isinstance(value, float) else str(value)
        plain = re.fullmatch(r"[\w.+-]{1,20}", text)
        name += f"-{setting}={text if plain else number + 1}"  # a list or a path has its number
    return name


def check_jobs(jobs):
    """Open the pictures of all jobs, and note in those that cannot work why.

    What is checked is what a run of the notebook checks when it begins.
    """
    for job in jobs:
        for link in (job, *job.chain):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    Run(dict(link.settings))
            except NSTError as error:
                link.error = str(error)


def with_paths(settings, rename):
    """Return a copy of settings with other paths of pictures.

    Args:
        settings: dict of settings.
        rename: function of a path that returns another.
    """
    settings = dict(settings)
    settings["CONTENT_IMAGE"] = rename(settings["CONTENT_IMAGE"])
    styles = settings["STYLE_IMAGE"]
    settings["STYLE_IMAGE"] = rename(styles) if isinstance(styles, str) else [(rename(path), w) for path, w in styles]
    settings["STYLE_MASKS"] = [rename(path) for path in settings["STYLE_MASKS"]]
    if settings["INIT"] not in STARTS:
        settings["INIT"] = rename(settings["INIT"])
    return settings


def input_files(settings):
    """Return the paths of the pictures that settings name, each once, in a fixed order."""
    paths = {}
    with_paths(settings, lambda path: paths.setdefault(path, path))
    return list(paths)


def next_link(job, picture):
    """Return the job of a chain that begins with the picture of the one before it, or None after the last.

    Args:
        job: Job that has been painted.
        picture: pathlib.Path of its picture.
    """
    if not job.chain:
        return None
    link, *rest = job.chain
    return Job(link.settings | {"INIT": picture.as_posix()}, link.name, tuple(rest), link.error)
