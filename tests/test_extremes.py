"""Every value that a setting allows gets through every cell of both lessons: whole notebooks with the extremes."""

import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

import nst_utils
from conftest import ROOT, facts_of, make_tiny_vgg
from nst import plots
from nst.context import Context, running
from nst.images import save_image
from nst.layers import LAYER_NAMES
from nst.lesson import FIRST, SECOND, Lesson, run_cell

WAVE, VILLAGE, PALACE = (f"images/{name}.jpg" for name in ("great_wave", "village_street_in_auvers", "summer_palace"))
LEAST = {"CONTENT_IMAGE": "square.png", "STYLE_IMAGE": "square.png", "IMAGE_SIZE": 32, "SIZES": [], "EPOCHS": 1}
LEAST |= {"ALPHA": 0.0, "BETA": 1e-300, "CONTENT_LAYER": "block5_conv4", "STYLE_LAYERS": [("block1_conv1", 1.0)]}
LEAST |= {"INIT": "noise", "SEED": 0, "STROKE_SIZE": 1.0, "KEEP_COLOURS": "luminance", "LEARNING_RATE": 1e-300}
LEAST |= {"SMOOTHNESS": 0.0, "COLOUR_SMOOTHNESS": 0.0, "POOLING": "average", "NORMALISE_ACTIVATIONS": False}
LEAST |= {"PRECISION": "bfloat16", "TILE": 0, "SAVE_EVERY": 1, "MIXTURE": 0.0, "LAST_EPOCHS": 0}
MOST = {"CONTENT_IMAGE": PALACE, "STYLE_IMAGE": [(WAVE, 0), (VILLAGE, 1e300)], "IMAGE_SIZE": 50, "SIZES": [48, 50]}
MOST |= {"EPOCHS": 2, "ALPHA": 1e6, "BETA": 1e6, "CONTENT_LAYER": "block1_conv1", "KEEP_COLOURS": "match"}
MOST |= {
    "STYLE_LAYERS": [(name, 1e-3) for name in LAYER_NAMES],
    "INIT": "style",
    "SEED": sys.maxsize,
    "TILE": sys.maxsize,
}
MOST |= {
    "STROKE_SIZE": 10.0,
    "LEARNING_RATE": 1.0,
    "SMOOTHNESS": 1e6,
    "COLOUR_SMOOTHNESS": 1e6,
    "SAVE_EVERY": sys.maxsize,
}
MOST |= {"PRECISION": "float32", "MIXTURE": 1.0, "LAST_EPOCHS": 6}
LISTS = {"CONTENT_IMAGE": "square.png", "STYLE_IMAGE": [("square.png", 1), ("square.png", 1e-300)], "IMAGE_SIZE": 320}
LISTS |= {"EPOCHS": 1, "SIZES": [320], "BETA": 0.0, "CONTENT_LAYER": "block2_conv1", "INIT": WAVE, "STROKE_SIZE": 0.1}
LISTS |= {
    "STYLE_LAYERS": [("block3_conv1", 0), ("block2_conv1", 5.0), ("block2_conv1", 1)],
    "TILE": 192,
    "LAST_EPOCHS": 1,
}
LISTS |= {"STYLE_MASKS": ["mask.png", "mask.png"], "STYLE_PARTS": ["mask.png", "mask.png"], "PRECISION": "float32"}
NOT_HERE = {"WEIGHTS", "OUTPUT_DIR", "RESUME"}  # files and folders, which have tests of their own


@pytest.fixture
def shown(tmp_path, folder, picture, monkeypatch):
    """What the cells display, as in a notebook, in a folder with a square picture and a mask of its upper half."""
    mask = np.zeros((1, 64, 64, 3), np.float32)
    mask[:, :32] = 1.0
    for name, image in (("square.png", picture(64, 64)), ("mask.png", mask)):
        save_image(image, tmp_path / name)
    (tmp_path / "images").symlink_to(ROOT / "images")
    monkeypatch.chdir(tmp_path)
    vgg, shown = make_tiny_vgg(least=5), []
    monkeypatch.setattr(nst_utils, "load_vgg19", lambda weights, normalise, pooling: vgg._replace(pooling=pooling))
    handle = SimpleNamespace(update=lambda bundle, raw: None)
    monkeypatch.setattr(plots, "get_ipython", lambda: object())
    monkeypatch.setattr(plots, "display", lambda bundle, **more: shown.append(bundle["text/plain"]) or handle)
    return shown


@pytest.mark.parametrize("name", [FIRST, SECOND])
@pytest.mark.parametrize("extremes", [LEAST, MOST, LISTS], ids=["least", "most", "lists"])
def test_every_cell_runs_with_extreme_settings(shown, name, extremes):
    settings = {key: value for key, value in extremes.items() if key in Lesson(ROOT / name).settings()}
    names = {"__name__": "__main__"}
    with running(Context(settings | {"WEIGHTS": "standin"})):
        for cell in nbformat.read(ROOT / name, as_version=4).cells:
            if cell.cell_type == "code":
                run_cell(cell.source, names)
    run = names["run"]
    assert run.state == "finished" and np.isfinite(run.picture).all()
    assert {key: run.settings[key] for key in settings} == settings
    assert [facts_of(run.folder)["state"], run.title in "".join(shown)] == ["finished", True]


@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_no_setting_is_left_out(name):
    assert Lesson(name).settings().keys() == (LEAST | LISTS).keys() & Lesson(name).settings().keys() | NOT_HERE
