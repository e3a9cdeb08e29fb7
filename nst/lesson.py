"""A lesson as a program: a notebook with settings, functions and a training loop, run in this process."""

import ast
import contextlib
import hashlib
import inspect
import itertools
import json
import linecache
import os
import re
import types
from pathlib import Path

import nst.table
from nst.context import Context, running
from nst.errors import SettingsError
from nst.spelling import check_names

ROOT = Path(__file__).resolve().parent.parent
FIRST, SECOND = "neural_style_transfer.ipynb", "nearest_neighbours.ipynb"


class Lesson:
    """A saved notebook whose code cells, up to the one tagged training, are the lesson.

    Cells tagged settings hold nothing but settings; cells tagged shows only show something, and are passed over.

    Args:
        path: the notebook, looked for as it is named and at the top of the repository; the first lesson when None.

    Attributes:
        path: pathlib.Path. name: of the file.
        cells: list of (source, set of tags), in order; the last one trains.
        sha256: of the cells without those of settings: what a picture depends on besides settings and files.

    Raises:
        SettingsError: there is no such notebook, or it trains nothing.
    """

    def __init__(self, path=None):
        if not isinstance(path, (str, os.PathLike, type(None))):
            raise SettingsError(f"A lesson is named by the path of its notebook, a text in quotes, not {path!r}.")
        named = Path(path or ROOT / FIRST)
        self.path = next((p for p in (named, ROOT / named) if os.path.isfile(p)), named)
        self.name = self.path.name
        try:
            cells = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
            cells = [c for c in cells if c["cell_type"] == "code"]
            cells = [("".join(c["source"]), set(c["metadata"].get("tags", []))) for c in cells]
        except OSError as error:
            raise SettingsError(f"The lesson {named} cannot be read: {error.strerror}. Name the notebook.") from None
        except (ValueError, KeyError, TypeError):
            raise SettingsError(f"{named} is no notebook. Name one of the lessons, such as {FIRST}.") from None
        training = next((i for i, (_, tags) in enumerate(cells) if "training" in tags and "shows" not in tags), None)
        if training is None or not any("settings" in tags for _, tags in cells):
            raise SettingsError(f"{named} is no lesson: it has no cell tagged settings, or none tagged training.")
        self.cells = [(source, tags) for source, tags in cells[: training + 1] if "shows" not in tags]
        sources = [source for source, tags in self.cells if "settings" not in tags]
        self._settings = [source for source, tags in self.cells if "settings" in tags]
        self.sha256 = hashlib.sha256("\n\n".join(sources).encode()).hexdigest()

    def settings(self):
        """Return the settings as they are saved, a dict. Nothing but the cells of settings is executed.

        Raises:
            SettingsError: a cell of settings needs more than itself, or has a misspelt name.
        """
        namespace = {"nst_utils": nst.table}  # for a lesson that adds a line to the table
        for source in self._settings:
            try:
                exec(_python(source), namespace)
            except Exception as error:
                raise SettingsError(
                    f"A cell of settings in {self.name} does not stand alone: {error}. Keep in it what it needs."
                ) from None
        check_names(self._settings)
        return {name: namespace[name] for name in nst.table.SETTINGS if name in namespace}

    def functions(self):
        """Return the names of the functions that the cells define, a set."""
        statements = itertools.chain.from_iterable(ast.parse(_python(source)).body for source, _ in self.cells)
        return {statement.name for statement in statements if isinstance(statement, ast.FunctionDef)}

    def run(self, settings=None, watch=None, train=True, functions=None):
        """Run the lesson: imports, settings, definitions and the training.

        Args:
            settings: dict of settings that win over NST_ variables and the notebook.
            watch: as nst.context.Context.
            train: False stops before the training.
            functions: dict of those that take the place of the lesson's own.

        Returns:
            dict of all names that the cells have defined, such as compute_content_cost, or run.
        """
        namespace = {"__name__": "__main__", "In": self._settings}
        with running(Context(settings or {}, watch, self.name, self.sha256)):
            for source, _ in self.cells[:-1]:
                try:
                    run_cell(source, namespace)
                except NameError as error:
                    first = source.strip().splitlines()[0]
                    raise SettingsError(
                        f"In {self.name}, the cell that begins {first!r}: {error}. Cells tagged shows are passed over "
                        "here: tag this one so, too, or take it out, and save the notebook."
                    ) from error
            namespace |= functions or {}
            if train:
                run_cell(self.cells[-1][0], namespace)
        return namespace


def run_cell(source, namespace):
    """Execute a cell as Jupyter does: its source stays readable, which tf.function and inspect want.

    Lines that speak to Jupyter (%… and !…) are passed over.
    """
    source = _python(source)
    name = f"<cell {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), namespace)


def _python(source):
    """Return the source of a cell without what is Jupyter's alone, such as %time, !ls and help?."""
    with contextlib.suppress(SyntaxError):
        ast.parse(source)
        return source  # what looks like Jupyter's is a part of something else
    plain = re.sub(r"(?m)^([ \t]*)([%!?].*|.*\?[ \t]*)$", r"\1pass", source)
    plain = re.sub(r"(?m)^([ \t]*\w[\w, ]*=[ \t]*)[%!].*$", r"\1None", plain)
    try:
        ast.parse(plain)
    except SyntaxError as error:
        raise SettingsError(
            f"The cell that begins {source.strip().splitlines()[0]!r} is not whole: {error.msg}, line {error.lineno}. "
            "Mend it, and save the notebook."
        ) from None
    return plain


def describe_functions(function):
    """Return a dict of name to sha256 (its first 12 digits) of the sources of the cells' functions beside one."""
    found = {}
    for name, value in _functions_beside(function):
        try:
            found[name] = hashlib.sha256(inspect.getsource(value).strip().encode()).hexdigest()[:12]
        except (OSError, TypeError):  # typed in where nothing keeps the source
            found[name] = "unknown"
    return dict(sorted(found.items()))


def names_used(function):
    """Return the names that the functions beside one use, attributes such as settings.BETA among them, a set."""
    functions = (inspect.unwrap(value) for value in list(_namespace_of(function).values()) if callable(value))
    codes, used = [f.__code__ for f in functions if isinstance(f, types.FunctionType)], set()
    for code in codes:  # which grows by what stands within
        used |= {*code.co_names}
        codes += [within for within in code.co_consts if isinstance(within, types.CodeType)]
    return used


def _namespace_of(function):
    return getattr(inspect.unwrap(function), "__globals__", {}) if callable(function) else {}


def _functions_beside(function):
    """Yield the names and functions that the cells beside a function have defined."""
    namespace = _namespace_of(function)
    for name, value in list(namespace.items()):
        value = inspect.unwrap(value) if callable(value) else value  # of a decorator, such as tf.function
        # a second name, such as the training cell's step, may be that of the run before
        own = isinstance(value, types.FunctionType) and value.__module__ == namespace["__name__"]
        if own and not name.startswith("_") and (value.__name__ == name or value.__name__ not in namespace):
            yield name, value
