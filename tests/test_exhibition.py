"""What runs have left, shown: the last ones side by side, and one as a moving picture."""

import base64
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import nst.exhibition
import nst.records
import nst_utils
from conftest import SETTINGS, costs_of, paint, stop_at
from nst.exhibition import label
from nst.images import save_image
from nst.settings import Settings

COSTS = "J 9  J_content 0.1"
TINY = {"IMAGE_SIZE": 48, "EPOCHS": 3}


@pytest.fixture(autouse=True)
def no_other_runs(folder, monkeypatch):
    """Runs of other tests are no runs of this session."""
    monkeypatch.setattr(nst.records, "PAINTED", [])


@pytest.fixture
def titles(capsys):
    """A function that shows the last runs and returns their titles, lists of lines, as printed without a notebook."""

    def titles(**arguments):
        nst_utils.show_runs(**arguments)
        return [title.split(", ") for title in capsys.readouterr().out.splitlines()[-1].split(" | ")]

    return titles


@pytest.fixture
def leave(tmp_path):
    """A function that leaves the records of a run, so many seconds old, in output/; return its folder."""

    def leave(name, age, functions=None, without=(), **settings):
        folder = tmp_path / "output" / name
        folder.mkdir(parents=True)
        save_image(np.full((1, 32, 48, 3), 0.5, np.float32), folder / "generated_image.png")
        facts = {"settings": {key: value for key, value in (SETTINGS | settings).items() if key not in without}}
        facts["lesson"] = {"sha256": "0" * 64} if functions is None else {"functions": functions}
        (folder / "settings.json").write_text(json.dumps(facts))
        (folder / "history.csv").write_text("epoch,seconds,J,J_content\n0,0.5,99.0,0.0\n1,0.9,9.0,0.1\n")
        os.utime(folder / "settings.json", (1e9 - age, 1e9 - age))
        return folder

    return leave


# ---- the last runs


def test_the_last_runs_in_order_of_age(leave, titles):
    """Not of their names, which begin with the content."""
    for name, age in (("a-001", 10), ("z-001", 40), ("m-001", 20), ("m-002", 30)):
        leave(name, age)
    assert titles() == [["m-002", COSTS], ["m-001", COSTS], ["a-001", COSTS]]
    assert titles(last=1) == [["a-001", COSTS]]
    assert len(titles(last=9)) == 4
    for last in (0, 1.5, "3"):
        with pytest.raises(nst_utils.SettingsError, match=f"last = {last!r} cannot work: it must be a whole number, 1"):
            nst_utils.show_runs(last=last)


def test_titles_have_the_settings_in_which_they_differ(leave, titles):
    """A setting that an older record does not have counts with its default."""
    mixed = [("images/great_wave.jpg", 1.0), ("images/summertime.jpg", 2.0)]
    leave("a", 3, without=["POOLING", "TILE"], BETA=50.0, MIXTURE=0.75)
    leave("b", 2, BETA=400.0, STYLE_IMAGE=mixed, TILE=512)
    leave("c", 1, BETA=50.0, OUTPUT_DIR="elsewhere", RESUME="c")
    assert [", ".join(title[2:]) for title in titles()] == [
        "STYLE_IMAGE = great_wave, BETA = 50, TILE = 0",
        "STYLE_IMAGE = [great_wave 1, summertime 2], BETA = 400, TILE = 512",
        "STYLE_IMAGE = great_wave, BETA = 50, TILE = 0",
    ]
    assert titles(last=1) == [["c", COSTS]], "nothing to differ from"


def test_many_differences_are_counted(leave, titles):
    leave("a", 2)
    leave("b", 1, IMAGE_SIZE=96, EPOCHS=7, ALPHA=1.0, BETA=2.0, SEED=3, POOLING="average", TILE=64)
    said = f"b, {COSTS}, IMAGE_SIZE = 96, EPOCHS = 7, ALPHA = 1, BETA = 2, SEED = 3, and 2 more"
    assert ", ".join(titles()[1]) == said


def test_runs_of_two_lessons_are_told_apart(leave, titles):
    leave("b-001", 9, ALPHA=7.0)
    leave("a-001", 8, without=["BETA", "STYLE_LAYERS"], MIXTURE=0.5, ALPHA=0.04)
    lessons = ("Gram matrices", "ALPHA = 7"), ("nearest neighbours", "ALPHA = 0.04")
    assert titles() == [["b-001", COSTS, *lessons[0]], ["a-001", COSTS, *lessons[1]]]


def test_functions_that_differ_are_named(leave, titles):
    """By name, with the first digits of their hash; a record from before these were kept has none."""
    leave("a", 4)
    leave("b", 3, {"total_cost": "abcdef999999", "gram_matrix": "111111111111"})
    leave("c", 2, {"total_cost": "123456ffffff", "gram_matrix": "111111111111", "mine": "2" * 12})
    assert [title[2:] for title in titles(last=2)] == [["total_cost abcdef"], ["total_cost 123456"]]
    leave("d", 1, {"total_cost": "123456ffffff"})
    assert [title[2:] for title in titles(last=3)] == [[f"total_cost {six}"] for six in ("abcdef", "123456", "123456")]
    assert [title[2:] for title in titles(last=4)] == 4 * [[]], "nothing is known of the first"


def test_real_runs_wherever_they_are_each_once(folder, titles):
    """The cost is that of history.csv's last row, also of a run that was stopped."""
    runs = [paint(**TINY), paint(**TINY, BETA=400.0, OUTPUT_DIR=str(folder)), paint(stop_at(2), **TINY, ALPHA=1.0)]
    for run, title in zip(runs, titles(last=9), strict=True):
        costs = [float(cost) for cost in (run.folder / "history.csv").read_text().splitlines()[-1].split(",")[2:]]
        last = "J {:.4g}  J_content {:.4g}  J_style {:.4g}".format(*costs)
        settings = [f"ALPHA = {run.settings.ALPHA:g}", f"BETA = {run.settings.BETA:g}"]
        assert (title[:2], sorted(title[2:])) == ([run.folder.name, last], settings)
        assert tuple(costs) == costs_of(run)[-1]
    nst_utils.animate(runs[2])
    assert len(frames_of(runs[2].folder / "making-of.webp")[0]) == 2, "as it began and was stopped"


def test_what_is_no_whole_run_is_passed_over(leave, titles):
    assert titles() == [["No picture has been painted yet. Run the training cell."]]
    output = leave("run-$1_^ 雪", 9).parent
    (output / "notes.txt").write_text("mine")
    (output / "compare-001").mkdir()
    for missing in ("generated_image.png", "settings.json"):
        (leave(f"without-{missing}", 1) / missing).unlink()
    for name, text in (("damaged", '{"settings": '), ("foreign", '{"a": 1}'), ("list", "[1, 2]")):
        (leave(f"json-{name}", 1) / "settings.json").write_text(text)
    (leave("picture-damaged", 1) / "generated_image.png").write_bytes(b"none")
    assert titles(last=1) == [["run-$1_^ 雪", COSTS]], "and they take nobody's place"
    (leave("without-history.csv", 1) / "history.csv").unlink()
    for name, text in (
        ("empty", ""),
        ("head", "a,b,c\n"),
        ("damaged", "a,b,c,d,e\n1,2,x,4,5\n"),
        ("foreign", "a\nb\n"),
    ):
        (leave(f"csv-{name}", 1) / "history.csv").write_text(text)
    assert sorted(title[1] for title in titles(last=99)) == [COSTS] + 5 * ["J not known"]


# ---- values in few letters


def test_labels():
    values = {"images/great_wave.jpg": "great_wave", "": "''", 0.03125: "0.03125", 1e25: "1e+25", True: "True"}
    assert {value: label(value) for value in values} == values
    long = label([(f"block{n}_conv1", 0.1) for n in range(1, 6)])
    assert len(long) <= 42 and long.startswith("[block1_conv1 0.1, ") and long.endswith("…]")


# ---- a moving picture


def frames_of(movie):
    """Return the frames of an animated picture, as arrays, and how long each is shown."""
    frames, milliseconds = [], []
    with Image.open(movie) as opened:
        assert opened.format == "WEBP"
        for number in range(opened.n_frames):
            opened.seek(number)
            frames.append(np.asarray(opened.convert("RGB"), np.float32))
            milliseconds.append(opened.info["duration"])
    return frames, milliseconds


def test_snapshots_follow_each_other(tmp_path, monkeypatch, capsys):
    """At most 24, of several sizes at the last one's proportions, resting on the last; as a notebook stores it."""
    for number, size in enumerate([(32, 48)] * 29 + [(400, 640)]):
        save_image(np.full((1, *size, 3), number / 30, np.float32), tmp_path / f"image_{number:05d}.jpg")
    nst_utils.animate(tmp_path)
    said, shown = f"24 snapshots of {tmp_path.name}, one after the other", []
    assert capsys.readouterr().out == f"{said}\n"
    monkeypatch.setattr(nst.exhibition, "get_ipython", lambda: object())
    monkeypatch.setattr(nst.exhibition, "display", lambda bundle, raw: shown.append(bundle))
    nst_utils.animate(str(tmp_path))
    frames, milliseconds = frames_of(tmp_path / "making-of.webp")
    assert (len(frames), {frame.shape for frame in frames}) == (24, {(250, 400, 3)})
    means = [frame.mean() for frame in frames]
    assert means == sorted(means) and means[0] < 3 and abs(means[-1] - 246) < 3
    assert len(set(milliseconds[:-1])) == 1 and milliseconds[-1] > milliseconds[0]
    (bundle,) = shown
    assert bundle["text/plain"] == said
    (movie,) = re.findall('data:image/webp;base64,([^"]*)"', bundle["text/html"])
    assert base64.b64decode(movie) == (tmp_path / "making-of.webp").read_bytes()
    assert f'alt="A moving picture: {said}, from epoch 0 to epoch 29."' in bundle["text/html"]


def test_without_snapshots(folder, tmp_path):
    for place in (tmp_path, str(tmp_path / "nowhere")):
        with pytest.raises(nst_utils.RunError, match=r"has no snapshots \(image_00000.jpg, …\). Name the folder of a"):
            nst_utils.animate(place)
    run = nst_utils.Run(Settings(SETTINGS), network=lambda settings: None)
    with pytest.raises(nst_utils.RunError, match="This run has no snapshots yet: it has not begun"):
        nst_utils.animate(run)
    assert not list(tmp_path.rglob("*.webp"))
