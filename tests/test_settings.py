"""Settings: one table, from which they are read, converted and checked."""

import ast
import os
import re

import numpy as np
import pytest

from conftest import ROOT, SETTINGS
from nst import settings as room
from nst.errors import SettingsError
from nst.settings import check_settings, read_settings

# ---- the table


def test_the_tests_know_all_settings():
    assert list(SETTINGS) == list(room.SETTINGS), "conftest.SETTINGS: the same names in the same order"


def test_defaults_in_the_notebook_are_of_their_kind_and_fine(lesson):
    defaults = {name: lesson[name] for name in room.SETTINGS}
    assert read_settings(defaults, {}) == defaults
    assert list(defaults) == [name for name in lesson if name in room.SETTINGS], "the order of the cells"


def readme_table():
    """Return what README.md says of the settings: a dict of name to (default, what it does)."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    return {name: (default, does) for name, default, does in rows}


def test_readme_says_of_each_setting_what_the_table_says(lesson):
    table = readme_table()
    assert {name: does for name, (_, does) in table.items()} == {n: s.does for n, s in room.SETTINGS.items()}
    for name, (default, _) in table.items():
        if re.fullmatch("`[^`]+`", default):  # a list is told in words
            assert ast.literal_eval(default.strip("`")) == lesson[name], f"default of {name} in README.md"


# ---- reading


def test_only_settings_are_read_and_a_readers_own_names_are_none_of_ours():
    namespace = SETTINGS | {"J": 1.0, "G_S": 2.0, "SIZE": 3, "EPOCH": 7, "MY_OWN": [np]}
    assert read_settings(namespace, {}) == SETTINGS


def test_a_misspelt_setting_is_an_error_where_the_right_one_is_missing():
    without = {name: value for name, value in SETTINGS.items() if name != "EPOCHS"}
    with pytest.raises(SettingsError, match="EPOCHS is missing. EPOCH is no setting: write EPOCHS."):
        read_settings(without | {"EPOCH": 60}, {})
    with pytest.raises(SettingsError, match="EPOCHS is missing. Run the cells with the settings."):
        read_settings(without | {"run": 1, "J": 2}, {})


def test_later_changes_in_place_do_not_reach_what_was_read():
    namespace = SETTINGS | {"STYLE_LAYERS": [["block1_conv1", 1.0]], "SIZES": [32, 64]}
    settings = read_settings(namespace, {})
    namespace["STYLE_LAYERS"][0][1] = 0.1
    namespace["STYLE_LAYERS"].append(("block3_conv4", 0.9))
    namespace["SIZES"][0] = 48
    assert settings["STYLE_LAYERS"] == [["block1_conv1", 1.0]]
    assert settings["SIZES"] == [32, 64]


def test_whole_numbers_do_for_numbers_and_the_home_folder_has_a_short_name():
    settings = read_settings(SETTINGS | {"ALPHA": 10, "BETA": 40, "LEARNING_RATE": 1}, {"NST_BETA": "2.5"})
    assert [settings[name] for name in ("ALPHA", "BETA", "LEARNING_RATE")] == [10.0, 2.5, 1.0]
    assert all(type(settings[name]) is float for name in ("ALPHA", "BETA", "LEARNING_RATE"))
    path = read_settings(SETTINGS | {"CONTENT_IMAGE": "~/a.jpg"}, {})["CONTENT_IMAGE"]
    assert path == os.path.expanduser("~/a.jpg")
    styles = read_settings(SETTINGS | {"STYLE_IMAGE": [("~/a.jpg", 2)]}, {})["STYLE_IMAGE"]
    assert styles == [(os.path.expanduser("~/a.jpg"), 2)]


def test_the_last_of_the_sizes_is_the_image_size(capsys):
    settings = read_settings(SETTINGS, {"NST_SIZES": "(64, 128)", "NST_TILE": "512"})
    assert (settings["SIZES"], settings["IMAGE_SIZE"], settings["TILE"]) == ([64, 128], 128, 512)
    assert "IMAGE_SIZE = 128 (the last of SIZES)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("EPOCHS", "60", 60),
        ("ALPHA", "2.5", 2.5),
        ("ALPHA", "3", 3.0),
        ("CONTENT_IMAGE", "images/x.jpg", "images/x.jpg"),
        ("NORMALISE_ACTIVATIONS", "false", False),
        ("NORMALISE_ACTIVATIONS", " ON ", True),
        ("STYLE_LAYERS", "[('block2_conv1', 2)]", [("block2_conv1", 2)]),
        ("STYLE_IMAGE", "images/x.jpg", "images/x.jpg"),
        ("STYLE_IMAGE", " [('a.jpg', 1), ('b.jpg', 2)]", [("a.jpg", 1), ("b.jpg", 2)]),
        ("STYLE_MASKS", "['a.png']", ["a.png"]),
        ("OUTPUT_DIR", "output/does-not-exist", "output/does-not-exist"),
    ],
)
def test_environment_wins_and_is_converted_and_that_is_said_each_time(name, text, value, capsys):
    environ = {f"NST_{name}": text, "PATH": "/"}
    for _ in range(2):
        settings = read_settings(SETTINGS, environ)
        assert settings == SETTINGS | {name: value}
        kinds = room.SETTINGS[name].kind
        assert type(settings[name]) in (kinds if isinstance(kinds, tuple) else (kinds,))
        assert capsys.readouterr().out == f"{name} = {value!r} (from NST_{name})\n"


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("NST_EPOCH", "60", "NST_EPOCH is no setting of this notebook. Allowed are: .*NST_EPOCHS"),
        ("NST_EPOCHS", "many", "NST_EPOCHS='many' does not convert. It must be a whole number"),
        ("NST_EPOCHS", "2.5", "must be a whole number"),
        ("NST_ALPHA", "high", "must be a number"),
        ("NST_NORMALISE_ACTIVATIONS", "maybe", "must be True or False"),
        ("NST_STYLE_LAYERS", "block1_conv1", "must be a list of .layer name, weight., e.g."),
        ("NST_STYLE_LAYERS", "7", "must be a list of .layer name, weight., e.g."),
        ("NST_STYLE_IMAGE", "[('a.jpg', 1)", r"must be a text in quotes that is not empty, or a list of .picture"),
        ("NST_SIZES", "large", r"must be \[\] or whole numbers of pixels.*\[300, 600, 1200\]"),
        ("NST_ALPHA", "nan", "ALPHA = nan cannot work"),
    ],
)
def test_wrong_environment_is_an_error_that_says_what_is_allowed(variable, text, message):
    with pytest.raises(SettingsError, match=message):
        read_settings(SETTINGS, {variable: text})


# ---- checking


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EPOCHS": 0}, "EPOCHS = 0 cannot work: it must be a whole number, 1 or more"),
        ({"EPOCHS": True}, "EPOCHS = True .* a whole number"),
        ({"EPOCHS": np.int64(5)}, "EPOCHS = .* a whole number"),
        ({"IMAGE_SIZE": 31}, "IMAGE_SIZE = 31 .* 32 to 20000"),
        ({"IMAGE_SIZE": 20001}, "IMAGE_SIZE = 20001 .* 32 to 20000"),
        ({"SAVE_EVERY": 0}, "SAVE_EVERY = 0 .* 1 or more"),
        ({"LEARNING_RATE": 0.0}, "LEARNING_RATE = 0.0 .* a number above 0, at most 1"),
        ({"LEARNING_RATE": 1.01}, "LEARNING_RATE = 1.01 .* a number above 0, at most 1"),
        ({"LEARNING_RATE": float("nan")}, "LEARNING_RATE = nan"),
        ({"ALPHA": -1.0}, "ALPHA = -1.0 .* a finite number, 0 or more"),
        ({"BETA": float("nan")}, "BETA = nan"),
        ({"BETA": float("inf")}, "BETA = inf"),
        ({"BETA": 10**400}, "BETA = 1000"),
        ({"SMOOTHNESS": "much"}, "SMOOTHNESS = 'much'"),
        ({"COLOUR_SMOOTHNESS": -1}, "COLOUR_SMOOTHNESS = -1.0 .* a finite number, 0 or more"),
        ({"POOLING": "mean"}, "POOLING = 'mean' .* \"max\" or \"average\""),
        ({"POOLING": None}, "POOLING = None .* \"max\" or \"average\""),
        ({"ALPHA": 0, "BETA": 0.0}, "ALPHA = BETA = 0 leaves nothing to minimise"),
        ({"PRECISION": "float16"}, "PRECISION = 'float16' .* \"auto\", \"float32\" or \"bfloat16\""),
        ({"CONTENT_LAYER": "conv9"}, "CONTENT_LAYER cannot work: no layer 'conv9' .*block1_conv1, .*block5_conv4"),
        ({"STYLE_LAYERS": [("conv1", 1.0)]}, "STYLE_LAYERS cannot work: no layer 'conv1' in VGG19. Layers are: "),
        ({"STYLE_LAYERS": []}, "at least one above 0"),
        ({"STYLE_LAYERS": [("block1_conv1", 0.0)]}, "at least one above 0"),
        ({"STYLE_LAYERS": [("block1_conv1", -1.0)]}, "finite and 0 or more"),
        ({"STYLE_LAYERS": [("block1_conv1", float("nan"))]}, "finite and 0 or more"),
        ({"STYLE_LAYERS": [("block1_conv1", "0.5")]}, "STYLE_LAYERS = .*'0.5'.* cannot work"),
        ({"STYLE_LAYERS": [("block1_conv1", np.float32(0.5))]}, "STYLE_LAYERS = .* cannot work"),
        ({"STYLE_LAYERS": [("block1_conv1", True)]}, "STYLE_LAYERS = .* cannot work"),
        ({"STYLE_LAYERS": ["block1_conv1"]}, "list of .layer name, weight."),
        ({"STYLE_LAYERS": (("block1_conv1", 1.0),)}, "list of .layer name, weight."),
        ({"STYLE_LAYERS": None}, "list of .layer name, weight."),
        ({"CONTENT_IMAGE": None}, "CONTENT_IMAGE = None .* a text in quotes"),
        ({"STYLE_IMAGE": ""}, "STYLE_IMAGE = '' .* not empty"),
        *(({"STYLE_IMAGE": styles}, "STYLE_IMAGE = .* or a list of .picture, weight., e.g.")
          for styles in ([], ["a.jpg"], [("a.jpg", 0)], [("a.jpg", -1)], [("", 1)], [(3, 1)], (("a.jpg", 1),), 7)),
        ({"INIT": "nosie"}, 'INIT = \'nosie\' .* "content", "noise", "style" or the path of a picture'),
        ({"INIT": ""}, "INIT = '' .* or the path of a picture"),
        ({"SEED": -1}, "SEED = -1 .* a whole number, 0 or more"),
        ({"SEED": 1.5}, "SEED = 1.5 .* a whole number"),
        *(({"STROKE_SIZE": size}, "STROKE_SIZE = .* a number from 0.1 to 10") for size in (0, 0.05, 11, float("nan"))),
        ({"KEEP_COLOURS": "all"}, "KEEP_COLOURS = 'all' .* \"\", \"luminance\" or \"match\""),
        *(({"STYLE_MASKS": masks}, r"STYLE_MASKS = .* a list of pictures, one per style image, or \[\]")
          for masks in ("m.png", [""], [3], None)),
        ({"STYLE_MASKS": ["a.png", "b.png"]}, "STYLE_MASKS has 2 masks and STYLE_IMAGE 1 pictures: give one for each"),
        ({"WEIGHTS": 3}, "WEIGHTS = 3 .* path of a .h5 file"),
        ({"WEIGHTS": "imagnet"}, 'WEIGHTS = \'imagnet\' .* "imagenet", "standin" or the path of a .h5 file'),
        ({"RESUME": None}, "RESUME = None .* a text in quotes"),
        ({"NORMALISE_ACTIVATIONS": "False"}, "NORMALISE_ACTIVATIONS = 'False' .* True or False"),
        ({"OUTPUT_DIR": None}, "OUTPUT_DIR = None .* a folder that is empty or new"),
        ({"OUTPUT_DIR": "images"}, "OUTPUT_DIR = 'images' .* empty or new, since nothing is ever overwritten"),
        ({"OUTPUT_DIR": "README.md"}, "OUTPUT_DIR = 'README.md' .* a folder that is empty or new"),
        ({"OUTPUT_DIR": "x" * 300}, "OUTPUT_DIR = 'xxx"),
        *(({"SIZES": sizes}, "SIZES = .* whole numbers of pixels, 32 to 20000, each larger than the one before")
          for sizes in ([64, 64], [128, 64], [16, 64], [64.5], ["64", 128], 64, "64", [True], [30_000])),
        *(({"TILE": tile}, "TILE = .* 0, or a whole number of pixels, 64 or more")
          for tile in (-1, 10, 63, 512.0, "512", None)),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        check_settings(SETTINGS | changes)


def test_an_empty_folder_will_do_for_the_output(tmp_path):
    for folder in (tmp_path, tmp_path / "new" / "er"):
        assert check_settings(SETTINGS | {"OUTPUT_DIR": str(folder)})["OUTPUT_DIR"] == str(folder)
    assert list(tmp_path.iterdir()) == [], "checking makes nothing"
