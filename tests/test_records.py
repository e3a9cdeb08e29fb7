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
import threading
import time

import numpy as np
import pytest
from PIL import Image

import nst.records
import nst.runs
import nst_utils
from conftest import SETTINGS, fail_at, make_tiny_vgg, paint, prepare, stop_at, train
from nst.backend import tf
from nst.images import to_uint8
from nst.records import Records


def rows_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def check_files(folder, finished):
    """Every file of a run reads whole."""
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".part")}
    assert ("checkpoint.npz" in names) is not finished
    for name in names:
        if name.startswith(("image_", "generated_image")):
            with Image.open(folder / name) as picture:
                picture.load()
                assert picture.size == (64, 43)
    assert json.loads((folder / "settings.json").read_text())["settings"].keys() == SETTINGS.keys()
    assert [int(row["epoch"]) for row in rows_of(folder)] == list(range(len(rows_of(folder))))
    if not finished:
        assert len(nst.records.read_checkpoint(folder)["history"]) >= 0


# ---- what a run leaves


def test_a_run_leaves_exactly_the_promised_files(folder):
    pictures = {}

    def keep(run):
        pictures[f"image_{len(run.history):05d}.jpg"] = to_uint8(run.generated_image)

    run = paint(keep, LEARNING_RATE=0.2)  # so that the last two differ by more than a JPEG does
    assert run.folder.name == "summer_palace-great_wave-001"
    snapshots = [f"image_{epoch:05d}.jpg" for epoch in (0, 2, 4, 5)]
    assert [path.name for path in run.snapshots] == snapshots
    promised = {*snapshots, "generated_image.png", "history.csv", "settings.json"}
    assert {path.name for path in run.folder.iterdir()} == promised
    with Image.open(run.folder / "generated_image.png") as saved:
        assert np.array_equal(np.asarray(saved), to_uint8(run.generated_image))
    pictures["image_00000.jpg"] = to_uint8(run.content_image)
    for path in run.snapshots:
        with Image.open(path) as saved:
            distances = {name: np.abs(np.asarray(saved, float) - image).mean() for name, image in pictures.items()}
        assert min(distances, key=distances.get) == path.name, "it shows the picture after so many epochs"
        assert distances[path.name] < 6
    check_files(run.folder, finished=True)


def test_history_has_a_row_per_epoch(folder):
    run = paint()
    rows = rows_of(run.folder)
    assert list(rows[0]) == ["epoch", "seconds", "J", "J_content", "J_style"]
    assert [int(row["epoch"]) for row in rows] == list(range(5))
    for name in ("J", "J_style"):
        costs = [float(row[name]) for row in rows]
        assert costs == sorted(costs, reverse=True), f"{name} falls"
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    assert [tuple(map(float, row.values())) for row in rows] == [tuple(map(float, row)) for row in run.history]


def test_settings_json_says_how_the_picture_was_made(folder, notebook):
    run = paint()
    facts = json.loads((run.folder / "settings.json").read_text())
    assert (facts["state"], facts["epochs_done"]) == ("finished", 5)
    assert facts["settings"] == json.loads(json.dumps(SETTINGS))
    assert facts["generated_image"] == {"width": 64, "height": 43}
    assert facts["sizes"] == [[64, 5]]
    assert facts["precision"] == "float32"
    assert facts["device"] == nst.runs.device()
    assert facts["weights"] == {"name": "tiny", "sha256": "0" * 64}
    for name, found in (("CONTENT_IMAGE", facts["content_image"]), ("STYLE_IMAGE", facts["style_images"][0])):
        file = facts["settings"][name]
        with open(file, "rb") as opened:
            assert (found["file"], found["sha256"]) == (file, hashlib.sha256(opened.read()).hexdigest())
    assert [style["weight"] for style in facts["style_images"]] == [1.0]
    assert (facts["style_masks"], facts["init_image"]) == ([], None)
    sources = [cell.source for cell in notebook.cells if "lesson" in cell.metadata.get("tags", [])]
    assert facts["lesson"] == {"sha256": hashlib.sha256("\n\n".join(sources).encode()).hexdigest(), "as_saved": True}
    assert facts["versions"]["tensorflow"] == tf.__version__
    assert facts["versions"].keys() == {"python", "tensorflow", "keras", "numpy", "pillow", "matplotlib"}


# ---- the folder


def test_runs_get_the_next_free_number(folder):
    (nst.records.OUTPUT_FOLDER / "summer_palace-great_wave-007").mkdir(parents=True)
    (nst.records.OUTPUT_FOLDER / "summer_palace-great_wave-best").mkdir()
    names = [paint(EPOCHS=1).folder.name for _ in range(2)]
    assert names == ["summer_palace-great_wave-008", "summer_palace-great_wave-009"]


def test_runs_started_at_the_same_moment_never_share_a_folder(folder):
    made, start = [], threading.Barrier(16)

    def make():
        records = Records({"settings": SETTINGS})
        start.wait()
        records.save_texts("running", [])
        made.append(records.folder)

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 16


def test_output_dir_is_obeyed_and_never_overwritten(folder):
    assert paint(OUTPUT_DIR=str(folder)).folder == folder
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(nst_utils.SettingsError, match="OUTPUT_DIR = .* must be a folder that is empty or new"):
        paint(OUTPUT_DIR=str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


def test_runs_that_name_the_same_folder_at_the_same_moment_never_share_it(folder):
    """Both have looked, and it was empty; the second to write is told so, and harms nothing."""
    first, second = (prepare(EPOCHS=1, OUTPUT_DIR=str(folder)) for _ in range(2))
    make_optimizer = second["make_optimizer"]
    second["make_optimizer"] = lambda *arguments: (train(first), make_optimizer(*arguments))[1]
    with pytest.raises(nst_utils.SettingsError, match="has just been taken by another run. Set OUTPUT_DIR"):
        train(second)
    check_files(folder, finished=True)


def test_folder_that_cannot_be_made_is_an_error_with_a_remedy(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(nst_utils.RunError, match="could not be made: .* Set OUTPUT_DIR"):
        paint(OUTPUT_DIR=str(tmp_path / "file" / "run"))
    monkeypatch.setattr(nst.records, "OUTPUT_FOLDER", tmp_path / "file")
    with pytest.raises(nst_utils.SettingsError, match="file is a file. Set OUTPUT_DIR"):
        paint()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def wrong(*arguments):
    raise ValueError("a mistake in a student's function")


@pytest.mark.parametrize("output_dir", ["deep/er/run", ""])
def test_error_before_the_first_epoch_leaves_nothing(folder, tmp_path, output_dir):
    output_dir = output_dir and str(tmp_path / output_dir)
    names = prepare(OUTPUT_DIR=output_dir)
    right, names["compute_content_cost"] = names["compute_content_cost"], wrong
    with pytest.raises(ValueError, match="a mistake"):
        train(names)
    assert list(tmp_path.iterdir()) == [], "nor the parents that were made for it"
    assert (names["run"].state, names["run"].folder, names["run"].snapshots) == ("failed", None, [])
    names["compute_content_cost"] = right
    check_files(train(names).folder, finished=True)


def test_error_before_the_first_epoch_spares_what_is_not_ours(folder):
    folder.mkdir()
    names = prepare(OUTPUT_DIR=str(folder))

    def annoy(*arguments):
        (folder / "mine.txt").write_text("mine")
        wrong()

    names["compute_content_cost"] = annoy
    with pytest.raises(ValueError, match="a mistake"):
        train(names)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    names["compute_content_cost"] = wrong
    with pytest.raises(ValueError, match="a mistake"):
        train(names)
    assert list(folder.iterdir()) == [], "an empty folder that was there stays"


# ---- the checkpoint


def test_long_epochs_leave_a_checkpoint_between_snapshots(folder, monkeypatch):
    monkeypatch.setattr(nst.runs, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(ZeroDivisionError):
        paint(fail_at(7), EPOCHS=50, SAVE_EVERY=50, OUTPUT_DIR=str(folder))
    assert len(nst.records.read_checkpoint(folder)["history"]) == 7
    assert [path.name for path in folder.glob("image_*")] == ["image_00000.jpg"]


def test_what_cannot_be_resumed_is_refused(folder, tmp_path):
    with pytest.raises(nst_utils.SettingsError, match="no checkpoint.npz in this folder.*a finished run has none"):
        paint(RESUME=str(tmp_path))
    paint(stop_at(3), EPOCHS=9, OUTPUT_DIR=str(folder))
    checkpoint = folder / "checkpoint.npz"
    whole = checkpoint.read_bytes()
    for content in (b"", b"PK\x03\x04 cut", whole[:-500], b"no archive"):
        checkpoint.write_bytes(content)
        with pytest.raises(nst_utils.SettingsError, match="cannot be continued.*is damaged. Set RESUME = "):
            paint(RESUME=str(folder))
    checkpoint.write_bytes(whole)
    assert len(paint(RESUME=str(folder)).history) == 9


@pytest.mark.parametrize("version", [None, 1, 2])
def test_checkpoint_of_another_version_is_refused_in_one_sentence(folder, version):
    """At first, checkpoints had no version, and only the number of the epoch in place of the history."""
    folder.mkdir()
    old = {"image": np.zeros((1, 43, 64, 3), np.float32), "epoch": 7, "optimizer_0": 7, "caution": 1.0}
    np.savez(folder / "checkpoint.npz", **old, **({} if version is None else {"version": version}))
    with pytest.raises(nst_utils.SettingsError, match="another version of this tutorial has written its checkpoint"):
        paint(RESUME=str(folder))


def test_leftovers_of_a_killed_run_are_removed(folder):
    paint(stop_at(3), OUTPUT_DIR=str(folder))
    (folder / ".image_00004.jpg.123.part").write_bytes(b"half a picture")
    (folder / "mine.part").write_bytes(b"mine")
    run = paint(RESUME=str(folder))
    assert [path.name for path in run.folder.glob("*.part")] == ["mine.part"]
    assert not list(run.folder.glob(".*"))


def paint_until_killed(folder, resume):
    """What a process does that will be killed; it never ends by itself."""
    nst.runs.load_vgg19 = lambda weights, normalise, pooling: make_tiny_vgg()._replace(pooling=pooling)
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
        checkpoint = folder / "checkpoint.npz"
        return len(nst.records.read_checkpoint(folder)["history"]) if checkpoint.exists() else -1

    epochs = []
    for trial in range(kills):
        before = saved_epochs()
        process = context.Process(target=paint_until_killed, args=(str(folder), trial > 0))
        process.start()
        deadline = time.monotonic() + 120
        while trial % 4 < 3 and saved_epochs() <= max(before, 0):  # three times out of four, let it get somewhere
            assert process.is_alive(), "the run ended by itself"
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.join()
        check_files(folder, finished=False)
        assert json.loads((folder / "settings.json").read_text())["state"] == "running", "a killed run cannot say so"
        epochs.append(saved_epochs())
    assert epochs == sorted(epochs), "each run goes on where the one before was killed"
    assert len(set(epochs)) >= kills // 2 + 1


# ---- what cannot be written


@pytest.fixture
def locked(folder, monkeypatch):
    """A set of names of files that cannot be replaced, as on Windows while another program has them open."""
    names, replace = {"history.csv"}, os.replace

    def replace_unless_locked(source, target):
        if os.path.basename(target) in names:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_unless_locked)
    return names


def test_history_that_is_open_in_a_spreadsheet_is_written_later(folder, locked):
    def close_at_last(run):
        assert not (run.folder / "history.csv").exists()
        if len(run.history) == 9:
            locked.clear()

    run = paint(close_at_last, EPOCHS=9, SAVE_EVERY=1)
    assert run.state == "finished"
    assert len(rows_of(run.folder)) == 9
    check_files(run.folder, finished=True)
    assert not list(run.folder.glob(".*"))


def test_rows_that_could_not_be_written_are_in_the_checkpoint(folder, locked):
    with pytest.raises(nst_utils.RunError, match="history.csv could not be written: Permission denied"):
        paint(OUTPUT_DIR=str(folder), EPOCHS=9)
    with Image.open(folder / "generated_image.png") as saved:
        picture = np.asarray(saved)
    locked.clear()
    run = paint(RESUME=str(folder))
    with Image.open(folder / "generated_image.png") as saved:
        assert np.array_equal(saved, picture)
    assert len(rows_of(folder)) == len(run.history) == 9
    check_files(folder, finished=True)


def test_resuming_is_exact_though_the_history_is_locked(folder, locked):
    with pytest.raises(ZeroDivisionError):
        paint(fail_at(5), OUTPUT_DIR=str(folder), EPOCHS=9)
    assert not (folder / "history.csv").exists()
    locked.clear()
    run, whole = paint(RESUME=str(folder)), paint(EPOCHS=9)
    assert [row[2:] for row in run.history] == [row[2:] for row in whole.history]
    assert len(rows_of(folder)) == 9


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full after so many files: disk.append(number of files)."""
    room, fsync = [], os.fsync

    def fsync_while_there_is_room(number):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", fsync_while_there_is_room)
    return room


FULL = "could not be written: No space left.*saved before is whole. Make room"


@pytest.mark.parametrize("files", range(4, 14, 3))
def test_full_disk_ends_the_run_with_a_message_and_whole_files(folder, disk, files):
    disk.append(files)
    with pytest.raises(nst_utils.RunError, match=FULL):
        paint(EPOCHS=30, OUTPUT_DIR=str(folder))
    check_files(folder, finished=False)
    assert not list(folder.glob(".*"))
    disk[0] = 1000
    assert len(paint(RESUME=str(folder)).history) == 30


@pytest.mark.parametrize("files", range(4))
def test_disk_that_is_full_from_the_beginning_leaves_nothing(folder, tmp_path, disk, files):
    disk.append(files)
    with pytest.raises(nst_utils.RunError, match=FULL):
        paint(OUTPUT_DIR=str(folder))
    assert list(tmp_path.iterdir()) == []
    disk[0] = 1000
    check_files(paint(OUTPUT_DIR=str(folder)).folder, finished=True)
