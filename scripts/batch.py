"""The old name of `python -m batch`, which also works from another folder."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    runpy.run_module("batch", run_name="__main__", alter_sys=True)
