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
import functools
import hashlib
import io
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
    **{"CONTENT_IMAGE": str, "STYLE_IMAGE": str, "IMAGE_SIZE": int, "EPOCHS": int, "LEARNING_RATE": float},
    **{"ALPHA": float, "BETA": float, "SMOOTHNESS": float, "CONTENT_LAYER": str, "STYLE_LAYERS": list},
    **{"WEIGHTS": str, "NORMALISE_ACTIVATIONS": bool, "PRECISION": str},
    **{"SAVE_EVERY": int, "OUTPUT_DIR": str, "RESUME": str},
}
_KINDS = {str: "a text in quotes", bool: "true or false", int: "a whole number", float: "a number", list: "a list"}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def current_settings(namespace):
    """Return the settings in a namespace such as globals(), as a dict of name to value."""
    return {name: namespace[name] for name in SETTINGS if name in namespace}


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
        settings[name] = _convert(variable, environ[variable], SETTINGS[name])
        print(f"{name} = {settings[name]!r} (from {variable})")
    for name, value in settings.items():
        if SETTINGS[name] is float and type(value) is int and abs(value) < 1e300:
            settings[name] = float(value)
        if isinstance(value, str) and value.startswith("~"):
            settings[name] = os.path.expanduser(value)
    if settings.get("RESUME"):
        settings |= _settings_of_run(settings)
    check_settings(settings)
    return settings


def _settings_of_run(settings):
    """Return the settings of the stopped run that RESUME names, and print which of these differ."""
    facts, _, _ = _read_run(settings["RESUME"])
    saved = {name: value for name, value in facts["settings"].items() if name in settings and name != "RESUME"}
    saved |= {"OUTPUT_DIR": "", "PRECISION": facts["precision"]}
    if saved.get("WEIGHTS") == "auto":
        saved["WEIGHTS"] = facts["weights"]["name"]
    if "STYLE_LAYERS" in saved:
        saved["STYLE_LAYERS"] = [(name, weight) for name, weight in saved["STYLE_LAYERS"]]
    print(f"Continuing {settings['RESUME']} with its own settings.")
    for name in ("ALPHA", "BETA", "SMOOTHNESS", "EPOCHS", "IMAGE_SIZE", "STYLE_LAYERS", "CONTENT_IMAGE", "STYLE_IMAGE"):
        if name in saved and saved[name] != settings[name]:
            print(f"{name} = {saved[name]!r} there, so {settings[name]!r} is not used")
    return saved


def _convert(variable, text, kind):
    """Return the text of an environment variable as a value of a kind."""
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
        example = f", e.g. {_STYLE_EXAMPLE}" if kind is list else ""
        raise SettingsError(f"{variable}={text!r} does not convert. It must be {_KINDS[kind]}{example}.") from None


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


_STYLE_EXAMPLE = '[("block1_conv1", 0.5), ("block2_conv1", 0.5)]'


def check_style_layers(style_layers):
    """Raise SettingsError unless style_layers is a list of (layer name, weight) with some weight above 0."""
    is_pair = [isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in style_layers or ()]
    if not isinstance(style_layers, list) or not all(is_pair):
        raise SettingsError(f"STYLE_LAYERS must be a list of (layer name, weight), e.g. {_STYLE_EXAMPLE}.")
    for name, weight in style_layers:
        if name not in LAYER_NAMES:
            raise SettingsError(f"STYLE_LAYERS: no layer {name!r} in VGG19. Layers are: {', '.join(LAYER_NAMES)}.")
        if not _is_weight(weight):
            raise SettingsError(f"STYLE_LAYERS: {name} has weight {weight!r}; it must be finite and 0 or more.")
    if not any(weight for _, weight in style_layers):
        raise SettingsError(f"STYLE_LAYERS needs at least one weight above 0, e.g. {_STYLE_EXAMPLE}.")


# ------------------------------------------------------------------------------------------------------ images

_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of the VGG networks' training pictures, 0-255


MAX_PIXELS = 100_000_000
MIN_SIDE = 32  # pixels after resizing: block5 has a sixteenth of them
MAX_ASPECT_RATIO = 10


def load_image(path, size):
    """Read a picture and scale it, aspect ratio kept.

    Rotation flags and colour profiles are obeyed, transparent pictures are laid on white, of several frames or pages
    the first is taken, and 16-bit and floating-point pictures are brought to 8 bits.

    Args:
        path: file that Pillow can read.
        size: length of the long side in pixels.

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
    """Write bytes to a temporary file beside path, flush them to the disk and rename it to path.

    Raises:
        RunError: no room, no permission or no folder; what stood under the name before is still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
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


def once_for_targets(function):
    """Decorate a function of one tensor so that tf.function computes it once where the tensor has its value already.

    A target (activations of the content or style image) is such a tensor. The function is then computed when the
    training step is traced, and the graph of the step holds only the result: 5 % less time per step here.
    """

    @functools.wraps(function)
    def wrapper(tensor):
        if tf.executing_eagerly() or tf.is_symbolic_tensor(tensor) or not tf.is_tensor(tensor):
            return function(tensor)
        with tf.init_scope():
            return function(tensor)

    return wrapper


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


# ------------------------------------------------------------------------------------- the run and its records

OUTPUT_FOLDER = Path("output")
CHECKPOINT = "checkpoint.npz"
HISTORY_COLUMNS = ("epoch", "seconds", "J", "J_content", "J_style")


class Run:
    """One run of the training loop: its folder, its records and its live view.

    As a context manager around the loop it makes a folder that nothing else uses and writes into it settings.json,
    a snapshot image_NNNNN.jpg of the picture after NNNNN epochs every SAVE_EVERY epochs (and at both ends), a row
    of history.csv per epoch, and generated_image.png at the end. Every file appears whole or not at all. A run that is
    interrupted (by Jupyter's stop button, Ctrl-C or SIGTERM) ends after the current step with all of this, and leaves
    a checkpoint from which RESUME continues it.

    Args:
        settings: dict of the settings, from current_settings; EPOCHS, SAVE_EVERY, OUTPUT_DIR, CONTENT_IMAGE,
            STYLE_IMAGE and RESUME are used here.
        generated_image: the tf.Variable that is optimised, float32 RGB in [0, 1], shape (1, H, W, 3).
        optimizer: its Keras optimizer, built.
        vgg: VGG19, noted in settings.json.
        precision: dtype of the network, noted in settings.json.

    Attributes:
        folder: pathlib.Path of the run's folder.
        history: list of rows (epoch, seconds since the start, J, J_content, J_style). The costs of a row are those
            of the picture at the beginning of that epoch.
        snapshots: list of pathlib.Path.
        caution: factor for the learning rate, 1.0 until something goes wrong, then halved.

    Raises:
        SettingsError: OUTPUT_DIR holds something already, or what RESUME continues was made from other files.
        RunError: a file cannot be written, or the picture goes wrong for the fourth time.
    """

    def __init__(self, settings, generated_image, optimizer, vgg, precision):
        self.settings = settings
        self.generated_image = generated_image
        self.optimizer = optimizer
        self.folder = None
        self.history = []
        self.snapshots = []
        self.caution = 1.0
        self._troubles = 0
        self._stop_signal = None
        self._history_saved = -math.inf
        self._facts = _describe(settings, generated_image, vgg, precision)

    def __enter__(self):
        if int(self.optimizer.iterations) != 0:
            raise RunError(
                "The picture and its optimizer have been trained already. For a new run, run the cells from the one "
                'that you changed, or from "Prepare the training", to here; to go on with a stopped run, set RESUME.'
            )
        if self.settings.get("RESUME"):
            self._resume()
        else:
            self.folder = _new_folder(self.settings)
            write_file(self.folder / "settings.json", (json.dumps(self._facts, indent=2) + "\n").encode())
            self._save()
        self._view = _LiveView()
        self._started = time.perf_counter() - (self.history[-1][1] if self.history else 0.0)
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def epochs(self):
        """Yield the numbers of the epochs to compute, from 0 or where a stopped run continues, to EPOCHS - 1."""
        while len(self.history) < self.settings["EPOCHS"] and self._stop_signal is None:
            yield len(self.history)

    def record(self, J, J_content, J_style):
        """Note the costs of the epoch that has just been computed, save what is due, and refresh the live view.

        Args:
            J, J_content, J_style: its costs, scalars.
        """
        costs = [float(cost) for cost in (J, J_content, J_style)]  # waits for the step to end
        if trouble := self._trouble(costs):
            return self._go_back(trouble)
        self.history.append((len(self.history), round(time.perf_counter() - self._started, 3), *costs))
        done, epochs = len(self.history), self.settings["EPOCHS"]
        if done % self.settings["SAVE_EVERY"] == 0 or done == epochs:
            self._save()
        elif time.perf_counter() - self._history_saved > 1.0:
            self._save_history()
        return self._view.update(self.generated_image, self.history, epochs, last=done == epochs)

    def __exit__(self, kind, error, traceback):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        finished = len(self.history) == self.settings["EPOCHS"]
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
                self._view.update(self.generated_image, self.history, self.settings["EPOCHS"], last=True)
            print(f"Stopped after epoch {len(self.history)} of {self.settings['EPOCHS']}. The picture so far is saved.")
            print(f'To continue, set RESUME = "{self.folder.as_posix()}" and run all cells; after that, set it to "".')

    def _on_signal(self, number, frame):
        if self._stop_signal is not None:
            raise KeyboardInterrupt  # asked twice: do not wait for the step
        self._stop_signal = number

    def _save(self, snapshot=True):
        """Save the snapshot, the history and, last, the checkpoint that builds on them."""
        done = len(self.history)
        state = {f"optimizer_{i}": v.numpy() for i, v in enumerate(self.optimizer.variables)}
        self._good = {"image": self.generated_image.numpy(), "epoch": done, **state}
        if snapshot:
            path = self.folder / f"image_{done:05d}.jpg"
            save_image(self.generated_image, path)
            self.snapshots = [*(p for p in self.snapshots if p != path), path]
        self._save_history()
        buffer = io.BytesIO()
        np.savez(buffer, caution=self.caution, troubles=self._troubles, **self._good)
        write_file(self.folder / CHECKPOINT, buffer.getvalue())

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
        """Take up picture, optimizer, records and folder where the run in RESUME was stopped."""
        self.folder = Path(self.settings["RESUME"])
        saved, self.history, state = _read_run(self.folder)
        for key in ("content_image", "style_image", "generated_image", "weights"):
            if saved[key] != self._facts[key]:
                raise SettingsError(f'RESUME = "{self.folder}": {key} is not what the run began with. Start anew.')
        self._restore(state)
        self.caution, self._troubles, self._good = float(state["caution"]), int(state["troubles"]), state
        self.snapshots = sorted(self.folder.glob("image_*.jpg"))
        for leftover in self.folder.glob(".*.part"):  # of a run that was killed
            leftover.unlink()

    def _trouble(self, costs):
        """Say what is wrong with the picture or its costs, or return None."""
        if not all(math.isfinite(cost) for cost in costs):
            return "a cost is not finite"
        now, good = self.generated_image.numpy(), self._good["image"]
        if not np.isfinite(now).all():
            return "pixels are not finite"
        if now.std() < 0.01 < good.std():
            return "the picture has gone flat"
        if np.isin(now, (0.0, 1.0)).mean() > 0.95 > np.isin(good, (0.0, 1.0)).mean() + 0.1:
            return "the picture is burnt to pure black and white"
        return None

    def _go_back(self, trouble):
        """Restore the last good picture and halve the learning rate, three times at the most."""
        epoch = len(self.history)
        self._restore(self._good)
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
        if epochs != [str(epoch) for epoch in range(self.settings["EPOCHS"])]:
            raise RunError(f"{self.folder / 'history.csv'} has gaps: do not use it.")


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
        known = {"settings", "precision", "weights", "content_image", "style_image", "generated_image"} <= facts.keys()
        whole = known and {"image", "epoch", "caution", "troubles", "optimizer_0"} <= state.keys()
        if not whole or not int(state["epoch"]) <= min(len(history), facts["settings"]["EPOCHS"]):
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


def _describe(settings, generated_image, vgg, precision):
    """Return what settings.json says of the settings, the pictures, the network and the packages."""
    pictures = {}
    for role in ("CONTENT_IMAGE", "STYLE_IMAGE"):
        path = Path(settings[role])
        with _image_errors(path), Image.open(path) as picture:
            size = picture.size
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pictures[role.lower()] = {"file": settings[role], "width": size[0], "height": size[1], "sha256": digest}
    _, height, width, _ = generated_image.shape
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": tf.keras.__version__}
    versions |= {"numpy": np.__version__, "pillow": Image.__version__, "matplotlib": matplotlib.__version__}
    return {
        "settings": settings,
        **pictures,
        "generated_image": {"width": width, "height": height},
        "precision": precision,
        "weights": {"name": vgg.name, "sha256": vgg.sha256},
        "versions": versions,
    }


def check_memory(network, *images):
    """Raise an error if the network will not fit into the memory that is free. On a GPU nothing is checked.

    A training step holds about 3.8 times the activations of all convolutions (measured at 400 to 1200 pixels in
    float32 and bfloat16).

    Args:
        network: keras.Model from get_layer_outputs.
        images: images of shape (1, H, W, 3); the largest counts.

    Raises:
        RunError: the message says the largest IMAGE_SIZE that fits.
    """
    height, width = max((image.shape[1:3] for image in images), key=lambda size: size[0] * size[1])
    values, itemsize = 0, 4
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):
            halvings = int(layer.name[len("block")]) - 1
            values += (height >> halvings) * (width >> halvings) * layer.filters
            itemsize = 2 if layer.compute_dtype == "bfloat16" else 4
    needed, free = 3.8 * values * itemsize, psutil.virtual_memory().available
    if needed > free and not tf.config.list_physical_devices("GPU"):
        fits = int(max(height, width) * (free / needed) ** 0.5) // 10 * 10
        remedy = f"Set IMAGE_SIZE = {fits} or less, or close" if fits >= 2 * MIN_SIDE else "Close"
        raise RunError(
            f"{width}×{height} pixels need about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. "
            f"{remedy} other programs."
        )


def probe(train_step, generated_image, optimizer, epochs):
    """Do two steps, undo them, and print the time and the peak memory to expect for all.

    Args:
        train_step: function of generated_image.
        generated_image: tf.Variable of shape (1, H, W, 3).
        optimizer: its Keras optimizer, built.
        epochs: how many steps will be done.
    """
    variables = [generated_image, *optimizer.variables]
    before = [variable.numpy() for variable in variables]
    try:
        for _ in range(2):  # the first one builds the graph
            started = time.perf_counter()
            float(train_step(generated_image)[0])
            seconds = time.perf_counter() - started
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    memory = psutil.Process().memory_info()
    peak = max(memory.rss, getattr(memory, "peak_wset", 0))
    if resource is not None:
        peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    _, height, width, _ = generated_image.shape
    print(f"about {_duration(seconds * epochs)} and {peak / 1e9:.1f} GB for {epochs} epochs at {width}×{height}")


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class _LiveView:
    """The picture and the cost curve, drawn in one place while the loop runs."""

    SECONDS_BETWEEN = 3.0  # one drawing takes about as long as one step

    def __init__(self):
        self._handle = None
        self._drawn = -math.inf

    def update(self, image, history, epochs, last):
        now = time.perf_counter()
        if not last and now - self._drawn < self.SECONDS_BETWEEN:
            return
        self._drawn = now
        bundle = _bundle(_draw_progress(image, history, epochs), status_line(history, epochs))
        if get_ipython() is None:
            print(bundle["text/plain"])
        elif self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def status_line(history, epochs):
    """Return epoch, costs, seconds per epoch and time left, in one line."""
    epoch, seconds, J, J_content, J_style = history[-1]
    text = f"epoch {epoch + 1}/{epochs}   J {J:.4g}   J_content {J_content:.3g}   J_style {J_style:.3g}"
    if len(history) > 1:  # the first epoch holds the tracing
        per_epoch = (seconds - history[0][1]) / (len(history) - 1)
        left = per_epoch * (epochs - epoch - 1)
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


def _draw_progress(image, history, epochs):
    figure = Figure(figsize=(10, 3.9))  # no layout engine and no text but the axes': this is drawn often
    _draw_image(figure.add_axes((0.01, 0.02, 0.5, 0.88)), image)
    axes = figure.add_axes((0.58, 0.13, 0.4, 0.75))
    _draw_costs(axes, history)
    axes.set_xlim(0, epochs)
    figure.suptitle(status_line(history, epochs), fontsize=10, family="monospace")
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
