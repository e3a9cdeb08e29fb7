"""Another lesson: five cells with a cost, an optimiser and a picture of their own, run by all that runs lessons."""

import json
import os
import subprocess
import sys

import nbformat
import numpy as np
import pytest

import nst.records
import nst_utils
from conftest import ROOT, after_epochs, costs_of, facts_of, saved_picture, stop_at
from nst.images import to_uint8
from nst.lesson import Lesson
from nst.settings import differing
from nst.table import SETTINGS as TABLE

IMPORTS = "import nst_utils\nimport tensorflow as tf"
SETTINGS = """
CONTENT_IMAGE = "images/summer_palace.jpg"
STYLE_IMAGE = "images/great_wave.jpg"
IMAGE_SIZE = 96
EPOCHS = 3
BETA = 5.0
WEIGHTS = "standin"
TILE = 0
SAVE_EVERY = 2
OUTPUT_DIR = ""
RESUME = ""
"""
NETWORK = """
def load_network(settings):
    vgg = nst_utils.load_vgg19(settings.WEIGHTS, settings.NORMALISE_ACTIVATIONS, settings.POOLING)
    return nst_utils.get_layer_outputs(vgg, ["block1_conv1", "block2_conv1", "block2_conv2"], "float32")

def plan(settings, shapes):
    return [(settings.IMAGE_SIZE // 2, settings.EPOCHS), (settings.IMAGE_SIZE, settings.EPOCHS)]
"""
COST = """
def moments(a):  # (2, n_C): the mean of each channel, and that of its squares
    if a.shape.rank < 4:
        return a
    return tf.stack([tf.reduce_mean(a, (0, 1, 2)), tf.reduce_mean(a ** 2, (0, 1, 2))])

def deviation(m):
    return tf.sqrt(tf.maximum(m[1] - m[0] ** 2, 0.0) + 1e-4)

def compute_style_cost(m_S, a_G):
    m_G = [moments(a) for a in a_G[:-1]]
    return tf.add_n([tf.reduce_mean((S[0] - G[0]) ** 2) + tf.reduce_mean((deviation(S) - deviation(G)) ** 2)
                     for S, G in zip(m_S, m_G)])
"""
TRAINING = """
class Momentum(tf.Module):
    def __init__(self, variables):
        self.speeds = [tf.Variable(tf.zeros_like(v, tf.bfloat16)) for v in variables]
        self.steps = tf.Variable(0)

    def apply(self, gradients, variables):
        self.steps.assign_add(1)
        rate = 0.002 / tf.cast(self.steps, tf.float32)
        for speed, g, v in zip(self.speeds, gradients, variables):
            speed.assign(0.8 * speed - tf.cast(rate * tf.sign(g), tf.bfloat16))
            v.assign_add(tf.cast(speed, tf.float32))

def train_step(run, parts, picture, a_C, m_S, optimizer):
    with tf.GradientTape() as tape:
        a_G = run.look(picture())
        J_style = compute_style_cost(m_S, a_G)
        J = tf.reduce_mean((a_C - a_G[-1]) ** 2) + run.settings.BETA * J_style + GRAIN_COST
    optimizer.apply(tape.gradient(J, parts), parts)
    return J, J_style

with nst_utils.Run(nst_utils.read_settings(globals()), load_network, moments, plan) as run:
    for size in run.sizes():
        a_C, m_S = run.look(size.content_image)[-1], run.look_at_style(size.style_images)[:-1]
        parts = [tf.Variable(0.5 * size.start), tf.Variable(0.5 * size.start)]
        picture = lambda: tf.clip_by_value(parts[0] + parts[1], 0.0, 1.0)
        optimizer = Momentum(parts)
        step = train_step if run.tiled else tf.function(train_step)
        for epoch in run.epochs(parts, optimizer, picture):
            J, J_style = step(run, parts, picture, a_C, m_S, optimizer)
            run.record(J=J, J_style=J_style)
"""


@pytest.fixture
def write(tmp_path, folder):
    """A function that saves the lesson, for the tiny network, with the reader's own settings and cost."""

    def write(settings=SETTINGS, cost="0.0"):
        sources = [IMPORTS, settings, NETWORK, COST, TRAINING.replace("GRAIN_COST", cost)]
        cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
        cells[1].metadata["tags"], cells[-1].metadata["tags"] = ["settings"], ["training"]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "moments.ipynb")
        return tmp_path / "moments.ipynb"

    return write


def test_it_paints(write):
    path = write()
    run = Lesson(path).run()["run"]
    costs = [J for J, _ in costs_of(run)]
    assert (run.state, len(costs), [size for size, _ in run.plan]) == ("finished", 6, [48, 96])
    assert costs[2] < costs[0]
    assert costs[5] < costs[3]
    facts = facts_of(run.folder)
    assert facts["settings"].keys() == Lesson(path).settings().keys(), "what it does not use is not there"
    assert (facts["lesson"]["notebook"], facts["lesson"]["cells"]) == ("moments.ipynb", Lesson(path).sha256)
    assert np.array_equal(saved_picture(run.folder), to_uint8(run.generated_image))
    assert list(run.history[0]) == ["epoch", "seconds", "J", "J_style"]


@pytest.mark.parametrize(("epoch", "tile"), [(2, 0), (3, 64), (5, 64)])
def test_stopped_and_resumed_it_is_the_same_as_in_one_go_and_in_tiles_as_the_whole(write, folder, epoch, tile):
    path = write()
    whole = Lesson(path).run({"TILE": tile})["run"]
    seen = [a.shape.rank for a in whole.look(whole.content_image)]
    assert seen == ([2, 2, 4] if tile else [4, 4, 4]), "moments of a tile"
    assert np.allclose(costs_of(whole), costs_of(Lesson(path).run({"TILE": 64 - tile})["run"]), rtol=1e-4)
    with after_epochs(stop_at(epoch)):
        Lesson(path).run({"TILE": tile, "OUTPUT_DIR": str(folder)})
    assert (facts_of(folder)["state"], facts_of(folder)["epochs_done"]) == ("stopped", epoch)
    run = Lesson(path).run({"TILE": tile, "RESUME": str(folder)})["run"]
    assert (run.state, costs_of(run)) == ("finished", costs_of(whole))
    assert np.array_equal(run.generated_image, whole.generated_image)
    assert np.array_equal(saved_picture(folder), saved_picture(whole.folder))


def test_paint_compare_and_the_panel_take_it(write):
    path, small = write(), {"IMAGE_SIZE": 96, "EPOCHS": 2}
    nst_utils.paint(lesson=path, **small)
    nst_utils.compare(lesson=path, BETA=[1, 9], **small)
    nst_utils.Panel(lesson=str(path), BETA=2, **small).run().join()
    records = [facts_of(file.parent) for file in nst.records.OUTPUT_FOLDER.rglob("settings.json")]
    assert sorted(facts["settings"]["BETA"] for facts in records) == [1.0, 2.0, 5.0, 9.0]
    for facts in records:
        assert (facts["state"], facts["lesson"]["cells"]) == ("finished", Lesson(path).sha256)
        assert facts["sizes"] == [[48, 2], [96, 2]]
    assert list(nst.records.OUTPUT_FOLDER.glob("compare-001/sheet.png"))


def test_a_setting_of_its_own_takes_one_line(write, monkeypatch):
    path = write('nst_utils.SETTINGS["GRAIN"] = nst_utils.weight(0.0)\nGRAIN = 2.0\n' + SETTINGS, "run.settings.GRAIN")
    try:
        saved = Lesson(path).settings()
        assert saved["GRAIN"] == 2.0
        assert differing(saved, {**saved, "GRAIN": 0.0}) == ["GRAIN"]
        monkeypatch.setenv("NST_GRAIN", "3")
        runs = [Lesson(path).run(settings)["run"] for settings in ({}, {"GRAIN": 7})]
        assert [facts_of(run.folder)["settings"]["GRAIN"] for run in runs] == [3.0, 7.0]
        assert costs_of(runs[1])[0][0] - costs_of(runs[0])[0][0] == pytest.approx(4.0, rel=1e-3), "what computed"
        with pytest.raises(nst_utils.SettingsError, match="GRAIN = -1.0 cannot work: it must be a finite number"):
            nst_utils.paint(lesson=path, GRAIN=-1)
        Lesson().run(train=False)  # the first lesson has no use for it
    finally:
        del TABLE["GRAIN"]


@pytest.mark.slow
def test_a_page_of_it_is_made(write, tmp_path):
    environ = os.environ | {"NST_EPOCHS": "2", "NST_OUTPUT_DIR": str(tmp_path / "run")}
    command = [sys.executable, ROOT / "scripts" / "run_notebook.py", write()]
    result = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8", timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["state"] == "finished"
    assert list(tmp_path.glob("*.html"))
