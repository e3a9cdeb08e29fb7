"""Who runs the lesson: a reader in a notebook, or a program that brings settings of its own and watches."""

import contextlib
import contextvars
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Context(NamedTuple):
    """What a program that runs a lesson brings.

    settings: those that win over NST_ variables and over the notebook. watch: function that is called with the Run when
    it begins and returns its view, with the methods update and say of plots.LiveView; None for the live view. notebook,
    cells: name of the lesson's notebook and sha256 of its cells, for the record; None in a kernel.
    """

    settings: Mapping = {}
    watch: Callable | None = None
    notebook: str | None = None
    cells: str | None = None


_READER = Context()
_CONTEXT = contextvars.ContextVar("nst")  # a thread of its own has one of its own


def current():
    """Return the Context in which the lesson runs."""
    return _CONTEXT.get(_READER)


@contextlib.contextmanager
def running(context):
    """Run what is within, in this thread, in a Context."""
    token = _CONTEXT.set(context)
    try:
        yield
    finally:
        _CONTEXT.reset(token)
