"""The run as the training loop sees it: settings that take effect, sizes, stopping, going on, and what goes wrong."""

import copy
import gc
import json
import math
import os
import shutil
import signal
import sys
import threading
import weakref

import numpy as np
import pytest
from PIL import Image

import nst.images
import nst.plots
import nst.runs
import nst_utils
from conftest import SETTINGS, fail_at, paint, prepare, stop_at, train
from nst.backend import tf
from nst.images import load_image, to_uint8
from nst.lesson import lesson_cells, run_cell

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
TWO_SIZES = {"SIZES": [48, 96], "EPOCHS": 10}  # 10 epochs at 48 pixels, 10 at 96


def facts_of(folder):
    return json.loads((folder / "settings.json").read_text())


def costs_of(run):
    return [row[2:] for row in run.history]


def saved_picture(folder):
    with Image.open(folder / "generated_image.png") as saved:
        return np.asarray(saved)


# ---- settings as they are when the training cell is run


def test_edited_settings_need_only_the_training_cell(folder):
    names = prepare()
    first = train(names)
    names |= {"CONTENT_IMAGE": "images/astronaut.jpg", "IMAGE_SIZE": 48, "EPOCHS": 3}
    second = train(names)
    facts = facts_of(second.folder)
    assert facts["settings"]["CONTENT_IMAGE"] == "images/astronaut.jpg"
    assert (facts["settings"]["IMAGE_SIZE"], facts["sizes"]) == (48, [[48, 3]])
    assert facts["generated_image"] == {"width": 48, "height": 48}
    assert saved_picture(second.folder).shape == (48, 48, 3)
    assert len(second.history) == facts["epochs_done"] == 3
    assert np.array_equal(second.content_image, load_image("images/astronaut.jpg", 48)), "what the result cell shows"
    assert first.folder != second.folder
    assert facts_of(first.folder)["settings"]["IMAGE_SIZE"] == first.settings["IMAGE_SIZE"] == 64


def test_list_changed_in_place_takes_effect_and_leaves_the_records_alone(folder):
    names = prepare(STYLE_LAYERS=[("block1_conv1", 0.5), ("block2_conv1", 0.5)])

    def change(run):
        names["STYLE_LAYERS"][1] = ("block2_conv2", 0.9)

    first, second = train(names, change), train(names)
    assert facts_of(first.folder)["settings"]["STYLE_LAYERS"] == [["block1_conv1", 0.5], ["block2_conv1", 0.5]]
    assert first.settings["STYLE_LAYERS"][1] == ("block2_conv1", 0.5)
    assert facts_of(second.folder)["settings"]["STYLE_LAYERS"] == [["block1_conv1", 0.5], ["block2_conv2", 0.9]]
    fresh = paint(STYLE_LAYERS=[("block1_conv1", 0.5), ("block2_conv2", 0.9)])
    assert costs_of(second) == costs_of(fresh) != costs_of(first), "the network and the weights of the cost"


def test_same_settings_give_the_same_picture_in_a_run_of_its_own(folder):
    names = prepare(BETA=100.0)
    first, second = train(names), train(names)
    assert first.folder != second.folder
    assert costs_of(first) == costs_of(second)
    assert np.array_equal(saved_picture(first.folder), saved_picture(second.folder))


def test_variable_of_the_environment_wins_without_its_cell(folder, monkeypatch, capsys):
    """The cells with the settings and the training, run again: the cell that reads the environment is left out."""
    monkeypatch.setenv("NST_IMAGE_SIZE", "48")
    names = prepare()
    for source, tags in lesson_cells():
        if "settings" in tags:
            run_cell(source, names)
    names |= {name: copy.deepcopy(value) for name, value in SETTINGS.items() if name != "IMAGE_SIZE"}
    assert names["IMAGE_SIZE"] == 512
    run = train(names)
    assert run.content_image.shape[2] == names["IMAGE_SIZE"] == facts_of(run.folder)["settings"]["IMAGE_SIZE"] == 48
    assert "IMAGE_SIZE = 48 (from NST_IMAGE_SIZE)" in capsys.readouterr().out


# ---- sizes


def test_a_larger_size_starts_from_the_picture_before(folder, monkeypatch):
    pictures, decoded, to_rgb = [], [], nst.images._to_rgb

    def count(picture, size, background):
        decoded.append(size)
        return to_rgb(picture, size, background)

    photo = load_image(SETTINGS["CONTENT_IMAGE"], 48)
    monkeypatch.setattr(nst.images, "_to_rgb", count)
    run = paint(lambda run: pictures.append(run.generated_image.numpy()), **TWO_SIZES)
    small, large = pictures[9], pictures[10]  # after 10 epochs at 48 pixels, and one at 96
    assert (small.shape, large.shape) == ((1, 32, 48, 3), (1, 64, 96, 3))
    shrunk = tf.image.resize(large, (32, 48), antialias=True)
    assert np.abs(shrunk - small).mean() < 0.02, "the picture before, and a gentle step"
    assert np.abs(shrunk - photo).mean() > 0.04, "and not the photo"
    assert [max(size) for size in decoded] == [48, 48, 96, 96], "content and style, decoded once per size"
    assert [path.name for path in run.snapshots] == [f"image_{epoch:05d}.jpg" for epoch in range(0, 21, 2)]
    assert [Image.open(path).width for path in run.snapshots] == [48] * 6 + [96] * 5


def test_plan_of_sizes():
    def plan(shape=(300, 400), **settings):
        return nst_utils.plan_sizes({"SIZES": [], "EPOCHS": 200, "STROKE_SIZE": 1.0} | settings, [shape, (400, 400)])

    assert plan(IMAGE_SIZE=512, EPOCHS=160) == [(181, 160), (256, 80), (362, 40), (512, 20)]
    assert plan(IMAGE_SIZE=400) == [(200, 200), (283, 100), (400, 50)]
    assert plan(IMAGE_SIZE=201) == [(142, 200), (201, 100)]
    assert plan(IMAGE_SIZE=200) == [(200, 200)]
    assert plan(IMAGE_SIZE=160) == [(160, 200)]
    sizes, epochs = zip(*plan(IMAGE_SIZE=3840, EPOCHS=160), strict=True)
    assert sizes == (170, 240, 339, 480, 679, 960, 1358, 1920, 2715, 3840)
    assert epochs == (160, 80, 40, *7 * [20]), "at least 20 of a long run"
    assert plan(IMAGE_SIZE=400, EPOCHS=4) == [(200, 4), (283, 4), (400, 4)], "and not more than the first ones"
    assert plan(IMAGE_SIZE=1200, SIZES=[1200]) == [(1200, 200)]
    assert plan(IMAGE_SIZE=500, SIZES=[100, 250, 500], EPOCHS=1) == [(100, 1), (250, 1), (500, 1)]
    assert plan(IMAGE_SIZE=500, SIZES=[300, 500]) == [(300, 200), (500, 100)], "as given, and never before them"
    assert plan((120, 1200), IMAGE_SIZE=1200)[0] == (424, 200), "at 300 its short side has 30 pixels: too few"
    assert plan((63, 600), IMAGE_SIZE=600) == [(424, 200), (600, 100)], "31.5 pixels are, too"
    with pytest.raises(nst_utils.SettingsError, match="SIZES begins with 200.*Begin with 320 or more"):
        plan((120, 1200), IMAGE_SIZE=1200, SIZES=[200, 1200])


def test_live_line_names_what_was_turned(folder, capsys):
    run = paint(ALPHA=20.0, **TWO_SIZES)
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch " in line]
    assert run.title == "alpha 20   beta 40   48 → 96 px"
    assert all(line.startswith(f"{run.title}   epoch ") for line in lines), lines
    assert "epoch 20/20" in lines[-1]


# ---- pooling


def test_pooling_is_obeyed_recorded_and_kept_by_a_resumed_run(folder):
    largest, average = paint(), paint(POOLING="average")
    assert not np.allclose(costs_of(average), costs_of(largest), rtol=0.01)
    paint(stop_at(3), POOLING="average", OUTPUT_DIR=str(folder))
    assert facts_of(folder)["settings"]["POOLING"] == "average"
    assert costs_of(paint(RESUME=str(folder))) == costs_of(average), "though POOLING is max today"


# ---- stopped


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_after_the_step_and_keep_everything(folder, capsys, number):
    before = signal.getsignal(number)
    run = paint(
        lambda run: os.kill(os.getpid(), number) if len(run.history) == 7 else None, EPOCHS=50, OUTPUT_DIR=str(folder)
    )
    assert signal.getsignal(number) == before
    assert len(run.history) == 7
    facts = facts_of(folder)
    assert (run.state, facts["state"], facts["epochs_done"]) == ("stopped", "stopped", 7)
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    out = capsys.readouterr().out
    assert "Stopped after epoch 7 of 50" in out
    assert f'RESUME = "{folder.as_posix()}"' in out


@POSIX
def test_interrupting_twice_does_not_wait(folder):
    def twice(run):
        if len(run.history) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        paint(twice, EPOCHS=50, OUTPUT_DIR=str(folder))
    assert (facts_of(folder)["state"], facts_of(folder)["epochs_done"]) == ("stopped", 3)
    assert len(paint(stop_at(4), RESUME=str(folder)).history) == 4


def test_run_in_a_thread_is_stopped_from_another(folder):
    handlers, begun, runs = signal.getsignal(signal.SIGINT), threading.Event(), []

    def after_epoch(run):
        runs[:] = [run]
        if len(run.history) == 2:
            begun.set()

    names = prepare(EPOCHS=100_000, OUTPUT_DIR=str(folder))
    thread = threading.Thread(target=train, args=(names, after_epoch))
    thread.start()
    try:
        assert begun.wait(120), "the run has not begun"
    finally:
        if runs:
            runs[0].stop()
        thread.join(120)
    assert not thread.is_alive(), "the run has not heard of it"
    assert facts_of(folder)["state"] == "stopped"
    assert facts_of(folder)["epochs_done"] == len(runs[0].history) < 100_000
    assert signal.getsignal(signal.SIGINT) == handlers


def test_stopped_before_the_first_epoch_is_begun_and_can_go_on(folder, capsys):
    """Else the cells below would have nothing to show."""
    names = prepare(OUTPUT_DIR=str(folder))
    (source,) = [source for source, tags in lesson_cells() if "training" in tags]
    run_cell(source.replace("as run:\n", "as run:\n    run.stop()\n"), names)
    assert np.array_equal(names["run"].generated_image, names["run"].content_image)
    assert "Stopped after epoch 0 of 5" in capsys.readouterr().out
    assert facts_of(folder)["state"] == "stopped"
    assert len(paint(RESUME=str(folder)).history) == 5


# ---- going on


@pytest.mark.parametrize(
    ("epoch", "settings"),
    [(4, {}), (10, {}), (12, {}), (12, {"TILE": 64}), (12, {"PRECISION": "bfloat16"})],
)
def test_stopped_and_resumed_is_the_same_as_in_one_go(folder, epoch, settings):
    """In the middle of a size, at its end, and in the next."""
    whole = paint(**TWO_SIZES, **settings)
    tiles = {"TILE": settings.get("TILE", 0)}  # a setting of today, not of the run
    stopped = paint(stop_at(epoch), OUTPUT_DIR=str(folder), **TWO_SIZES, **settings)
    assert len(stopped.history) == epoch
    run = paint(RESUME=str(folder), **tiles)
    assert (run.folder, run.state, facts_of(folder)["state"]) == (folder, "finished", "finished")
    exact = settings.get("PRECISION") != "bfloat16"
    assert np.allclose(costs_of(run), costs_of(whole), rtol=0 if exact else 0.02, atol=0)
    assert np.abs(saved_picture(folder).astype(int) - saved_picture(whole.folder)).max() <= (0 if exact else 12)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.folder.iterdir()}
    assert [path.name for path in run.snapshots] == [path.name for path in whole.snapshots]
    assert np.array_equal(run.content_image, whole.content_image)
    assert np.array_equal(run.style_images[0], whole.style_images[0])
    seconds = [row[1] for row in run.history]
    assert seconds == sorted(seconds), "the clock goes on, too"


def test_tiles_are_taken_in_a_run(folder):
    """Else the test above would not test them; the whole and the tiles agree."""
    whole, tiled = paint(IMAGE_SIZE=96, EPOCHS=2), paint(IMAGE_SIZE=96, EPOCHS=2, TILE=64)
    image = tiled.content_image
    assert [a.shape.rank for a in tiled.look(image)] == [2, 4], "Gram matrices, and the content"
    assert [a.shape.rank for a in whole.look(image)] == [4, 4]
    assert np.allclose(costs_of(tiled), costs_of(whole), rtol=1e-4, atol=1e-9)


def test_resuming_uses_the_settings_of_the_stopped_run(folder, capsys):
    layers = [("block1_conv1", 1.0), ("block2_conv1", 0.5)]
    paint(stop_at(3), EPOCHS=9, WEIGHTS="auto", STYLE_LAYERS=layers, OUTPUT_DIR=str(folder))
    capsys.readouterr()
    names = prepare(RESUME=str(folder), EPOCHS=77, STYLE_LAYERS=layers, PRECISION="auto", WEIGHTS="imagenet")
    run = train(names)
    changes = {"RESUME": str(folder), "EPOCHS": 9, "STYLE_LAYERS": layers, "WEIGHTS": "tiny"}
    assert run.settings == SETTINGS | changes
    assert {name: names[name] for name in SETTINGS} == run.settings, "and the notebook's names say so"
    out = capsys.readouterr().out
    assert f"Continuing {folder} with its own settings." in out
    assert [line for line in out.splitlines() if "is not used" in line] == ["EPOCHS = 9 there, so 77 is not used"]


def test_other_files_than_the_run_began_with_are_refused(folder, tmp_path):
    style = tmp_path / "style.jpg"
    shutil.copy(SETTINGS["STYLE_IMAGE"], style)
    paint(stop_at(3), STYLE_IMAGE=str(style), OUTPUT_DIR=str(folder))
    shutil.copy("images/astronaut.jpg", style)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(nst_utils.SettingsError, match="style_images is not what the run began with. Start anew"):
        paint(RESUME=str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_optimizer_cannot_continue_a_run(folder):
    paint(stop_at(2), OUTPUT_DIR=str(folder))
    names = prepare(RESUME=str(folder))
    names["make_optimizer"] = lambda epochs, refines: tf.keras.optimizers.SGD(0.1)
    with pytest.raises(nst_utils.SettingsError, match="the run began with another optimizer. Start anew"):
        train(names)
    assert (folder / "checkpoint.npz").exists()


def test_resuming_with_changed_cells_says_so_and_keeps_it_on_record(folder, edit_notebook, capsys):
    paint(stop_at(2), OUTPUT_DIR=str(folder))
    assert "lesson_before" not in facts_of(folder)
    first = facts_of(folder)["lesson"]
    line = "The lesson's cells have changed since this run began"
    paint(stop_at(3), RESUME=str(folder))
    assert line not in capsys.readouterr().out
    edit_notebook()
    paint(stop_at(4), RESUME=str(folder))
    assert line in capsys.readouterr().out
    paint(RESUME=str(folder))
    assert line not in capsys.readouterr().out, "they are those of the run's last part"
    facts = facts_of(folder)
    assert facts["lesson_before"] == [first], "though it was continued twice"
    assert facts["lesson"]["sha256"] != first["sha256"]


def test_killed_before_the_results_is_finished_by_resuming(folder, monkeypatch):
    def killed(records, image):
        raise ZeroDivisionError

    with monkeypatch.context() as context, pytest.raises(ZeroDivisionError):
        context.setattr(nst.records.Records, "save_picture", killed)
        paint(OUTPUT_DIR=str(folder), **TWO_SIZES)
    assert not (folder / "generated_image.png").exists()
    run = paint(RESUME=str(folder))
    assert len(run.history) == 20
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    assert not (folder / "checkpoint.npz").exists()


def test_error_at_the_beginning_of_a_size_keeps_the_one_before(folder):
    names = prepare(OUTPUT_DIR=str(folder), **TWO_SIZES)
    make = names["make_optimizer"]
    names["make_optimizer"] = lambda epochs, refines: 1 / 0 if refines else make(epochs, refines)
    with pytest.raises(ZeroDivisionError):
        train(names)
    assert saved_picture(folder).shape == (32, 48, 3)
    assert (facts_of(folder)["state"], facts_of(folder)["epochs_done"]) == ("failed", 10)
    run = paint(RESUME=str(folder))
    assert (len(run.history), run.generated_image.shape) == (20, (1, 64, 96, 3))


# ---- gone wrong


def test_failed_run_keeps_what_there_is_and_can_go_on(folder):
    names = prepare(OUTPUT_DIR=str(folder), EPOCHS=9)
    with pytest.raises(ZeroDivisionError):
        train(names, fail_at(5))
    run, facts = names["run"], facts_of(folder)
    assert (run.state, facts["state"], facts["epochs_done"]) == ("failed", "failed", 5)
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    assert costs_of(paint(RESUME=str(folder))) == costs_of(paint(EPOCHS=9)), "from the checkpoint after 4 epochs"


@pytest.mark.parametrize("name", ["ALPHA", "BETA", "SMOOTHNESS", "COLOUR_SMOOTHNESS"])
def test_weight_that_is_far_too_large_is_named_and_the_last_picture_is_kept(folder, name):
    """The costs stay finite here, since a ReLU makes zero of NaN: the picture tells."""
    names = prepare(OUTPUT_DIR=str(folder), SAVE_EVERY=1, **{name: 1e25})
    with pytest.raises(nst_utils.RunError, match=rf"not finite. The likely cause is {name} = 1e\+25.*lower it"):
        train(names)
    run = names["run"]
    assert run.state == facts_of(folder)["state"] == "failed"
    assert len(run.history) == facts_of(folder)["epochs_done"] >= 1
    assert np.isfinite(run.generated_image).all()
    with np.load(folder / "checkpoint.npz") as checkpoint:
        assert np.array_equal(checkpoint["image"], run.generated_image), "the checkpoint's picture"
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))


def test_cost_that_is_not_finite_ends_the_run(folder):
    names = prepare(OUTPUT_DIR=str(folder), EPOCHS=9)
    with pytest.raises(nst_utils.RunError, match="In epoch 5 .*again. The picture is that after epoch 4 again"):
        train(names, lambda run: run.record(math.nan, 0.0, 0.0) if len(run.history) == 5 else None)
    assert len(names["run"].history) == facts_of(folder)["epochs_done"] == 4


def test_cost_that_is_not_finite_at_once_leaves_nothing_to_go_back_to(folder):
    names = prepare(OUTPUT_DIR=str(folder))
    names["total_cost"] = lambda *costs, **weights: tf.constant(math.inf)
    with pytest.raises(nst_utils.RunError, match="In epoch 0 .*lower it, and run again.$"):
        train(names)
    assert not folder.exists()


def test_exhausted_memory_names_what_to_lower(folder):
    def exhaust(run):
        if len(run.history) == 3:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(
        nst_utils.RunError, match=r"does not hold a picture of 64×43 .* Set TILE = 512, or IMAGE_SIZE = 44 or less"
    ) as error:
        paint(exhaust, OUTPUT_DIR=str(folder))
    assert error.value.__suppress_context__, "TensorFlow's own pages of text are not shown"
    assert facts_of(folder)["state"] == "failed"
    assert len(paint(RESUME=str(folder)).history) == 5


@pytest.mark.parametrize("tile", [0, 64])
def test_a_run_that_is_over_leaves_no_graph_in_memory(folder, tile):
    """Else many runs in one kernel, as in going_further.ipynb, would fill it: the graph holds the weights."""
    names = prepare(IMAGE_SIZE=96, EPOCHS=2, TILE=tile)
    run = train(names)
    assert run._look.splits(run.content_image) == bool(tile)
    graph = weakref.ref(names["step"].get_concrete_function(run.generated_image).graph)
    assert graph() is not None
    del run, names
    gc.collect()
    assert graph() is None


def test_state_while_it_runs(folder):
    states = []
    paint(lambda run: states.append((run.state, facts_of(folder)["state"])), OUTPUT_DIR=str(folder))
    assert set(states) == {("running", "running")}
    assert facts_of(folder)["state"] == "finished"
