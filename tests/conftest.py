"""What the tests share: the lesson's own functions, a tiny network and small pictures."""

import copy
import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
for name in [name for name in os.environ if name.startswith("NST_")]:
    del os.environ[name]  # the reader's settings are not the tests' settings

import nbformat
import numpy as np
import pytest

import nst.lesson
import nst.records
import nst.runs
from nst.backend import tf
from nst.lesson import NOTEBOOK, lesson_cells, run_cell, run_lesson
from nst.vgg19 import LAYER_NAMES, VGG19

SETTINGS = {  # of a very small run
    "CONTENT_IMAGE": "images/summer_palace.jpg",
    "STYLE_IMAGE": "images/great_wave.jpg",
    "IMAGE_SIZE": 64,
    "EPOCHS": 5,
    "ALPHA": 10.0,
    "BETA": 40.0,
    "CONTENT_LAYER": "block2_conv1",
    "STYLE_LAYERS": [("block1_conv1", 1.0)],
    "WEIGHTS": "standin",
    "SIZES": [],
    "INIT": "content",
    "SEED": 0,
    "STROKE_SIZE": 1.0,
    "KEEP_COLOURS": "",
    "STYLE_MASKS": [],
    "LEARNING_RATE": 0.05,
    "SMOOTHNESS": 50.0,
    "COLOUR_SMOOTHNESS": 100.0,
    "POOLING": "max",
    "NORMALISE_ACTIVATIONS": True,
    "PRECISION": "float32",
    "TILE": 0,
    "SAVE_EVERY": 2,
    "OUTPUT_DIR": "",
    "RESUME": "",
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
    """Run every test where a reader runs the notebook."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def notebook():
    """The stored notebook."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="session")
def lesson():
    """What the lesson's cells define before the training: settings, costs, training step."""
    return run_lesson(train=False)


def make_tiny_vgg():
    """Return a VGG19 in shape, with random weights and 2 to 6 channels, whose activations stay of order one."""
    random = np.random.default_rng(7)
    layers, n_in = {}, 3
    for name in LAYER_NAMES:
        n_out = 1 + int(name[5])
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


def prepare(**settings):
    """Return what the lesson's cells define before the training, with the settings of a very small run."""
    return run_lesson(copy.deepcopy(SETTINGS | settings), train=False)


def train(names, after_epoch=None):
    """Run the lesson's training cell, and after each epoch a function of the run; return the run."""
    record = nst.runs.Run.record

    def record_and_more(run, *costs):
        record(run, *costs)
        after_epoch(run)

    with pytest.MonkeyPatch.context() as patch:
        if after_epoch:
            patch.setattr(nst.runs.Run, "record", record_and_more)
        (source,) = [source for source, tags in lesson_cells() if "training" in tags]
        run_cell(source, names)
    return names["run"]


def paint(after_epoch=None, **settings):
    """Do a very small run, and after each epoch a function of the run; return the run."""
    return train(prepare(**settings), after_epoch)


def stop_at(epoch):
    """Return a function for paint that stops the run after so many epochs."""
    return lambda run: run.stop() if len(run.history) == epoch else None


def fail_at(epoch):
    """Return a function for paint that raises ZeroDivisionError after so many epochs."""
    return lambda run: 1 / (len(run.history) - epoch)


@pytest.fixture
def folder(tmp_path, tiny_vgg, monkeypatch):
    """A folder for a run on the tiny network; without OUTPUT_DIR, runs go to tmp_path / "output"."""
    monkeypatch.setattr(nst.records, "OUTPUT_FOLDER", tmp_path / "output")
    monkeypatch.setattr(nst.runs, "load_vgg19", lambda weights, normalise, pooling: tiny_vgg._replace(pooling=pooling))
    return tmp_path / "run"


@pytest.fixture
def edit_notebook(tmp_path, notebook, monkeypatch):
    """A function that adds a comment to the training cell, in a copy which nst.lesson then takes for the notebook."""

    def edit():
        edited = copy.deepcopy(notebook)
        (cell,) = [cell for cell in edited.cells if "training" in cell.metadata.get("tags", [])]
        cell.source += "\n# mine"
        nbformat.write(edited, tmp_path / "edited.ipynb")
        monkeypatch.setattr(nst.lesson, "NOTEBOOK", tmp_path / "edited.ipynb")

    return edit
