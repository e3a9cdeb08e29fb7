"""Execute the notebook without a browser, show its progress, and save it as one HTML page beside the run's folder.

    python scripts/run_notebook.py           what `make run` does; the notebook itself is not changed
    python scripts/run_notebook.py --store   for its authors: also keep the outputs in the notebook

Settings come from NST_<NAME> environment variables. This script is no part of the lesson.
"""

import argparse
import ast
import base64
import contextlib
import html
import io
import os
import re
import signal
import sys
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
NOTEBOOK = ROOT / "neural_style_transfer.ipynb"
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


@contextlib.contextmanager
def _signals_to_kernel(client):
    """Hand Ctrl-C and SIGTERM on to the kernel, where the training ends after its step; the cells below still run."""
    received = []

    def hand_on(number, frame):
        received.append(number)
        client.say("Stopping after this step …")
        os.kill(client.km.provisioner.pid, signal.SIGINT)

    numbers = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def execute(notebook):
    """Run all cells of a notebook in place; return the folder of the run that it made and the signals received."""
    client = _Progress(notebook, timeout=None, resources={"metadata": {"path": str(ROOT)}})
    client.kernel_manager_class = _KernelManager
    question = nbformat.v4.new_code_cell("run.folder.as_posix()")
    with client.setup_kernel(), _signals_to_kernel(client) as received:
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "markdown" and (heading := re.match(r"## (.+)", cell.source)):
                client.say(f"— {heading[1]}")
            client.execute_cell(cell, index)
        notebook.cells.append(question)
        answer = client.execute_cell(question, len(notebook.cells) - 1)
        notebook.cells.pop()
    return ROOT / ast.literal_eval(answer.outputs[0]["data"]["text/plain"]), received


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


def save_page(notebook, path):
    """Write an executed notebook as one HTML page that needs no other file and no network."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(cell.source)
    no_scripts = "{% extends 'lab/index.html.j2' %}" + "".join(
        f"{{% block {name} %}}{{% endblock %}}"
        for name in ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs")
    )
    exporter = HTMLExporter(raw_template=no_scripts, embed_images=True)
    resources = {"metadata": {"name": "Neural style transfer", "path": str(ROOT)}}
    page, _ = exporter.from_notebook_node(notebook, resources)
    path.write_text(page, encoding="utf-8")


def store(notebook):
    """Write the executed notebook over the stored one, without what differs from machine to machine."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, NOTEBOOK)


def main():
    """Run the notebook, save the page and print where things are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="keep the outputs in the notebook")
    options = parser.parse_args()
    started = time.monotonic()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    try:
        folder, received = execute(notebook)
    except CellExecutionError as error:
        sys.exit(f"\nThe notebook stopped: {error.ename}: {error.evalue}")
    if options.store:
        store(notebook)
    page = folder.with_name(folder.name + ".html")
    save_page(notebook, page)
    print(f"\nDone in {time.monotonic() - started:.0f} s.")
    for path in (folder, page):
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    if received:
        sys.exit(128 + received[0])


if __name__ == "__main__":
    main()
