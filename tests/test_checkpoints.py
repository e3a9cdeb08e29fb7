"""A run that goes on: as if it had never been stopped, or refused without harm."""

import math
import shutil

import numpy as np
import pytest

import nst.records
import nst_utils
from conftest import (
    SETTINGS,
    after_epochs,
    costs_of,
    everything_in,
    facts_of,
    paint,
    prepare,
    replace,
    saved_picture,
    stop_at,
    train,
    write_lesson,
)
from nst.backend import tf
from nst.checkpoints import read_checkpoint, settings_of_run
from nst.images import save_image, to_uint8
from nst.lesson import Lesson
from nst.settings import Settings

TWO_SIZES = {"SIZES": [48, 96], "EPOCHS": 10}  # 10 epochs at 48 pixels, 10 at 96


@pytest.mark.parametrize(
    ("epoch", "settings"),
    [(4, {"INIT": "noise"}), (10, {"POOLING": "average"}), (12, {"TILE": 64}), (12, {"PRECISION": "bfloat16"})],
)
def test_stopped_and_resumed_is_the_same_as_in_one_go(folder, epoch, settings):
    """In the middle of a size, at its end, and in the next."""
    whole = paint(**TWO_SIZES, **settings)
    tiles = {"TILE": settings.get("TILE", 0)}  # a setting of today, not of the run
    assert whole.tiled == bool(tiles["TILE"])
    stopped = paint(stop_at(epoch), OUTPUT_DIR=str(folder), **TWO_SIZES, **settings)
    assert len(stopped.history) == epoch
    run = paint(RESUME=str(folder), **tiles)
    assert (run.folder, run.state, facts_of(folder)["state"]) == (folder, "finished", "finished")
    exact = settings.get("PRECISION") != "bfloat16"
    assert np.allclose(costs_of(run), costs_of(whole), rtol=0 if exact else 0.02, atol=0)
    assert np.abs(saved_picture(folder).astype(int) - saved_picture(whole.folder)).max() <= (0 if exact else 12)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.folder.iterdir()}
    seconds = [row["seconds"] for row in run.history]
    assert seconds == sorted(seconds), "the clock goes on, too"


def test_resuming_uses_the_settings_of_the_stopped_run(folder, monkeypatch, capsys):
    """A setting that it did not know yet has its default."""
    changes = {"EPOCHS": 9, "STYLE_LAYERS": [("block1_conv1", 1.0), ("block2_conv1", 0.5)]}
    paint(stop_at(3), WEIGHTS="auto", OUTPUT_DIR=str(folder), **changes)
    monkeypatch.setitem(nst_utils.SETTINGS, "GRAIN", nst_utils.weight(0.5))
    names = prepare(RESUME=str(folder), EPOCHS=77, PRECISION="auto", WEIGHTS="imagenet", GRAIN=7.0)
    assert train(names).settings == SETTINGS | changes | {"RESUME": str(folder), "WEIGHTS": "tiny", "GRAIN": 0.5}
    out = capsys.readouterr().out
    assert f"Continuing {folder} with its own settings." in out
    assert "EPOCHS = 9 there, so 77 is not used" in out


@pytest.mark.parametrize("wrong", ["style_images is not what the run", "other variables or another optimiser"])
def test_a_run_that_cannot_go_on_stays_as_it_is_and_so_does_the_notebook(folder, tmp_path, wrong):
    style = tmp_path / "style.jpg"
    shutil.copy(SETTINGS["STYLE_IMAGE"], style)
    paint(stop_at(3), STYLE_IMAGE=str(style), OUTPUT_DIR=str(folder), ALPHA=3.0)
    before, names = everything_in(folder), prepare(RESUME=str(folder), BETA=77.0)
    make = names["make_optimizer"]
    if "style" in wrong:
        shutil.copy("images/astronaut.jpg", style)
    else:
        names["make_optimizer"] = lambda *arguments: tf.keras.optimizers.SGD(0.1)
    settings = {name: names[name] for name in SETTINGS}
    with pytest.raises(nst_utils.SettingsError, match=f"{wrong}.* Start anew"):
        train(names)
    assert everything_in(folder) == before
    assert {name: names[name] for name in SETTINGS} == settings
    names |= {"RESUME": "", "make_optimizer": make}
    assert train(names).settings == SETTINGS | {"BETA": 77.0}, "what is set now, not what was set there"


def test_two_programs_never_go_on_with_the_same_run(folder):
    paint(stop_at(2), OUTPUT_DIR=str(folder))
    refused = []

    def once_more(run):
        before, names = everything_in(folder), prepare(RESUME=str(folder))
        run = nst_utils.Run(names["current_settings"](), names["load_network"])
        with pytest.raises(nst_utils.RunError, match="is being painted by another run at this moment"), run:
            pytest.fail("it has begun")
        refused.append(everything_in(folder) == before)

    run = paint(once_more, RESUME=str(folder))
    assert refused == [True] * 3
    assert (run.state, facts_of(folder)["epochs_done"]) == ("finished", 5)
    assert not (folder / ".lock").exists()


def test_only_functions_that_changed_are_told_when_a_lesson_goes_on(folder, tmp_path, capsys):
    """Edited settings, other names and another place of the notebook are no change."""

    def go_on(path, epoch):
        settings = {"RESUME": str(folder)} if folder.exists() else {"OUTPUT_DIR": str(folder)}
        with after_epochs(stop_at(epoch)):
            assert len(Lesson(path).run(settings)["run"].history) == epoch
        return capsys.readouterr().out

    path = write_lesson(tmp_path / "mine.ipynb")
    go_on(path, 1)
    first = facts_of(folder)["lesson"]
    assert (first["notebook"], first["cells"]) == ("mine.ipynb", Lesson(path).sha256)
    path = write_lesson(path.rename(tmp_path / "renamed.ipynb"), BETA=7.0, RESUME=str(folder))
    assert "Changed" not in go_on(path, 2)
    write_lesson(path, edit=replace('"""Total cost', '"""My total cost'))
    assert "Changed since this run was stopped: total_cost. The rest is painted with the new code" in go_on(path, 3)
    assert "Changed" not in go_on(path, 4), "it is that of the run's last part"
    (before,) = facts_of(folder)["lesson_before"]
    assert before["functions"] == first["functions"], "once, though it was continued twice"


def test_killed_before_the_results_is_finished_by_resuming(folder, monkeypatch):
    with monkeypatch.context() as context, pytest.raises(TypeError):
        context.setattr(nst.records.Records, "save_picture", None)
        paint(OUTPUT_DIR=str(folder))
    assert not (folder / "generated_image.png").exists()
    run = paint(RESUME=str(folder))
    assert len(run.history) == 5
    assert np.array_equal(saved_picture(folder), to_uint8(run.generated_image))
    assert not (folder / "checkpoint.npz").exists()


def test_error_at_the_beginning_of_a_size_keeps_the_one_before(folder):
    """And what is shown is made of the photo at the size of the picture."""
    names = prepare(OUTPUT_DIR=str(folder), KEEP_COLOURS="luminance", **TWO_SIZES)
    make = names["make_optimizer"]
    names["make_optimizer"] = lambda settings, epochs, refines: 1 / 0 if refines else make(settings, epochs, refines)
    with pytest.raises(ZeroDivisionError):
        train(names)
    assert names["run"].picture.shape[1:] == saved_picture(folder).shape == (32, 48, 3)
    assert (facts_of(folder)["state"], facts_of(folder)["epochs_done"]) == ("failed", 10)
    assert len(paint(RESUME=str(folder)).history) == 20


# ---- the checkpoint


def test_a_photo_that_is_changed_during_a_run_ends_it(folder, tmp_path, picture):
    photo = tmp_path / "photo.png"
    save_image(picture(50, 72, 1), photo)

    def change(run):
        if len(run.history) == 4:
            save_image(picture(72, 50, 2), photo)

    with pytest.raises(
        nst_utils.RunError, match="^content_image is not what the run began with: a file has been changed"
    ):
        paint(change, CONTENT_IMAGE=str(photo), OUTPUT_DIR=str(folder), **TWO_SIZES)
    assert facts_of(folder)["epochs_done"] == 10
    save_image(picture(50, 72, 1), photo)
    assert paint(RESUME=str(folder)).state == "finished"


def test_long_epochs_leave_a_checkpoint_between_snapshots(folder, monkeypatch):
    monkeypatch.setattr(nst.runs, "SECONDS_BETWEEN_CHECKPOINTS", -math.inf)
    with pytest.raises(ZeroDivisionError):
        paint(lambda run: 1 / (len(run.history) - 7), EPOCHS=50, SAVE_EVERY=50, OUTPUT_DIR=str(folder))
    assert len(read_checkpoint(folder)["history"]) == 7
    assert [path.name for path in folder.glob("image_*")] == ["image_00000.jpg"]


def test_what_cannot_be_resumed_is_refused(folder, tmp_path):
    with pytest.raises(nst_utils.SettingsError, match="no checkpoint.npz in this folder.*a finished run has none"):
        paint(RESUME=str(tmp_path))
    for gone in (str(tmp_path / "gone"), 300 * "x", "a\0b"):
        with pytest.raises(nst_utils.SettingsError, match="there is no such folder. Name that of a run"):
            paint(RESUME=gone)
    paint(stop_at(3), EPOCHS=9, OUTPUT_DIR=str(folder))
    checkpoint = folder / "checkpoint.npz"
    whole = checkpoint.read_bytes()
    for content in (b"", b"PK\x03\x04 cut", whole[:-500], b"no archive"):
        checkpoint.write_bytes(content)
        with pytest.raises(nst_utils.SettingsError, match="cannot be continued.*is damaged. Set RESUME = "):
            paint(RESUME=str(folder))
    np.savez(checkpoint, image=np.zeros((1, 43, 64, 3), np.float32), version=2)
    with pytest.raises(nst_utils.SettingsError, match="another version of this tutorial has written its checkpoint"):
        paint(RESUME=str(folder))
    checkpoint.write_bytes(whole)
    facts = read_checkpoint(folder)["facts"]
    facts["settings"]["MIXTURE"] = 0.75
    with pytest.raises(nst_utils.SettingsError, match="the run has MIXTURE, which this lesson does not have. Go on wi"):
        settings_of_run(facts, Settings(SETTINGS | {"RESUME": str(folder)}))
    assert len(paint(RESUME=str(folder)).history) == 9
