"""The table of all that a reader can turn: a line per setting, with its default and what is allowed."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nst.layers import check_layer_name

STARTS = ("content", "noise", "style")  # INIT, or else the path of a picture


class Setting(NamedTuple):
    """A line of the table.

    default: what counts where a lesson does not have the setting, or did not have it when a record was written.
    allowed: what is said when works(value) is false. kinds: types of the value; that of the default when empty.
    """

    default: Any
    allowed: str = ""
    works: Callable = lambda value: True
    kinds: tuple = ()


def whole_number(default, least, most=sys.maxsize, of="", or_zero=False):
    """Return the Setting of a whole number, from the least to the most, of pixels, say."""
    bounds = f"{least} to {most}" if most < sys.maxsize else f"{least} or more"
    allowed = f"{'0, or ' * or_zero}a whole number{' of ' * bool(of)}{of}, {bounds}"
    return Setting(default, allowed, lambda value: least <= value <= most or (or_zero and value == 0))


def weight(default):
    """Return the Setting of a finite number that is not negative."""
    return Setting(default, "a finite number, 0 or more", _is_weight)


def share(default):
    """Return the Setting of a number from 0 to 1."""
    return Setting(default, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def choice(default, *others):
    """Return the Setting of one of some texts."""
    texts = [f'"{text}"' for text in (default, *others)]
    return Setting(default, f"{', '.join(texts[:-1])} or {texts[-1]}", (default, *others).__contains__)


def text(default):
    """Return the Setting of a text that is not empty."""
    return Setting(default, "a text in quotes that is not empty", bool)


def pictures():
    """Return the Setting of a list of paths."""
    allowed = "a list of pictures in quotes, one per style image, or []: in a shell '[\"a.png\"]'"
    return Setting([], allowed, lambda value: all(type(path) is str and path for path in value))


def _is_weight(value):
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _are_weighted(value, is_name):
    if not value or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return False
    return all(is_name(name) and _is_weight(weight) for name, weight in value) and any(weight for _, weight in value)


def _are_layers(value):
    return _are_weighted(value, _is_layer)


def _is_layer(name):
    check_layer_name(name)
    return True


def _are_pictures(value):
    return bool(value) if isinstance(value, str) else _are_weighted(value, lambda path: path and type(path) is str)


def _are_sizes(value):
    in_order = all(small < large for small, large in itertools.pairwise(value))
    return in_order and all(type(size) is int and 32 <= size <= 20_000 for size in value)


def _is_start(value):
    return value in STARTS or bool(Path(value).suffix) or Path(value).is_file()


def _is_free(folder):
    return not folder or not Path(folder).exists() or (Path(folder).is_dir() and not any(Path(folder).iterdir()))


SETTINGS = {
    "CONTENT_IMAGE": text("images/summer_palace.jpg"),
    "STYLE_IMAGE": Setting(
        "images/village_street_in_auvers.jpg",
        'a text in quotes that is not empty, or a list of (picture, weight), e.g. [("a.jpg", 3), ("b.jpg", 1)], with '
        "weights that are finite and 0 or more, at least one above 0",
        _are_pictures,
        (str, list),
    ),
    "IMAGE_SIZE": whole_number(512, 32, 20_000, of="pixels"),
    "EPOCHS": whole_number(160, 1),
    "ALPHA": weight(10.0),
    "BETA": weight(200.0),
    "CONTENT_LAYER": Setting("block4_conv2", "a layer's name", _is_layer),
    "STYLE_LAYERS": Setting(
        [(f"block{b}_conv1", 0.5**b) for b in range(1, 6)],
        'a list of (layer, weight), e.g. [("block1_conv1", 0.2)], with weights that are finite and 0 or more, at least '
        "one above 0",
        _are_layers,
    ),
    "WEIGHTS": Setting(
        "auto",
        '"auto", "imagenet", "standin" or the path of a .h5 file',
        lambda value: value in ("auto", "imagenet", "standin") or value.endswith(".h5"),
    ),
    "SIZES": Setting(
        [],
        "[] or whole numbers of pixels, 32 to 20000, each larger than the one before, e.g. [300, 600, 1200]",
        _are_sizes,
    ),
    "INIT": Setting("content", '"content", "noise", "style" or the path of a picture', _is_start),
    "SEED": whole_number(0, 0),
    "STROKE_SIZE": Setting(1.0, "a number from 0.1 to 10", lambda value: 0.1 <= value <= 10),
    "KEEP_COLOURS": choice("", "luminance", "match"),
    "STYLE_MASKS": pictures(),
    "STYLE_PARTS": pictures(),
    "LEARNING_RATE": Setting(0.05, "a number above 0, at most 1", lambda value: 0 < value <= 1),
    "SMOOTHNESS": weight(30.0),
    "COLOUR_SMOOTHNESS": weight(200.0),
    "MIXTURE": share(0.75),
    "LAST_EPOCHS": whole_number(15, 0),
    "POOLING": choice("max", "average"),
    "NORMALISE_ACTIVATIONS": Setting(True),
    "PRECISION": choice("auto", "float32", "bfloat16"),
    "TILE": whole_number(0, 64, of="pixels", or_zero=True),
    "SAVE_EVERY": whole_number(20, 1, of="epochs"),
    "OUTPUT_DIR": Setting(
        "", 'a folder that is empty or new, since no run writes over another, or "" for a new one each time', _is_free
    ),
    "RESUME": Setting(""),
}
