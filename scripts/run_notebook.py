"""Execute a notebook without a browser, show its progress, and save it as one HTML page in output/.

    python scripts/run_notebook.py                      what `make run` does; the notebook itself is not changed
    python scripts/run_notebook.py going_further.ipynb  what `make explore` does
    python scripts/run_notebook.py --store              for its authors: also keep the outputs in the notebook

Settings come from NST_<NAME> environment variables. This script is no part of the lesson.
"""

import argparse
import ast
import base64
import html
import io
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from matplotlib import mathtext
from matplotlib.font_manager import FontProperties
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from traitlets import default

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("neural_style_transfer.ipynb", "going_further.ipynb")
WIDGET = "application/vnd.jupyter.widget-view+json"  # shows nothing where its program does not run
SOCKETS = tempfile.TemporaryDirectory(prefix="nst-")
SECONDS_BETWEEN_LINES = 10  # where the terminal cannot write over a line


class _Progress(NotebookClient):
    """A notebook client that writes to the terminal what the cells print and how the live view stands."""

    _status_shown = 0.0
    _status_open = False

    def say(self, text):
        """Print a line of its own."""
        print("\n" * self._status_open + text, flush=True)
        self._status_open = False

    def process_message(self, msg, cell, cell_index):
        """Pass each message on, and its text to the terminal."""
        content = msg["content"]
        if msg["msg_type"] == "stream":
            print("\n" * self._status_open + content["text"], end="", flush=True)
            self._status_open = False
        elif msg["msg_type"] in ("display_data", "update_display_data") and "display_id" in content["transient"]:
            self._show_status(content["data"].get("text/plain", ""))
        return super().process_message(msg, cell, cell_index)

    def _show_status(self, text):
        if sys.stdout.isatty():
            print(f"\r{text}\x1b[K", end="", flush=True)
            self._status_open = True
        elif time.monotonic() - self._status_shown > SECONDS_BETWEEN_LINES or text.endswith("0:00 left"):
            self._status_shown = time.monotonic()
            print(text, flush=True)


class _KernelManager(AsyncKernelManager):
    """A manager whose kernel talks through files instead of network ports, where the system has that."""

    @default("transport")
    def _choose_transport(self):
        return "tcp" if sys.platform == "win32" else "ipc"

    @default("ip")
    def _choose_ip(self):
        return "127.0.0.1" if self.transport == "tcp" else os.path.join(SOCKETS.name, "kernel")


class _Stop:
    """What Ctrl-C and SIGTERM do: end a training after its step, or the whole where nothing is being trained."""

    def __init__(self, client):
        self.client = client
        self.received = None
        self.training = None  # None before, True in, False after the cells that train
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number, frame):
        if self.training is False:
            self.client.say("The training is over; finishing the page.")
            return
        self.received = number
        self.client.say("Stopping after this step …" if self.training else "Stopping …")
        if sys.platform != "win32":  # there, the kernel gets Ctrl-C as well
            os.kill(self.client.km.provisioner.pid, signal.SIGINT)


class _Stopped(Exception):
    """A signal ended the whole; its arguments are the signal and what to say."""


def tags(cell):
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def execute(notebook):
    """Run the cells of a notebook in place.

    Returns:
        folder of its run, or None for a notebook that has many; and the exit status that says how it ended.
    """
    client = _Progress(notebook, timeout=None, store_widget_state=False, resources={"metadata": {"path": str(ROOT)}})
    client.kernel_manager_class = _KernelManager
    last = max(index for index, cell in enumerate(notebook.cells) if "training" in tags(cell))
    folder, state = None, "finished"
    with client.setup_kernel():
        stop = _Stop(client)
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "markdown" and (heading := re.match(r"## (.+)", cell.source)):
                client.say(f"— {heading[1]}")
            if stop.received and stop.training is None:
                raise _Stopped(stop.received, "Stopped before the training began.")
            if stop.received and index <= last:
                client.say("What would follow is left out.")
                break
            stop.training = True if "training" in tags(cell) else stop.training
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                if error.ename == "KeyboardInterrupt":
                    raise _Stopped(stop.received or signal.SIGINT, "Stopped.") from None
                raise
            stop.training = False if index >= last else stop.training
        if "lesson" in tags(notebook.cells[last]):
            notebook.cells.append(nbformat.v4.new_code_cell("run.folder.absolute().as_posix(), run.state"))
            answer = client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
            notebook.cells.pop()
            folder, state = ast.literal_eval(answer.outputs[0]["data"]["text/plain"])
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop(WIDGET, None)  # the picture beside it takes its place
    fine = state == "finished" and not stop.received
    return folder and Path(folder), 0 if fine else 128 + (stop.received or signal.SIGINT)


def _formula(tex, size):
    """Return a formula as an HTML image, drawn by matplotlib, so that the page needs no script from the network."""
    tex = re.sub(r"\\text\{([^}]*)\}", lambda text: r"\mathrm{" + text[1].replace(" ", r"\ ") + "}", tex)
    svg = io.BytesIO()
    with_font = FontProperties(size=size, math_fontfamily="cm")
    depth = mathtext.math_to_image(f"${tex}$", svg, prop=with_font, dpi=72, format="svg")
    data = base64.b64encode(svg.getvalue()).decode()
    return (
        f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(tex)}" '
        f'style="display:inline;margin:0;vertical-align:-{depth:.1f}px">'
    )


def draw_formulas(markdown):
    """Replace the formulas of a Markdown text, $…$ and $$… \\tag{n}$$, by images."""

    def block(match):
        tex, _, number = match[1].replace(r"\frac", r"\dfrac").partition(r"\tag{")
        label = f'<span style="float:right">({number.strip(" }")})</span>' if number else ""
        return f'\n<div style="text-align:center;margin:1em 0">{label}{_formula(tex.strip(), 15)}</div>\n'

    markdown = re.sub(r"\$\$(.+?)\$\$", block, markdown, flags=re.DOTALL)
    return re.sub(r"\$([^$\n]+)\$", lambda match: _formula(match[1], 12), markdown)


def save_page(notebook, folder):
    """Write an executed notebook as one HTML page beside a folder, over no other file, and return its path.

    The page needs no other file and no network.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(cell.source)
    no_scripts = "{% extends 'lab/index.html.j2' %}" + "".join(
        f"{{% block {name} %}}{{% endblock %}}"
        for name in ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs")
    )
    exporter = HTMLExporter(raw_template=no_scripts, embed_images=True)
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    resources = {"metadata": {"name": title, "path": str(ROOT)}}
    page, _ = exporter.from_notebook_node(notebook, resources)
    names = [folder.name, *(f"{folder.name}-{number}" for number in range(2, 1000))]
    path = next(p for name in names if not (p := folder.with_name(f"{name}.html")).exists())
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def store(notebook, path):
    """Write the executed notebook over the stored one, without what differs from machine to machine."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


def main():
    """Run the notebook, save the page and print where things are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="?", choices=NOTEBOOKS, default=NOTEBOOKS[0])
    parser.add_argument("--store", action="store_true", help="keep the outputs in the notebook")
    options = parser.parse_args()
    started = time.monotonic()
    path = ROOT / options.notebook
    notebook = nbformat.read(path, as_version=4)
    try:
        folder, status = execute(notebook)
    except _Stopped as stopped:
        print(f"\n{stopped.args[1]}")
        sys.exit(128 + stopped.args[0])
    except CellExecutionError as error:
        sys.exit(f"\nThe notebook stopped: {error.ename}: {error.evalue}")
    if options.store:
        store(notebook, path)
    paths = [folder.resolve()] if folder else []
    pages = ROOT / Path(os.environ.get("NST_OUTPUT_DIR") or "output").expanduser()
    try:
        paths.append(save_page(notebook, paths[0] if folder else pages / path.stem))
    except OSError as error:
        status = status or 1
        print(f"\nThe run is complete, but its page could not be written: {error}", file=sys.stderr)
    print(f"\nDone in {time.monotonic() - started:.0f} s.")
    for path in paths:
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    sys.exit(status)


if __name__ == "__main__":
    main()
