"""How the names in cells of settings are spelt: what is given there, and is no setting, is likely meant to be one."""

import ast
import difflib
import re

from nst.errors import SettingsError
from nst.table import SETTINGS


def check_names(cells):
    """Look whether a plain value has a name that is like a setting's and is none, where settings are given.

    That is in a cell that sets a setting, or, if the name is in capitals, in a cell right after one.

    Args:
        cells: sources of the cells that have been executed, in order: one that has been mended and run again counts.

    Raises:
        SettingsError: there is such a name.
    """
    wrong = []  # name, the setting that is meant, and those beside it
    for names, right, before in _assigned(cells):
        wrong = [(name, meant, beside) for name, meant, beside in wrong if not (right == {meant} or beside <= right)]
        doubtful = names - right if right else {name for name in names if before and name.isupper()}
        for name in sorted(doubtful):
            near = difflib.get_close_matches(name.upper(), SETTINGS, n=1, cutoff=0.75)
            wrong += [(name, meant, right or before) for meant in near]
    for name, meant, _ in wrong:
        raise SettingsError(f"{name} is no setting. Do you mean {meant}?")
    idle = {}  # name: whether the last cell of settings that has it does not set it
    for cell, (names, right, _) in zip(cells, _assigned(cells), strict=True):
        there = {*re.findall(r"(?m)^(\w+)[ \t]*(?::[^=\n]*|==.*)$", cell)} & SETTINGS.keys() if right else set()
        idle |= dict.fromkeys(there, True) | dict.fromkeys(names, False)
    for name in (name for name, is_idle in idle.items() if is_idle):
        raise SettingsError(f"{name}: … and {name} == … set nothing. Write {name} = …")


def doubtful_names(cells):
    """Yield names in capitals that cells apart from those of settings give, each with the setting that is like it."""
    apart = [names for names, right, before in _assigned(cells) if not right and not before]
    for name in sorted({name for names in apart for name in names if name.isupper()}):
        near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.8)
        if near and not near[0].startswith(name) and not name.startswith(near[0]):  # SIZE is a reader's own
            yield name, near[0]


def _assigned(cells):
    """Yield the plain names of each cell, those of them that are settings, and those of the cell before that are."""
    before = set()
    for names in map(_plain_names, cells):
        yield names, names & SETTINGS.keys(), before
        before = names & SETTINGS.keys()


def _plain_names(cell):
    """Return the names to which the top level of a cell assigns values without calling anything, or reading them."""
    try:
        tree = ast.parse(cell)
    except SyntaxError:  # the cell has failed
        return set()
    statements = [line for line in tree.body if isinstance(line, (ast.Assign, ast.AnnAssign)) and line.value]
    plain = [line for line in statements if not any(isinstance(part, ast.Call) for part in ast.walk(line.value))]
    targets = [target for line in plain for target in getattr(line, "targets", None) or [line.target]]
    targets += [part for target in targets for part in getattr(target, "elts", ())]  # A, B = 1, 2
    read = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    return {target.id for target in targets if isinstance(target, ast.Name)} - (read - SETTINGS.keys())
