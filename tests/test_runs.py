"""The run and its records: what a run leaves, and what is left when it is stopped, killed or goes wrong."""

import contextlib
import csv
import errno
import hashlib
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import nst_utils
from conftest import SETTINGS

tf = nst_utils.tf
VGG = nst_utils.VGG19("tiny", "0" * 64, {})


class Training:
    """A run like the notebook's, on a cost that needs no network: the distance to a picture of noise."""

    def __init__(self, sizes=None, **changes):
        self.settings = SETTINGS | changes
        self.sizes = sizes or [(64, self.settings["EPOCHS"])]
        self.noise = np.random.default_rng(5).uniform(0, 1, (2, 1, 43, 64, 3)).astype(np.float32)
        self.prepare(*self.sizes[0])
        self.run = nst_utils.Run(self.settings, self.sizes, VGG, "float32")

    def prepare(self, size, epochs, picture=None):
        shape = (round(43 * size / 64), size)
        start, self.target = (tf.image.resize(image, shape) for image in self.noise)
        self.image = tf.Variable(start if picture is None else nst_utils.enlarge_image(picture, shape))
        rate = self.settings["LEARNING_RATE"] * (1.0 if picture is None else 0.4)
        self.optimizer = tf.keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.9)
        self.optimizer.build([self.image])
        self.learning_rate = tf.keras.optimizers.schedules.CosineDecay(rate, epochs)
        self.step = tf.function(self._step)

    def _step(self, image):
        with tf.GradientTape() as tape:
            J = 100.0 * tf.reduce_mean((image - self.target) ** 2)
        self.optimizer.apply_gradients([(tape.gradient(J, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
        return J, J / 2, J / 3

    def train(self, after_epoch=lambda epoch: None):
        with self.run as run:
            for size, epochs in run.sizes():
                if run.picture is not None:
                    self.prepare(size, epochs, run.picture)
                for epoch in run.epochs(self.image, self.optimizer):
                    self.optimizer.learning_rate = run.caution * self.learning_rate(epoch)
                    run.record(*self.step(self.image))
                    after_epoch(len(run.history) - 1)
        return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the runs of a test go instead of output/."""
    monkeypatch.setattr(nst_utils, "OUTPUT_FOLDER", tmp_path / "output")
    return tmp_path / "run"


def stop_at(stop_epoch, number=signal.SIGINT):
    return lambda epoch: os.kill(os.getpid(), number) if epoch == stop_epoch else None


def resumed(folder, sizes=None, **changes):
    with contextlib.redirect_stdout(None):
        settings = nst_utils.read_settings(SETTINGS | {"RESUME": str(folder)}, {})
    return Training(sizes, **settings | changes)


def check_all_files(folder, finished):
    """Every file of a run reads whole."""
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".part")}
    assert ("checkpoint.npz" in names) is not finished
    for name in names:
        if name.startswith(("image_", "generated_image")):
            with Image.open(folder / name) as picture:
                picture.load()
                assert picture.size in ((64, 43), (32, 22))
    json.loads((folder / "settings.json").read_text())
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(len(rows)))
    if not finished:
        with np.load(folder / "checkpoint.npz", allow_pickle=False) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays)
            assert arrays["epoch"] <= len(rows)


# ------------------------------------------------------------------------------------------- what a run leaves


def test_a_run_leaves_exactly_the_promised_files(folder):
    training = Training()
    run = training.train()
    assert run.folder.name == "summer_palace-great_wave-001"
    snapshots = [f"image_{epoch:05d}.jpg" for epoch in (0, 2, 4, 5)]
    assert [path.name for path in run.snapshots] == snapshots
    promised = {*snapshots, "generated_image.png", "history.csv", "settings.json"}
    assert {path.name for path in run.folder.iterdir()} == promised
    with Image.open(run.folder / "generated_image.png") as saved:
        assert np.array_equal(np.asarray(saved), nst_utils.to_uint8(training.image))
    target = nst_utils.to_uint8(training.target).astype(np.float32)
    distances = [np.abs(np.asarray(Image.open(path), np.float32) - target).mean() for path in run.snapshots]
    assert distances == sorted(distances, reverse=True), "snapshots show the picture after their number of epochs"
    check_all_files(run.folder, finished=True)


def test_history_has_a_row_per_epoch(folder):
    run = Training().train()
    with open(run.folder / "history.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", "seconds", "J", "J_content", "J_style"]
    assert [int(row[0]) for row in rows[1:]] == list(range(5))
    costs = [float(row[2]) for row in rows[1:]]
    assert costs == sorted(costs, reverse=True)
    seconds = [float(row[1]) for row in rows[1:]]
    assert seconds == sorted(seconds)
    assert [tuple(map(float, row)) for row in rows[1:]] == [tuple(map(float, row)) for row in run.history]


def test_settings_json_says_how_the_picture_was_made(folder):
    run = Training().train()
    facts = json.loads((run.folder / "settings.json").read_text())
    assert facts["settings"] == json.loads(json.dumps(SETTINGS))
    assert facts["generated_image"] == {"width": 64, "height": 43}
    assert facts["sizes"] == [[64, 5]]
    assert facts["precision"] == "float32"
    assert facts["weights"] == {"name": "tiny", "sha256": "0" * 64}
    with open("images/great_wave.jpg", "rb") as file:
        assert facts["style_image"]["sha256"] == hashlib.sha256(file.read()).hexdigest()
    assert facts["versions"]["tensorflow"] == tf.__version__


def test_runs_get_the_next_free_number(folder):
    (nst_utils.OUTPUT_FOLDER / "summer_palace-great_wave-007").mkdir(parents=True)
    names = [Training(EPOCHS=1).train().folder.name for _ in range(2)]
    assert names == ["summer_palace-great_wave-008", "summer_palace-great_wave-009"]


def test_runs_started_at_the_same_moment_never_share_a_folder(folder):
    made, start = [], threading.Barrier(16)

    def make():
        start.wait()
        made.append(nst_utils._new_folder(SETTINGS))

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 16


def test_output_dir_is_obeyed_and_never_overwritten(folder):
    assert Training(OUTPUT_DIR=str(folder)).train().folder == folder
    kept = (folder / "generated_image.png").read_bytes()
    with pytest.raises(nst_utils.SettingsError, match="holds something already, and nothing is ever overwritten"):
        Training(OUTPUT_DIR=str(folder)).train()
    assert (folder / "generated_image.png").read_bytes() == kept


def test_runs_that_name_the_same_folder_at_the_same_moment_never_share_it(folder, monkeypatch):
    monkeypatch.setattr(nst_utils, "check_output_folder", lambda folder: None)  # both have looked, it was empty
    first, second = (Training(EPOCHS=1, OUTPUT_DIR=str(folder)) for _ in range(2))
    first.train()
    with pytest.raises(nst_utils.SettingsError, match="has just been taken by another run"):
        second.train()
    check_all_files(folder, finished=True)


def test_folder_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(nst_utils.RunError, match="could not be made: .* Set OUTPUT_DIR"):
        Training(OUTPUT_DIR=str(tmp_path / "file" / "run")).train()
    monkeypatch.setattr(nst_utils, "OUTPUT_FOLDER", tmp_path / "file")
    with pytest.raises(nst_utils.SettingsError, match="file is a file, or has just"):
        Training().train()


# ------------------------------------------------------------------------------------------- stopped and resumed


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_stops_after_the_step_and_keeps_everything(folder, capsys, number):
    training = Training(EPOCHS=50, OUTPUT_DIR=str(folder))
    before = signal.getsignal(number)
    run = training.train(stop_at(6, number))
    assert signal.getsignal(number) == before
    assert len(run.history) == 7
    with Image.open(folder / "generated_image.png") as saved:
        assert np.array_equal(np.asarray(saved), nst_utils.to_uint8(training.image))
    check_all_files(folder, finished=False)
    out = capsys.readouterr().out
    assert "Stopped after epoch 7 of 50" in out
    assert f'RESUME = "{folder.as_posix()}"' in out


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
def test_interrupting_twice_does_not_wait(folder):
    def twice(epoch):
        if epoch == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Training(EPOCHS=50, OUTPUT_DIR=str(folder)).train(twice)
    check_all_files(folder, finished=False)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
def test_100_epochs_and_100_resumed_are_200_in_one_go(folder):
    whole = Training(EPOCHS=200, SAVE_EVERY=30)
    expected = whole.train()
    Training(EPOCHS=200, SAVE_EVERY=30, OUTPUT_DIR=str(folder)).train(stop_at(99))
    second = resumed(folder)
    run = second.train()
    assert run.folder == folder
    assert len(run.history) == 200
    difference = nst_utils.to_uint8(whole.image).astype(int) - nst_utils.to_uint8(second.image)
    assert np.abs(difference).max() == 0
    assert [row[2:] for row in run.history] == [row[2:] for row in expected.history]
    assert [path.name for path in run.snapshots] == [path.name for path in expected.snapshots]
    assert {path.name for path in folder.iterdir()} == {path.name for path in expected.folder.iterdir()}


def test_resuming_uses_the_settings_of_the_stopped_run(folder, capsys):
    with contextlib.suppress(ZeroDivisionError):
        Training(EPOCHS=9, WEIGHTS="auto", OUTPUT_DIR=str(folder)).train(lambda epoch: 1 / (3 - epoch))
    settings = nst_utils.read_settings(SETTINGS | {"RESUME": str(folder), "EPOCHS": 77, "WEIGHTS": "auto"}, {})
    assert settings == SETTINGS | {"RESUME": str(folder), "EPOCHS": 9, "PRECISION": "float32", "WEIGHTS": "tiny"}
    out = capsys.readouterr().out
    assert "with its own settings" in out
    assert "EPOCHS = 9 there, so 77 is not used" in out


def test_what_cannot_be_resumed_is_refused(folder, tmp_path):
    with pytest.raises(nst_utils.SettingsError, match="no checkpoint.npz in this folder"):
        nst_utils.read_settings(SETTINGS | {"RESUME": str(tmp_path)}, {})
    with contextlib.suppress(ZeroDivisionError):
        Training(EPOCHS=9, OUTPUT_DIR=str(folder)).train(lambda epoch: 1 / (3 - epoch))
    with pytest.raises(nst_utils.SettingsError, match="style_image is not what the run began with"):
        resumed(folder, STYLE_IMAGE="images/astronaut.jpg").train()
    whole = {name: (folder / name).read_bytes() for name in ("checkpoint.npz", "settings.json", "history.csv")}
    damage = [("checkpoint.npz", content) for content in (b"", b"PK\x03\x04 cut", whole["checkpoint.npz"][:-500])]
    damage += [("settings.json", content) for content in (None, b"", b"{}", b"[1]")]
    damage += [("history.csv", content) for content in (None, b"", whole["history.csv"][:60])]
    for name, content in damage:
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(nst_utils.SettingsError, match="cannot be continued.*Set RESUME = "):
            resumed(folder)
        (folder / name).write_bytes(whole[name])
    assert len(resumed(folder).train().history) == 9


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
@pytest.mark.parametrize("stop_epoch", [3, 9, 11])
def test_stopped_and_resumed_at_any_size_is_the_same_as_in_one_go(folder, stop_epoch):
    """In the middle of a size, at its end, and in the next; epochs 0 to 9 are at 32 pixels."""
    sizes = [(32, 10), (64, 6)]
    whole = Training(sizes)
    expected = whole.train()
    first = Training(sizes, OUTPUT_DIR=str(folder))
    first.train(stop_at(stop_epoch))
    assert len(first.run.history) == stop_epoch + 1
    second = resumed(folder, sizes)
    run = second.train()
    assert [row[2:] for row in run.history] == [row[2:] for row in expected.history]
    assert np.array_equal(second.image.numpy(), whole.image.numpy())
    assert [path.name for path in run.snapshots] == [path.name for path in expected.snapshots]
    check_all_files(folder, finished=True)


def test_killed_between_the_last_step_and_the_results_is_finished_by_resuming(folder, monkeypatch):
    sizes = [(32, 3), (64, 2)]
    training = Training(sizes, OUTPUT_DIR=str(folder))

    def killed(run):
        raise nst_utils.RunError("killed")

    with monkeypatch.context() as context, pytest.raises(nst_utils.RunError, match="killed"):
        context.setattr(nst_utils.Run, "_check_results", killed)
        training.train()
    (folder / "generated_image.png").unlink()
    second = resumed(folder, sizes)
    assert len(second.train().history) == 5
    assert np.array_equal(second.image.numpy(), training.image.numpy())
    check_all_files(folder, finished=True)


def test_killed_at_the_first_step_of_a_size_goes_on_there(folder):
    sizes = [(32, 10), (64, 6)]

    def fail(epoch):
        if epoch == 9:
            training.prepare = None  # an error before the next size has begun

    training = Training(sizes, OUTPUT_DIR=str(folder))
    with pytest.raises(TypeError):
        training.train(fail)
    second = resumed(folder, sizes)
    assert len(second.train().history) == 16
    assert second.image.shape == (1, 43, 64, 3)


def test_snapshots_at_both_ends_of_each_size(folder):
    run = Training([(32, 5), (64, 3)], SAVE_EVERY=4).train()
    assert [path.name for path in run.snapshots] == [f"image_{epoch:05d}.jpg" for epoch in (0, 4, 5, 8)]
    assert [Image.open(path).width for path in run.snapshots] == [32, 32, 32, 64]
    assert run.picture.shape == (1, 43, 64, 3)


def test_long_epochs_leave_a_checkpoint_between_snapshots(folder, monkeypatch):
    monkeypatch.setattr(nst_utils, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with contextlib.suppress(ZeroDivisionError):
        Training(EPOCHS=50, SAVE_EVERY=50, OUTPUT_DIR=str(folder)).train(lambda epoch: 1 / (7 - epoch))
    with np.load(folder / "checkpoint.npz") as arrays:
        assert int(arrays["epoch"]) == 8


def test_settings_changed_after_the_preparation_are_noticed():
    assert nst_utils.current_settings(SETTINGS, unchanged_since=SETTINGS) == SETTINGS
    nst_utils.current_settings(SETTINGS | {"SAVE_EVERY": 7, "OUTPUT_DIR": "x"}, unchanged_since=SETTINGS)
    with pytest.raises(nst_utils.SettingsError, match="EPOCHS was 5 when .* and is 9 now. Run all cells from"):
        nst_utils.current_settings(SETTINGS | {"EPOCHS": 9}, unchanged_since=SETTINGS)


def test_each_training_is_a_run_of_its_own(folder):
    """Running the training cell again never continues a finished picture unseen: it starts anew."""
    training = Training()
    first = training.train()
    training.prepare(*training.sizes[0])
    training.run = nst_utils.Run(training.settings, training.sizes, VGG, "float32")
    second = training.train()
    assert first.folder != second.folder
    assert [row[2:] for row in first.history] == [row[2:] for row in second.history]


def train_and_hold(folder, resume):
    """What a process does that will be killed; it never ends by itself."""
    training = resumed(folder) if resume else Training(EPOCHS=100_000, SAVE_EVERY=3, OUTPUT_DIR=str(folder))
    with contextlib.redirect_stdout(None):
        training.train()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_kill_at_20_random_moments_breaks_no_file(folder):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nst_utils"])
    moments = random.Random(9)

    def saved_epoch():
        if not (folder / "checkpoint.npz").exists():
            return -1
        with np.load(folder / "checkpoint.npz") as arrays:
            return int(arrays["epoch"])

    epochs = []
    for trial in range(20):
        before = saved_epoch()
        process = context.Process(target=train_and_hold, args=(folder, trial > 0))
        process.start()
        deadline = time.monotonic() + 60
        while trial % 2 == 0 and saved_epoch() <= max(before, 0):  # every other time, let it get somewhere
            assert process.is_alive(), "the run ended by itself"
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.join()
        check_all_files(folder, finished=False)
        epochs.append(saved_epoch())
    assert epochs == sorted(epochs), "each run goes on where the one before was killed"
    assert len(set(epochs)) >= 10


# ------------------------------------------------------------------------------------------------- gone wrong


def test_absurd_rate_goes_back_three_times_and_then_explains(folder, capsys):
    training = Training(EPOCHS=30, LEARNING_RATE=1e6, OUTPUT_DIR=str(folder))
    start = training.image.numpy()
    with pytest.raises(nst_utils.RunError, match="fourth time.*LEARNING_RATE too large.*Lower LEARNING_RATE"):
        training.train()
    out = capsys.readouterr().out
    assert [line.split(", with ")[1] for line in out.splitlines() if "back to" in line] == [
        f"{factor} of the rate." for factor in (0.5, 0.25, 0.125)
    ]
    assert np.array_equal(training.image.numpy(), start), "the last good picture is back"
    check_all_files(folder, finished=False)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image: image * np.nan, "not finite"),
        (lambda image: image * 0 + 0.3, "gone flat"),
        (lambda image: tf.round(image), "burnt to pure black and white"),
    ],
)
def test_one_accident_is_mended(folder, capsys, spoil, message):
    training = Training(EPOCHS=12, OUTPUT_DIR=str(folder))
    accidents = [5]

    def step(image, really=training.step):
        costs = really(image)
        if accidents and len(training.run.history) == accidents[0]:
            accidents.clear()
            image.assign(spoil(image))
        return costs

    training.step = step
    run = training.train()
    assert message in capsys.readouterr().out
    assert run.caution == 0.5
    check_all_files(folder, finished=True)
    assert len(run.history) == 12
    assert run.history[-1][2] < run.history[0][2]


def test_full_disk_ends_the_run_with_a_message_and_whole_files(folder, monkeypatch):
    training = Training(EPOCHS=30, OUTPUT_DIR=str(folder))
    really, writes = os.fsync, []

    def fsync(number):
        writes.append(number)
        if len(writes) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(number)

    monkeypatch.setattr(nst_utils.os, "fsync", fsync)
    with pytest.raises(
        nst_utils.RunError, match="could not be written: No space left.*saved before is whole.*Make room"
    ):
        training.train()
    monkeypatch.undo()
    check_all_files(folder, finished=False)
    assert not list(folder.glob("*.part")) + list(folder.glob(".*.part"))
    assert len(resumed(folder).train().history) == 30


def test_results_are_read_again_before_they_are_praised(folder, monkeypatch):
    save = nst_utils.save_image

    def spoiled(image, path):
        save(image * 0 if path.name == "generated_image.png" else image, path)

    monkeypatch.setattr(nst_utils, "save_image", spoiled)
    with pytest.raises(nst_utils.RunError, match="generated_image.png is flat"):
        Training(OUTPUT_DIR=str(folder)).train()


def test_same_settings_give_the_same_picture(folder):
    first, second = Training(EPOCHS=20), Training(EPOCHS=20)
    first.train(), second.train()
    assert np.array_equal(nst_utils.to_uint8(first.image), nst_utils.to_uint8(second.image))


# ---------------------------------------------------------------------------------------------- before the run


class Pixels:
    """Stands for Look where only sizes count: a byte and a unit of work per pixel."""

    memory = work = staticmethod(lambda height, width: height * width)


@pytest.mark.parametrize(
    ("sizes", "end"), [([(64, 500)], "500 epochs at 64×43"), ([(64, 500), (128, 200)], "700 epochs up to 128×86")]
)
def test_probe_tells_time_and_memory(capsys, sizes, end):
    training = Training()
    last = tf.zeros((1, *(round(side * sizes[-1][0] / 64) for side in (43, 64)), 3))
    nst_utils.probe(training.step, training.image, last, sizes, Pixels)
    line = capsys.readouterr().out
    assert re.fullmatch(rf"about \d+ (s|min) and \d+\.\d GB for {end}\n", line), line


def test_probe_reckons_with_the_larger_sizes(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 1.5])
    monkeypatch.setattr(nst_utils.time, "perf_counter", lambda: next(clock))
    first, last = tf.Variable(tf.zeros((1, 43, 64, 3))), tf.zeros((1, 86, 128, 3))
    nst_utils.probe(lambda image: (0.0,), first, last, [(64, 20), (128, 10)], Pixels)
    assert capsys.readouterr().out.startswith("about 30 s and"), "half a second each, and ten times four"


def test_plan_of_sizes():
    def plan(shape=(1, 300, 400, 3), **settings):
        image = tf.zeros(shape)
        return nst_utils.plan_sizes({"SIZES": [], "EPOCHS": 200} | settings, image, image)

    assert plan(IMAGE_SIZE=400) == [(400, 200)]
    assert plan(IMAGE_SIZE=64) == [(64, 200)]
    assert plan(IMAGE_SIZE=560) == [(560, 200)]
    assert plan(IMAGE_SIZE=1200) == [(300, 200), (600, 80), (1200, 32)]
    assert plan(IMAGE_SIZE=3840) == [(480, 200), (960, 80), (1920, 32), (3840, 13)]
    assert plan(IMAGE_SIZE=1200, SIZES=[1200]) == [(1200, 200)]
    assert plan(IMAGE_SIZE=500, SIZES=[100, 500], EPOCHS=1) == [(100, 1), (500, 1)]
    assert plan((1, 120, 1200, 3), IMAGE_SIZE=1200) == [(600, 200), (1200, 80)], "30 pixels are too few"
    assert plan((1, 63, 600, 3), IMAGE_SIZE=600) == [(600, 200)], "31.5 pixels are, too"
    with pytest.raises(nst_utils.SettingsError, match="SIZES begins with 200.*Begin with 320 or more"):
        plan((1, 120, 1200, 3), IMAGE_SIZE=1200, SIZES=[200, 1200])


class Memory:
    available = 10**9


@pytest.fixture
def little_memory(monkeypatch):
    """A function that sets how much memory seems to be free."""
    monkeypatch.setattr(nst_utils.tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(nst_utils.psutil, "virtual_memory", Memory)
    return lambda available: setattr(Memory, "available", available)


def look_for(*shapes, tile=0):
    """A Look at images of some shapes through layers as wide as those of a VGG19, which take 3.2 kB per pixel."""
    layers = {}
    for (_, n_C), name in zip(((2, 64), (2, 64), (2, 128), (2, 128), (4, 256)), nst_utils.LAYER_NAMES, strict=False):
        n_in = layers[list(layers)[-1]][0].shape[-1] if layers else 3
        layers[name] = np.zeros((3, 3, n_in, n_C), np.float32), np.zeros(n_C, np.float32)
    network = nst_utils.get_layer_outputs(VGG._replace(layers=layers), [("block1_conv1", 1), ("block3_conv1", 1)])
    return nst_utils.Look(network, lambda a: a, tile, [tf.zeros((1, *shape, 3)) for shape in shapes])


def test_tiles_are_taken_only_where_the_memory_asks_for_them(little_memory, capsys):
    little_memory(10_000_000_000)
    assert look_for((1500, 2000)).tile == 0
    assert look_for((100, 100), tile=70).tile == 70
    little_memory(200_000_000)
    with pytest.raises(nst_utils.RunError, match="2000×1500 pixels need"):
        look_for((1500, 2000), tile=1024)
    little_memory(4_000_000_000)
    look = look_for((100, 100), (1500, 2000))
    assert 512 < look.tile <= 1024
    assert look.memory(1500, 2000) < 4_000_000_000
    assert look.splits(tf.zeros((1, 1500, 2000, 3)))
    assert not look.splits(tf.zeros((1, 100, 100, 3)))
    out = capsys.readouterr().out
    assert out.startswith("2000×1500 pixels do not fit into the free memory as a whole: tiles of"), out
    little_memory(2_200_000_000)
    assert 128 <= look_for((1500, 2000)).tile < look.tile


def test_too_large_pictures_are_refused_with_the_size_that_fits(little_memory):
    little_memory(1_000_000_000)
    with pytest.raises(nst_utils.RunError, match="2000×1500 pixels need about .* Set IMAGE_SIZE = ") as error:
        look_for((1500, 2000), (40, 40))
    size = int(re.search(r"IMAGE_SIZE = (\d+)", str(error.value))[1])
    assert 32 < size < 2000
    look_for((size * 3 // 4, size))
    little_memory(1000)
    with pytest.raises(nst_utils.RunError, match="are free. Close other programs"):
        look_for((300, 400))
