"""VGG19: weights that are right or refused with the reason, their normalisation, the network and its precision."""

import hashlib
import io
import socket
import time

import h5py
import numpy as np
import pytest

from nst import vgg19
from nst.backend import keras, tf
from nst.errors import SettingsError, WeightsError
from nst.images import preprocess_image
from nst.layers import LAYER_NAMES, VGG19_BLOCKS
from nst.vgg19 import (
    STANDIN_FILE,
    VGG19,
    WEIGHTS_FOLDER,
    choose_precision,
    get_layer_outputs,
    load_vgg19,
    normalisation_images,
    normalise_activations,
)


@pytest.fixture(autouse=True)
def nothing_loaded():
    """Let no test see weights that another has loaded."""
    vgg19._load.cache_clear()


@pytest.fixture(scope="module")
def standin():
    return load_vgg19("standin", normalise=False)


@pytest.fixture(scope="module")
def keras_vgg19(tmp_path_factory):
    """Keras's own VGG19 with random weights, and its file in the layout of the official one, older than Keras 3."""
    keras.utils.set_random_seed(3)
    model = keras.applications.VGG19(include_top=False, weights=None)
    path = tmp_path_factory.mktemp("weights") / "keras.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group[name] = variable.numpy()
    return model, path


# ---- the stand-in


def test_standin_holds_what_the_readme_says(standin):
    assert standin.name == "standin"
    assert set(LAYER_NAMES) - set(standin.layers) == {f"block{b}_conv4" for b in (3, 4, 5)}
    assert (WEIGHTS_FOLDER / STANDIN_FILE).stat().st_size < 13e6
    n_in = 3
    for name, (kernel, bias) in standin.layers.items():
        assert (kernel.dtype, bias.dtype, kernel.shape) == ("float32", "float32", (3, 3, n_in, *bias.shape)), name
        n_in = VGG19_BLOCKS[int(name[5]) - 1][1]


def test_damaged_bundled_files_are_refused(tmp_path):
    path = tmp_path / STANDIN_FILE
    whole = (WEIGHTS_FOLDER / STANDIN_FILE).read_bytes()
    flipped = bytearray(whole)
    flipped[5_000_000] ^= 255
    unsafe = io.BytesIO()
    np.savez(unsafe, some=np.array([print], object))
    for content in (bytes(flipped), unsafe.getvalue(), b""):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"{STANDIN_FILE} is damaged: its sha256 is .*git checkout"):
            load_vgg19("standin", folder=tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match=f"{STANDIN_FILE} cannot be read .No such file.*git checkout"):
        load_vgg19("standin", folder=tmp_path)
    (tmp_path / vgg19.NORMALISATION_FILE).write_bytes(b"")
    with pytest.raises(WeightsError, match=f"{vgg19.NORMALISATION_FILE} is damaged"):
        normalisation_images(tmp_path)


# ---- files of Keras


def test_network_is_keras_vgg19(keras_vgg19, picture):
    model, path = keras_vgg19
    names = ["block1_conv1", "block3_conv4", "block5_conv4", "block2_conv2"]
    vgg = load_vgg19(str(path), normalise=False)
    ours = get_layer_outputs(vgg, names)(picture(48, 80))
    reference = keras.Model(model.input, [model.get_layer(name).output for name in names])(picture(48, 80))
    for a, b, name in zip(ours, reference, names, strict=True):
        assert a.shape == b.shape, name
        assert np.allclose(a, b, rtol=1e-4, atol=1e-6), name
    assert (vgg.name, vgg.sha256) == ("keras.h5", hashlib.sha256(path.read_bytes()).hexdigest())


def test_wrong_weights_files_are_refused(tmp_path, keras_vgg19, picture):
    whole = keras_vgg19[1].read_bytes()
    (tmp_path / "page.h5").write_bytes(b"<html>")
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "spoilt.h5").write_bytes(whole)
    with h5py.File(tmp_path / "spoilt.h5", "r+") as file:
        file["block3_conv2"]["block3_conv2/bias:0"][...] = np.nan
    keras.applications.VGG16(include_top=False, weights=None).save_weights(tmp_path / "vgg16.weights.h5")
    for name, reason in (("page", ""), ("half", ""), ("vgg16.weights", ""), ("spoilt", "those of block3_conv2")):
        with pytest.raises(WeightsError, match=f"{name}.h5 holds no weights of a Keras VGG19 without top .*{reason}"):
            load_vgg19(str(tmp_path / f"{name}.h5"))
    with pytest.raises(WeightsError, match='h5 cannot be read .*WEIGHTS must be "auto", "imagenet", "standin" or'):
        load_vgg19(str(tmp_path / "missing.h5"))
    with pytest.raises(WeightsError, match="great_wave.jpg is no .h5 file. WEIGHTS must be"):
        load_vgg19("images/great_wave.jpg")


def test_weights_are_loaded_once_for_the_same_settings_and_file(keras_vgg19, tmp_path, capsys):
    first = load_vgg19("standin", normalise=False)
    assert load_vgg19("standin", normalise=False) is first
    assert load_vgg19("standin", normalise=False, pooling="average").pooling == "average"
    assert capsys.readouterr().out == "Weights: standin\n", "said once"
    path = tmp_path / "mine.h5"
    path.write_bytes(keras_vgg19[1].read_bytes())
    load_vgg19(str(path), normalise=False)
    with h5py.File(path, "r+") as file:
        file["block1_conv1"]["block1_conv1/bias:0"][...] = 5.0
    assert (load_vgg19(str(path), normalise=False).layers["block1_conv1"][1] == 5.0).all(), "a new file is read anew"


# ---- the ImageNet weights, which Keras downloads


@pytest.fixture
def download(monkeypatch, keras_vgg19):
    """Stands for Keras's download: an exception to raise can be put into it, and it notes the time-outs it has seen."""
    build, download = keras.applications.VGG19, []

    def vgg19_of_keras(include_top, weights):
        if weights is None:
            return build(include_top=include_top, weights=None)
        keras.utils.Progbar(1).update(1)
        download.append(socket.getdefaulttimeout())
        if isinstance(download[0], Exception):
            raise download[0]

    monkeypatch.setattr(keras.applications, "VGG19", vgg19_of_keras)
    monkeypatch.setattr(keras.utils, "get_file", lambda name, origin, cache_subdir: str(keras_vgg19[1]))
    return download


def test_imagenet_weights_are_downloaded_by_keras(download, tmp_path, keras_vgg19, capsys):
    before = socket.getdefaulttimeout()
    vgg = load_vgg19("auto", normalise=False, folder=tmp_path)
    assert (vgg.name, vgg.file, list(vgg.layers)) == ("imagenet", keras_vgg19[1], list(LAYER_NAMES))
    assert download == [vgg19.DOWNLOAD_TIMEOUT] and socket.getdefaulttimeout() == before
    assert capsys.readouterr().out == "Weights: imagenet\n", "and no progress bar"
    (tmp_path / vgg19.IMAGENET_FILE).write_bytes(keras_vgg19[1].read_bytes())
    assert load_vgg19("imagenet", normalise=False, folder=tmp_path).file == tmp_path / vgg19.IMAGENET_FILE
    assert len(download) == 1, "a file that was fetched by hand needs none"


def test_a_failed_download_ends_in_an_error_and_auto_takes_the_standin(download, tmp_path, capsys):
    (tmp_path / STANDIN_FILE).write_bytes((WEIGHTS_FOLDER / STANDIN_FILE).read_bytes())
    download.append(Exception("URL fetch failure on https://somewhere/vgg19.h5: None -- Network is unreachable"))
    before, reason = (
        socket.getdefaulttimeout(),
        "the ImageNet weights could not be downloaded (Network is unreachable).",
    )
    with pytest.raises(WeightsError) as error:
        load_vgg19("imagenet", folder=tmp_path)
    remedy = f'Set WEIGHTS = "auto", or put {vgg19.IMAGENET_FILE} into {tmp_path.name}/.'
    assert str(error.value) == f"{reason} {remedy}"
    assert load_vgg19("auto", normalise=False, folder=tmp_path).name == "standin"
    assert capsys.readouterr().out == f"Weights: standin, since {reason}\n", "one line"
    assert socket.getdefaulttimeout() == before


# ---- normalisation


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_normalisation_makes_mean_activations_one_and_changes_nothing_else(standin, pooling):
    images, standin = normalisation_images()[:2], standin._replace(pooling=pooling)
    normalised = standin._replace(layers=normalise_activations(standin.layers, images, pooling))
    before, after = (get_layer_outputs(vgg, LAYER_NAMES) for vgg in (standin, normalised))
    activations = [after(preprocess_image(image)) for image in images]
    for index, name in enumerate(LAYER_NAMES):
        means = [float(tf.reduce_mean(a[index])) for a in activations]
        assert np.isclose(np.mean(means), 1.0, rtol=1e-3), name
    for a, b, name in zip(before(preprocess_image(images[0])), activations[0], LAYER_NAMES, strict=True):
        scale = tf.reduce_sum(a) / tf.reduce_sum(b)
        assert tf.norm(a - b * scale) < 1e-3 * tf.norm(a), name


# ---- the network


def test_network_ends_at_the_deepest_layer_and_says_what_it_is_made_of(tiny_vgg, picture):
    network = get_layer_outputs(tiny_vgg, ["block3_conv1", "block1_conv2"])
    assert [layer.name for layer in network.layers if "conv" in layer.name] == list(LAYER_NAMES[:5])
    assert network.layer_names == ("block3_conv1", "block1_conv2")
    layers = {name: values for name, values in tiny_vgg.layers.items() if name != "block1_conv2"}
    a, b = get_layer_outputs(tiny_vgg._replace(layers=layers), ["block1_conv1", "block1_conv2"])(picture(32, 40))
    assert np.array_equal(a, b), "a missing layer is an identity"
    assert (network.weights_name, network.weights_sha256, network.precision) == ("tiny", "0" * 64, "float32")
    with pytest.raises(SettingsError, match="no layer 'conv1' in VGG19. Layers are: block1_conv1 to .*block5_conv4"):
        get_layer_outputs(tiny_vgg, ["block1_conv1", "conv1"])


def test_pooling_takes_the_largest_or_the_mean_of_four_and_cells_are_means(picture):
    x = picture(34, 41).numpy()
    fours = x[:, :34, :40].reshape(1, 17, 2, 20, 2, 3)
    for pooling, expected in (("max", fours.max((2, 4))), ("average", fours.mean((2, 4)))):
        identities, names = VGG19("identities", "", {}, pooling), ["block1_conv1", "block2_conv1"]
        assert np.allclose(get_layer_outputs(identities, names)(x)[1], expected, atol=1e-6), pooling
        fine, coarse = get_layer_outputs(identities, names, cell=2)(x)
        assert np.allclose(fine, fours.mean((2, 4)), atol=1e-6), "averaged over cells of two pixels"
        assert np.allclose(coarse, expected, atol=1e-6), "whose positions are cells already"


def test_precision_is_obeyed_and_the_faster_one_is_found_once(monkeypatch):
    assert [choose_precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    found = choose_precision("auto")
    assert found in ("float32", "bfloat16")
    monkeypatch.setattr(time, "perf_counter", lambda: 1 / 0)
    assert choose_precision("auto") == found
