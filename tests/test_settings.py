"""Settings: one table, one function that says which value counts, and what is refused."""

import ast
import os
import re
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT, SETTINGS
from nst.errors import SettingsError
from nst.lesson import Lesson
from nst.settings import Settings, check_own, check_settings, decide, differing, read_settings
from nst.table import SETTINGS as TABLE

# ---- the table


def test_defaults_of_the_table_are_those_of_the_lesson_and_of_the_readme():
    saved = Lesson().settings()
    assert saved == {name: TABLE[name].default for name in saved}
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| .* \|$", (ROOT / "README.md").read_text("utf-8"), re.M))
    assert saved.keys() <= rows.keys(), "README.md tells of each setting"
    for name in saved:
        if re.fullmatch("`[^`]+`", rows[name]):  # a list is told in words
            assert ast.literal_eval(rows[name].strip("`")) == saved[name], f"default of {name} in README.md"


def test_settings_are_a_dict_and_attributes():
    settings = check_settings({"BETA": 3})
    assert (settings, settings.BETA) == ({"BETA": 3.0}, 3.0)
    assert TABLE["TILE"].default == settings.TILE, "a lesson need not have them all"
    with pytest.raises(
        SettingsError, match=r"^Settings are read from their cell: write BETA = 50.0 there, and run it.$"
    ):
        settings.BETA = 50.0
    with pytest.raises(SettingsError, match=r"^beta is no setting. Do you mean BETA\?$"):
        settings.beta = 3
    with pytest.raises(SettingsError, match=r"^BETTA is no setting. Do you mean BETA\?$"):
        check_settings(settings | {"BETTA": 3})
    more = settings | {"TILE": 512}
    assert (type(more), more.TILE, "TILE" in settings) == (Settings, 512, False)
    with pytest.raises(SettingsError, match=r"^BETTA is no setting of this lesson. Do you mean BETA\?$"):
        settings.BETTA  # noqa: B018
    with pytest.raises(SettingsError, match=r"^beta is no setting of this lesson. Do you mean BETA\?$"):
        settings.beta  # noqa: B018
    with pytest.raises(AttributeError):
        settings.no_method  # noqa: B018


def test_a_missing_setting_differs_from_none_but_its_default():
    """So a new setting does not make all older records different."""
    older = {name: value for name, value in SETTINGS.items() if name not in ("POOLING", "SEED")}
    assert differing(older, SETTINGS | {"SEED": 3}) == differing(SETTINGS | {"SEED": 3}, older) == ["SEED"]
    saved = {"STYLE_LAYERS": [["block1_conv1", 1.0]], "BETA": 40, "GONE": 1}
    assert differing(saved, {"STYLE_LAYERS": [("block1_conv1", 1.0)], "BETA": 40.0}) == [], "as JSON writes it"


# ---- what counts


def test_a_variable_wins_over_the_notebook_and_an_explicit_value_over_both(capsys):
    environ = {"NST_BETA": "3", "NST_ALPHA": "2", "PATH": "/"}
    for alpha in ("2", "2", "3", "2"):
        settings = decide(SETTINGS, {"BETA": 7}, environ | {"NST_ALPHA": alpha})
        assert settings == SETTINGS | {"BETA": 7.0, "ALPHA": float(alpha)}
    said = "ALPHA = 2.0 (from NST_ALPHA)\nALPHA = 3.0 (from NST_ALPHA)\nALPHA = 2.0 (from NST_ALPHA)\n"
    assert capsys.readouterr().out == said, "each change once"
    assert decide(SETTINGS, {"BETA": 7}, {"NST_BETA": "many"}).BETA == 7.0, "what loses is not even read"


SAVED, FOUR = {"SIZES": [128, 512]}, {"NST_IMAGE_SIZE": "400"}
TWO, EITHER = {"NST_SIZES": "(48, 96)"}, {"IMAGE_SIZE": 300, "SIZES": [32, 64]}


@pytest.mark.parametrize(
    ("saved", "environ", "explicit", "size", "sizes"),
    [
        ({}, {}, {}, 64, []),
        (SAVED, {}, {}, 512, [128, 512]),
        (SAVED, {}, {"IMAGE_SIZE": 300}, 300, []),
        (SAVED, {}, {"IMAGE_SIZE": 1200, "SIZES": []}, 1200, []),
        (SAVED, FOUR, {}, 400, []),
        (SAVED, TWO, {}, 96, [48, 96]),
        (SAVED, FOUR | TWO, {}, 96, [48, 96]),
        ({}, FOUR, {"SIZES": [32, 64]}, 64, [32, 64]),
        ({}, TWO, {"IMAGE_SIZE": 300}, 300, []),
        (SAVED, FOUR | TWO, EITHER, 64, [32, 64]),
    ],
)
def test_the_stronger_of_image_size_and_sizes_decides(saved, environ, explicit, size, sizes):
    settings = decide(SETTINGS | saved, explicit, environ)
    assert (size, sizes) == (settings.IMAGE_SIZE, settings.SIZES)
    assert decide(SETTINGS | SAVED, settings, FOUR) == settings, "what has been decided stays so"


def test_variables_of_settings_that_a_lesson_lacks_are_passed_over_and_that_is_said(capsys):
    without = {name: value for name, value in SETTINGS.items() if name != "BETA"}
    assert decide(without, {}, {"NST_BETA": "many", "NST_SEED": "3"}) == without | {"SEED": 3}
    assert "NST_BETA is passed over: this lesson has no BETA.\n" in capsys.readouterr().out
    assert decide({"IMAGE_SIZE": 64}, {"IMAGE_SIZE": 300}, {}) == {"IMAGE_SIZE": 300}, "nor SIZES"


def test_misspelt_names_name_the_nearest():
    for name, meant in (("BTEA", "BETA"), ("beta", "BETA"), ("STYLE_LAYER", "STYLE_LAYERS"), ("STYLE", "STYLE_IMAGE")):
        with pytest.raises(SettingsError, match=rf"^{name} is no setting of this lesson. Do you mean {meant}( or|\?)"):
            decide(SETTINGS, {name: 1}, {})
    with pytest.raises(SettingsError, match=r"^NST_EPOCH is no setting. Do you mean NST_EPOCHS( or|\?)"):
        decide(SETTINGS, {}, {"NST_EPOCH": "60"})
    with pytest.raises(SettingsError, match=r"^XYZ is no setting of this lesson. The settings are: CONTENT_IMAGE, "):
        decide(SETTINGS, {"XYZ": 1}, {})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("EPOCHS", "60", 60),
        ("ALPHA", "3", 3.0),
        ("NORMALISE_ACTIVATIONS", " OFF ", False),
        ("STYLE_LAYERS", "[('block2_conv1', 2)]", [("block2_conv1", 2)]),
        ("STYLE_IMAGE", " [['a.jpg', 1], ('b.jpg', 2)]", [("a.jpg", 1), ("b.jpg", 2)]),
        ("STYLE_MASKS", "['a.png']", ["a.png"]),
    ],
)
def test_variables_are_converted(name, text, value):
    settings = decide(SETTINGS, {}, {f"NST_{name}": text})
    assert settings == SETTINGS | {name: value}
    assert type(settings[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("EPOCHS", "2.5", "NST_EPOCHS='2.5' does not convert. It must be a whole number"),
        ("NORMALISE_ACTIVATIONS", "maybe", "must be True or False"),
        ("STYLE_IMAGE", "[('a.jpg', 1)", "must be a text in quotes that is not empty, or a list of .picture, weight."),
        ("ALPHA", "nan", "ALPHA = nan cannot work"),
    ],
)
def test_variables_that_do_not_convert_are_refused(name, text, message):
    with pytest.raises(SettingsError, match=message):
        decide(SETTINGS, {}, {f"NST_{name}": text})


def test_a_picture_whose_name_begins_with_a_bracket_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[1] wave.jpg").touch()
    assert decide(SETTINGS, {}, {"NST_STYLE_IMAGE": "[1] wave.jpg"}).STYLE_IMAGE == "[1] wave.jpg"


# ---- reading a namespace


def test_settings_alone_are_read_and_later_changes_in_place_do_not_reach_them():
    namespace = SETTINGS | {"STYLE_LAYERS": [["block1_conv1", 1.0]], "J": 1.0, "EPOCH": 7, "MY_OWN": [np]}
    settings = read_settings(namespace)
    assert settings == SETTINGS
    namespace["STYLE_LAYERS"][0][1] = 0.1
    namespace["STYLE_LAYERS"].append(("block3_conv4", 0.9))
    assert settings == SETTINGS


TYPO = 'CONTENT_IMAGE = "a.jpg"\nBETTA = 800.0'


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([TYPO], "^BETTA is no setting. Do you mean BETA[?]$"),
        (["EPOCHS = 3\nbeta = 800.0"], "^beta is no setting. Do you mean BETA[?]$"),
        (["EPOCHS = 3\nStyle_Layer = [('block1_conv1', 1.0)]  # mine"], "^Style_Layer is no setting.*STYLE_LAYERS"),
        ([TYPO, "SEED = 3\nPOOLING = 'max'"], "^BETTA"),
        (["ALPHA, BETTA = 5.0, 800.0"], "^BETTA"),
        (["EPOCHS = 3\nBETTA: float = 800.0"], "^BETTA"),
        (["size = 64\nIMAGE_SIZE = size"], ""),
        ([TYPO, "1 +"], "^BETTA"),
        ([TYPO, "CONTENT_IMAGE = 'a.jpg'\nBETA = 800.0"], ""),
        ([TYPO, "CONTENT_IMAGE = 'a.jpg'"], ""),
        ([TYPO, "BETA = 3.0"], ""),
        ([TYPO, "BETA = 3.0", "SEED = 1\nEPOCH = 3"], "^EPOCH is no setting. Do you mean EPOCHS[?]$"),
        (["EPOCHS = 3\nCOLOR_SMOOTHNESS = 1.0", "COLOUR_SMOOTHNESS = 200.0\nSEED = 0"], "^COLOR_SMOOTHNESS"),
        (["SIZE = 3\nstyle_image = 'b.jpg'\nbeta = 2", "EPOCHS = 3\nPALACE = 'a.jpg'\nLEVELS = 6"], ""),
        (["EPOCHS = 3", "BETTA = 800.0"], "^BETTA is no setting. Do you mean BETA[?]$"),
        (["EPOCHS = 3", "BETTA = 800.0", "SEED = 2"], "^BETTA"),
        (["EPOCHS = 3", "BETTA = 800.0", "BETA = 800.0"], ""),
        (["EPOCHS = 3", "beta = 800.0"], ""),
        (["EPOCHS = 3\nBETA: 800.0"], "^BETA: … and BETA == … set nothing. Write BETA = …"),
        (["EPOCHS = 3\nBETA = 800.0", "EPOCHS = 3\nBETA == 900.0"], "^BETA: … and BETA == … set nothing"),
        (["EPOCHS = 3\nBETA = 800.0", "BETA == 900.0"], ""),
        (["EPOCHS = 3\nBETA: 800.0", "EPOCHS = 3\nBETA = 800.0"], ""),
        (["EPOCHS = 3\nBETA: float = float(3)"], ""),
        (["EPOCHS = 3", "print(1)", "SIZE = 3"], ""),
        (["IMAGE_SIZE = 64\ncontent_image = load(IMAGE_SIZE)\nif True:\n    sizes = [3]", "%time 1"], ""),
    ],
)
def test_a_misspelt_name_beside_settings_is_told_until_its_cell_is_mended(cells, message):
    """With the right name still defined, as in a notebook; names of the reader's own stay free."""
    namespace = SETTINGS | {"In": ["", "import nst_utils", *cells], "BETTA": 800.0}
    if message:
        with pytest.raises(SettingsError, match=message):
            read_settings(namespace)
    else:
        assert read_settings(namespace) == SETTINGS


def test_a_name_like_a_setting_elsewhere_is_asked_about_once(capsys):
    namespace = SETTINGS | {"In": ["EPOCHS = 3", "print(1)", "ALHPA = 2.0", "SIZE = 3", "beta = 1", "print(ALHPA)"]}
    for _ in range(2):
        assert read_settings(namespace) == SETTINGS
    assert capsys.readouterr().out == "ALHPA is no setting, in case you mean ALPHA.\n"
    read_settings(SETTINGS | {"In": ["EPOCHS = 3\nBETTA = 8.0", "EPOCHS = 3\nBETA = 8.0"]})
    assert capsys.readouterr().out == "", "of what has been mended"


def test_a_setting_of_another_lesson_is_said_and_one_of_its_own_is_wanted(capsys):
    settings, used = Settings(SETTINGS) | {"MIXTURE": 0.5}, {"ALPHA", "BETA", "EPOCHS"}
    assert check_own(settings, used) == ["MIXTURE"]
    assert capsys.readouterr().out == "MIXTURE: no function of this lesson looks at it.\n"
    assert check_own(settings, {"ALPHA", "MIXTURE"}) == ["BETA", "STYLE_LAYERS", "CONTENT_LAYER"]
    assert check_own(settings, {"ALPHA"}) == [], "as long as functions are still to be written"
    assert check_own(settings, {"MIXTURE", "BETA"}) == []
    del settings["ALPHA"]
    with pytest.raises(
        SettingsError, match="^Not set: ALPHA. Bring back what is missing in the cell of settings, and run"
    ):
        check_own(settings, used)


# ---- checking


def test_numbers_of_numpy_whole_numbers_and_paths_will_do():
    given = {"IMAGE_SIZE": np.int64(64), "ALPHA": np.float32(0.5), "BETA": 40, "SIZES": np.array([48, 64])}
    given |= {"NORMALISE_ACTIVATIONS": np.bool_(False), "STYLE_LAYERS": (("block1_conv1", np.float64(1.0)),)}
    given |= {"CONTENT_IMAGE": Path("images"), "STYLE_IMAGE": [[Path("~"), np.int32(2)]], "OUTPUT_DIR": Path("new")}
    checked = {"IMAGE_SIZE": 64, "ALPHA": 0.5, "BETA": 40.0, "SIZES": [48, 64], "NORMALISE_ACTIVATIONS": False}
    checked |= {"STYLE_LAYERS": [("block1_conv1", 1.0)], "CONTENT_IMAGE": "images", "OUTPUT_DIR": "new"}
    checked |= {"STYLE_IMAGE": [(os.path.expanduser("~"), 2)]}
    assert not Path("new").exists(), "checking makes nothing"
    assert repr(check_settings(given)) == repr({name: checked[name] for name in given}), "in Python's own types"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CONTENT_IMAGE": [1] * 999}, r"CONTENT_IMAGE = \[(1, )+1?,?… cannot work: it must be a text"),
        ({"EPOCHS": 0}, "EPOCHS = 0 cannot work: it must be a whole number, 1 or more"),
        ({"TILE": 63}, "TILE = 63 .* 0, or a whole number of pixels, 64 or more"),
        ({"BETA": float("inf")}, "BETA = inf .* a finite number, 0 or more"),
        ({"BETA": 10**400}, "BETA = 1000"),
        ({"ALPHA": 0, "BETA": 0.0}, "ALPHA = BETA = 0 leaves nothing to minimise"),
        ({"MIXTURE": 1.5}, "MIXTURE = 1.5 .* a number from 0 to 1"),
        ({"POOLING": None}, 'POOLING = None .* "max" or "average"'),
        ({"PRECISION": "float16"}, 'PRECISION = \'float16\' .* "auto", "float32" or "bfloat16"'),
        ({"KEEP_COLOURS": "all"}, 'KEEP_COLOURS = \'all\' .* "", "luminance" or "match"'),
        ({"NORMALISE_ACTIVATIONS": "False"}, "NORMALISE_ACTIVATIONS = 'False' .* True or False"),
        ({"CONTENT_IMAGE": ""}, "CONTENT_IMAGE = '' .* a text in quotes that is not empty"),
        ({"STYLE_LAYERS": [("conv1", 1.0)]}, "STYLE_LAYERS cannot work: no layer 'conv1' in VGG19. Layers are: "),
        ({"STYLE_LAYERS": [("block1_conv1", 0.0)]}, "at least one above 0"),
        ({"STYLE_IMAGE": [("a.jpg", -1)]}, "STYLE_IMAGE = .* or a list of .picture, weight., e.g."),
        ({"STYLE_MASKS": ["a.png", "b.png"]}, "STYLE_MASKS has 2 masks and STYLE_IMAGE 1 pictures: give one for each"),
        ({"INIT": "nosie"}, 'INIT = \'nosie\' .* "content", "noise", "style" or the path of a picture'),
        ({"WEIGHTS": "imagnet"}, 'WEIGHTS = \'imagnet\' .* "imagenet", "standin" or the path of a .h5 file'),
        ({"SIZES": [128, 64]}, "SIZES = .* whole numbers of pixels, 32 to 20000, each larger than the one before"),
        ({"OUTPUT_DIR": "images"}, "OUTPUT_DIR = 'images' .* a folder that is empty or new"),
        ({"OUTPUT_DIR": "x" * 300}, "OUTPUT_DIR = 'xxx"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        check_settings(SETTINGS | changes)
