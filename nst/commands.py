"""Commands that run a notebook, as a shell takes them: of make where it was used, else of this Python."""

import os
import shlex
import sys
from pathlib import Path

from nst.lesson import FIRST, ROOT, SECOND

OF_MAKE = {FIRST: "make run", SECOND: "make neighbours"}


def command_of(notebook, settings=None, quote=shlex.quote):
    """Return the command that runs a notebook, named as it is seen from the repository, with some settings.

    Args:
        notebook: its path, a text.
        settings: dict of name to value.
        quote: function that makes a text a word for the shell.
    """
    python = Path(sys.executable)
    python = python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
    words = [python.as_posix(), "scripts/run_notebook.py", *([] if notebook == FIRST else [notebook])]
    command = OF_MAKE.get(notebook) if "MAKELEVEL" in os.environ else None
    command = command or " ".join(map(quote, words))
    values = {f"NST_{name}": str(value) for name, value in (settings or {}).items()}
    if sys.platform == "win32":  # PowerShell
        given = ("$env:{} = '{}';".format(name, value.replace("'", "''")) for name, value in values.items())
    else:
        given = (f"{name}={quote(value)}" for name, value in values.items())
    return " ".join([*given, command])
