"""Small pictures with other settings: what counts, what is painted and kept, and what is left when one fails."""

import os
import re
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import nst.records
import nst.runs
import nst_utils
from conftest import SETTINGS, after_epochs, facts_of, paint, raiser, replace, saved_picture, write_lesson
from nst.backend import tf
from nst.images import save_image
from nst.lesson import FIRST, Lesson, run_cell
from nst.replay import decide_small

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
WAVE, VILLAGE, CAT = (f"images/{name}.jpg" for name in ("great_wave", "village_street_in_auvers", "chelsea_the_cat"))
TINY = {"IMAGE_SIZE": 48, "EPOCHS": 3}
RECORDS = {"generated_image.png", "history.csv", "settings.json"}
RECORDS |= {f"image_{epoch:05d}.jpg" for epoch in (0, 2, 3)}


@pytest.fixture
def lesson(folder, tmp_path):
    """A lesson that was last saved with the settings of a very small run."""
    return write_lesson(tmp_path / "lesson.ipynb")


@pytest.fixture
def compare(lesson):
    """A function that compares, as small as it gets, and returns the folder."""

    def compare(lesson=lesson, **settings):
        nst_utils.compare(lesson, **TINY | settings)
        return sorted(nst.records.OUTPUT_FOLDER.glob("compare-*"))[-1]

    return compare


@pytest.fixture
def unpainted(monkeypatch):
    """The settings that pictures would be painted with, by the folders' names; black or white ones come instead."""
    unpainted = {}

    def run(lesson, settings, watch, functions):
        unpainted[os.path.basename(settings.OUTPUT_DIR)] = settings
        picture = np.full((1, 32, 48, 3), settings.BETA > 100, np.float32)
        return {"run": SimpleNamespace(stop_asked=False, picture=picture)}

    monkeypatch.setattr(Lesson, "run", run)
    return unpainted


def state_of(folder):
    facts = facts_of(folder)
    return facts["state"], facts["epochs_done"]


def names_in(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


# ---- what counts


def test_small_wins_over_the_notebook_as_saved_and_all_else_over_small(lesson, monkeypatch):
    lesson = Lesson(write_lesson(lesson, IMAGE_SIZE=512, SIZES=[128, 512], EPOCHS=160, BETA=7.0, RESUME="output/old"))
    small = {"IMAGE_SIZE": 200, "SIZES": [], "EPOCHS": 60, "BETA": 7.0}
    assert decide_small(lesson, {}) == SETTINGS | small
    assert decide_small(lesson, {"IMAGE_SIZE": 300, "BETA": 8}) == SETTINGS | small | {"IMAGE_SIZE": 300, "BETA": 8.0}
    assert decide_small(lesson, {"SIZES": [48, 96]}) == SETTINGS | small | {"IMAGE_SIZE": 96, "SIZES": [48, 96]}
    monkeypatch.setenv("NST_SIZES", "[48, 64]")
    assert decide_small(lesson, {}).IMAGE_SIZE == 64
    assert decide_small(lesson, {"IMAGE_SIZE": 300}).SIZES == []


def test_an_explicit_value_wins_over_a_variable_and_this_over_the_notebook(compare, lesson, monkeypatch, capsys):
    for name, value in {"BETA": "many", "ALPHA": "4", "SEED": "9", "SIZES": "[64, 96]", "RESUME": "x"}.items():
        monkeypatch.setenv(f"NST_{name}", value)
    settings = {"ALPHA": 5, "SMOOTHNESS": 6}
    folder = compare(BETA=[50, np.int64(400)], **settings)
    runs = [folder / "BETA-50", folder / "BETA-400", nst_utils.paint(lesson, BETA=3, EPOCHS=3, **settings).folder]
    out = capsys.readouterr().out
    assert out.count("SEED = 9 (from NST_SEED)") == 1, "once for all calls"
    assert "NST_BETA" not in out and "NST_RESUME" not in out, "what cannot win is not read"
    for run, beta, sizes in zip(runs, (50.0, 400.0, 3.0), ([48], [48], [64, 96]), strict=True):
        expected = {"BETA": beta, "ALPHA": 5.0, "SMOOTHNESS": 6.0, "SEED": 9, "COLOUR_SMOOTHNESS": 100.0}
        assert {name: facts_of(run)["settings"][name] for name in expected} == expected, run
        assert [size for size, _ in facts_of(run)["sizes"]] == sizes, f"IMAGE_SIZE of the call, else NST_SIZES: {run}"


def test_compared_sizes_win_over_sizes_from_anywhere(lesson, unpainted, monkeypatch):
    """SIZES, when not empty, decides on IMAGE_SIZE: all columns would be the same picture."""
    monkeypatch.setenv("NST_SIZES", "[48, 96]")
    nst_utils.compare(lesson, IMAGE_SIZE=[48, 64], SIZES=[48, 80])
    assert [(s.IMAGE_SIZE, s.SIZES) for s in unpainted.values()] == [(48, []), (64, [])]
    nst_utils.compare(lesson, SIZES={"few": [64], "many": [48, 64]}, IMAGE_SIZE=300)
    assert [unpainted[name].SIZES for name in ("few", "many")] == [[64], [48, 64]]


def test_what_cannot_work_is_an_error_before_anything(lesson, tmp_path, monkeypatch):
    for settings in ({"BTEA": [1, 2]}, {"BTEA": 1, "ALPHA": [1, 2]}):
        with pytest.raises(nst_utils.SettingsError, match="^BTEA is no setting of this lesson. Do you mean BETA or"):
            nst_utils.compare(lesson, **settings)
    said = "^gram_matrx is no function of .*.ipynb. Do you mean gram_matrix"
    for call, value in ((nst_utils.paint, len), (nst_utils.compare, {"theirs": None, "mine": len})):
        with pytest.raises(nst_utils.SettingsError, match=said):
            call(lesson, gram_matrx=value)
    for call, more in ((nst_utils.paint, {}), (nst_utils.compare, {"BETA": [1, 2]})):
        for settings, message in (
            ({"RESUME": str(tmp_path)}, "^RESUME goes on with a run in the notebook"),
            ({"CONTENT_IMAGE": "images/no-such.jpg"}, "^images/no-such.jpg does not exist"),
            ({"ALPHA": -1}, "^ALPHA = -1.0 cannot work"),
            ({"OUTPUT_DIR": 3}, "^OUTPUT_DIR = 3 cannot work: it must be a text in quotes"),
            ({"OUTPUT_DIR": str(lesson)}, "lesson.ipynb is a file. Set OUTPUT_DIR to another folder"),
        ):
            with pytest.raises(nst_utils.NSTError, match=message):
                call(lesson, **TINY | more | settings)
        with pytest.raises(nst_utils.SettingsError, match="^The lesson gone.ipynb cannot be read: .*Name the notebook"):
            call("gone.ipynb", **more)
    monkeypatch.setenv("NST_EPOCHS", "many")
    with pytest.raises(nst_utils.SettingsError, match="^NST_EPOCHS='many' does not convert"):
        nst_utils.paint(lesson)
    assert not names_in(nst.records.OUTPUT_FOLDER), "no empty folder is left"


def test_nothing_or_too_much_to_compare(lesson):
    with pytest.raises(nst_utils.SettingsError, match="^A lesson is named by the path of its notebook, .* not 100"):
        nst_utils.compare([100, 200])
    for settings, message in (
        ({"BETA": 50}, r"^No settings have several values. Give them to one or two, such as BETA=\[50, 400\]"),
        ({"BETA": [1, 2], "ALPHA": [1, 2], "SEED": [1, 2]}, "^3 settings have several values"),
        ({"BETA": [1, 2], "STYLE_LAYERS": {}}, "^STYLE_LAYERS has no values"),
        ({"BETA": range(-2, 0)}, "^BETA = -2.0 cannot work"),
        ({"RESUME": {"a": "b"}}, "^OUTPUT_DIR and RESUME cannot be compared"),
        ({"BETA": [-1, -2]}, "^BETA = -1.0 cannot work"),
    ):
        with pytest.raises(nst_utils.SettingsError, match=message):
            nst_utils.compare(lesson, **settings)
    assert not nst.records.OUTPUT_FOLDER.exists()


# ---- paint


def test_paint_has_a_folder_of_its_own_each_time_and_the_cells_as_saved(lesson, tmp_path, capsys):
    write_lesson(lesson, edit=replace("return J, J_content, J_style", "return J, J_content, 7.0"))
    first, second = (nst_utils.paint(str(lesson), **TINY | {"ALPHA": 3}) for _ in range(2))
    assert [run.folder.name for run in (first, second)] == [f"summer_palace-great_wave-00{n}" for n in (1, 2)]
    assert first.folder.parent == nst.records.OUTPUT_FOLDER
    assert names_in(first.folder) == RECORDS
    assert (first.state, first.settings.ALPHA) == ("finished", 3.0)
    assert [row["J_style"] for row in first.history] == [7.0] * 3, "the lesson's own functions"
    assert np.array_equal(saved_picture(first.folder), saved_picture(second.folder)), (
        "the same settings, the same picture"
    )
    assert "Painting with the cells of lesson.ipynb as last saved (" in capsys.readouterr().out
    elsewhere = nst_utils.paint(lesson, **TINY | {"OUTPUT_DIR": tmp_path / "mine"}).folder
    assert elsewhere == tmp_path / "mine" / "summer_palace-great_wave-001", "OUTPUT_DIR is where folders are made"


def test_what_an_exercise_has_left_among_the_saved_settings_is_told(folder, tmp_path, capsys):
    """Of those that count; as the first lesson came, its settings are those of the table."""
    path = write_lesson(tmp_path / FIRST, BETA=1600, SMOOTHNESS=30.0, STYLE_LAYERS=[["block1_conv1", 1.0]])
    for call in (nst_utils.paint, nst_utils.compare):
        call(path, **TINY, ALPHA=[3.0] if call == nst_utils.compare else 3.0, WEIGHTS="auto", PRECISION="auto")
        out = capsys.readouterr().out
        assert "BETA = 1600 is saved there; the lesson came with 200.0.\n" in out
        assert (
            "STYLE_LAYERS = [('block1_conv1', 1.0)] is saved there; the lesson came with [('block1_conv1', 0.5), ("
            in out
        )
        told = set(re.findall("(.*) = .* is saved there", out))
        assert told >= {"BETA", "STYLE_LAYERS", "STYLE_IMAGE", "SAVE_EVERY", "COLOUR_SMOOTHNESS"}
        assert not told & {"ALPHA", "WEIGHTS", "PRECISION", "SMOOTHNESS", "IMAGE_SIZE", "EPOCHS"}
    nst_utils.compare(path, **TINY, BETA=[1600, 50])
    assert "BETA = 1600 is saved there" not in capsys.readouterr().out, "it is in the titles"
    capsys.readouterr()
    nst_utils.paint(write_lesson(tmp_path / "another.ipynb", BETA=1600), **TINY)
    assert "is saved there" not in capsys.readouterr().out, "nobody knows with what it came"


# ---- compare


def test_row(compare, capsys):
    folder = compare(BETA=[50, 400])
    assert folder.name == "compare-001"
    assert names_in(folder) == {"BETA-50", "BETA-400", "sheet.png"}
    for name in ("BETA-50", "BETA-400"):
        assert names_in(folder / name) == RECORDS, f"the records of {name}"
        assert state_of(folder / name) == ("finished", 3)
    out = capsys.readouterr().out
    assert out.count("Painting with tiny weights") == 1, "said once for all"
    assert "1 of 2   BETA = 50   epoch 1/3" in out, "it shows how it grows"
    assert f"BETA = 50 | BETA = 400\nThe pictures and sheet.png are in {folder.as_posix()}." in out
    assert "Stopped" not in out
    alone = paint(**TINY | {"BETA": 400.0})
    assert np.array_equal(saved_picture(folder / "BETA-400"), saved_picture(alone.folder)), "as painted alone"
    assert not np.array_equal(saved_picture(folder / "BETA-50"), saved_picture(alone.folder))


def test_grid_has_the_first_setting_down_and_the_second_across(compare, unpainted, capsys):
    folder = compare(ALPHA=np.array([1.0, 10.0]), BETA=list(np.logspace(1, 3, 3)))
    across = ("10", "100", "1000")
    assert names_in(folder) == {f"ALPHA-{a}-BETA-{b}" for a in (1, 10) for b in across} | {"sheet.png"}
    assert [(s.ALPHA, s.BETA) for s in unpainted.values()] == [(a, 10.0**b) for a in (1.0, 10.0) for b in (1, 2, 3)]
    assert "BETA = 10 | BETA = 100 | BETA = 1000\nALPHA = 1\nALPHA = 10\n" in capsys.readouterr().out


def test_the_sheet_is_kept_with_each_in_its_place(compare, unpainted):
    with Image.open(compare(BETA=[50, -1, 400, 1]) / "sheet.png") as sheet:
        assert (sheet.format, sheet.width) == ("PNG", 1800)
        assert 0.15 < sheet.height / sheet.width < 0.3, "four pictures of 48×32 in a row, and their titles"
        pixels = np.asarray(sheet.convert("L"))
    dark = [(part < 100).mean() for part in np.array_split(pixels, 4, axis=1)]
    assert [share > 0.5 for share in dark] == [True, False, False, True], f"black, a message, white, black: {dark}"


def test_what_is_compared_and_what_is_one_value(compare, unpainted):
    layers, mixed = [("block2_conv1", 0.5), ("block3_conv1", 0.5)], [(WAVE, 1), (VILLAGE, 3)]
    compare(STYLE_LAYERS=layers, SIZES=[48, 64], STYLE_IMAGE=mixed, BETA={"some": 50})
    assert list(unpainted) == ["some"], "lists of settings that are lists are fixed"
    assert (layers, mixed) == (unpainted["some"].STYLE_LAYERS, unpainted["some"].STYLE_IMAGE)
    compare(STYLE_LAYERS={"coarse": layers, "fine": layers[:1]}, STYLE_IMAGE={"both": mixed, "one": WAVE})
    assert mixed == unpainted["coarse-both"].STYLE_IMAGE
    assert layers[:1] == unpainted["fine-one"].STYLE_LAYERS
    compare(STYLE_IMAGE=[WAVE, VILLAGE])
    assert unpainted["STYLE_IMAGE-village_street_in_auvers"].STYLE_IMAGE == VILLAGE


def test_titles_of_any_letters_give_names_of_their_own_and_a_whole_sheet(compare, unpainted, tmp_path, picture, capsys):
    save_image(picture(48, 64), tmp_path / "great_wave.jpg")
    compare(STYLE_IMAGE=[WAVE, str(tmp_path / "great_wave.jpg")])
    assert f"STYLE_IMAGE = {WAVE!r} | STYLE_IMAGE = " in capsys.readouterr().out, "paths in full where names are alike"
    folder = compare(BETA={"a b": 50, "a/b": 400, 60 * "雪": 3, "$\\frac{": 4})
    names = {"a-b", "a-b-2", 33 * "雪", "$-frac{"}
    assert names_in(folder) == names | {"sheet.png"}
    compare(BETA={"a/b": 50, "a\\b": 400})
    assert [unpainted[name].BETA for name in ("a-b", "a-b-2")] == [50, 400]


def test_output_dir_is_where_the_folder_is_made(lesson, tmp_path, unpainted):
    nst_utils.compare(lesson, BETA=[50], OUTPUT_DIR=str(tmp_path / "mine"))
    assert names_in(tmp_path / "mine" / "compare-001") == {"BETA-50", "sheet.png"}
    assert not nst.records.OUTPUT_FOLDER.exists()


# ---- values that fail


@pytest.mark.parametrize(
    ("settings", "bad", "message"),
    [
        ({"BETA": [-1, 50]}, "BETA = -1", "BETA = -1.0 cannot work: it must be a finite number, 0 or more."),
        ({"CONTENT_IMAGE": ["images/nope.jpg", CAT]}, "CONTENT_IMAGE = nope", "images/nope.jpg does not exist."),
    ],
)
def test_a_value_that_cannot_work_leaves_its_place_to_the_message(compare, unpainted, capsys, settings, bad, message):
    folder = compare(**settings)
    assert f"\n{bad}: {message}" in capsys.readouterr().out
    assert len(unpainted) == 1 and names_in(folder) == {*unpainted, "sheet.png"}, "the other is painted"


def test_an_error_while_painting_leaves_its_place_to_the_message(compare, capsys):
    def fail(run):
        if run.settings.BETA != 1 and len(run.history) == 2:
            raise nst_utils.RunError("no more") if run.settings.BETA == 400 else ZeroDivisionError("by nothing")

    with after_epochs(fail):
        folder = compare(ALPHA=[3], BETA=[50, 400, 1])
    out = capsys.readouterr().out
    assert "ALPHA = 3 BETA = 50: ZeroDivisionError: by nothing\n" in out
    assert "ALPHA = 3 BETA = 400: no more\n" in out
    assert state_of(folder / "ALPHA-3-BETA-50") == ("failed", 2), "what it had painted is kept"
    assert state_of(folder / "ALPHA-3-BETA-1") == ("finished", 3)


# ---- stopped


def interrupt(run):
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_twice(run):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "epoch", "state"),
    [
        (nst.runs.Run.stop, 3, "finished"),
        pytest.param(interrupt, 2, "stopped", marks=POSIX),
        (interrupt_twice, 2, "stopped"),
    ],
)
def test_stopped_ends_after_the_step_and_keeps_what_was_painted(compare, capsys, how, epoch, state):
    """Also in the last step of a picture."""
    with after_epochs(lambda run: how(run) if run.settings.BETA == 400 and len(run.history) == epoch else None):
        folder = compare(BETA=[50, 400, 1])
    assert names_in(folder) == {"BETA-50", "BETA-400", "sheet.png"}
    assert (state_of(folder / "BETA-50"), state_of(folder / "BETA-400")) == (("finished", 3), (state, epoch))
    said = f"Stopped: 1 more would have come.\nThe pictures and sheet.png are in {folder.as_posix()}."
    assert said in capsys.readouterr().out


# ---- functions


def means(a_S, a_G):
    """A style cost by the means of products, as a reader would write it in place of Gram matrices."""
    return tf.reduce_mean((a_S - tf.reduce_mean(tf.cast(a_G, tf.float32), (0, 1, 2))) ** 2)


def test_functions_are_compared_as_values_are(compare, lesson, folder):
    """With others fixed: here what the style image is reduced to."""
    mean = lambda a: tf.reduce_mean(tf.cast(a, tf.float32), (0, 1, 2)) if a.shape.rank == 4 else a  # noqa: E731
    painted = compare(compute_layer_style_cost={"theirs": None, "mine": means}, mean_gram_matrix={"means": mean})
    assert names_in(painted) == {"theirs-means", "mine-means", "sheet.png"}
    costs = {name: costs_of_folder(painted / f"{name}-means") for name in ("theirs", "mine")}
    assert costs["theirs"] != costs["mine"]
    run = nst_utils.paint(lesson, **TINY, OUTPUT_DIR=str(folder), compute_layer_style_cost=means, mean_gram_matrix=mean)
    assert costs_of_folder(run.folder) == costs["mine"]


def costs_of_folder(folder):
    return [line.split(",")[2:] for line in (folder / "history.csv").read_text().splitlines()]


def test_another_function_is_on_record(lesson, folder):
    """In a notebook a reader's functions are those of __main__."""
    names = {"__name__": "__main__"}
    run_cell(
        "def total_cost(J_content, J_style, alpha, beta):\n    return alpha * J_content + 2 * beta * J_style", names
    )
    plain, other = (nst_utils.paint(lesson, **TINY, **more) for more in ({}, {"total_cost": names["total_cost"]}))
    plain, other = (facts_of(run.folder)["lesson"]["functions"] for run in (plain, other))
    assert {name for name in plain if plain[name] != other[name]} == {"total_cost"}


def test_an_error_in_another_function_stands_at_its_line(compare, capsys):
    names = {"__name__": "__main__"}
    run_cell(
        "import tensorflow as tf\ndef total_cost(J_content, J_style, alpha, beta):\n    return J_content @ J_style",
        names,
    )
    compare(total_cost={"theirs": None, "mine": names["total_cost"]})
    assert "mine: In total_cost, line 3 of its cell:\n    return J_content @ J_style\n" in capsys.readouterr().out


def test_lessons_are_compared_as_values_are(compare, lesson, tmp_path, unpainted, capsys):
    """Each with its own saved settings; what is named holds for all of them."""
    other = write_lesson(tmp_path / "other.ipynb", BETA=500.0)
    folder = compare(lesson={"first": lesson, "second": other}, CONTENT_IMAGE=[CAT, VILLAGE], ALPHA=3)
    assert names_in(folder) == {*unpainted, "sheet.png"}
    names = {"CONTENT_IMAGE-chelsea_the_cat-first": (CAT, 40.0), "CONTENT_IMAGE-chelsea_the_cat-second": (CAT, 500.0)}
    assert {name: (unpainted[name].CONTENT_IMAGE, unpainted[name].BETA) for name in names} == names
    assert {settings.ALPHA for settings in unpainted.values()} == {3.0}
    out = capsys.readouterr().out
    assert out.count("Painting with the cells of") == 2 and "first | second\n" in out


def test_stopped_before_the_first_picture_all_are_still_to_come(compare, capsys, monkeypatch):
    monkeypatch.setattr(nst.runs.Run, "__enter__", raiser(KeyboardInterrupt()))
    folder = compare(BETA=[50, 400])
    said = f"Stopped: 2 more would have come.\nsheet.png is in {folder.as_posix()}."
    assert said in capsys.readouterr().out
