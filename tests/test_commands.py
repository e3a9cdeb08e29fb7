"""The commands that are printed, so that a run can be repeated or gone on with: each as a shell takes it."""

import sys

from nst.commands import command_of
from nst.lesson import FIRST, ROOT, SECOND


def test_commands_are_those_of_make_or_of_the_python_that_runs(monkeypatch):
    settings = {"STYLE_IMAGE": "it's.jpg", "BETA": 3.0}
    assert command_of(FIRST, settings) == "NST_STYLE_IMAGE='it'\"'\"'s.jpg' NST_BETA=3.0 make run"
    assert command_of(SECOND) == "make neighbours"
    monkeypatch.delenv("MAKELEVEL")
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv" / "bin" / "python"))
    assert command_of(FIRST) == ".venv/bin/python scripts/run_notebook.py"
    assert command_of("my own.ipynb", {"TILE": 512}).endswith("python scripts/run_notebook.py 'my own.ipynb'")
    monkeypatch.setattr(sys, "platform", "win32")
    assert command_of(SECOND, settings).startswith("$env:NST_STYLE_IMAGE = 'it''s.jpg'; $env:NST_BETA = '3.0'; .venv/")
