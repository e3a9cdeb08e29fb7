"""The jobs of a batch: which pictures with which settings, and whether they can work. This needs no TensorFlow."""

import ast
import contextlib
import difflib
import glob
import io
import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nst.errors import SettingsError
from nst.files import fit_name
from nst.settings import Settings, decide, name_of_pair
from nst.table import STARTS

PICTURES = "jpg jpeg jpe jfif png webp gif bmp tif tiff avif heic heif jp2 j2k jpx ppm pgm tga"  # in a folder
NOT_IN_A_BATCH = {
    "OUTPUT_DIR": "each picture gets a folder of its own in --output",
    "RESUME": "start the batch again instead: it goes on with what is missing",
}


DECIMAL = r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)"


@dataclass
class Job:
    """A picture to be painted.

    settings: Settings, with paths as they were given. name: of its folder. chain: jobs that begin with this one's
    picture, each with that of the one before. error: why it cannot be painted, or "".
    """

    settings: Settings
    name: str
    chain: tuple = ()
    error: str = ""


def read_grid(saved, content, style, assignments, environ=os.environ, without=None):
    """Return a dict of setting to list of values, and a list of messages that say what of it cannot work.

    saved is a dict of the lesson's settings; content and style are lists of paths, folders and patterns such as
    "photos/*.jpg", and assignments of texts "NAME=value", whose values are Python literals. Of the folder without
    patterns find no results.
    """
    grid, problems = {}, []
    for name, patterns in (("CONTENT_IMAGE", content), ("STYLE_IMAGE", style)):
        for pattern in patterns:
            paths = list(map(_shortest, _find(os.path.expanduser(pattern), without)))
            grid.setdefault(name, []).extend(paths)
            if not paths:
                problems.append(f"{pattern}: there is no such picture, or none that is taken.{_near(pattern)}")
    for name, why in NOT_IN_A_BATCH.items():
        given = [f"NST_{name}"] if environ.get(f"NST_{name}") else []
        given += [f"--set {text}" for text in assignments if text.partition("=")[0].strip() == name]
        problems += [f"{text}: not in a batch; {why}." for text in given]
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not (name and equals):
            problems.append(f"--set {assignment}: write NAME=value.")
        elif name not in saved:
            problems.append(f"--set {assignment}: {_decide(saved, {name: None})[1]}")
        elif name not in NOT_IN_A_BATCH:
            try:
                grid.setdefault(name, []).append(ast.literal_eval(text))
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                quoted = f"A text needs quotes, which the shell must leave alone: --set {name}='\"{text}\"'."
                example = quoted if isinstance(saved[name], str) else f'For instance: --set "{name}={saved[name]!r}".'
                problems.append(f"--set {assignment}: the value must be a Python literal. {example}")
    grid = {name: _each_once(values) for name, values in grid.items() if values}
    if len(grid.get("WEIGHTS", [])) > 1:
        problems.append("WEIGHTS has several values: all pictures of a batch are painted with the same weights.")
    return grid, problems


def _find(pattern, without):
    """Return the pictures that a path, a folder or a pattern names, in the order of their numbers."""
    if os.path.isdir(pattern):
        there = sorted(glob.glob(os.path.join(glob.escape(pattern), "*")), key=by_number)
        folders = [path for path in there if os.path.isdir(path)]
        others = [path for path in there if os.path.splitext(path)[1][1:].lower() not in PICTURES.split()]
        _pass_over(pattern, "they are folders: name them, too, or all pictures in them, as **/*.jpg", folders)
        _pass_over(pattern, "they have no picture's name", [path for path in others if path not in folders])
        paths = [path for path in there if path not in others and path not in folders]
    elif os.path.exists(pattern):
        return [pattern]
    else:
        stem, suffix = os.path.splitext(pattern)
        if re.fullmatch(r"\.[A-Za-z0-9]+", suffix):  # *.jpg is *.JPG, too
            suffix = re.sub("[A-Za-z]", lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", suffix)
        paths = glob.glob(stem + suffix, recursive=True) or glob.glob(stem.replace("[", "[[]") + suffix, recursive=True)
        anywhere = "**" in pattern
        results = [path for path in paths if _is_result(path, without, anywhere)]
        _pass_over(pattern, "they are results (to paint from one, name it by its path)", results, shown=2)
        paths = [path for path in paths if not os.path.isdir(path) and path not in results]
    _pass_over(pattern, "they lead nowhere", [path for path in paths if not os.path.isfile(path)])
    return sorted(filter(os.path.isfile, paths), key=by_number)


def _is_result(path, output, anywhere):
    """Return whether a picture lies in the folder of a run, or of thumbnails, in that of this batch, or anywhere."""
    folder, name = os.path.split(os.path.dirname(os.path.realpath(path)))
    if not (anywhere or (output and folder == os.path.realpath(output))):
        return False
    if name == "thumbnails":
        return is_gallery(os.path.join(folder, "index.html"))
    return all(os.path.isfile(os.path.join(folder, name, file)) for file in ("settings.json", "history.csv"))


def is_gallery(path):
    """Return whether a file is the page of a gallery."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return "<title>Gallery: " in file.read(1000)
    return False


def _pass_over(pattern, why, paths, shown=1):
    """Print the names, so many parts of each, of what a folder or a pattern holds that is not painted."""
    names = ", ".join("/".join(Path(path).parts[-shown:]) for path in paths[:5])
    names += f" and {len(paths) - 5} more" * (len(paths) > 5)
    if paths:
        print(f"{pattern}: passed over, since {why}: {names}.")


def _near(pattern):
    """Return a sentence with the file or folder whose name looks most like a pattern, there or in images/; or ""."""
    folder, name = os.path.split(pattern.rstrip(os.sep))
    for place in (folder, "images"):
        there = os.listdir(place or ".") if os.path.isdir(place or ".") else []
        for other in difflib.get_close_matches(name, there, n=1, cutoff=0.8):
            if os.path.join(place, other) != pattern.rstrip(os.sep):
                return f" Do you mean {os.path.join(place, other)}?"
    return ""


def _shortest(path):
    """Return a path as it is seen from here, so that a picture has one name however it is given."""
    short = os.path.normpath(path)
    short = os.path.abspath(short) if short.startswith(os.pardir) else short.removeprefix(os.path.join(os.getcwd(), ""))
    return short if os.path.exists(short) and os.path.samefile(short, path) else path  # a link's .. leads elsewhere


def by_number(text, number=r"(\d+)"):
    """Return what sorts texts as people do: frame_10 after frame_9. With DECIMAL as number also 0.04 before 0.2."""
    parts = re.split(number, text)
    return [(int(p) if p.isdecimal() else float(p), p) if i % 2 else (-1, p) for i, p in enumerate(parts)]


def _each_once(values):
    """Return values, 1 and 1.0 once."""
    return list({repr(int(v) if isinstance(v, float) and v.is_integer() else v): v for v in values}.values())


def plan_jobs(saved, given, chain=False):
    """Return the jobs of all combinations of values, each the first of its chain, and what of them cannot work.

    Which value wins: one given in the grid, then an NST_ variable, which is said, then the notebook as it was saved. In
    a chain each picture begins with the one before it.
    """
    if chain and ("INIT" in given or "INIT" not in saved):
        return [], ["--chain gives INIT its values: leave --set INIT away, and take a lesson that has INIT."]
    fixed = {name: "" for name in NOT_IN_A_BATCH if name in saved}
    several = [name for name, values in given.items() if len(values) > 1 and not name.endswith("_IMAGE")]
    chains, problems, seen, said = {}, [], set(), io.StringIO()
    for numbers in itertools.product(*(range(len(values)) for values in given.values())):
        numbers = dict(zip(given, numbers, strict=True))
        settings, problem = _decide(saved, fixed | {name: given[name][k] for name, k in numbers.items()}, said)
        problems += [problem] if problem else []
        if settings and (text := json.dumps(settings)) not in seen:  # SIZES may overrule several values of IMAGE_SIZE
            seen.add(text)
            job = Job(settings, _name(settings, {name: numbers[name] for name in several}))
            chains.setdefault(str(numbers | {"CONTENT_IMAGE": 0} if chain else numbers), []).append(job)
    if problems:  # each combination tells one; the values by themselves tell more
        problems += [_decide(saved, fixed | {name: value})[1] for name in given for value in given[name]]
        return [], [problem for problem in _each_once(problems) if problem]
    print(*(f"{line}\n" for line in dict.fromkeys(said.getvalue().splitlines())), sep="", end="")
    for first, *rest in chains.values():
        first.chain = tuple(rest)
    return [jobs[0] for jobs in chains.values()], []


def _decide(saved, explicit, said=None):
    """Return the settings that count, or None, and what of them cannot work, or "". What is said goes into a file."""
    with contextlib.redirect_stdout(said or io.StringIO()):
        try:
            return decide(saved, explicit), ""
        except SettingsError as error:
            return None, str(error)


def _name(settings, numbers):
    """Return the name of a job's folder: its pictures, and the settings of which there are several values."""
    name = name_of_pair(settings, 60)
    for setting, number in numbers.items():
        value = settings[setting]
        text = f"{value:g}" if isinstance(value, float) else str(value)
        plain = re.fullmatch(r"[\w.+-]{1,20}", text)
        name += f"-{setting}={text if plain else number + 1}"  # a list or a path has its number
    return fit_name(name, 200)


def describe_grid(given, jobs):
    """Return a line that says how many pictures a batch makes, and of what."""
    counts = {"photo": given.get("CONTENT_IMAGE", "1"), "painting": given.get("STYLE_IMAGE", "1")}
    parts = [f"{len(values)} {what}{'s' * (len(values) != 1)}" for what, values in counts.items()]
    parts += [f"{len(v)} values of {name}" for name, v in given.items() if len(v) > 1 and not name.endswith("_IMAGE")]
    total = sum(1 + len(job.chain) for job in jobs)
    return f"{total} picture{'s' * (total != 1)}: {' × '.join(parts)}."


def with_paths(settings, rename):
    """Return a copy of Settings in which a function of a path has renamed the pictures."""
    styles, start = settings.STYLE_IMAGE, settings.INIT
    several = not isinstance(styles, str)
    renamed = {"CONTENT_IMAGE": rename(settings.CONTENT_IMAGE)}
    renamed["STYLE_IMAGE"] = [(rename(path), weight) for path, weight in styles] if several else rename(styles)
    renamed |= {name: list(map(rename, getattr(settings, name))) for name in ("STYLE_MASKS", "STYLE_PARTS")}
    renamed["INIT"] = start if start in STARTS else rename(start)
    return settings | {name: value for name, value in renamed.items() if name in settings}


def input_files(settings):
    """Return the paths of the pictures that Settings name, each once, in a fixed order."""
    paths = {}
    with_paths(settings, lambda path: paths.setdefault(path, path))
    return list(paths)


def next_link(job, picture):
    """Return the job of a chain that begins with the picture of the one before, a pathlib.Path; None after the last."""
    if not job.chain:
        return None
    link, *rest = job.chain
    return Job(link.settings | {"INIT": _shortest(picture.as_posix())}, link.name, tuple(rest), link.error)
