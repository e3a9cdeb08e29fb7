"""A run's folder: what is in it, and what is left of it when a run is killed, fails, or finds the disk full."""

import csv
import errno
import hashlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nst.records
import nst.runs
import nst_utils
from conftest import (
    SETTINGS,
    facts_of,
    make_tiny_vgg,
    paint,
    prepare,
    saved_picture,
    stop_at,
    train,
)
from nst.checkpoints import read_checkpoint
from nst.images import to_uint8


def rows_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def check_files(folder, finished):
    """Every file of a run reads whole."""
    names = {path.name for path in folder.iterdir()}
    assert ("checkpoint.npz" in names) is not finished
    for name in names:
        if name.startswith(("image_", "generated_image")):
            with Image.open(folder / name) as picture:
                picture.load()
    facts_of(folder)
    assert [int(row["epoch"]) for row in rows_of(folder)] == list(range(len(rows_of(folder))))
    if not finished:
        read_checkpoint(folder)


def test_a_run_leaves_exactly_the_promised_files(folder):
    pictures = []
    run = paint(lambda run: pictures.append(to_uint8(run.generated_image)), LEARNING_RATE=0.2)
    assert run.folder.name == "summer_palace-great_wave-001"
    snapshots = [f"image_{epoch:05d}.jpg" for epoch in (0, 2, 4, 5)]
    assert [path.name for path in run.snapshots] == snapshots
    names = {path.name for path in run.folder.iterdir()}
    assert names == {*snapshots, "generated_image.png", "history.csv", "settings.json"}
    assert np.array_equal(saved_picture(run.folder), pictures[-1])
    pictures.insert(0, to_uint8(run.content_image))
    for epoch, path in zip((0, 2, 4, 5), run.snapshots, strict=True):
        with Image.open(path) as saved:
            distances = [np.abs(np.asarray(saved, float) - picture).mean() for picture in pictures]
        assert np.argmin(distances) == epoch, "it shows the picture after so many epochs"
    check_files(run.folder, finished=True)


def test_records_say_how_the_picture_was_made(folder):
    states = []
    run = paint(lambda run: states.append((run.state, facts_of(run.folder)["state"])))
    assert set(states) == {("running", "running")}
    rows, facts = rows_of(run.folder), facts_of(run.folder)
    assert [{name: float(text) for name, text in row.items()} for row in rows] == run.history
    assert [list(rows[0]), len(rows)] == [["epoch", "seconds", "J", "J_content", "J_style"], 5]
    assert (facts["state"], facts["epochs_done"], facts["sizes"]) == ("finished", 5, [[64, 5]])
    assert facts["settings"] == json.loads(json.dumps(SETTINGS))
    assert facts["generated_image"] == {"width": 64, "height": 43}
    assert (facts["precision"], facts["device"]) == ("float32", nst.runs.device())
    assert facts["weights"] == {"name": "tiny", "sha256": "0" * 64}
    sha256 = hashlib.sha256(Path(SETTINGS["CONTENT_IMAGE"]).read_bytes()).hexdigest()
    assert facts["content_image"] == {"file": SETTINGS["CONTENT_IMAGE"], "sha256": sha256}
    assert [style["file"] for style in facts["style_images"]] == [SETTINGS["STYLE_IMAGE"]]
    assert (facts["style_masks"], facts["style_parts"], facts["init_image"]) == ([], [], None)
    lesson = facts["lesson"]
    assert (lesson["notebook"], lesson["cells"]) == (None, None), "the training cell alone knows no notebook"
    assert {"load_network", "gram_matrix", "train_step"} <= lesson["functions"].keys()
    assert facts["versions"].keys() == {"python", "tensorflow", "keras", "numpy", "pillow", "matplotlib"}


# ---- the folder


def test_runs_that_name_the_same_folder_at_the_same_moment_never_share_it(folder):
    """Both have looked, and it was empty; the second to write is told so, and harms nothing."""
    first, second = (prepare(EPOCHS=1, OUTPUT_DIR=str(folder)) for _ in range(2))
    make_optimizer = second["make_optimizer"]
    second["make_optimizer"] = lambda *arguments: (train(first), make_optimizer(*arguments))[1]
    with pytest.raises(nst_utils.SettingsError, match="has just been taken by another run. Set OUTPUT_DIR"):
        train(second)
    check_files(folder, finished=True)


def wrong(*arguments):
    raise ValueError("a mistake in a student's function")


@pytest.mark.parametrize("output_dir", ["deep/er/run", ""])
def test_error_before_the_first_epoch_leaves_nothing_but_what_is_not_ours(folder, tmp_path, output_dir):
    names = prepare(OUTPUT_DIR=output_dir and str(tmp_path / output_dir))
    right, names["compute_content_cost"] = names["compute_content_cost"], wrong
    with pytest.raises(ValueError, match="a mistake"):
        train(names)
    assert list(tmp_path.iterdir()) == [], "nor the parents that were made for it"
    assert (names["run"].state, names["run"].folder, names["run"].snapshots) == ("failed", None, [])
    names["compute_content_cost"] = lambda *costs: wrong((names["run"].folder / "mine.txt").write_text("mine"))
    with pytest.raises(ValueError, match="a mistake"):
        train(names)
    (mine,) = (path for path in tmp_path.rglob("*") if path.is_file())
    mine.unlink()
    names["compute_content_cost"] = right
    check_files(train(names).folder, finished=True)


def test_leftovers_of_a_killed_run_are_removed(folder):
    paint(stop_at(3), OUTPUT_DIR=str(folder))
    for name in (".image_00004.jpg.123.part", ".lock", "mine.part"):
        (folder / name).write_bytes(b"half a picture")
    run = paint(RESUME=str(folder))
    assert [path.name for path in run.folder.glob("*.part")] == ["mine.part"]
    assert not list(run.folder.glob(".*"))


def paint_until_killed(folder, resume):
    """What a process does that will be killed; it never ends by itself."""
    nst_utils.load_vgg19 = lambda weights, normalise, pooling: make_tiny_vgg()._replace(pooling=pooling)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    tempfile.tempdir = os.path.dirname(folder)  # TensorFlow leaves files there
    paint(**({"RESUME": folder} if resume else {"EPOCHS": 100_000, "SAVE_EVERY": 3, "OUTPUT_DIR": folder}))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_kill_at_random_moments_breaks_no_file(folder, kills):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["conftest"])
    moments = random.Random(9)

    def saved_epochs():
        return len(read_checkpoint(folder)["history"]) if (folder / "checkpoint.npz").exists() else -1

    epochs = []
    for trial in range(kills):
        before = saved_epochs()
        process = context.Process(target=paint_until_killed, args=(str(folder), trial > 0))
        process.start()
        deadline = time.monotonic() + 240
        while trial % 4 < 3 and saved_epochs() <= max(before, 0):  # three times out of four, let it get somewhere
            assert process.is_alive(), "the run ended by itself"
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.join()
        check_files(folder, finished=False)
        assert facts_of(folder)["state"] == "running", "a killed run cannot say so"
        epochs.append(saved_epochs())
    assert epochs == sorted(epochs), "each run goes on where the one before was killed"
    assert len(set(epochs)) >= kills // 2 + 1


# ---- what cannot be written


def test_history_that_is_open_in_a_spreadsheet_is_written_later(folder, monkeypatch):
    """On Windows a file that another program has open cannot be replaced."""
    locked, replace = {"history.csv"}, os.replace

    def replace_unless_locked(source, target):
        if os.path.basename(target) in locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_unless_locked)
    run = paint(lambda run: len(run.history) == 5 and locked.clear(), SAVE_EVERY=1)
    assert (run.state, len(rows_of(run.folder))) == ("finished", 5)
    assert not list(run.folder.glob(".*"))


FULL = "could not be written: No space left.*saved before is whole. Make room"


@pytest.mark.parametrize("files", [0, 3, 4, 13])
def test_full_disk_ends_the_run_with_a_message_and_whole_files(folder, tmp_path, monkeypatch, files):
    """Or with none, if the disk was full before the first epoch: four files are written before it."""
    room, fsync = iter(range(files)), os.fsync

    def fsync_while_there_is_room(number):
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    with monkeypatch.context() as patch, pytest.raises(nst_utils.RunError, match=FULL):
        patch.setattr(os, "fsync", fsync_while_there_is_room)
        paint(EPOCHS=30, OUTPUT_DIR=str(folder))
    if files < 4:
        assert list(tmp_path.iterdir()) == []
        check_files(paint(OUTPUT_DIR=str(folder)).folder, finished=True)
    else:
        check_files(folder, finished=False)
        assert not list(folder.glob(".*"))
        assert len(paint(RESUME=str(folder)).history) == 30
