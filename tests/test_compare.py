"""Settings side by side: which values win, what is painted and kept, and what is left when something goes wrong."""

import base64
import copy
import io
import json
import os
import signal
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from PIL import Image

import conftest
import nst.compare
import nst.images
import nst.lesson
import nst.records
import nst.replay
import nst.runs
import nst_utils
from conftest import SETTINGS
from nst import plots
from nst.replay import decide_settings

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
WAVE, VILLAGE, CAT = (f"images/{name}.jpg" for name in ("great_wave", "village_street_in_auvers", "chelsea_the_cat"))
TINY = {"IMAGE_SIZE": 48, "EPOCHS": 3}
RECORDS = {"generated_image.png", "history.csv", "settings.json", "image_00000.jpg", "image_00002.jpg"}


@pytest.fixture(autouse=True)
def tiny(folder, monkeypatch):
    """The notebook as last saved has the settings of a very small run."""
    monkeypatch.setattr(nst.replay, "saved_settings", lambda: copy.deepcopy(SETTINGS))


@pytest.fixture
def sheets(monkeypatch):
    """The arguments of all drawings: a list of (cells, rows, columns) as they were then."""
    sheets = []

    def draw_grid(cells, rows, columns):
        sheets.append(([list(row) for row in cells], rows, columns))
        return plots.draw_grid(cells, rows, columns)

    monkeypatch.setattr(nst.compare, "draw_grid", draw_grid)
    return sheets


@pytest.fixture
def unpainted(monkeypatch):
    """The settings that pictures would be painted with, of which none is: a dict of the folders' names."""
    unpainted = {}

    def run_lesson(settings, environ, watch):
        folder = nst.records.OUTPUT_FOLDER.parent / settings["OUTPUT_DIR"]
        folder.mkdir()
        unpainted[folder.name] = settings
        return {"run": SimpleNamespace(stop_asked=False, picture=np.zeros((1, 32, 48, 3), np.float32))}

    monkeypatch.setattr(nst.compare, "run_lesson", run_lesson)
    return unpainted


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as in a notebook: a list of bundles."""
    shown = []

    def display(bundle, raw, display_id=False):
        shown.append(bundle)
        return SimpleNamespace(update=lambda bundle, raw: shown.append(bundle))

    monkeypatch.setattr(plots, "get_ipython", lambda: object())
    monkeypatch.setattr(plots, "display", display)
    return shown


@pytest.fixture
def after_epoch(monkeypatch):
    """A function that has another called with the run after each of its epochs."""
    record = nst.runs.Run.record

    def call(function):
        def record_and_more(run, *costs):
            record(run, *costs)
            function(run)

        monkeypatch.setattr(nst.runs.Run, "record", record_and_more)

    return call


def compare(**settings):
    """Compare, as small as it gets; return the folder."""
    nst_utils.compare(**TINY | settings)
    return sorted(nst.records.OUTPUT_FOLDER.glob("compare-*"))[-1]


def settings_of(folder):
    return json.loads((folder / "settings.json").read_text())["settings"]


def state_of(folder):
    facts = json.loads((folder / "settings.json").read_text())
    return facts["state"], facts["epochs_done"]


def painted(folder):
    with Image.open(folder / "generated_image.png") as saved:
        return np.asarray(saved)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


# ---- what wins


def test_small_wins_over_the_notebook_as_saved(monkeypatch):
    saved = SETTINGS | {"IMAGE_SIZE": 512, "SIZES": [128, 512], "BETA": 7.0, "RESUME": "output/old"}
    monkeypatch.setattr(nst.replay, "saved_settings", lambda: dict(saved))
    assert decide_settings({}) == saved | {"IMAGE_SIZE": 200, "SIZES": [], "RESUME": ""}


def test_fixed_value_wins_over_the_notebook_and_over_small(monkeypatch):
    assert decide_settings({"BETA": 7.0}) == SETTINGS | {"IMAGE_SIZE": 200, "BETA": 7.0}
    assert decide_settings({"IMAGE_SIZE": 300})["IMAGE_SIZE"] == 300
    assert decide_settings({"SIZES": [48, 96]})["SIZES"] == [48, 96]
    monkeypatch.setattr(nst.replay, "saved_settings", lambda: SETTINGS | {"SIZES": [128, 512]})
    decided = decide_settings({"IMAGE_SIZE": 64})
    assert (decided["IMAGE_SIZE"], decided["SIZES"]) == (64, []), "else the notebook's SIZES would win over it"
    monkeypatch.setenv("NST_IMAGE_SIZE", "96")
    decided = decide_settings({"SIZES": [48, 64]})
    assert (decided["IMAGE_SIZE"], decided["SIZES"]) == (96, []), "a variable wins over a size that the call gives"


def test_variable_wins_over_a_fixed_value_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv("NST_BETA", "3")
    assert decide_settings({"BETA": 7.0})["BETA"] == 3.0
    assert "BETA = 3.0 (from NST_BETA)" in capsys.readouterr().out


def test_variable_of_a_turned_setting_is_not_even_read(monkeypatch, capsys):
    monkeypatch.setenv("NST_BETA", "many")
    monkeypatch.setenv("NST_ALPHA", "3")
    assert decide_settings({"ALPHA": 7.0}, turned=["BETA"])["ALPHA"] == 3.0
    out = capsys.readouterr().out
    assert "NST_ALPHA" in out and "NST_BETA" not in out


def test_variable_to_resume_is_of_the_notebook_alone(monkeypatch, capsys):
    monkeypatch.setenv("NST_RESUME", "output/old")
    assert decide_settings({}) == SETTINGS | {"IMAGE_SIZE": 200}
    assert "NST_RESUME" not in capsys.readouterr().out, "it is not used"


def test_turned_size_wins_over_sizes_from_anywhere(monkeypatch, capsys):
    """SIZES, when not empty, decides on IMAGE_SIZE: all columns would be the same picture."""
    monkeypatch.setenv("NST_SIZES", "[48, 96]")
    assert decide_settings({}, turned=["IMAGE_SIZE"])["SIZES"] == []
    assert "NST_SIZES" not in capsys.readouterr().out, "it is not used"
    assert decide_settings({})["SIZES"] == [48, 96]
    monkeypatch.delenv("NST_SIZES")
    assert decide_settings({"SIZES": [48, 96]}, turned=["IMAGE_SIZE"])["SIZES"] == []


def test_misspelt_names_name_the_near_one(monkeypatch):
    for settings in ({"BTEA": 1}, {"beta": 1}, {"Beta": [1, 2]}):
        with pytest.raises(nst_utils.SettingsError, match=r"^\w+ is no setting. Do you mean BETA\?$"):
            nst_utils.compare(**settings, ALPHA=[1, 2])
    with pytest.raises(nst_utils.SettingsError, match=r"^STYLE_LAYER is no setting. Do you mean STYLE_LAYERS\?$"):
        nst_utils.paint(STYLE_LAYER=[("block1_conv1", 1.0)])
    with pytest.raises(nst_utils.SettingsError, match=r"^XYZ is no setting\.$"):
        nst_utils.paint(XYZ=1)
    monkeypatch.setenv("NST_BTEA", "3")
    with pytest.raises(nst_utils.SettingsError, match="NST_BTEA is no setting of this notebook. Allowed are: NST_"):
        compare(BETA=[1, 2])
    assert not nst.records.OUTPUT_FOLDER.exists(), "nothing has been painted"


def test_variable_that_does_not_convert_is_an_error_before_anything(monkeypatch):
    monkeypatch.setenv("NST_EPOCHS", "many")
    with pytest.raises(nst_utils.SettingsError, match="NST_EPOCHS='many' does not convert. It must be a whole number"):
        compare(BETA=[1, 2])
    assert not nst.records.OUTPUT_FOLDER.exists()


def test_each_picture_is_painted_with_what_wins(monkeypatch):
    monkeypatch.setenv("NST_BETA", "3")
    monkeypatch.setenv("NST_ALPHA", "4")
    folder = compare(BETA=[50, 400.0], ALPHA=5, SMOOTHNESS=6)
    for name, beta in (("BETA-50", 50.0), ("BETA-400", 400.0)):
        expected = {"BETA": beta, "ALPHA": 4.0, "SMOOTHNESS": 6.0, "COLOUR_SMOOTHNESS": 100.0}
        settings = settings_of(folder / name)
        assert {key: settings[key] for key in expected} == expected, f"compared, variable, fixed, saved: {name}"


def test_the_cells_are_those_of_the_notebook_as_saved(monkeypatch, notebook, tmp_path, capsys):
    """Its settings and its functions."""
    edited = copy.deepcopy(notebook)
    for cell in edited.cells:
        cell.source = cell.source.replace("BETA = 200.0 ", "BETA = 123.0 ")
        cell.source = cell.source.replace("return J, J_content, J_style", "return J, J_content, 77.0 + 0.0 * J_style")
    nbformat.write(edited, tmp_path / "edited.ipynb")
    monkeypatch.setattr(nst.lesson, "NOTEBOOK", tmp_path / "edited.ipynb")
    monkeypatch.setattr(nst.replay, "saved_settings", nst.lesson.saved_settings)
    small = {name: SETTINGS[name] for name in ("CONTENT_LAYER", "STYLE_LAYERS", "WEIGHTS", "PRECISION")}
    run = nst_utils.paint(**TINY | small)
    assert run.settings["BETA"] == 123.0
    assert [row[4] for row in run.history] == [77.0] * 3
    assert "as last saved (" in capsys.readouterr().out


# ---- paint


def test_paint_has_a_folder_of_its_own_each_time(monkeypatch, capsys):
    first, second = (nst_utils.paint(**TINY | {"ALPHA": 3}) for _ in range(2))
    assert [run.folder.name for run in (first, second)] == [f"summer_palace-great_wave-00{n}" for n in (1, 2)]
    assert first.folder.parent == nst.records.OUTPUT_FOLDER
    assert names_in(first.folder) == RECORDS | {"image_00003.jpg"}
    assert (first.state, first.settings["ALPHA"]) == ("finished", 3.0)
    assert np.array_equal(painted(first.folder), painted(second.folder)), "the same settings, the same picture"


def test_paint_takes_output_dir_as_the_place_for_folders(monkeypatch, tmp_path):
    """Unlike in the notebook: many of them follow each other. ~ is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(conftest.ROOT)
    before = names_in(conftest.ROOT)
    folders = [nst_utils.paint(**TINY | {"OUTPUT_DIR": "~/mine"}).folder for _ in range(2)]
    assert folders == [tmp_path / "mine" / f"summer_palace-great_wave-00{n}" for n in (1, 2)]
    assert names_in(conftest.ROOT) == before, "no folder is called ~"


def test_paint_that_fails_leaves_no_folder(tmp_path):
    for settings, message in (
        ({"CONTENT_IMAGE": "images/no-such.jpg"}, "images/no-such.jpg does not exist"),
        ({"BETA": -1}, "BETA = -1.0 cannot work"),
        ({"OUTPUT_DIR": 3}, "OUTPUT_DIR = 3 cannot work: it must be a text in quotes"),
    ):
        with pytest.raises(nst_utils.NSTError, match=message):
            nst_utils.paint(**TINY | settings)
    output = nst.records.OUTPUT_FOLDER
    assert not output.exists() or not names_in(output)
    (tmp_path / "file").touch()
    with pytest.raises(nst_utils.SettingsError, match="file is a file. Set OUTPUT_DIR to another folder"):
        nst_utils.paint(**TINY | {"OUTPUT_DIR": str(tmp_path / "file")})


def test_a_run_to_continue_is_not_repainted_in_silence(tmp_path):
    """RESUME is a thing of the notebook; here each picture is a new one."""
    for call in (nst_utils.paint, compare):
        with pytest.raises(nst_utils.SettingsError, match="RESUME"):
            call(**TINY | {"RESUME": str(tmp_path)} | ({"BETA": [1, 2]} if call is compare else {}))


# ---- a row, a grid, names


def test_row(sheets, shown, capsys, monkeypatch):
    monkeypatch.setattr(plots.Screen, "SECONDS_BETWEEN", 1e9)  # nothing is drawn between the first and the last
    folder = compare(BETA=[50, 400])
    assert folder.name == "compare-001"
    assert names_in(folder) == {"BETA-50", "BETA-400", "sheet.png"}
    for name in ("BETA-50", "BETA-400"):
        assert names_in(folder / name) == RECORDS | {"image_00003.jpg"}, f"the records of {name}"
        assert state_of(folder / name) == ("finished", 3)
    cells, rows, columns = sheets[-1]
    assert (rows, columns) == ([""], ["BETA = 50", "BETA = 400"])
    for cell, name in zip(cells[0], ("BETA-50", "BETA-400"), strict=True):
        assert np.array_equal(cell, painted(folder / name)), f"the sheet shows what {name} has saved"
    assert not np.array_equal(painted(folder / "BETA-50"), painted(folder / "BETA-400"))
    first, last = (bundle["text/plain"] for bundle in shown)
    assert first == "1 of 2   BETA = 50   epoch 1/3"
    assert last == "BETA = 50 | BETA = 400", "the whole sheet, however short ago the last drawing was"
    out = capsys.readouterr().out
    assert out.count("Painting with tiny weights") == 1, "said once for all"
    assert f"The pictures and sheet.png are in {folder.as_posix()}." in out
    assert "Stopped" not in out
    alone = conftest.paint(**TINY | {"BETA": 400.0})
    assert np.array_equal(painted(folder / "BETA-400"), painted(alone.folder)), "as painted alone"


def test_at_the_end_the_whole_sheet_is_shown_and_kept(shown, unpainted):
    """The pictures are black here, so that they can be told from the page."""
    folder = compare(BETA=[50, 400, 1])
    assert shown[-1]["text/plain"] == "BETA = 50 | BETA = 400 | BETA = 1"
    displayed = io.BytesIO(base64.b64decode(shown[-1]["image/jpeg"]))
    with Image.open(folder / "sheet.png") as sheet, Image.open(displayed) as last:
        assert sheet.format == "PNG"
        assert (last.width, sheet.width) == (1200, 1800)
        assert 0.2 < sheet.height / sheet.width < 0.35, "three pictures of 48×32 in a row, and their titles"
        for picture in (sheet, last):
            pixels = np.asarray(picture.convert("L"))
            dark = [(part < 100).mean() for part in np.array_split(pixels, 3, axis=1)]
            assert min(dark) > 0.5, f"each third holds a picture: {dark}"


def test_grid_has_the_first_setting_down_and_the_second_across(sheets):
    folder = compare(ALPHA=[1, 10], BETA=[50, 400])
    cells, rows, columns = sheets[-1]
    assert (rows, columns) == (["ALPHA = 1", "ALPHA = 10"], ["BETA = 50", "BETA = 400"])
    for i, alpha in enumerate((1, 10)):
        for j, beta in enumerate((50, 400)):
            run = folder / f"ALPHA-{alpha}-BETA-{beta}"
            assert (settings_of(run)["ALPHA"], settings_of(run)["BETA"]) == (alpha, beta)
            assert np.array_equal(cells[i][j], painted(run)), f"at {i}, {j}"
    assert names_in(folder) == {f"ALPHA-{a}-BETA-{b}" for a in (1, 10) for b in (50, 400)} | {"sheet.png"}


def test_names_for_settings_that_are_lists(sheets):
    fine, coarse = [("block1_conv1", 1.0)], [("block2_conv1", 0.5), ("block3_conv1", 0.5)]
    folder = compare(STYLE_LAYERS={"fine": fine, "coarse": coarse})
    assert sheets[-1][2] == ["fine", "coarse"]
    assert settings_of(folder / "fine")["STYLE_LAYERS"] == [list(pair) for pair in fine]
    assert settings_of(folder / "coarse")["STYLE_LAYERS"] == [list(pair) for pair in coarse]
    assert not np.array_equal(painted(folder / "fine"), painted(folder / "coarse"))


def test_list_of_a_setting_that_is_a_list_is_a_fixed_value(unpainted):
    layers = [("block2_conv1", 0.5), ("block3_conv1", 0.5)]
    compare(STYLE_LAYERS=layers, SIZES=[32, 48], BETA={"some": 50})
    assert list(unpainted) == ["some"]
    assert (unpainted["some"]["STYLE_LAYERS"], unpainted["some"]["SIZES"]) == (layers, [32, 48])


def test_paths_of_styles_are_compared_and_a_list_of_pairs_is_one_value(sheets, unpainted):
    compare(STYLE_IMAGE=[WAVE, VILLAGE])
    assert sheets[-1][2] == ["STYLE_IMAGE = great_wave", "STYLE_IMAGE = village_street_in_auvers"]
    assert unpainted["STYLE_IMAGE-village_street_in_auvers"]["STYLE_IMAGE"] == VILLAGE
    mixed = [(WAVE, 1), (VILLAGE, 3)]
    compare(STYLE_IMAGE=mixed, BETA=[50])
    assert sheets[-1][2] == ["BETA = 50"]
    assert unpainted["BETA-50"]["STYLE_IMAGE"] == mixed
    compare(STYLE_IMAGE={"one": WAVE, "both": mixed})
    assert sheets[-1][2] == ["one", "both"]
    assert unpainted["both"]["STYLE_IMAGE"] == mixed


def test_values_that_look_alike_have_titles_and_folders_of_their_own(sheets, unpainted, tmp_path, picture):
    other = tmp_path / "great_wave.jpg"
    nst.images.save_image(picture(48, 64), other)
    compare(STYLE_IMAGE=[WAVE, str(other)])
    assert sheets[-1][2] == [f"STYLE_IMAGE = {WAVE!r}", f"STYLE_IMAGE = {str(other)!r}"]
    compare(BETA={"a b": 50, "a/b": 400})
    assert sheets[-1][2] == ["a b", "a/b"]
    assert (unpainted["a-b"]["BETA"], unpainted["a-b+"]["BETA"]) == (50, 400)


def test_nothing_or_too_much_to_compare(sheets):
    for settings, message in (
        ({}, r"^No settings have several values. Give them to one or two, such as BETA=\[50, 400\]"),
        ({"BETA": 50}, "^No settings have several values"),
        ({"BETA": [1, 2], "ALPHA": [1, 2], "SEED": [1, 2]}, "^3 settings have several values"),
        ({"BETA": []}, "^BETA has no values"),
        ({"BETA": [1, 2], "STYLE_LAYERS": {}}, "^STYLE_LAYERS has no values"),
        ({"OUTPUT_DIR": ["a", "b"]}, "^OUTPUT_DIR and RESUME cannot be compared"),
        ({"RESUME": {"a": "b"}}, "^OUTPUT_DIR and RESUME cannot be compared"),
    ):
        with pytest.raises(nst_utils.SettingsError, match=message):
            nst_utils.compare(**settings)
    assert not nst.records.OUTPUT_FOLDER.exists()


def test_folders_are_numbered_after_the_last(unpainted):
    for name in ("compare-007", "compare-mine", "compare-003"):
        (nst.records.OUTPUT_FOLDER / name).mkdir(parents=True)
    nst_utils.compare(BETA=[50])
    nst_utils.compare(BETA=[50])
    numbered = sorted(path.name for path in nst.records.OUTPUT_FOLDER.glob("compare-0*"))
    assert numbered == ["compare-003", "compare-007", "compare-008", "compare-009"]


def test_output_dir_is_where_the_folder_is_made(tmp_path, monkeypatch, unpainted):
    monkeypatch.setenv("HOME", str(tmp_path))
    before = names_in(conftest.ROOT)
    for number in (1, 2):
        nst_utils.compare(**TINY | {"BETA": [50], "OUTPUT_DIR": "~/mine"})
        assert names_in(tmp_path / "mine" / f"compare-00{number}") == {"BETA-50", "sheet.png"}
    assert not nst.records.OUTPUT_FOLDER.exists()
    assert names_in(conftest.ROOT) == before, "no folder is called ~"
    (tmp_path / "file").touch()
    with pytest.raises(nst_utils.SettingsError, match="file is a file. Set OUTPUT_DIR to another folder"):
        nst_utils.compare(**TINY | {"BETA": [50], "OUTPUT_DIR": str(tmp_path / "file")})
    with pytest.raises(nst_utils.SettingsError, match="OUTPUT_DIR = 3 cannot work"):
        nst_utils.compare(**TINY | {"BETA": [50], "OUTPUT_DIR": 3})


# ---- values that fail


@pytest.mark.parametrize(
    ("settings", "bad", "message"),
    [
        ({"BETA": [-1, 50]}, "BETA--1", "BETA = -1.0 cannot work: it must be a finite number, 0 or more."),
        ({"CONTENT_IMAGE": ["images/nope.jpg", CAT]}, "CONTENT_IMAGE-nope", "images/nope.jpg does not exist."),
        ({"STROKE_SIZE": [0.1, 1]}, "STROKE_SIZE-0.1", "STROKE_SIZE = 0.1 leaves images/great_wave.jpg"),
    ],
)
def test_value_that_cannot_work_leaves_its_cell_with_the_message(sheets, capsys, settings, bad, message):
    folder = compare(**settings)
    failed, fine = sheets[-1][0][0]
    assert isinstance(failed, str) and failed.startswith(message)
    assert not (folder / bad).exists()
    assert f": {failed}\n" in capsys.readouterr().out, "and where no sheet is shown it is told, too"
    (name,) = names_in(folder) - {"sheet.png"}
    assert np.array_equal(fine, painted(folder / name))


def test_error_while_painting_leaves_its_cell_with_the_message(sheets, after_epoch, capsys):
    def fail(run):
        if run.settings["BETA"] != 1 and len(run.history) == 2:
            raise nst_utils.RunError("no more") if run.settings["BETA"] == 400 else ZeroDivisionError("by nothing")

    after_epoch(fail)
    folder = compare(ALPHA=[3], BETA=[50, 400, 1])
    (cells,) = sheets[-1][0]
    assert cells[:2] == ["ZeroDivisionError: by nothing", "no more"]
    out = capsys.readouterr().out
    assert "ALPHA = 3 BETA = 50: ZeroDivisionError: by nothing\n" in out
    assert "ALPHA = 3 BETA = 400: no more\n" in out
    assert state_of(folder / "ALPHA-3-BETA-50") == ("failed", 2), "what it had painted is kept"
    assert state_of(folder / "ALPHA-3-BETA-1") == ("finished", 3)
    assert np.array_equal(cells[2], painted(folder / "ALPHA-3-BETA-1"))


def test_grid_shows_bytes_and_floats_alike(picture):
    image, pixels = picture(32, 48)[0].numpy(), []
    for cell in (image, nst.images.to_uint8(image)):
        buffer = io.BytesIO()
        plots.draw_grid([[cell]]).savefig(buffer, format="png", dpi=50)
        pixels.append(np.asarray(Image.open(buffer)))
    assert np.array_equal(*pixels)
    assert pixels[0].std() > 20, "something is drawn"


def test_long_message_takes_no_room_from_the_pictures():
    """Errors of an edited function within tf.function have pages of text."""
    picture = np.zeros((32, 48, 3), np.uint8)
    dark = {}
    for cell in ("short", "in user code: " + "some function in some file, " * 300):
        figure = plots.draw_grid([[picture, cell, picture]], columns=["a", "b", "c"])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=50)
        pixels = np.asarray(Image.open(buffer).convert("L"))
        dark[len(cell)] = (pixels < 50).mean()
    short, long = dark.values()
    assert short > 0.3, f"two pictures fill most of two thirds: {dark}"
    assert long > 0.8 * short, f"the pictures shrink: {dark}"


def test_when_nothing_works_the_error_is_raised_and_no_folder_is_left():
    with pytest.raises(nst_utils.SettingsError, match="BETA = -1.0 cannot work"):
        compare(BETA=[-1, -2])
    with pytest.raises(nst_utils.ImageError, match="images/nope.jpg does not exist"):
        compare(BETA=[1, 2], CONTENT_IMAGE="images/nope.jpg")
    assert not nst.records.OUTPUT_FOLDER.exists()


# ---- stopped


def stop_second(run):
    if run.settings["BETA"] == 400 and len(run.history) == 2:
        run.stop()


def interrupt_second(run):
    if run.settings["BETA"] == 400 and len(run.history) == 2:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("stop", [stop_second, pytest.param(interrupt_second, marks=POSIX)])
def test_stopped_ends_after_the_step_and_keeps_what_was_painted(sheets, shown, after_epoch, capsys, stop):
    after_epoch(stop)
    folder = compare(BETA=[50, 400, 1])
    assert names_in(folder) == {"BETA-50", "BETA-400", "sheet.png"}
    assert (state_of(folder / "BETA-50"), state_of(folder / "BETA-400")) == (("finished", 3), ("stopped", 2))
    first, second, third = sheets[-1][0][0]
    assert np.array_equal(first, painted(folder / "BETA-50"))
    assert np.array_equal(second, painted(folder / "BETA-400"))
    assert third is None
    out = capsys.readouterr().out
    assert "Stopped: 1 more would have come." in out
    assert f"The pictures and sheet.png are in {folder.as_posix()}." in out
    assert shown[-1]["text/plain"] == "BETA = 50 | BETA = 400 | BETA = 1"


def test_stopped_in_the_last_step_of_a_picture_stops_the_comparison(sheets, after_epoch, capsys):
    after_epoch(lambda run: run.stop() if len(run.history) == 3 else None)
    folder = compare(BETA=[50, 400, 1])
    assert names_in(folder) == {"BETA-50", "sheet.png"}
    assert state_of(folder / "BETA-50") == ("finished", 3)
    assert "Stopped: 2 more would have come." in capsys.readouterr().out


def test_interrupted_between_two_runs_keeps_what_was_painted(sheets, monkeypatch, capsys):
    load, calls = nst.runs.load_vgg19, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return load(*args)

    monkeypatch.setattr(nst.runs, "load_vgg19", interrupted)
    folder = compare(BETA=[50, 400, 1])
    assert names_in(folder) == {"BETA-50", "sheet.png"}
    assert [cell is None for cell in sheets[-1][0][0]] == [False, True, True]
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.format == "PNG"
    assert "Stopped: 1 more would have come." in capsys.readouterr().out


# ---- while it grows


def test_status_names_the_picture_and_the_time_left_over_all(shown, monkeypatch, picture):
    """Four epochs of one second and as much around them as a first run shows."""
    now, image = [100.0], picture(32, 48)
    history = [(epoch, float(epoch), 9.0, 1.0, 1.0) for epoch in range(4)]

    def run_lesson(settings, environ, watch):
        run = SimpleNamespace(plan=[(48, 4)], stop_asked=False, picture=image)
        view = watch(run)
        for count in (1, 2, 4):
            now[0] += 10.0
            view.update(image, history[:count], last=count == 4)
        return {"run": run}

    monkeypatch.setattr(nst.compare, "run_lesson", run_lesson)
    monkeypatch.setattr(nst.compare, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(plots.Screen, "SECONDS_BETWEEN", -1.0)
    compare(BETA=[50, 400, 1])
    assert [bundle["text/plain"] for bundle in shown] == [
        "1 of 3   BETA = 50   epoch 1/4",
        "1 of 3   BETA = 50   epoch 2/4   0:46 left for all",  # 2 s, and two more of 20 + 2
        "1 of 3   BETA = 50   epoch 4/4   1:00 left for all",  # two more of 30 + 0
        "2 of 3   BETA = 400   epoch 1/4",
        "2 of 3   BETA = 400   epoch 2/4   0:32 left for all",  # 2 s, and one more of 30
        "2 of 3   BETA = 400   epoch 4/4   0:30 left for all",
        "3 of 3   BETA = 1   epoch 1/4",
        "3 of 3   BETA = 1   epoch 2/4   0:02 left for all",
        "3 of 3   BETA = 1   epoch 4/4   0:00 left for all",
        "BETA = 50 | BETA = 400 | BETA = 1",
    ]
