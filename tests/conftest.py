"""What the tests share: the notebook's own functions, a tiny network and small pictures."""

import linecache
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
for name in [name for name in os.environ if name.startswith("NST_")]:
    del os.environ[name]  # the reader's settings are not the tests' settings

import nbformat
import numpy as np
import pytest

import nst_utils

tf = nst_utils.tf
NOTEBOOK = ROOT / "neural_style_transfer.ipynb"
SETTINGS = {  # of a very small run
    "CONTENT_IMAGE": "images/summer_palace.jpg",
    "STYLE_IMAGE": "images/great_wave.jpg",
    "IMAGE_SIZE": 64,
    "SIZES": [],
    "TILE": 0,
    "EPOCHS": 5,
    "LEARNING_RATE": 0.05,
    "ALPHA": 10.0,
    "STYLE_LAYERS": [("block1_conv1", 1.0)],
    "WEIGHTS": "standin",
    "NORMALISE_ACTIVATIONS": True,
    "PRECISION": "auto",
    "SAVE_EVERY": 2,
    "OUTPUT_DIR": "",
    "RESUME": "",
}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    """Run every test where a reader runs the notebook."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def notebook():
    """The stored notebook."""
    return nbformat.read(NOTEBOOK, as_version=4)


def run_cell(cell, namespace):
    """Execute a code cell as Jupyter does: its source stays readable, which tf.function wants."""
    name = f"<cell {cell.id}>"
    linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(keepends=True), name)
    exec(compile(cell.source, name, "exec"), namespace)


@pytest.fixture(scope="session")
def lesson(notebook):
    """What the notebook's cells define: settings, costs, training step, and its toy values.

    Left out are the cells that work on the pictures or the network: tests bring their own small ones.
    """
    big = ("content_image", "vgg", "sizes:", "sizes[0]", "run.", "read_settings")
    namespace = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and ("def " in cell.source or not any(word in cell.source for word in big)):
            run_cell(cell, namespace)
    return namespace


@pytest.fixture(scope="session")
def tiny_vgg():
    """A VGG19 in shape, with random weights and 2 to 6 channels, whose activations stay of order one."""
    random = np.random.default_rng(7)
    layers, n_in = {}, 3
    for name in nst_utils.LAYER_NAMES:
        n_out = 1 + int(name[5])
        kernel = random.normal(0.0, (2.0 / (9 * n_in)) ** 0.5, (3, 3, n_in, n_out)).astype(np.float32)
        layers[name] = (
            kernel / 128 if n_in == 3 and name == "block1_conv1" else kernel,
            np.full(n_out, 0.1, np.float32),
        )
        n_in = n_out
    return nst_utils.VGG19("tiny", "0" * 64, layers)


@pytest.fixture
def picture():
    """A function that makes a smooth random picture of some size, float32 in [0, 1], shape (1, H, W, 3)."""

    def make(height, width, seed=0):
        coarse = np.random.default_rng(seed).uniform(0, 1, (1, 6, 7, 3)).astype(np.float32)
        return tf.clip_by_value(tf.image.resize(coarse, (height, width), "bicubic"), 0.0, 1.0)

    return make
