"""What the tests share: the lesson's own functions, a tiny network, small pictures and small runs."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import textwrap

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs this in the background has it ignored
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has ignored
for name in [name for name in os.environ if name.startswith("NST_")]:
    del os.environ[name]  # the reader's settings are not the tests' settings

os.environ["MAKELEVEL"] = "1"  # as if make had started it

import nbformat
import numpy as np
import pytest
from PIL import Image

import nst.costs
import nst.images
import nst.records
import nst.settings
import nst_utils
from nst.backend import tf
from nst.layers import LAYER_NAMES
from nst.lesson import FIRST, ROOT, Lesson, run_cell
from nst.vgg19 import VGG19

NOTEBOOK = ROOT / FIRST
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
SETTINGS = Lesson().settings() | {  # of a very small run
    "STYLE_IMAGE": "images/great_wave.jpg",
    "IMAGE_SIZE": 64,
    "EPOCHS": 5,
    "ALPHA": 10.0,
    "BETA": 40.0,
    "CONTENT_LAYER": "block2_conv1",
    "STYLE_LAYERS": [("block1_conv1", 1.0)],
    "WEIGHTS": "standin",
    "SMOOTHNESS": 50.0,
    "COLOUR_SMOOTHNESS": 100.0,
    "PRECISION": "float32",
    "SAVE_EVERY": 2,
}


def run_python(program, **environment):
    """Run a program in a new process, in the repository; return its result, with what it printed."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = os.environ | environment
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Run every test where a reader runs the notebook, as in a new kernel."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(nst.settings, "SAID", {})
    nst.images.say_once.cache_clear()


@pytest.fixture(scope="session")
def lesson():
    """What the lesson's cells define before the training: settings, costs, training step."""
    return Lesson().run(train=False)


def make_tiny_vgg(least=2):
    """Return a VGG19 in shape, with random weights and from 2 channels on, whose activations stay of order one."""
    random = np.random.default_rng(7)
    layers, n_in = {}, 3
    for name in LAYER_NAMES:
        n_out = least - 1 + int(name[5])
        kernel = random.normal(0.0, (2.0 / (9 * n_in)) ** 0.5, (3, 3, n_in, n_out)).astype(np.float32)
        layers[name] = kernel / 128 if name == "block1_conv1" else kernel, np.full(n_out, 0.1, np.float32)
        n_in = n_out
    return VGG19("tiny", "0" * 64, layers)


@pytest.fixture(scope="session")
def tiny_vgg():
    """A tiny VGG19 with random weights."""
    return make_tiny_vgg()


@pytest.fixture
def picture():
    """A function that makes a smooth random picture of some size, float32 in [0, 1], shape (1, H, W, 3)."""

    def make(height, width, seed=0):
        coarse = np.random.default_rng(seed).uniform(0, 1, (1, 6, 7, 3)).astype(np.float32)
        return tf.clip_by_value(tf.image.resize(coarse, (height, width), "bicubic"), 0.0, 1.0)

    return make


@pytest.fixture
def folder(tmp_path, tiny_vgg, monkeypatch):
    """A folder for a run on the tiny network; without OUTPUT_DIR, runs go to tmp_path / "output"."""
    monkeypatch.setattr(nst.records, "OUTPUT_FOLDER", tmp_path / "output")
    monkeypatch.setattr(nst_utils, "load_vgg19", lambda weights, normalise, pooling: tiny_vgg._replace(pooling=pooling))
    return tmp_path / "run"


def prepare(**settings):
    """Return what the lesson's cells define before the training, with the settings of a very small run."""
    names = Lesson().run(train=False)
    names.update(copy.deepcopy(SETTINGS | settings))
    return names


@contextlib.contextmanager
def after_epochs(function):
    """Call a function of the run after each epoch of the runs within."""
    record = nst_utils.Run.record

    def record_and_more(run, **costs):
        record(run, **costs)
        function(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nst_utils.Run, "record", record_and_more)
        yield


def train(names, after_epoch=lambda run: None):
    """Run the lesson's training cell, and after each epoch a function of the run; return the run."""
    with after_epochs(after_epoch):
        run_cell(Lesson().cells[-1][0], names)
    return names["run"]


def paint(after_epoch=lambda run: None, **settings):
    """Do a very small run, and after each epoch a function of the run; return the run."""
    return train(prepare(**settings), after_epoch)


def stop_at(epoch):
    """Return a function for paint that stops the run after so many epochs."""
    return lambda run: run.stop() if len(run.history) == epoch else None


def costs_of(run):
    """Return the costs of a run, a tuple for each epoch."""
    return [tuple(nst.costs.costs_of(row).values()) for row in run.history]


def facts_of(folder):
    """Return what settings.json of a run says."""
    return json.loads((folder / "settings.json").read_text())


def saved_picture(folder):
    """Return generated_image.png of a run, an array."""
    with Image.open(folder / "generated_image.png") as saved:
        return np.asarray(saved)


def everything_in(folder):
    """Return the contents of a folder's files, by their names."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_lesson(path, without=(), edit=lambda cells: None, **settings):
    """Save a copy of the lesson with the settings of a very small run, without some, edited; return its path."""
    notebook, values = nbformat.read(NOTEBOOK, as_version=4), SETTINGS | settings
    lines = [f"{name} = {value!r}" for name, value in values.items() if name not in without]
    for cell in notebook.cells:
        if "settings" in cell.metadata.get("tags", []):
            cell.source, lines = "\n".join(lines), []
    edit(notebook.cells)
    nbformat.write(notebook, path)
    return path


def raiser(error):
    """Return a function that raises an error, whatever it is given."""

    def fail(*_, **__):
        raise error

    return fail


def replace(old, new):
    """Return a function for write_lesson that replaces a text in the one cell of code that has it."""

    def edit(cells):
        (cell,) = [cell for cell in cells if cell.cell_type == "code" and old in cell.source]
        cell.source = cell.source.replace(old, new)

    return edit
