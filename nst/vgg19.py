"""VGG19: its weights, their normalisation, the network up to the layers that are asked for, and its precision."""

import contextlib
import functools
import hashlib
import io
import socket
import statistics
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nst.backend import keras, tf
from nst.errors import WeightsError
from nst.images import preprocess_image, say_once
from nst.layers import LAYER_NAMES, check_layer_name

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "pretrained-model"
STANDIN_FILE = "vgg19_standin.npz"
STANDIN_SHA256 = "f3044b44995d06ea675793d95700a8addf3522c8c7780edad53b9c6d2142a8cf"
NORMALISATION_FILE = "normalisation_images.npz"  # the pictures over which mean activations are set to one
NORMALISATION_SHA256 = "f0ed51bd5bca778ba4eae61467043beaee25c570f9fa2920a9c709c66a755ac2"
IMAGENET_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
DOWNLOAD_TIMEOUT = 10.0  # seconds without a single byte


class VGG19(NamedTuple):
    """The convolutions of a VGG19 and where they come from.

    name: "imagenet", "standin" or the name of a file. sha256: of that file. layers: dict of layer name to
    (kernel of shape (3, 3, n_in, n_out), bias of shape (n_out,)), float32; a layer that is missing is an identity.
    pooling: "max" or "average", which goes between the blocks. file: pathlib.Path of that file.
    """

    name: str
    sha256: str
    layers: dict
    pooling: str = "max"
    file: Path | None = None


def load_vgg19(weights="auto", normalise=True, pooling="max", folder=WEIGHTS_FOLDER):
    """Load the weights of VGG19 and say which, once. The last ones are kept: asked for again, they come at once.

    Args:
        weights: "imagenet" (the official Keras file, downloaded by Keras unless it lies in the folder), "standin"
            (the file that comes with this tutorial), "auto" (the first if it can be had, else the second), or the
            path of a .h5 file of a Keras VGG19 without top.
        normalise: divide each convolution so that its mean activation over the bundled pictures is 1.
        pooling: "max", as VGG19 was trained, or "average", as Gatys et al. (2016), section 2, prefer.
        folder: where the files lie.

    Returns:
        VGG19.

    Raises:
        WeightsError: missing, damaged or other weights than asked for.
    """
    folder = Path(folder)
    file = folder / IMAGENET_FILE if weights in ("auto", "imagenet") else Path(weights)
    stamp = None
    with contextlib.suppress(OSError):  # what is wrong with it is said when it is read
        stamp = file.stat().st_mtime_ns, file.stat().st_size  # another file is read anew
    return _load(weights, normalise, pooling, folder, stamp)


@functools.lru_cache(maxsize=2)
def _load(weights, normalise, pooling, folder, stamp):
    why, file = "", folder / IMAGENET_FILE
    if weights == "standin":
        vgg = _load_standin(folder)
    elif weights not in ("auto", "imagenet"):
        vgg = _load_h5(Path(weights), Path(weights).name)
    else:
        try:
            vgg = _load_imagenet(folder)
        except WeightsError as error:
            if weights == "imagenet":
                remedy = "download it again" if file.exists() else f"put {IMAGENET_FILE} into {folder.name}/"
                raise WeightsError(f'{error} Set WEIGHTS = "auto", or {remedy}.') from None
            vgg, why = _load_standin(folder), f", since {error}"
    say_once(f"Weights: {vgg.name}{why}")
    layers = normalise_activations(vgg.layers, normalisation_images(), pooling) if normalise else vgg.layers
    return vgg._replace(layers=layers, pooling=pooling)


def _load_standin(folder):
    """Read the stand-in: int8 kernels with one scale per output channel (scripts/authors/build_standin.py)."""
    arrays, sha256 = _read_bundled(folder / STANDIN_FILE, STANDIN_SHA256)
    names = [name for name in LAYER_NAMES if f"{name}/kernel" in arrays]
    layers = {n: (arrays[f"{n}/kernel"] * arrays[f"{n}/scale"], arrays[f"{n}/bias"]) for n in names}
    return VGG19("standin", sha256, layers, file=folder / STANDIN_FILE)


def normalisation_images(folder=WEIGHTS_FOLDER):
    """Return the bundled pictures over which activations are normalised: a list of float32 RGB images in [0, 1]."""
    arrays, _ = _read_bundled(folder / NORMALISATION_FILE, NORMALISATION_SHA256)
    return [tf.constant(pixels[np.newaxis] / np.float32(255.0)) for pixels in arrays.values()]


def _read_bundled(path, sha256):
    """Return the arrays of an .npz that comes with the tutorial, and its sha256, which must be the one known."""
    content = _read(path, "Restore it with: git checkout -- pretrained-model")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path} is damaged: its sha256 is {found}, expected {sha256}. "
            "Restore it with: git checkout -- pretrained-model"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays), found


def _load_imagenet(folder):
    """Read the official file from the folder, or have Keras download it to where Keras keeps such files."""
    path, timeout = folder / IMAGENET_FILE, socket.getdefaulttimeout()
    if not path.exists():
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        talks = keras.config.is_interactive_logging_enabled()
        keras.config.disable_interactive_logging()  # a progress bar, in this thread alone
        try:
            keras.applications.VGG19(include_top=False, weights="imagenet")
            path = Path(keras.utils.get_file(IMAGENET_FILE, "", cache_subdir="models"))  # it is there now
        except Exception as error:  # Keras raises bare Exceptions here, which end in the reason
            reason = str(error).split(" -- ")[-1]
            raise WeightsError(f"the ImageNet weights could not be downloaded ({reason}).") from None
        finally:
            socket.setdefaulttimeout(timeout)
            if talks:
                keras.config.enable_interactive_logging()
    return _load_h5(path, "imagenet")


def _load_h5(path, name):
    """Read a .h5 file of Keras (either of its formats) through Keras's own VGG19."""
    remedy = 'WEIGHTS must be "auto", "imagenet", "standin" or the path of a .h5 file.'
    content = _read(path, remedy)
    if path.suffix != ".h5":
        raise WeightsError(f"{path} is no .h5 file. {remedy}")
    model = keras.applications.VGG19(include_top=False, weights=None)
    model.set_weights([np.full_like(array, np.nan) for array in model.get_weights()])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without weights Keras only warns; they stay NaN here
            model.load_weights(path)
    except Exception as error:  # Keras and h5py raise almost anything here
        reason = (str(error).partition("Example error")[0].strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{path} holds no weights of a Keras VGG19 without top (.h5): {reason.rstrip('.')}."
        ) from error
    layers = {layer: tuple(v.numpy() for v in model.get_layer(layer).weights) for layer in LAYER_NAMES}
    for layer, arrays in layers.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise WeightsError(
                f"{path} holds no weights of a Keras VGG19 without top (.h5): those of {layer} are missing or not "
                "finite (NaN or infinity)."
            )
    return VGG19(name, hashlib.sha256(content).hexdigest(), layers, file=path)


def _read(path, remedy):
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}). {remedy}") from None


def normalise_activations(layers, images, pooling="max"):
    """Return layers like these, as in VGG19, whose mean activations over some images are 1.

    Gatys, Ecker and Bethge (2016), section 2. For a network of convolutions, ReLUs and pooling this changes nothing but
    the scale of each layer: relu(x / m) = relu(x) / m for m > 0. images is a list of float32 RGB images in [0, 1],
    shape (1, H, W, 3).
    """
    network = get_layer_outputs(VGG19("", "", layers, pooling), list(layers))
    activations = [network(preprocess_image(image)) for image in images]
    normalised, before = {}, 1.0
    for (name, (kernel, bias)), of_layer in zip(layers.items(), zip(*activations, strict=True), strict=True):
        mean = float(np.mean([tf.reduce_mean(a) for a in of_layer])) or before
        normalised[name] = (kernel * (before / mean), bias / mean)  # its input comes divided, too
        before = mean
    return normalised


def get_layer_outputs(vgg, layer_names, precision="float32", cell=1):
    """Build the network that maps a preprocessed image to the activations of some layers, and ends at the deepest.

    Args:
        vgg: VGG19, from load_vgg19.
        layer_names: list of names, two or more.
        precision: dtype of weights and activations, "float32" or "bfloat16".
        cell: activations of layers whose positions are closer are averaged over cells of so many pixels: 1, 2, 4 or 8.

    Returns:
        keras.Model; its outputs are a list, one tensor of shape (1, n_H, n_W, n_C) per name. Its attributes
        layer_names, precision, weights_name and weights_sha256 say what it is made of.

    Raises:
        SettingsError: unknown layer name.
    """
    for name in layer_names:
        check_layer_name(name)
    deepest = max(LAYER_NAMES.index(name) for name in layer_names)
    pool = keras.layers.MaxPooling2D if vgg.pooling == "max" else keras.layers.AveragePooling2D
    x = inputs = keras.Input((None, None, 3), dtype="float32")
    outputs = {}
    for name in LAYER_NAMES[: deepest + 1]:
        if name.endswith("conv1") and name != LAYER_NAMES[0]:
            x = pool(2, name=f"before_{name.partition('_')[0]}_pool", dtype=precision)(x)
        if name in vgg.layers:
            kernel, bias = vgg.layers[name]
            convolution = keras.layers.Conv2D(
                bias.size, 3, padding="same", activation="relu", name=name, dtype=precision, trainable=False
            )
            x = convolution(x)
            convolution.set_weights([kernel, bias])
        outputs[name] = x
        side = cell // 2 ** (int(name[len("block")]) - 1)
        if side > 1 and name in layer_names:
            outputs[name] = keras.layers.AveragePooling2D(side, name=f"{name}_cells", dtype=precision)(x)
    model = keras.Model(inputs, [outputs[name] for name in layer_names], name="vgg19")
    model.layer_names, model.precision = tuple(layer_names), precision
    model.weights_name, model.weights_sha256 = vgg.name, vgg.sha256
    return model


@functools.cache
def choose_precision(precision="auto"):
    """Return the dtype to compute in.

    Args:
        precision: "float32" and "bfloat16" are returned as they are; "auto" times two convolutions of 64 channels,
            forward and backward, in both and takes bfloat16 if that needs less than 0.9 times as long. It does so
            once: asked again, the answer is the same.

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
