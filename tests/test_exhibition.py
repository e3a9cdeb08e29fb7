"""What runs have left, shown: the last ones side by side, and one as a moving picture."""

import base64
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

import nst.exhibition
import nst.records
import nst_utils
from conftest import SETTINGS, fail_at, paint, prepare, stop_at
from nst import plots
from nst.exhibition import label
from nst.images import save_image, to_uint8

TINY = {"IMAGE_SIZE": 48, "EPOCHS": 3}


@pytest.fixture(autouse=True)
def no_other_runs(folder, monkeypatch):
    """Runs of other tests are no runs of this session."""
    ours = []
    monkeypatch.setattr(nst.records, "PAINTED", ours)


@pytest.fixture
def rows(monkeypatch):
    """What show_runs has drawn: a list of (pictures, titles), and the text in its place."""
    rows = []

    def draw_grid(cells, columns):
        rows.append((cells[0], columns))
        return plots.draw_grid(cells, columns=columns)

    monkeypatch.setattr(nst.exhibition, "draw_grid", draw_grid)
    return rows


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as in a notebook: a list of bundles."""
    shown = []
    for module in (plots, nst.exhibition):
        monkeypatch.setattr(module, "get_ipython", lambda: object())
        monkeypatch.setattr(module, "display", lambda bundle, raw, **more: shown.append(bundle))
    return shown


@pytest.fixture
def leave(tmp_path):
    """A function that leaves the records of a run, so many seconds old, in output/ or elsewhere; return its folder."""

    def make(name, age, grey=0.5, J=9.0, lesson=("0" * 64, True), parent=None, **settings):
        folder = (parent or tmp_path / "output") / name
        folder.mkdir(parents=True)
        save_image(np.full((1, 32, 48, 3), grey, np.float32), folder / "generated_image.png")
        facts = {"state": "finished", "settings": json.loads(json.dumps(SETTINGS | settings))}
        facts["lesson"] = {"sha256": lesson[0], "as_saved": lesson[1]}
        (folder / "settings.json").write_text(json.dumps(facts))
        rows = ("epoch,seconds,J,J_content,J_style", "0,0.5,99.0,0.0,1.0", f"1,0.9,{J},0.1,0.2")
        (folder / "history.csv").write_text("".join(f"{row}\n" for row in rows))
        os.utime(folder / "settings.json", (1e9 - age, 1e9 - age))
        return folder

    return make


# ---- the last runs


def test_the_last_runs_in_order_of_age(leave, rows, shown):
    """Not of their names, which begin with the content."""
    for name, age, grey in (("a-001", 10, 0.1), ("z-001", 40, 0.4), ("m-001", 20, 0.2), ("m-002", 30, 0.3)):
        leave(name, age, grey)
    nst_utils.show_runs()
    pictures, titles = rows[-1]
    assert [title.split("\n")[0] for title in titles] == ["m-002", "m-001", "a-001"]
    assert [round(float(picture.mean()) / 255, 1) for picture in pictures] == [0.3, 0.2, 0.1]
    assert shown[-1]["text/plain"] == "m-002, J 9 | m-001, J 9 | a-001, J 9"
    with Image.open(io.BytesIO(base64.b64decode(shown[-1]["image/jpeg"]))) as drawn:
        assert np.asarray(drawn).std() > 5, "nothing is drawn"
    for last, names in ((1, ["a-001"]), (9, ["z-001", "m-002", "m-001", "a-001"])):
        nst_utils.show_runs(last=last)
        assert [title.split("\n")[0] for title in rows[-1][1]] == names


def test_titles_have_the_settings_in_which_they_differ(leave, rows):
    leave("a", 3, BETA=50.0, STYLE_IMAGE="images/great_wave.jpg")
    leave("b", 2, BETA=400.0, STYLE_IMAGE=[("images/great_wave.jpg", 1.0), ("images/summertime.jpg", 2.0)])
    leave("c", 1, BETA=50.0, STYLE_IMAGE="images/great_wave.jpg", OUTPUT_DIR="elsewhere", RESUME="c")
    nst_utils.show_runs()
    assert rows[-1][1] == [
        "a\nJ 9\nSTYLE_IMAGE = great_wave\nBETA = 50",
        "b\nJ 9\nSTYLE_IMAGE = [great_wave 1, summertime 2]\nBETA = 400",
        "c\nJ 9\nSTYLE_IMAGE = great_wave\nBETA = 50",
    ]
    nst_utils.show_runs(last=1)
    assert rows[-1][1] == ["c\nJ 9"], "nothing to differ from"


def test_many_differences_are_counted(leave, rows):
    leave("a", 2)
    leave("b", 1, IMAGE_SIZE=96, EPOCHS=7, ALPHA=1.0, BETA=2.0, SEED=3, POOLING="average", TILE=64)
    nst_utils.show_runs()
    for title in rows[-1][1]:
        lines = title.split("\n")[2:]
        assert [line.split(" = ")[0] for line in lines[:-1]] == ["IMAGE_SIZE", "EPOCHS", "ALPHA", "BETA", "SEED"]
        assert lines[-1] == "and 2 more"


def test_runs_of_edited_cells_are_named(leave, rows):
    leave("a", 3, lesson=("abcdef99", True))
    leave("b", 2, lesson=("abcdef99", False))
    leave("c", 1, lesson=("123456ff", True))
    nst_utils.show_runs()
    assert [title.split("\n")[2] for title in rows[-1][1]] == ["cells abcdef", "cells abcdef, edited", "cells 123456"]


def test_real_runs_wherever_they_are_each_once(folder, rows, capsys):
    """J is that of history.csv's last row, also of a run that was stopped."""
    runs = [paint(**TINY), paint(**TINY, BETA=400.0, OUTPUT_DIR=str(folder)), paint(stop_at(2), **TINY, ALPHA=1.0)]
    nst_utils.show_runs(last=9)
    pictures, titles = rows[-1]
    assert len(titles) == 3, titles
    for run, picture, title in zip(runs, pictures, titles, strict=True):
        last = (run.folder / "history.csv").read_text().splitlines()[-1].split(",")
        name, cost, *settings = title.split("\n")
        assert (name, cost) == (run.folder.name, f"J {float(last[2]):.4g}")
        assert float(last[2]) == run.history[-1][2]
        assert settings == [f"ALPHA = {run.settings['ALPHA']:g}", f"BETA = {run.settings['BETA']:g}"]
        assert np.array_equal(picture, to_uint8(run.picture))
    assert titles[0].replace("\n", ", ") in capsys.readouterr().out, "where there is no notebook, in words"


def test_without_runs_a_sentence(tmp_path, rows, capsys):
    nst_utils.show_runs()
    (tmp_path / "output").mkdir()
    nst_utils.show_runs()
    assert capsys.readouterr().out == 2 * "No picture has been painted yet. Run the training cell.\n"
    assert not rows


def test_run_without_a_cost_yet(folder, rows):
    run = paint(**TINY)
    (run.folder / "history.csv").write_text("epoch,seconds,J,J_content,J_style\n")
    nst_utils.show_runs()
    assert rows[-1][1] == [f"{run.folder.name}\nJ not known"]


def test_what_is_no_whole_run_is_passed_over(leave, rows, tmp_path):
    output = leave("run-001", 9).parent
    (output / "notes.txt").write_text("mine")
    (output / "compare-001").mkdir()
    for missing in ("generated_image.png", "settings.json", "history.csv"):
        (leave(f"without-{missing}", 1) / missing).unlink()
    for name, text in (("empty", ""), ("damaged", '{"settings": '), ("foreign", '{"a": 1}'), ("list", "[1, 2]")):
        (leave(f"json-{name}", 1) / "settings.json").write_text(text)
    for name, text in (("empty", ""), ("damaged", "a,b,c,d,e\n1,2,x,4,5\n"), ("foreign", "a\nb\n")):
        (leave(f"csv-{name}", 1) / "history.csv").write_text(text)
    (leave("picture-damaged", 1) / "generated_image.png").write_bytes(b"none")
    nst_utils.show_runs(last=99)
    names = [title.split("\n")[0] for title in rows[-1][1]]
    assert "run-001" in names
    assert not [name for name in names if name.startswith(("json", "picture", "without-generated", "without-settings"))]
    titles = dict(title.split("\n")[:2] for title in rows[-1][1])
    assert {cost for name, cost in titles.items() if name != "run-001"} <= {"J not known"}
    nst_utils.show_runs(last=1)
    assert len(rows[-1][1]) == 1, "and they take nobody's place"


def test_runs_that_failed_or_were_removed(folder, rows):
    with pytest.raises(ZeroDivisionError):
        paint(fail_at(2), **TINY)
    nst_utils.show_runs()
    assert len(rows[-1][1]) == 1, "its picture was kept, so it is shown"
    run = paint(**TINY)
    for path in run.folder.iterdir():
        path.unlink()
    run.folder.rmdir()
    nst_utils.show_runs()
    assert len(rows[-1][1]) == 1, "it is in the list of this session, and gone"


@pytest.mark.parametrize("last", [0, -1, 1.5, "3"])
def test_number_of_runs_that_cannot_work(leave, last):
    leave("a", 1)
    with pytest.raises(nst_utils.SettingsError, match=f"last = {last!r} cannot work: it must be a whole number, 1"):
        nst_utils.show_runs(last=last)


# ---- values in few letters


def test_labels():
    values = {
        "images/great_wave.jpg": "great_wave",
        "average": "average",
        "": "''",
        50: "50",
        0.03125: "0.03125",
        1e25: "1e+25",
        True: "True",
        (): "[]",
        ("images/a.png", "b.png"): "[a, b]",
        (("block1_conv1", 0.5), ("block2_conv1", 1)): "[block1_conv1 0.5, block2_conv1 1]",
    }
    assert {value: label(value) for value in values} == values
    assert label(50.0) == "50"
    long = label([(f"block{n}_conv1", 0.1) for n in range(1, 6)])
    assert len(long) <= 42 and long.startswith("[block1_conv1 0.1, ") and long.endswith("…]")


# ---- a moving picture


def frames_of(path):
    """Return the frames of an animated picture, as arrays, and how long each is shown."""
    frames, milliseconds = [], []
    with Image.open(path) as movie:
        assert movie.format == "WEBP"
        for number in range(movie.n_frames):
            movie.seek(number)
            frames.append(np.asarray(movie.convert("RGB"), np.float32))
            milliseconds.append(movie.info["duration"])
    return frames, milliseconds


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


def difference(image, other):
    """Return how much two images differ in light and dark: their colours are stored coarser."""
    return np.abs((image - other).mean(axis=-1)).mean()


def snapshots(folder, sizes, noise=0.0):
    """Leave snapshots of these (height, width) in a folder, each lighter than the one before."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        image = np.full((1, *size, 3), (number + 1) / (len(sizes) + 1), np.float32)
        save_image(image + noise * random.uniform(-1, 1, image.shape), folder / f"image_{number:05d}.jpg")
    return folder


def test_snapshots_fade_into_each_other(folder, shown):
    run = paint(IMAGE_SIZE=160, EPOCHS=3, SAVE_EVERY=1, BETA=400.0)
    shown.clear()
    nst_utils.animate(run)
    frames, milliseconds = frames_of(run.folder / "making-of.webp")
    keys = [pixels_of(path) for path in run.snapshots]
    assert len(keys) == 4
    assert sum(milliseconds) == 600 + 3 * 400 - 160 + 2000, "five pictures for each of three changes"
    assert len(frames) > 10, "but for those that are as the one before"
    assert frames[0].shape == keys[0].shape, "not enlarged"
    nearest = [int(np.argmin([np.abs(frame - key).mean() for frame in frames])) for key in keys]
    assert nearest == sorted(nearest) and nearest[0] == 0, f"snapshots in their order: {nearest}"
    off = [difference(frames[-1], key) for key in keys]
    assert off[-1] < 5 < 0.5 * off[0], f"it ends with the last: {off}"
    assert milliseconds[-1] > max(milliseconds[1:-1]), "it rests on the last"
    (bundle,) = shown
    assert set(bundle) == {"text/html", "image/jpeg", "text/plain"}
    assert bundle["text/plain"] == f"4 snapshots of {run.folder.name}, one fading into the next"
    movie = bundle["text/html"].partition("data:image/webp;base64,")[2].partition('"')[0]
    assert base64.b64decode(movie) == (run.folder / "making-of.webp").read_bytes()
    still = pixels_of(io.BytesIO(base64.b64decode(bundle["image/jpeg"])))
    assert difference(still, keys[-1]) < 5, "where nothing moves, the last"


def test_fading_is_gradual_and_forwards(tmp_path):
    folder = snapshots(tmp_path / "run", [(40, 60)] * 3)
    nst_utils.animate(folder)
    frames, _ = frames_of(folder / "making-of.webp")
    means = [frame.mean() for frame in frames]
    assert len(means) == 11
    steps = np.diff(means)
    assert (steps > 0).all() and steps.max() < 3 * steps.min(), means


def test_snapshots_of_several_sizes(tmp_path):
    folder = snapshots(tmp_path / "run", [(32, 48), (43, 64), (400, 600)])
    nst_utils.animate(str(folder))
    frames, _ = frames_of(folder / "making-of.webp")
    assert {frame.shape for frame in frames} == {(320, 480, 3)}, "the last one's, made smaller"
    assert abs(frames[-1].mean() - pixels_of(folder / "image_00002.jpg").mean()) < 3


def test_many_large_noisy_snapshots_stay_small(tmp_path, shown):
    """Noise is the worst: nothing repeats."""
    folder = snapshots(tmp_path / "run", [(600, 600)] * 7, noise=0.5)
    nst_utils.animate(folder)
    path = folder / "making-of.webp"
    assert path.stat().st_size <= nst.exhibition.MOVIE_BYTES <= 1_100_000
    frames, _ = frames_of(path)
    assert len(frames) == 31
    assert max(len(value) for value in shown[0].values()) < 1_500_000, "as stored in a notebook"
    assert abs(frames[-1].mean() - pixels_of(folder / "image_00006.jpg").mean()) < 5


def test_of_very_many_snapshots_some_are_shown(tmp_path, capsys):
    folder = snapshots(tmp_path / "run", [(32, 48)] * 100)
    nst_utils.animate(folder)
    frames, _ = frames_of(folder / "making-of.webp")
    assert len(frames) <= 23 * 5 + 1
    assert frames[0].shape[:2] == (32, 48), "the size stays"
    assert np.abs(frames[-1].astype(float) - pixels_of(folder / "image_00099.jpg")).mean() < 4, "the last is there"


def test_single_snapshot_and_again(tmp_path, capsys):
    folder = snapshots(tmp_path / "run", [(40, 60)])
    for _ in range(2):
        nst_utils.animate(folder)
    frames, _ = frames_of(folder / "making-of.webp")
    assert len(frames) == 1
    assert capsys.readouterr().out == 2 * "1 snapshots of run, one fading into the next\n"


def test_without_snapshots(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere", str(tmp_path)):
        with pytest.raises(
            nst_utils.RunError, match=r"has no snapshots \(image_00000.jpg, …\). Name the folder of a run"
        ):
            nst_utils.animate(folder)
    assert not list(tmp_path.rglob("*.webp"))


def test_run_that_has_saved_nothing_yet(folder):
    run = nst_utils.Run(prepare(**TINY))
    with pytest.raises(nst_utils.RunError, match="This run has no snapshots yet: it has not begun"):
        nst_utils.animate(run)
