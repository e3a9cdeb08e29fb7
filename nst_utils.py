"""Helpers of the neural style transfer tutorial.

The lesson (the costs, the Gram matrix, the training step) stands in neural_style_transfer.ipynb and nowhere else.
This module holds the plumbing, in the order in which a picture goes through it: settings, images, weights and
network, the run and its records, plots. Images are float32 RGB in [0, 1] with shape (1, H, W, 3) everywhere.
"""

import ast
import base64
import contextlib
import csv
import difflib
import hashlib
import io
import itertools
import json
import math
import os
import platform
import queue
import re
import signal
import statistics
import sys
import threading
import time
import urllib.request
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import psutil
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError


@contextlib.contextmanager
def _muted_stderr():
    """Send what native code writes to stderr to nowhere: TensorFlow logs there before it can be told not to."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else TensorFlow takes a GPU's whole memory at once
    if len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) == 1:
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")  # Look calls back from a graph, which one thread cannot
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _muted_stderr():
    import tensorflow as tf

try:
    import resource
except ImportError:  # Windows
    resource = None


class NSTError(ValueError):
    """Something that a reader can mend. The message says what, where and how."""


class SettingsError(NSTError):
    """A setting has an unknown name or a value that cannot work."""


class ImageError(NSTError):
    """A picture cannot be used."""


class WeightsError(NSTError):
    """A weights file is missing, damaged or of another network."""


class RunError(NSTError):
    """A run cannot go on, or its files cannot be written."""


# ---------------------------------------------------------------------------------------------------- settings

SETTINGS = {
    **{"CONTENT_IMAGE": str, "STYLE_IMAGE": str, "IMAGE_SIZE": int, "SIZES": list, "TILE": int},
    **{"EPOCHS": int, "LEARNING_RATE": float},
    **{"ALPHA": float, "BETA": float, "SMOOTHNESS": float, "CONTENT_LAYER": str, "STYLE_LAYERS": list},
    **{"WEIGHTS": str, "NORMALISE_ACTIVATIONS": bool, "PRECISION": str},
    **{"SAVE_EVERY": int, "OUTPUT_DIR": str, "RESUME": str},
}
_EXAMPLES = {"STYLE_LAYERS": '[("block1_conv1", 0.5), ("block2_conv1", 0.5)]', "SIZES": "[300, 600, 1200]"}
_KINDS = {str: "a text in quotes", bool: "true or false", int: "a whole number", float: "a number", list: "a list"}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def current_settings(namespace, unchanged_since=None):
    """Return the settings in a namespace such as globals(), as a dict of name to value.

    Args:
        namespace: dict.
        unchanged_since: settings with which something was prepared, or None.

    Raises:
        SettingsError: a setting that decides what is painted has changed since.
    """
    settings = {name: namespace[name] for name in SETTINGS if name in namespace}
    for name, value in (unchanged_since or {}).items():
        if settings.get(name) != value and name not in ("SAVE_EVERY", "OUTPUT_DIR"):
            raise SettingsError(
                f"{name} was {value!r} when the network and the sizes were prepared, and is {settings.get(name)!r} "
                "now. Run all cells from the one with the settings to here."
            )
    return settings


def read_settings(namespace, environ=None):
    """Return the settings of a namespace, each replaced by the environment variable NST_<NAME> where one is set.

    Args:
        namespace: dict that holds the defaults, such as globals().
        environ: dict of environment variables; os.environ when None.

    Returns:
        dict of all settings, every value of the type of its default. What the environment changed is printed.

    Raises:
        SettingsError: unknown NST_ name, value that does not convert, or value that check_settings refuses.
    """
    settings = current_settings(namespace)
    for name in namespace:
        near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.8) if name.isupper() and len(name) > 3 else []
        if near and name not in SETTINGS:
            raise SettingsError(f"{name} is no setting. Did you mean {near[0]}?")
    environ = os.environ if environ is None else environ
    for variable in sorted(name for name in environ if name.startswith("NST_")):
        name = variable.removeprefix("NST_")
        if name not in settings:
            allowed = ", ".join(f"NST_{known}" for known in settings)
            raise SettingsError(f"{variable} is no setting of this notebook. Allowed are: {allowed}.")
        settings[name] = _convert(name, environ[variable], SETTINGS[name])
        print(f"{name} = {settings[name]!r} (from {variable})")
    for name, value in settings.items():
        if SETTINGS[name] is float and type(value) is int and abs(value) < 1e300:
            settings[name] = float(value)
        if isinstance(value, str) and value.startswith("~"):
            settings[name] = os.path.expanduser(value)
    if settings.get("SIZES"):
        check_settings({"SIZES": settings["SIZES"]})
        settings["SIZES"] = list(settings["SIZES"])
        if settings.get("IMAGE_SIZE") != settings["SIZES"][-1]:
            settings["IMAGE_SIZE"] = settings["SIZES"][-1]
            print(f"IMAGE_SIZE = {settings['IMAGE_SIZE']} (the last of SIZES)")
    if settings.get("RESUME"):
        settings |= _settings_of_run(settings)
    check_settings(settings)
    return settings


def _settings_of_run(settings):
    """Return the settings of the stopped run that RESUME names, and print which of these differ."""
    facts, _, _ = _read_run(settings["RESUME"])
    saved = {
        name: value for name, value in facts["settings"].items() if name in settings and name not in ("RESUME", "TILE")
    }
    saved |= {"OUTPUT_DIR": "", "PRECISION": facts["precision"]}
    if saved.get("WEIGHTS") == "auto":
        saved["WEIGHTS"] = facts["weights"]["name"]
    if "STYLE_LAYERS" in saved:
        saved["STYLE_LAYERS"] = [(name, weight) for name, weight in saved["STYLE_LAYERS"]]
    print(f"Continuing {settings['RESUME']} with its own settings.")
    for name in (
        "ALPHA",
        "BETA",
        "SMOOTHNESS",
        "EPOCHS",
        "IMAGE_SIZE",
        "SIZES",
        "STYLE_LAYERS",
        "CONTENT_IMAGE",
        "STYLE_IMAGE",
    ):
        if name in saved and saved[name] != settings[name]:
            print(f"{name} = {saved[name]!r} there, so {settings[name]!r} is not used")
    return saved


def _convert(name, text, kind):
    """Return the text of the environment variable of a setting as a value of a kind."""
    try:
        if kind is bool:
            if text.strip().lower() not in _TRUE + _FALSE:
                raise ValueError
            return text.strip().lower() in _TRUE
        if kind is list:
            value = ast.literal_eval(text)
            if not isinstance(value, (list, tuple)):
                raise ValueError
            return list(value)
        return kind(text)
    except (ValueError, SyntaxError):
        example = f", e.g. {_EXAMPLES[name]}" if kind is list else ""
        raise SettingsError(f"NST_{name}={text!r} does not convert. It must be {_KINDS[kind]}{example}.") from None


def check_settings(settings):
    """Raise an error for a value that cannot work, before anything is computed.

    Args:
        settings: dict of the settings to check; those that are missing are not checked.

    Raises:
        SettingsError: the message names the setting, its value and what is allowed.
    """

    def check(name, allowed, test):
        if name in settings:
            value = settings[name]
            if not test(value):
                raise SettingsError(f"{name} = {value!r} cannot work: it must be {allowed}.")

    def is_whole(value, least):
        return type(value) is int and value >= least

    for name, kind in SETTINGS.items():
        if kind in (str, bool):
            check(name, _KINDS[kind], lambda value, kind=kind: type(value) is kind)
    for name in ("CONTENT_IMAGE", "STYLE_IMAGE", "WEIGHTS"):
        check(name, "a text in quotes that is not empty", bool)
    check("IMAGE_SIZE", "a whole number of pixels, 32 to 20000", lambda value: is_whole(value, 32) and value <= 20_000)
    check(
        "SIZES",
        f"[] or whole numbers of pixels, 32 to 20000, each larger than the one before, e.g. {_EXAMPLES['SIZES']}",
        lambda sizes: (
            isinstance(sizes, (list, tuple))
            and all(is_whole(size, 32) and size <= 20_000 for size in sizes)
            and all(small < large for small, large in itertools.pairwise(sizes))
        ),
    )
    check("TILE", "0, or a whole number of pixels, 64 or more", lambda value: is_whole(value, 0) and not 0 < value < 64)
    check("EPOCHS", "a whole number, 1 or more", lambda value: is_whole(value, 1))
    check("SAVE_EVERY", "a whole number of epochs, 1 or more", lambda value: is_whole(value, 1))
    check("LEARNING_RATE", "a number above 0, at most 1e6", lambda value: _is_weight(value) and 0 < value <= 1e6)
    for name in ("ALPHA", "BETA", "SMOOTHNESS"):
        check(name, "a finite number, 0 or more", _is_weight)
    check("PRECISION", '"auto", "float32" or "bfloat16"', lambda value: value in ("auto", "float32", "bfloat16"))
    check("CONTENT_LAYER", f"one of {', '.join(LAYER_NAMES)}", lambda value: value in LAYER_NAMES)
    if settings.get("OUTPUT_DIR"):
        check_output_folder(settings["OUTPUT_DIR"])
    if "STYLE_LAYERS" in settings:
        check_style_layers(settings["STYLE_LAYERS"])
    if settings.get("ALPHA") == 0 and settings.get("BETA") == 0:
        raise SettingsError("ALPHA = BETA = 0 leaves nothing to minimise: give at least one of them a value above 0.")


def _is_weight(value):
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def check_style_layers(style_layers):
    """Raise SettingsError unless style_layers is a list of (layer name, weight) with some weight above 0."""
    is_pair = [isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in style_layers or ()]
    if not isinstance(style_layers, list) or not all(is_pair):
        raise SettingsError(f"STYLE_LAYERS must be a list of (layer name, weight), e.g. {_EXAMPLES['STYLE_LAYERS']}.")
    for name, weight in style_layers:
        if name not in LAYER_NAMES:
            raise SettingsError(f"STYLE_LAYERS: no layer {name!r} in VGG19. Layers are: {', '.join(LAYER_NAMES)}.")
        if not _is_weight(weight):
            raise SettingsError(f"STYLE_LAYERS: {name} has weight {weight!r}; it must be finite and 0 or more.")
    if not any(weight for _, weight in style_layers):
        raise SettingsError(f"STYLE_LAYERS needs at least one weight above 0, e.g. {_EXAMPLES['STYLE_LAYERS']}.")


# ------------------------------------------------------------------------------------------------------ images

_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of the VGG networks' training pictures, 0-255


MAX_PIXELS = 100_000_000
MIN_SIDE = 32  # pixels after resizing: block5 has a sixteenth of them
MAX_ASPECT_RATIO = 10


def load_image(path, size, enlarge=True):
    """Read a picture and scale it, aspect ratio kept.

    Rotation flags and colour profiles are obeyed, transparent pictures are laid on white, of several frames or pages
    the first is taken, and 16-bit and floating-point pictures are brought to 8 bits.

    Args:
        path: file that Pillow can read.
        size: length of the long side in pixels.
        enlarge: False leaves a smaller picture as it is. A style image has no finer strokes than its file has.

    Returns:
        tf.Tensor, float32 RGB in [0, 1], shape (1, H, W, 3), max(H, W) = size.

    Raises:
        ImageError: the file is missing, unreadable, damaged, over 100 megapixels, longer than 1:10, or its short side
            would have less than 32 pixels.
    """
    path = Path(path)
    _check_image_file(path)
    with _image_errors(path), Image.open(path) as opened:
        width, height = opened.size
        if not enlarge:  # but never below the smallest side that VGG19 can look at
            size = min(size, max(max(width, height), math.ceil(MIN_SIDE * max(width, height) / min(width, height))))
        scale = size / max(width, height)
        if width * height > MAX_PIXELS:
            raise ImageError(f"{path} has {width * height / 1e6:.0f} megapixels, 100 are the most. Make it smaller.")
        if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
            raise ImageError(f"{path} is {width}×{height}: longer than 1:{MAX_ASPECT_RATIO}. Cut a part out of it.")
        if round(min(width, height) * scale) < MIN_SIDE:
            raise ImageError(
                f"{path} gets a short side of {round(min(width, height) * scale)} pixels, {MIN_SIDE} are the least. "
                f"Set IMAGE_SIZE = {math.ceil(MIN_SIDE * max(width, height) / min(width, height))} or more."
            )
        opened.draft(None, (round(2 * width * scale), round(2 * height * scale)))  # JPEG: decode it smaller
        picture = _to_rgb(ImageOps.exif_transpose(opened), size)
    return tf.constant(np.asarray(picture, np.float32)[np.newaxis] / 255.0)


def _check_image_file(path):
    """Raise an error that says more than Pillow would, for what is no picture at all."""
    if re.match(r"https?:", str(path)):
        raise ImageError(f"{path} is an address. Download the picture and name the file.")
    if path.is_dir():
        raise ImageError(f"{path} is a folder. Name a picture in it.{_nearest_names(path / 'picture.jpg')}")
    if not path.is_file():
        raise ImageError(f"{path} does not exist.{_nearest_names(path)}")
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}.") from None
    if not start:
        raise ImageError(f"{path} is empty. Copy or download it again.")
    if re.match(rb"\s*<(!doctype|html|\?xml|svg)", start, re.IGNORECASE):
        raise ImageError(f"{path} is a web page or an SVG drawing. Save the picture itself, as JPEG or PNG.")


@contextlib.contextmanager
def _image_errors(path):
    """Turn whatever goes wrong inside Pillow into an ImageError, and keep its warnings off the screen."""
    try:
        with warnings.catch_warnings(), _muted_stderr():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no picture that Pillow can read. Save it again as JPEG or PNG.") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} has over {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller.") from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into the memory. Lower IMAGE_SIZE, or make the file smaller.") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{path} cannot be decoded: {reason}. It may be damaged: copy it again, or save it as JPEG or PNG."
        ) from None


def _to_rgb(picture, size):
    """Return a Pillow image of any mode as 8-bit sRGB, its long side of the given size."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _to_8_bits(picture)
    if picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode in ("1", "P", "HSV", "YCbCr"):
        picture = picture.convert("RGB")
    width, height = (max(1, round(side * size / max(picture.size))) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colour = _to_srgb(picture.convert("RGB") if alpha else picture, profile)
    if alpha:
        colour = Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha)
    return colour


def _to_8_bits(picture):
    """Return a picture of mode I;16, I or F as L, scaled by the smallest usual white that holds its values."""
    values = np.asarray(picture, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels are not finite (NaN or infinity)")
    whites = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(picture.mode, (65535.0,))
    white = next((white for white in whites if values.max() <= white), values.max())
    return Image.fromarray(np.round(np.clip(values / white, 0.0, 1.0) * 255.0).astype(np.uint8))


def _to_srgb(picture, profile):
    """Return a picture of mode L, RGB, CMYK or LAB as RGB; a profile that does not fit is passed over."""
    srgb = ImageCms.createProfile("sRGB")
    if picture.mode == "LAB":
        return ImageCms.profileToProfile(picture, ImageCms.createProfile("LAB"), srgb, outputMode="RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
    return picture.convert("RGB")


def _nearest_names(path):
    """Return a sentence with the files in path's folder whose names look most like it, or an empty string."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    pictures = Image.registered_extensions()
    here = sorted(p.name for p in path.parent.iterdir() if p.is_file() and p.suffix.lower() in pictures)
    near = difflib.get_close_matches(path.name, here, n=3, cutoff=0.3) or here[:8]
    return f" In {path.parent} there is: {', '.join(near)}." if near else f" There is no picture in {path.parent}."


def to_uint8(image):
    """Return float RGB in [0, 1], shape (1, H, W, 3) or (H, W, 3), as rounded uint8 of shape (H, W, 3)."""
    pixels = np.asarray(image, np.float32)
    pixels = pixels[0] if pixels.ndim == 4 else pixels
    return np.round(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


def save_image(image, path):
    """Write an image so that it appears under its name whole or not at all.

    Args:
        image: float RGB in [0, 1], shape (1, H, W, 3) or (H, W, 3).
        path: the suffix chooses the format: .jpg (quality 95) or .png.
    """
    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(to_uint8(image)).save(buffer, Image.registered_extensions()[Path(path).suffix.lower()], **options)
    write_file(path, buffer.getvalue())


def write_file(path, content):
    """Write to a temporary file beside path, flush it to the disk and rename it to path.

    Args:
        path: name of the file.
        content: bytes, or a function that writes into the open binary file which it is given.

    Raises:
        RunError: no room, no permission or no folder; what stood under the name before is still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} could not be written: {error.strerror}. What was saved before is whole. Make room on the disk or "
            f"check the folder's permissions, and run again, or go on with RESUME."
        ) from None


def enlarge_image(image, size):
    """Enlarge an image (bicubic), leaving out its border, where the zeros that VGG19 adds around it leave marks.

    Args:
        image: float32 RGB in [0, 1], shape (1, h, w, 3).
        size: (H, W) to bring it to.

    Returns:
        float32 tensor, RGB in [0, 1], shape (1, H, W, 3).
    """
    border = 4  # pixels, replaced by the mirrored ones beside them
    inner = image[:, border:-border, border:-border]
    image = tf.pad(inner, ((0, 0), (border, border), (border, border), (0, 0)), "SYMMETRIC")
    return tf.clip_by_value(tf.image.resize(image, size, "bicubic"), 0.0, 1.0)


@tf.custom_gradient
def total_variation(image):
    """Return the sum of the absolute differences between neighbouring values.

    This is tf.image.total_variation with a gradient that takes a fifth of the time: 3 % of a training step.

    Args:
        image: float32, shape (1, H, W, 3).

    Returns:
        float32 scalar.
    """

    def differences():
        return image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]

    def gradient(upstream):
        down, right = (tf.sign(difference) for difference in differences())
        total = tf.pad(down, ((0, 0), (1, 0), (0, 0), (0, 0))) - tf.pad(down, ((0, 0), (0, 1), (0, 0), (0, 0)))
        total += tf.pad(right, ((0, 0), (0, 0), (1, 0), (0, 0))) - tf.pad(right, ((0, 0), (0, 0), (0, 1), (0, 0)))
        return upstream * total

    return sum(tf.reduce_sum(tf.abs(difference)) for difference in differences()), gradient


def preprocess_image(image):
    """Turn an image into what VGG19 was trained on: BGR, 0-255, the channel means of its training set subtracted.

    Args:
        image: float32 RGB in [0, 1], shape (1, H, W, 3).

    Returns:
        float32 tensor of the same shape, B in about [-104, 151], G in [-117, 138], R in [-124, 131].
    """
    return image[..., ::-1] * 255.0 - tf.constant(_IMAGENET_MEAN_BGR)


# ----------------------------------------------------------------------------------------- weights and network

VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # (convolutions, channels), Simonyan & Zisserman 2015
LAYER_NAMES = tuple(f"block{b}_conv{c}" for b, (n, _) in enumerate(VGG19_BLOCKS, 1) for c in range(1, n + 1))

WEIGHTS_FOLDER = Path("pretrained-model")
STANDIN_FILE = "vgg19_standin.npz"
IMAGENET_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{IMAGENET_FILE}"
IMAGENET_MD5 = "253f8cb515780f3b799900260a226db6"  # as keras.applications.vgg19 publishes it
DOWNLOAD_TIMEOUT = 10.0  # seconds to connect, and without a single byte

# The pictures over which the mean activations are set to one, at this length of the long side.
NORMALISATION_IMAGES = (
    *("images/astronaut.jpg", "images/chelsea_the_cat.jpg", "images/composition_viii.jpg"),
    *("images/great_wave.jpg", "images/summer_palace.jpg", "images/village_street_in_auvers.jpg"),
)
NORMALISATION_SIZE = 256
# Mean activations of the stand-in on chelsea_the_cat.jpg at 64 pixels: what it must answer when it is loaded.
STANDIN_MEANS = {
    **{"block1_conv1": 16.0865, "block1_conv2": 18.6031, "block2_conv1": 15.9871, "block2_conv2": 4.4362},
    **{"block3_conv1": 9.2595, "block3_conv2": 7.7328, "block3_conv3": 2.5432},
    **{"block4_conv1": 4.6939, "block4_conv2": 3.2968, "block4_conv3": 1.0678},
    **{"block5_conv1": 1.0796, "block5_conv2": 0.7761, "block5_conv3": 0.7773},
}


class VGG19(NamedTuple):
    """The convolutions of a VGG19 and where they come from.

    name: "imagenet", "standin" or the name of a file. sha256: of that file. layers: dict of layer name to
    (kernel of shape (3, 3, n_in, n_out), bias of shape (n_out,)), float32; a layer that is missing is an identity.
    """

    name: str
    sha256: str
    layers: dict


def load_vgg19(weights="auto", normalise=True, folder=WEIGHTS_FOLDER):
    """Load the weights of VGG19 and say which.

    Args:
        weights: "imagenet" (the official Keras file, downloaded into the folder if it is not there), "standin"
            (the file that comes with this tutorial), "auto" (the first if it can be had, else the second), or the
            path of a .h5 file of a Keras VGG19 without top.
        normalise: divide each convolution so that its mean activation over the bundled pictures is 1.
        folder: where the files lie.

    Returns:
        VGG19.

    Raises:
        WeightsError: missing, damaged or other weights than asked for.
    """
    folder = Path(folder)
    if weights == "auto":
        try:
            vgg = _load_imagenet(folder)
        except WeightsError as error:
            print(f"Using the stand-in for VGG19: {error}")
            vgg = _load_standin(folder / STANDIN_FILE)
    elif weights == "imagenet":
        vgg = _load_imagenet(folder)
    elif weights == "standin":
        vgg = _load_standin(folder / STANDIN_FILE)
    else:
        vgg = _load_h5(Path(weights), Path(weights).name)
    print(f"Weights: {vgg.name}, sha256 {vgg.sha256[:12]}…")
    return vgg._replace(layers=normalise_activations(vgg.layers)) if normalise else vgg


def _load_standin(path):
    """Read the stand-in: int8 kernels with one scale per output channel (scripts/build_standin.py)."""
    remedy = "Restore it with: git checkout -- pretrained-model"
    content = _read_weights_file(path, remedy)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            names = [name for name in LAYER_NAMES if name in STANDIN_MEANS]
            layers = {n: (arrays[f"{n}/kernel"] * arrays[f"{n}/scale"], arrays[f"{n}/bias"]) for n in names}
        means = _mean_activations(layers, [load_image(NORMALISATION_IMAGES[1], 64)])
        damaged = not np.allclose(list(means.values()), list(STANDIN_MEANS.values()), rtol=0.01)
    except ImageError:
        raise
    except Exception as error:  # a zip file can be broken in many ways
        damaged = str(error) or type(error).__name__
    if damaged:
        why = "its activations are not those it should give" if damaged is True else damaged
        raise WeightsError(f"{path} is damaged ({why}). {remedy}")
    return VGG19("standin", hashlib.sha256(content).hexdigest(), layers)


def _load_imagenet(folder):
    """Read the official file from the folder, downloading it first if it is not there."""
    path = folder / IMAGENET_FILE
    if not path.exists():
        download(IMAGENET_URL, path, IMAGENET_MD5)
    content = _read_weights_file(path, "Move it away and run again to download it.")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != IMAGENET_MD5:
        raise WeightsError(
            f"{path} is not the file that Keras publishes: its MD5 is {found}, expected {IMAGENET_MD5}. Move it away "
            f'and run again to download it, or name it in WEIGHTS ("{path}") to use it as it is.'
        )
    return _load_h5(path, "imagenet")


def _load_h5(path, name):
    """Read a .h5 file of Keras (either of its formats) through Keras's own VGG19."""
    remedy = 'WEIGHTS must be "auto", "imagenet", "standin" or the path of a .h5 file.'
    content = _read_weights_file(path, remedy)
    if path.suffix != ".h5":
        raise WeightsError(f"{path} is no .h5 file. {remedy}")
    model = tf.keras.applications.VGG19(include_top=False, weights=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that it finds no weights for
            model.load_weights(path)
    except Exception as error:  # Keras and h5py raise almost anything here
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} holds no weights of a Keras VGG19 without top (.h5): {reason}") from error
    layers = {layer: tuple(v.numpy() for v in model.get_layer(layer).weights) for layer in LAYER_NAMES}
    if not all(np.isfinite(array).all() for arrays in layers.values() for array in arrays):
        raise WeightsError(f"{path} holds weights that are not finite (NaN or infinity). Take another file.")
    return VGG19(name, hashlib.sha256(content).hexdigest(), layers)


def _read_weights_file(path, remedy):
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}). {remedy}") from None


def download(url, path, md5):
    """Fetch a file, showing progress; it appears under its name only when it is whole and has the right MD5.

    Args:
        url: address.
        path: where to put it.
        md5: hexadecimal digest that the content must have.

    Raises:
        WeightsError: no connection within 10 s, a line that stalls, a wrong digest, or no room on the disk.
    """
    path = Path(path)
    digest, received, content = hashlib.md5(usedforsecurity=False), 0, io.BytesIO()
    try:
        with _open_url(url) as response:
            total, started, shown = int(response.headers.get("Content-Length") or 0), time.monotonic(), 0.0
            while chunk := response.read1(1 << 18):
                digest.update(chunk)
                content.write(chunk)
                received += len(chunk)
                now = time.monotonic()
                if now - started > 1.5 * DOWNLOAD_TIMEOUT and received < 10_000 * (now - started):
                    raise TimeoutError("the line is slower than 10 kB/s")
                if now - shown > 0.5:
                    shown = now
                    print(
                        f"\rDownloading {path.name}: {received / 1e6:.0f} of {total / 1e6:.0f} MB", end="", flush=True
                    )
        if shown:
            print()
        if total and received < total:
            raise ConnectionError(f"the connection ended after {received} of {total} bytes")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise WeightsError(f"the ImageNet weights could not be downloaded ({reason}).") from None
    if digest.hexdigest() != md5:
        raise WeightsError(
            f"the ImageNet weights could not be downloaded: what came from {url} has MD5 {digest.hexdigest()}, "
            f"expected {md5}. Nothing was kept; try again."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content.getvalue())
    except (OSError, RunError) as error:
        raise WeightsError(f"the ImageNet weights could not be kept: {error}") from None


def _open_url(url):
    """Open a URL or raise OSError within DOWNLOAD_TIMEOUT, however many addresses are tried and however slow DNS is."""
    answers = queue.SimpleQueue()

    def ask():
        try:
            answers.put(urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT))
        except Exception as error:  # raised again below
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=DOWNLOAD_TIMEOUT)
    except queue.Empty:
        answer = TimeoutError(f"no answer within {DOWNLOAD_TIMEOUT:.0f} s")
    if isinstance(answer, Exception):
        raise answer
    return answer


def normalise_activations(layers, images=None):
    """Divide each convolution's kernel and bias so that its mean activation over some images is 1.

    Gatys, Ecker and Bethge (2016), section 2. For a network of convolutions, ReLUs and max pooling this changes
    nothing but the scale of each layer: relu(x / m) = relu(x) / m for m > 0.

    Args:
        layers: dict of layer name to (kernel, bias), as in VGG19.
        images: list of float32 RGB images in [0, 1], shape (1, H, W, 3); the bundled pictures when None.

    Returns:
        dict like layers.
    """
    if images is None:
        images = [load_image(path, NORMALISATION_SIZE) for path in NORMALISATION_IMAGES]
    normalised, previous_mean = {}, 1.0
    for name, mean in _mean_activations(layers, images).items():
        kernel, bias = layers[name]
        mean = mean or previous_mean
        normalised[name] = (kernel * (previous_mean / mean), bias / mean)  # its input comes divided, too
        previous_mean = mean
    return normalised


def _mean_activations(layers, images):
    """Return a dict of layer name to the mean activation over some images."""
    activations, means = [preprocess_image(image) for image in images], {}
    for name in LAYER_NAMES:
        if name.endswith("conv1") and name != LAYER_NAMES[0]:
            activations = [tf.nn.max_pool2d(a, 2, 2, "VALID") for a in activations]
        if name in layers:
            kernel, bias = layers[name]
            activations = [tf.nn.relu(tf.nn.conv2d(a, kernel, 1, "SAME") + bias) for a in activations]
            means[name] = float(np.mean([tf.reduce_mean(a) for a in activations]))
    return means


def get_layer_outputs(vgg, layers, precision="float32"):
    """Build the network that maps a preprocessed image to the activations of some layers, and ends at the deepest.

    Args:
        vgg: VGG19, from load_vgg19.
        layers: list of (layer name, weight), as STYLE_LAYERS; the weights are not used here.
        precision: dtype of weights and activations, "float32" or "bfloat16".

    Returns:
        keras.Model; its outputs are a list, one tensor of shape (1, n_H, n_W, n_C) per entry of layers (two or more).

    Raises:
        SettingsError: unknown layer name.
    """
    wanted = [name for name, _ in layers]
    for name in wanted:
        if name not in LAYER_NAMES:
            raise SettingsError(f"no layer {name!r} in VGG19. Layers are: {', '.join(LAYER_NAMES)}.")
    deepest = max(LAYER_NAMES.index(name) for name in wanted)
    keras_layers = tf.keras.layers
    x = inputs = tf.keras.Input((None, None, 3), dtype="float32")
    outputs = {}
    for name in LAYER_NAMES[: deepest + 1]:
        block = name.partition("_")[0]
        if name.endswith("conv1") and name != LAYER_NAMES[0]:
            x = keras_layers.MaxPooling2D(2, name=f"before_{block}_pool", dtype=precision)(x)
        if name in vgg.layers:
            kernel, bias = vgg.layers[name]
            convolution = keras_layers.Conv2D(
                bias.size, 3, padding="same", activation="relu", name=name, dtype=precision, trainable=False
            )
            x = convolution(x)
            convolution.set_weights([kernel, bias])
        outputs[name] = x
    return tf.keras.Model(inputs, [outputs[name] for name in wanted], name="vgg19")


def choose_precision(precision="auto"):
    """Return the dtype to compute in.

    Args:
        precision: "float32" and "bfloat16" are returned as they are; "auto" times two convolutions of 64 channels,
            forward and backward, in both and takes bfloat16 if that needs less than 0.9 times as long.

    Returns:
        "float32" or "bfloat16".
    """
    if precision != "auto":
        return precision
    steps = {}
    for dtype in ("float32", "bfloat16"):
        inputs = tf.ones((1, 128, 128, 64), dtype), tf.fill((3, 3, 64, 64), tf.constant(0.01, dtype))
        steps[dtype] = tf.function(_two_convolutions).get_concrete_function(*inputs), inputs
    seconds = {dtype: [] for dtype in steps}
    for _ in range(6):  # in turns, so that a busy moment hits both
        for dtype, (step, inputs) in steps.items():
            started = time.perf_counter()
            step(*inputs).numpy()
            seconds[dtype].append(time.perf_counter() - started)
    best = {dtype: statistics.median(times[1:]) for dtype, times in seconds.items()}
    return "bfloat16" if best["bfloat16"] < 0.9 * best["float32"] else "float32"


def _two_convolutions(x, kernel):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
        y = tf.nn.relu(tf.nn.conv2d(y, kernel, 1, "SAME"))
    return tape.gradient(y, x)[0, 0, 0, 0]


class Look:
    """What a network sees in an image: its activations, or of a large image, tile by tile, what the costs need of them.

    A Gram matrix is a sum over positions, so that of a large image can be added up from tiles, and it never takes more
    memory than one tile. The gradient goes through the tiles a second time, when the whole Gram matrices and with them
    their gradients are known. Each tile is looked at with a margin as wide as the deepest layer sees beyond its own
    cell, and its borders are multiples of the deepest stride, so every activation is counted once and computed from
    all the pixels that it sees: costs and gradients are those of the image as a whole.

    Args:
        network: keras.Model from get_layer_outputs.
        mean_gram_matrix: function of activations (1, n_H, n_W, n_C) that returns their mean Gram matrix (n_C, n_C).
        tile: side of the tiles in pixels; 0 takes tiles where the whole does not fit into the memory that is free, of
            at most 1024 pixels. On a GPU memory is not checked, and 0 takes none.
        images: images of shape (1, H, W, 3) that will be looked at; the largest says what memory is needed.

    Raises:
        RunError: even with tiles the memory is too small. The message says the largest IMAGE_SIZE that fits.
    """

    def __init__(self, network, mean_gram_matrix, tile, images):
        self.network, self.mean_gram_matrix = network, mean_gram_matrix
        self.strides = [1024 // shape[1] for shape in network.compute_output_shape((1, 1024, 1024, 3))]
        self.stride, reach = 1, 0  # pixels per cell of the deepest layer; pixels that it sees beyond its own cell
        for layer in reversed(network.layers):
            if isinstance(layer, tf.keras.layers.Conv2D):
                reach += layer.kernel_size[0] // 2
            elif isinstance(layer, tf.keras.layers.MaxPooling2D):
                reach, self.stride = 2 * reach, 2 * self.stride
        self.margin = math.ceil(reach / self.stride) * self.stride
        self._graphs = {}
        self.tile = self._choose_tile(tile, *max((image.shape[1:3] for image in images), key=math.prod))

    def __call__(self, image):
        """Return a list with an entry per layer of the network.

        Args:
            image: float32 RGB in [0, 1], shape (1, H, W, 3).

        Returns:
            The activations, each of shape (1, n_H, n_W, n_C); of an image in tiles, the mean Gram matrices
            (n_C, n_C) of all layers but the last instead.
        """
        if self.splits(image):
            return self._look_at_tiles(image)
        if not tf.executing_eagerly():
            return self._whole(image)
        # A graph rounds less often in low precision: targets must be rounded as the training step rounds.
        image = tf.convert_to_tensor(image)
        return self._graph(("whole", *image.shape), self._whole, image)(image)

    def _whole(self, image):
        return self.network(preprocess_image(image))

    def _graph(self, key, function, *inputs):
        """Return a function as a graph, of which one is kept for all inputs that have the same key."""
        if key not in self._graphs:
            self._graphs[key] = tf.function(function).get_concrete_function(*inputs)
        return self._graphs[key]

    def splits(self, image):
        """Return whether an image of shape (1, H, W, 3) is looked at in tiles."""
        return len(self._tiles(*image.shape[1:3])) > 1

    def work(self, height, width):
        """Return how many pixels a training step at this size goes through, forwards and backwards."""
        pixels = math.prod(sum(self._window_lengths(length)) for length in (height, width))
        return pixels if pixels == height * width else 1.5 * pixels  # the first pass is half of a step

    def memory(self, height, width):
        """Return about how many bytes training at this size takes, whole or in the tiles chosen.

        A step holds about 3.8 times the activations of all convolutions (measured at 400 to 1200 pixels in float32 and
        bfloat16); in tiles, those of one tile, and some 8 copies of the image and of the last layer's activations
        (together 16 of the image for block4_conv2 in bfloat16, measured at 1920 and 3840 pixels).
        """
        most, per_pixel = math.prod(max(self._window_lengths(length)) for length in (height, width)), 0.0
        for layer in self.network.layers:
            if isinstance(layer, tf.keras.layers.Conv2D):
                itemsize = 2 if layer.compute_dtype == "bfloat16" else 4
                per_pixel += layer.filters * itemsize / 4 ** (int(layer.name[len("block")]) - 1)
        whole = 8 * 12 + 8 * self.network.outputs[-1].shape[-1] / self.strides[-1] ** 2 * itemsize
        return 3.8 * per_pixel * most + whole * height * width * (most < height * width)

    def _choose_tile(self, tile, height, width):
        free = psutil.virtual_memory().available
        for self.tile in [tile] if tile else (0, *range(1024, 127, -64)):
            if self.memory(height, width) < free or tf.config.list_physical_devices("GPU"):
                break
        else:
            needed, fits = self.memory(height, width), 1.0
            while fits * max(height, width) >= MIN_SIDE and self.memory(int(fits * height), int(fits * width)) >= free:
                fits *= 0.98
            size = int(fits * max(height, width)) // 10 * 10
            remedy = f"Set IMAGE_SIZE = {size} or less, or close" if size >= 2 * MIN_SIDE else "Close"
            raise RunError(
                f"{width}×{height} pixels need about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are "
                f"free. {remedy} other programs."
            )
        if self.tile and not tile:
            print(f"{width}×{height} pixels do not fit into the free memory as a whole: tiles of {self.tile} pixels.")
        return self.tile

    def _tiles(self, height, width):
        """Return the tiles of an image, each as two slices, which begin at multiples of the deepest stride."""
        return list(itertools.product(*map(self._cuts, (height, width))))

    def _cuts(self, length):
        """Return the slices into which a side of an image is cut."""
        cells = length // self.stride
        count = max(1, math.ceil(cells * self.stride / self.tile)) if self.tile else 1
        edges = [round(i * cells / count) * self.stride for i in range(count)] + [length]
        return [slice(*pair) for pair in itertools.pairwise(edges)]

    def _window(self, tile, height, width):
        """Return a tile with its margin as an index of the image, and the tile as two slices of that window."""
        window, inner = [slice(None)], []
        for part, length in zip(tile, (height, width), strict=True):
            window.append(slice(max(0, part.start - self.margin), min(length, part.stop + self.margin)))
            inner.append(slice(part.start - window[-1].start, part.stop - window[-1].start))
        return tuple(window), tuple(inner)

    def _window_lengths(self, length):
        """Return the lengths of the parts of a side of an image, with their margins."""
        return [min(length, c.stop + self.margin) - max(0, c.start - self.margin) for c in self._cuts(length)]

    def _share(self, tile, height, width, stride):
        """Return which share of a layer's positions lies in a tile."""
        cells = [part.stop // stride - part.start // stride for part in tile]
        return math.prod(cells) / ((height // stride) * (width // stride))

    def _look_at_tiles(self, image):
        """As __call__, also within a graph, which then calls out for each of the two passes."""
        size, channels = image.shape[1:3], [output.shape[-1] for output in self.network.outputs]
        tiles = [(tile, *self._window(tile, *size)) for tile in self._tiles(*size)]
        dtype, stride = self.network.outputs[-1].dtype, self.strides[-1]
        content_shape = (1, size[0] // stride, size[1] // stride, channels[-1])

        def look(image):
            grams = [np.zeros((n_C, n_C), np.float32) for n_C in channels[:-1]]
            content = np.zeros(content_shape, tf.as_dtype(dtype).as_numpy_dtype)
            for tile, window, inner in tiles:
                *found, last = self._pass(tf.constant(image[window]), inner)
                _cells(content, tile, stride)[:] = last.numpy()
                for i, gram in enumerate(found):
                    grams[i] += self._share(tile, *size, self.strides[i]) * gram.numpy()
            return [*grams, content]

        def look_back(image, *upstream):
            *d_grams, d_content = upstream
            total = np.zeros(image.shape, np.float32)
            for tile, window, inner in tiles:
                shares = [self._share(tile, *size, stride) for stride in self.strides[:-1]]
                d_tile = [tf.constant(share * d_gram) for share, d_gram in zip(shares, d_grams, strict=True)]
                d_tile.append(tf.constant(_cells(d_content, tile, stride)))
                total[window] += self._pass(tf.constant(image[window]), inner, *d_tile).numpy()
            return total

        @tf.custom_gradient
        def call(image):
            def gradient(*upstream, variables=()):
                total = tf.numpy_function(look_back, [image, *upstream], tf.float32)
                total = tf.ensure_shape(total, image.shape)
                return (total, [None] * len(variables)) if variables else total  # the network is not trained

            found = tf.numpy_function(look, [image], [tf.float32] * len(channels[:-1]) + [dtype])
            shapes = [(n_C, n_C) for n_C in channels[:-1]] + [content_shape]
            return [tf.ensure_shape(a, shape) for a, shape in zip(found, shapes, strict=True)], gradient

        return call(image)

    def _pass(self, pixels, inner, *upstream):
        """Return what the costs need of a window, or with upstream gradients of that, the gradient of its pixels."""

        def look(pixels):
            cells = [_cells(a, inner, stride) for a, stride in zip(self._whole(pixels), self.strides, strict=True)]
            return [*(self.mean_gram_matrix(a) for a in cells[:-1]), cells[-1]]

        def backwards(pixels, *upstream):
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                found = look(pixels)
            return tape.gradient(found, pixels, output_gradients=list(upstream))

        geometry = (bool(upstream), *pixels.shape, *((part.start, part.stop) for part in inner))
        return self._graph(geometry, backwards if upstream else look, pixels, *upstream)(pixels, *upstream)


def _cells(activations, part, stride):
    """Return those of a layer's activations (1, n_H, n_W, n_C) whose cells lie in a part of the image."""
    rows, columns = (slice(p.start // stride, p.stop // stride) for p in part)
    return activations[:, rows, columns]


# ------------------------------------------------------------------------------------- the run and its records

OUTPUT_FOLDER = Path("output")
CHECKPOINT = "checkpoint.npz"
HISTORY_COLUMNS = ("epoch", "seconds", "J", "J_content", "J_style")
SECONDS_BETWEEN_CHECKPOINTS = 60.0  # at the most, however long SAVE_EVERY epochs take


def plan_sizes(settings, content_image, style_image):
    """Return the sizes at which to paint, from coarse to fine, and how many epochs at each.

    Gatys et al. (2017), section 6: what is painted small and then enlarged has strokes that fit the picture, and a
    large picture that starts from it needs few steps.

    Args:
        settings: dict of the settings. If SIZES is [], IMAGE_SIZE is halved until it is nearest to 400. The first size
            gets EPOCHS epochs, each further one two fifths of those of the one before.
        content_image, style_image: images of shape (1, H, W, 3); sizes at which one of them would have a side of less
            than 32 pixels are left out.

    Returns:
        list of (length of the long side in pixels, number of epochs).

    Raises:
        SettingsError: SIZES begins with a size at which one of the images would have a side of less than 32 pixels.
    """
    sizes, shapes = settings["SIZES"], [image.shape[1:3] for image in (content_image, style_image)]
    thinnest = min(min(shape) / max(shape) for shape in shapes)
    if sizes and sizes[0] * thinnest < MIN_SIDE - 1:
        raise SettingsError(
            f"SIZES begins with {sizes[0]}, which leaves the short side of a picture less than {MIN_SIDE} pixels. "
            f"Begin with {math.ceil(MIN_SIDE / thinnest)} or more."
        )
    if not sizes:
        halvings = max(0, round(math.log2(settings["IMAGE_SIZE"] / 400)))
        sizes = [round(settings["IMAGE_SIZE"] / 2**i) for i in range(halvings, -1, -1)]
        sizes = [size for size in sizes[:-1] if size * thinnest >= MIN_SIDE] + sizes[-1:]
    return [(size, max(1, round(settings["EPOCHS"] * 0.4**i))) for i, size in enumerate(sizes)]


class Run:
    """One run of the training loop: its folder, its records and its live view.

    As a context manager around the loop it makes a folder that nothing else uses and writes into it settings.json,
    a snapshot image_NNNNN.jpg of the picture after NNNNN epochs every SAVE_EVERY epochs (and at the ends of each size),
    a row of history.csv per epoch, and generated_image.png at the end. Every file appears whole or not at all. A run
    that is interrupted (by Jupyter's stop button, Ctrl-C or SIGTERM) ends after the current step with all of this, and
    leaves a checkpoint from which RESUME continues it.

    Args:
        settings: dict of the settings, from current_settings; SAVE_EVERY, OUTPUT_DIR, CONTENT_IMAGE, STYLE_IMAGE and
            RESUME are used here.
        sizes: list of (size, epochs), from plan_sizes.
        vgg: VGG19, noted in settings.json.
        precision: dtype of the network, noted in settings.json.

    Attributes:
        folder: pathlib.Path of the run's folder.
        history: list of rows (epoch, seconds since the start, J, J_content, J_style). The costs of a row are those
            of the picture at the beginning of that epoch. Epochs are counted through all sizes.
        snapshots: list of pathlib.Path.
        picture: float32 array (1, H, W, 3), with which the size before has ended; None at the first.
        caution: factor for the learning rate, 1.0 until something goes wrong, then halved.

    Raises:
        SettingsError: OUTPUT_DIR holds something already, or what RESUME continues was made from other files.
        RunError: a file cannot be written, or the picture goes wrong for the fourth time.
    """

    def __init__(self, settings, sizes, vgg, precision):
        self.settings = settings
        self.folder = None
        self.history = []
        self.snapshots = []
        self.picture = None
        self.caution = 1.0
        self.generated_image = self.optimizer = None
        self._sizes = sizes
        self._epochs = sum(epochs for _, epochs in sizes)
        self._begin = self._end = 0  # the epochs of the current size
        self._resumed = None  # the checkpoint from which to continue
        self._troubles = 0
        self._stop_signal = None
        self._history_saved = self._checkpoint_saved = -math.inf
        self._facts = _describe(settings, sizes, vgg, precision)

    def __enter__(self):
        if self.settings.get("RESUME"):
            self._resume()
        else:
            self.folder = _new_folder(self.settings)
            write_file(self.folder / "settings.json", (json.dumps(self._facts, indent=2) + "\n").encode())
        self._view = _LiveView()
        self._started = time.perf_counter() - (self.history[-1][1] if self.history else 0.0)
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def sizes(self):
        """Yield (size, number of epochs) of what is still to be painted, from coarse to fine."""
        for size, epochs in self._sizes:
            self._begin, self._end = self._end, self._end + epochs
            done = len(self.history) >= self._end and self._end < self._epochs  # the last size is looked at once more
            if done or self._stop_signal is not None:
                continue
            if self._begin and self._resumed is not None:
                self.picture = self._resumed["image"]
            yield size, epochs
            self.picture = self.generated_image.numpy()

    def epochs(self, generated_image, optimizer):
        """Yield the numbers of the epochs to compute at this size, from 0 or where a stopped run continues.

        Args:
            generated_image: the tf.Variable to optimise, float32 RGB in [0, 1], shape (1, H, W, 3).
            optimizer: its Keras optimizer, built.
        """
        self.generated_image, self.optimizer = generated_image, optimizer
        if self._resumed is not None and self._resumed["image"].shape == tuple(generated_image.shape):
            self._restore(self._resumed)
        self._resumed = None
        self._save(snapshot=not self.history)
        while len(self.history) < self._end and self._stop_signal is None:
            yield len(self.history) - self._begin

    def record(self, J, J_content, J_style):
        """Note the costs of the epoch that has just been computed, save what is due, and refresh the live view.

        Args:
            J, J_content, J_style: its costs, scalars.
        """
        costs = [float(cost) for cost in (J, J_content, J_style)]  # waits for the step to end
        if trouble := self._trouble(costs):
            return self._go_back(trouble)
        now = time.perf_counter()
        self.history.append((len(self.history), round(now - self._started, 3), *costs))
        done = len(self.history)
        if done % self.settings["SAVE_EVERY"] == 0 or done == self._end:
            self._save()
        elif now - self._checkpoint_saved > SECONDS_BETWEEN_CHECKPOINTS:
            self._save(snapshot=False)
        elif now - self._history_saved > 1.0:
            self._save_history()
        return self._view.update(self.generated_image, self.history, self._sizes, last=done == self._epochs)

    def __exit__(self, kind, error, traceback):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.generated_image is None:  # nothing has been painted
            return
        finished = len(self.history) == self._epochs
        try:
            if not finished and kind is None:
                self._save(snapshot=False)
            self._save_history()
            save_image(self.generated_image, self.folder / "generated_image.png")
        except RunError:
            if kind is None:  # else the first error is the one to be told
                raise
        if finished:
            self._check_results()
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        elif kind is None:
            if self.history:
                self._view.update(self.generated_image, self.history, self._sizes, last=True)
            print(f"Stopped after epoch {len(self.history)} of {self._epochs}. The picture so far is saved.")
            print(f'To continue, set RESUME = "{self.folder.as_posix()}" and run all cells; after that, set it to "".')

    def _on_signal(self, number, frame):
        if self._stop_signal is not None:
            raise KeyboardInterrupt  # asked twice: do not wait for the step
        self._stop_signal = number

    def _save(self, snapshot=True):
        """Save the snapshot, the history and, last, the checkpoint that builds on them."""
        image = self.generated_image.numpy()
        if snapshot:
            path = self.folder / f"image_{len(self.history):05d}.jpg"
            save_image(image, path)
            self.snapshots = [*(p for p in self.snapshots if p != path), path]
        self._save_history()
        state = {f"optimizer_{i}": v.numpy() for i, v in enumerate(self.optimizer.variables)}
        state |= {"image": image, "epoch": len(self.history), "caution": self.caution, "troubles": self._troubles}
        write_file(self.folder / CHECKPOINT, lambda file: np.savez(file, **state))
        self._checkpoint_saved = time.perf_counter()
        self._good = image.std(), _burnt(image)

    def _save_history(self):
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([HISTORY_COLUMNS, *self.history])
        write_file(self.folder / "history.csv", table.getvalue().encode())
        self._history_saved = time.perf_counter()

    def _restore(self, state):
        self.generated_image.assign(state["image"])
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(state[f"optimizer_{i}"])
        self.history = self.history[: int(state["epoch"])]

    def _resume(self):
        """Take up records and folder where the run in RESUME was stopped; picture and optimizer follow in epochs()."""
        self.folder = Path(self.settings["RESUME"])
        saved, self.history, self._resumed = _read_run(self.folder)
        for key in ("content_image", "style_image", "generated_image", "weights", "sizes"):
            if saved[key] != self._facts[key]:
                raise SettingsError(f'RESUME = "{self.folder}": {key} is not what the run began with. Start anew.')
        self.history = self.history[: int(self._resumed["epoch"])]
        self.caution, self._troubles = float(self._resumed["caution"]), int(self._resumed["troubles"])
        self.snapshots = sorted(self.folder.glob("image_*.jpg"))
        for leftover in self.folder.glob(".*.part"):  # of a run that was killed
            leftover.unlink()

    def _trouble(self, costs):
        """Say what is wrong with the picture or its costs, or return None."""
        if not all(math.isfinite(cost) for cost in costs):
            return "a cost is not finite"
        image, (good_std, good_burnt) = self.generated_image.numpy(), self._good
        if not np.isfinite(image).all():
            return "pixels are not finite"
        if image.std() < 0.01 < good_std:
            return "the picture has gone flat"
        if _burnt(image) > 0.95 > good_burnt + 0.1:
            return "the picture is burnt to pure black and white"
        return None

    def _go_back(self, trouble):
        """Restore the last good picture and halve the learning rate, three times at the most."""
        epoch = len(self.history)
        self._restore(_read_run(self.folder)[2])
        self._troubles += 1
        if self._troubles > 3:
            raise RunError(
                f"In epoch {epoch} {trouble}, for the fourth time. The likely cause is a LEARNING_RATE too large "
                f"({self.settings.get('LEARNING_RATE')}), or ALPHA, BETA or SMOOTHNESS out of proportion. The last "
                f"good picture is in {self.folder.as_posix()}. Lower LEARNING_RATE and run again."
            )
        self.caution /= 2
        print(f"In epoch {epoch} {trouble}: back to epoch {len(self.history)}, with {self.caution:g} of the rate.")

    def _check_results(self):
        """Read the results as a reader would, and raise RunError if they are not what they should be."""
        with Image.open(self.folder / "generated_image.png") as picture:
            size, extremes = (picture.height, picture.width), picture.convert("RGB").getextrema()
        flat = all(low == high for low, high in extremes) and self.generated_image.numpy().std() > 0.01
        if flat or size != tuple(self.generated_image.shape[1:3]):
            raise RunError(f"{self.folder / 'generated_image.png'} is flat or of the wrong size: do not use it.")
        with open(self.folder / "history.csv", newline="", encoding="utf-8") as file:
            epochs = [row["epoch"] for row in csv.DictReader(file)]
        if epochs != [str(epoch) for epoch in range(self._epochs)]:
            raise RunError(f"{self.folder / 'history.csv'} has gaps: do not use it.")


def _burnt(image):
    """Return which share of the values is pure black or white."""
    return np.mean((image == 0.0) | (image == 1.0))


def _read_run(folder):
    """Return settings.json, the history and the checkpoint of a stopped run, or raise SettingsError."""
    folder = Path(folder)
    if not (folder / CHECKPOINT).is_file():
        raise SettingsError(
            f'RESUME = "{folder}": there is no {CHECKPOINT} in this folder, so nothing to continue; a finished run has '
            f'none. Name the folder of a run that was stopped, or set RESUME = "" for a new run.'
        )
    try:
        facts = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            history = [(int(row[0]), *map(float, row[1:])) for row in list(csv.reader(file))[1:]]
        with np.load(folder / CHECKPOINT, allow_pickle=False) as arrays:
            state = dict(arrays)
        known = {"settings", "precision", "weights", "content_image", "style_image", "generated_image", "sizes"}
        whole = known <= facts.keys() and {"image", "epoch", "caution", "troubles", "optimizer_0"} <= state.keys()
        if not whole or not int(state["epoch"]) <= min(len(history), sum(epochs for _, epochs in facts["sizes"])):
            raise ValueError
    except (OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, zipfile.BadZipFile):
        raise SettingsError(
            f'RESUME = "{folder}" cannot be continued: settings.json, history.csv or {CHECKPOINT} is missing, damaged '
            f'or does not fit the others. Set RESUME = "" for a new run.'
        ) from None
    return facts, history, state


def check_output_folder(folder):
    """Raise SettingsError if folder holds anything: a run never writes over another."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            f'OUTPUT_DIR = "{folder}" holds something already, and nothing is ever overwritten. Name another folder, '
            f'or set OUTPUT_DIR = "" to get a new one each time.'
        )


def _new_folder(settings):
    """Make and return OUTPUT_DIR, or the next free output/<content>-<style>-<NNN>."""
    folder = Path(settings["OUTPUT_DIR"] or OUTPUT_FOLDER)
    try:
        if settings["OUTPUT_DIR"]:
            check_output_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            open(folder / "settings.json", "x").close()  # fails if another run has just taken the folder
            return folder
        OUTPUT_FOLDER.mkdir(exist_ok=True)
        stem = f"{Path(settings['CONTENT_IMAGE']).stem[:80]}-{Path(settings['STYLE_IMAGE']).stem[:80]}"
        numbers = [path.name[len(stem) + 1 :] for path in OUTPUT_FOLDER.iterdir() if path.name.startswith(f"{stem}-")]
        number = max((int(n) for n in numbers if n.isdecimal()), default=0)
        while True:
            number += 1
            folder = OUTPUT_FOLDER / f"{stem}-{number:03d}"
            with contextlib.suppress(FileExistsError):  # another run was faster
                folder.mkdir()
                return folder
    except FileExistsError:
        raise SettingsError(
            f"{folder} is a file, or has just been taken by another run. Set OUTPUT_DIR to another folder."
        ) from None
    except OSError as error:
        raise RunError(f"{folder} could not be made: {error.strerror}. Set OUTPUT_DIR to another folder.") from None


def _describe(settings, sizes, vgg, precision):
    """Return what settings.json says of the settings, the pictures, the network and the packages."""
    pictures = {}
    for role in ("CONTENT_IMAGE", "STYLE_IMAGE"):
        path = Path(settings[role])
        with _image_errors(path), Image.open(path) as picture:
            size = picture.size
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pictures[role.lower()] = {"file": settings[role], "width": size[0], "height": size[1], "sha256": digest}
    _, height, width, _ = load_image(settings["CONTENT_IMAGE"], sizes[-1][0]).shape
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": tf.keras.__version__}
    versions |= {"numpy": np.__version__, "pillow": Image.__version__, "matplotlib": matplotlib.__version__}
    return {
        "settings": settings,
        **pictures,
        "generated_image": {"width": width, "height": height},
        "sizes": [list(pair) for pair in sizes],
        "precision": precision,
        "weights": {"name": vgg.name, "sha256": vgg.sha256},
        "versions": versions,
    }


def probe(step, generated_image, content_image, sizes, look):
    """Do two steps at the first size, and print the time and the peak memory to expect for all.

    Args:
        step: function of generated_image.
        generated_image: tf.Variable of the first size.
        content_image: image of shape (1, H, W, 3) of the last size.
        sizes: list of (size, epochs), from plan_sizes.
        look: Look.
    """
    for _ in range(2):  # the first one builds the graph
        started = time.perf_counter()
        float(step(generated_image)[0])
        seconds = time.perf_counter() - started
    shapes = [[round(side * size / sizes[-1][0]) for side in content_image.shape[1:3]] for size, _ in sizes]
    work = sum(epochs * look.work(*shape) for (_, epochs), shape in zip(sizes, shapes, strict=True))
    memory = psutil.Process().memory_info()
    peak = max(memory.rss, getattr(memory, "peak_wset", 0))
    if resource is not None:
        peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    peak += max(look.memory(*shape) for shape in shapes) - look.memory(*shapes[0])
    total, (height, width) = sum(epochs for _, epochs in sizes), shapes[-1]
    print(
        f"about {_duration(seconds * work / look.work(*shapes[0]))} and {peak / 1e9:.1f} GB "
        f"for {total} epochs{' up to' if len(sizes) > 1 else ' at'} {width}×{height}"
    )


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class _LiveView:
    """The picture and the cost curve, drawn in one place while the loop runs."""

    SECONDS_BETWEEN = 3.0  # one drawing takes about as long as one step

    def __init__(self):
        self._handle = None
        self._drawn = -math.inf

    def update(self, image, history, sizes, last):
        now = time.perf_counter()
        if not last and now - self._drawn < self.SECONDS_BETWEEN:
            return
        self._drawn = now
        bundle = _bundle(_draw_progress(image, history, sizes), status_line(history, sizes))
        if get_ipython() is None:
            print(bundle["text/plain"])
        elif self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def status_line(history, sizes):
    """Return epoch, costs, seconds per epoch and time left, in one line.

    Args:
        history: list of rows, from Run.
        sizes: list of (size, epochs), from plan_sizes.
    """
    epoch, seconds, J, J_content, J_style = history[-1]
    text = f"epoch {epoch + 1}/{sum(epochs for _, epochs in sizes)}"
    text += f"   J {J:.4g}   J_content {J_content:.3g}   J_style {J_style:.3g}"
    ends = list(itertools.accumulate(epochs for _, epochs in sizes))
    now = next(i for i, end in enumerate(ends) if epoch < end)
    rows = history[ends[now] - sizes[now][1] :]
    if len(rows) > 1:  # the first epoch holds the tracing
        per_epoch = (seconds - rows[0][1]) / (len(rows) - 1)
        epochs_left = ends[now] - epoch - 1  # and then those of the larger sizes, which take longer
        epochs_left += sum(epochs * (size / sizes[now][0]) ** 2 for size, epochs in sizes[now + 1 :])
        left = per_epoch * epochs_left
        text += f"   {per_epoch:.2f} s/epoch   {left // 60:.0f}:{left % 60:02.0f} left"
    return text


# ------------------------------------------------------------------------------------------------------- plots


def _bundle(figure, text):
    """Return a figure as a notebook output: a JPEG, and a text for where no pictures are shown."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=100, pil_kwargs={"quality": 88})
    return {"image/jpeg": base64.b64encode(buffer.getvalue()).decode(), "text/plain": text}


def _show(figure, text):
    if get_ipython() is None:
        print(text)
    else:
        display(_bundle(figure, text), raw=True)


def _draw_image(axes, image):
    picture = Image.fromarray(to_uint8(image))
    picture.thumbnail((1200, 1200))  # a figure shows no more
    axes.imshow(picture)
    axes.set_axis_off()


def _draw_progress(image, history, sizes):
    figure = Figure(figsize=(10, 3.9))  # no layout engine and no text but the axes': this is drawn often
    _draw_image(figure.add_axes((0.01, 0.02, 0.5, 0.88)), image)
    axes = figure.add_axes((0.58, 0.13, 0.4, 0.75))
    _draw_costs(axes, history)
    axes.set_xlim(0, sum(epochs for _, epochs in sizes))
    figure.suptitle(status_line(history, sizes), fontsize=10, family="monospace")
    return figure


def _draw_costs(axes, history):
    if not history:
        return
    epochs, _, *costs = zip(*history, strict=True)
    for values, label in zip(costs, ("J", "J_content", "J_style"), strict=True):
        if max(values) <= 0:  # nothing that a log axis can show
            continue
        axes.plot(epochs, values, label=f"${label[0]}_{{{label[2:]}}}$" if "_" in label else f"${label}$")
    axes.set_yscale("log", nonpositive="mask")
    if len(epochs) > 1:  # the content cost starts at zero, or near it in low precision: nothing to see there
        axes.set_ylim(bottom=0.5 * min((min(v[1:]) for v in costs if min(v[1:]) > 0), default=0) or None)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cost")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def show_images(images, titles):
    """Show images side by side.

    Args:
        images: list of float RGB images in [0, 1], shape (1, H, W, 3), of any sizes.
        titles: list of as many strings.
    """
    width = 12 / len(images)
    height = max(width * image.shape[-3] / image.shape[-2] for image in images) + 0.3
    figure = Figure(figsize=(12, height), layout="constrained")
    for axes, image, title in zip(figure.subplots(1, len(images), squeeze=False)[0], images, titles, strict=True):
        _draw_image(axes, image)
        axes.set_title(title, fontsize=11)
    _show(figure, " | ".join(titles))


def plot_costs(history):
    """Plot J, J_content and J_style over the epochs, on a log axis.

    Args:
        history: list of rows, from Run.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    _draw_costs(figure.subplots(), history)
    _show(figure, "costs over epochs")


def show_snapshots(paths, most=6):
    """Show at most `most` snapshots of a run, evenly spread, the first and the last among them.

    Args:
        paths: list of pathlib.Path, from Run.snapshots.
        most: how many at the most, 2 or more.
    """
    chosen = [paths[i] for i in sorted({round(i) for i in np.linspace(0, len(paths) - 1, min(most, len(paths)))})]
    images = []
    for path in chosen:
        with Image.open(path) as picture:
            images.append(np.asarray(picture, np.float32) / 255.0)
    show_images(images, [f"epoch {int(path.stem.removeprefix('image_'))}" for path in chosen])
