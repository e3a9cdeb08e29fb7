"""Execute a notebook without a browser, show its progress, and save it as one HTML page in output/.

    python scripts/run_notebook.py                      what `make run` does; the notebook itself is not changed
    python scripts/run_notebook.py going_further.ipynb  another notebook, by its path
    python scripts/run_notebook.py --store              for its authors: also keep the outputs in the notebook

Settings come from NST_<NAME> environment variables. The exit status is 0 for a notebook that ran to its end, 1 for one
that failed or whose kernel was killed, and 128 plus the signal's number for one that was stopped.
"""

import signal

if __name__ == "__main__":  # what follows takes a second: until there are handlers, Ctrl-C ends it without a word
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from nst.checkpoints import CHECKPOINT
from nst.commands import command_of
from nst.errors import NSTError
from nst.files import write_file
from nst.lesson import FIRST, SECOND, Lesson
from scripts.kernel import Signals, kernel_in, kernel_log
from scripts.page import REPORT, save_page, show_run
from scripts.terminal import Terminal, shell_word

WIDGET = "application/vnd.jupyter.widget-view+json"  # shows nothing where its program does not run
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "nbconvert_exporter": "python"}
KILLED = (
    "The notebook's kernel was ended from outside, as a system does when its memory is full: make IMAGE_SIZE smaller{}."
)
TILES = ", or set TILE = 512, as in {}"  # of the second lesson they save hardly any memory
SAID = "Weights: ", "Note: "  # as what is said once, and not of a toy


class Stopped(Exception):
    """A signal ended the whole; its argument is the signal's number."""


class Client(NotebookClient):
    """A notebook client that passes on to the terminal what the cells say and how the live view stands."""

    def __init__(self, notebook, km, terminal, signals, is_lesson):
        resources = {"metadata": {"path": str(ROOT)}}  # where the kernel runs
        super().__init__(notebook, km, timeout=None, startup_timeout=300, resources=resources, store_widget_state=False)
        self.terminal, self.signals, self.is_lesson = terminal, signals, is_lesson

    def process_message(self, msg, cell, cell_index):
        """Pass each message on, and its text to the terminal."""
        content, kind = msg["content"], msg["msg_type"]
        if "shows" in tags(cell):  # it is for the page alone, but for what is said once
            for line in content.get("text", "").splitlines():
                if line.startswith(SAID):
                    self.terminal.say(line)
        elif self.is_lesson and self.signals.received:
            pass  # what a stopped run advises holds in Jupyter
        elif kind == "stream":
            self.terminal.write(content["text"])
        elif kind in ("display_data", "update_display_data") and "display_id" in content.get("transient", {}):
            self.terminal.show_status(content["data"].get("text/plain", ""))
        return super().process_message(msg, cell, cell_index)


def tags(cell):
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def execute(notebook, terminal, folder, left_behind=list):
    """Run the cells of a notebook in place, the kernel's files in a folder; left_behind as in Signals.

    Returns:
        what REPORT shows, a list of outputs that is empty if the notebook holds no single run; and the number of the
        signal that stopped it, or None.
    """
    trains = [index for index, cell in enumerate(notebook.cells) if "training" in tags(cell)]
    last, is_lesson, report = max(trains, default=-1), len(trains) == 1, []
    km = kernel_in(folder)
    signals = Signals(terminal, km, folder, left_behind)
    client = Client(notebook, km, terminal, signals, is_lesson)
    environment = os.environ | {"TMPDIR": folder}  # a kernel that is killed leaves files there
    with kernel_log(folder) as log, client.setup_kernel(cleanup_kc=True, stdout=log, stderr=log, env=environment):
        signals.ready, signals.trains = True, bool(trains)
        for index, cell in enumerate(notebook.cells):
            if signals.received and signals.training is None:
                raise Stopped(signals.received)
            if signals.received and index <= last:
                terminal.say("What would follow is left out.")
                break
            heading = cell.cell_type == "markdown" and re.match(r"## (.+)", cell.source)
            if heading and not signals.received:
                terminal.say(f"— {heading[1]}")
            signals.training = True if index in trains else signals.training
            try:
                client.execute_cell(cell, index)
            except DeadKernelError:
                if signals.received and signals.training is None:
                    raise Stopped(signals.received) from None
                raise
            except CellExecutionError as error:
                if error.ename == "KeyboardInterrupt":
                    raise Stopped(signals.received or signal.SIGINT) from None
                error.where = f"in the cell that begins: {cell.source.strip().splitlines()[0]}"
                raise
            signals.training = False if trains and index >= last else signals.training
        if is_lesson:
            notebook.cells.append(nbformat.v4.new_code_cell(REPORT, metadata={"tags": ["shows"]}))
            client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
            report = notebook.cells.pop().outputs
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop(WIDGET, None)  # the picture beside it takes its place
    return report, signals.received


def store(notebook, path):
    """Write the executed notebook over the stored one, without what differs from machine to machine."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = LANGUAGE
    write_file(path, f"{nbformat.writes(notebook)}\n".encode())


def finish(notebook, path, report, stopped, terminal):
    """Save the page of a notebook, executed from a path, print where things are, and return the exit status."""
    status, paths, folder, facts = 128 + stopped if stopped else 0, [], None, None
    name, result = Path(os.path.expanduser(os.environ.get("NST_OUTPUT_DIR") or "output")) / path.stem, ""
    try:
        if report:
            name = folder = Path(os.fsdecode(bytes.fromhex("".join(s["text"] for s in report if "text" in s).strip())))
            sources = [shown["data"]["image/jpeg"] for shown in report if "data" in shown]
            facts = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
            status = 0 if facts["state"] == "finished" else status or 128 + signal.SIGINT
            paths.append(folder / "generated_image.png")
            result = show_run(paths[0], sources, facts, settings_of(path))
        paths.append(save_page(notebook, ROOT / name.with_name(f"{name.name}.html"), result, path.parent))
    except (OSError, NSTError) as error:
        status = status or 1
        complain(f"The run is complete, but its page could not be written: {error}")
    if status > 1:
        epochs = facts and f" after epoch {facts['epochs_done']} of {sum(epochs for _, epochs in facts['sizes'])}"
        terminal.say(f"Stopped{epochs or ''}.")
    for made in paths:
        terminal.say(short_path(made))
    if status > 1 and folder and (folder / CHECKPOINT).exists():
        terminal.say(how_to_go_on(folder, path))
    return status


def how_to_go_on(folder, path):
    """Return the command that goes on with the run in a folder, of the notebook with a path."""
    return f"To go on:\n{command_of(short_path(path), {'RESUME': short_path(folder)}, shell_word)}"


def left_behind(path, since, before=True):
    """Return how to go on with what a kernel that is gone has left since a time, or before; a list of one or none."""
    named = os.environ.get("NST_OUTPUT_DIR") or settings_of(path).get("OUTPUT_DIR") or "output"
    parent = ROOT / os.path.expanduser(named)  # where the kernel runs
    went_on = [resumed() / CHECKPOINT] * (resumed() / CHECKPOINT).exists()
    files = [
        (file.stat().st_mtime, file) for file in (*parent.glob(CHECKPOINT), *parent.glob(f"*/{CHECKPOINT}"), *went_on)
    ]
    found = [file for when, file in sorted(files) if when >= since] or went_on * before
    return [how_to_go_on(file.parent, path) for file in found[-1:]]


def resumed():
    """Return the folder of the run that is to go on, which need not be there."""
    return ROOT / os.path.expanduser(os.environ.get("NST_RESUME") or "-")


def settings_of(path):
    """Return the settings that a notebook has, a dict; that of one that is no lesson is empty."""
    try:
        return Lesson(path).settings()
    except NSTError:
        return {}


def short_path(path):
    """Return a path as it is seen from the repository."""
    path = path.absolute()
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def complain(text):
    """Write a message to standard error, where somebody reads it."""
    with contextlib.suppress(OSError):
        print(f"\n{text}", file=sys.stderr, flush=True)


def main():
    """Run the notebook, save the page and print where things are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebook", nargs="?", default=FIRST, help="its path")
    parser.add_argument("--store", action="store_true", help="keep the outputs in the notebook")
    options = parser.parse_args()
    path = next((p for p in (Path(options.notebook), ROOT / options.notebook) if os.path.isfile(p)), None)
    try:
        notebook = nbformat.read(path, as_version=4)
    except (AttributeError, TypeError, ValueError, nbformat.ValidationError):
        parser.error(f"{options.notebook} is no notebook, or is not there")
    terminal, started, begun, status = Terminal(), time.monotonic(), time.time(), 1
    try:
        with tempfile.TemporaryDirectory(prefix="nst-", ignore_cleanup_errors=True) as folder:
            report, stopped = execute(notebook, terminal, folder, lambda: left_behind(path, begun))
        if options.store and not stopped:
            store(notebook, path)
        if not stopped:
            terminal.say(f"Done in {time.monotonic() - started:.0f} s.")
        status = finish(notebook, path, report, stopped, terminal)
    except Stopped as error:
        terminal.say("Stopped before there was a page.")
        status = 128 + error.args[0]
        for line in left_behind(path, begun):
            terminal.say(line)
    except CellExecutionError as error:
        where = getattr(error, "where", "after the training")
        told = f"The notebook stopped: {error.ename}: {error.evalue}\n{where}"
        complain("\n".join([told, *left_behind(path, begun, before=error.ename == "RunError")]))
    except RuntimeError as error:
        killed = KILLED.format("" if path.name == SECOND else TILES.format(command_of(short_path(path), {"TILE": 512})))
        cause = killed if isinstance(error, DeadKernelError) else f"The notebook could not be started: {error}"
        complain("\n".join([cause, *getattr(error, "__notes__", []), *left_behind(path, begun)]).strip())
    except OSError as error:
        complain(f"The notebook could not be run: {error}. Make room there, or set TMPDIR to another folder.")
    sys.exit(status)


if __name__ == "__main__":
    main()
