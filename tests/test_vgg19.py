"""VGG19: weights that are right or refused with the reason, their download, normalisation, network and precision."""

import contextlib
import hashlib
import http.server
import io
import os
import socket
import threading
import time
import warnings
from itertools import accumulate
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from nst import vgg19
from nst.backend import keras, tf
from nst.errors import SettingsError, WeightsError
from nst.images import load_image, preprocess_image
from nst.vgg19 import (
    IMAGENET_FILE,
    LAYER_NAMES,
    NORMALISATION_FILE,
    STANDIN_FILE,
    VGG19,
    VGG19_BLOCKS,
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
    """Keras's own VGG19 with random weights, and its files in both formats of Keras."""
    keras.utils.set_random_seed(3)
    model = keras.applications.VGG19(include_top=False, weights=None)
    folder = tmp_path_factory.mktemp("weights")
    model.save_weights(folder / "new.weights.h5")
    with h5py.File(folder / "old.h5", "w") as file:  # the layout of the official file, which is older than Keras 3
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group[name] = variable.numpy()
    return model, folder


@pytest.fixture
def altered(keras_vgg19, tmp_path):
    """A function that copies the weights file to a path, alters one convolution in the copy, and returns the path."""

    def make(alter, path=tmp_path / "altered.weights.h5", name="conv2d_5"):
        path.write_bytes((keras_vgg19[1] / "new.weights.h5").read_bytes())
        with h5py.File(path, "r+") as file:
            alter(file["layers"][name])
        return path

    return make


@pytest.fixture
def folder(tmp_path):
    """A folder for weights that holds the stand-in alone."""
    (tmp_path / STANDIN_FILE).write_bytes((WEIGHTS_FOLDER / STANDIN_FILE).read_bytes())
    return tmp_path


# ---- the stand-in


def test_standin_holds_what_the_readme_says(standin):
    assert standin.name == "standin"
    assert set(LAYER_NAMES) - set(standin.layers) == {f"block{b}_conv4" for b in (3, 4, 5)}
    assert (WEIGHTS_FOLDER / STANDIN_FILE).stat().st_size < 13e6
    n_in = 3
    for name, (kernel, bias) in standin.layers.items():
        n_out = VGG19_BLOCKS[int(name[5]) - 1][1]
        assert kernel.shape == (3, 3, n_in, n_out), name
        assert bias.shape == (n_out,), name
        assert kernel.dtype == bias.dtype == np.float32, name
        n_in = n_out


def test_standin_tells_a_photo_from_its_shuffled_pixels(standin):
    photo = load_image("images/summer_palace.jpg", 128)
    order = np.random.default_rng(1).permutation(photo.shape[1] * photo.shape[2])
    shuffled = tf.reshape(tf.gather(tf.reshape(photo, (-1, 3)), order), photo.shape)
    network = get_layer_outputs(standin, ["block1_conv1", "block4_conv1"])
    a, b = (network(preprocess_image(image))[1].numpy().mean(axis=(0, 1, 2)) for image in (photo, shuffled))
    # 0.24 here; a network of random weights gives 0.97
    assert np.corrcoef(a, b)[0, 1] < 0.6, "a trained network answers structure, not the colours alone"


def test_loading_needs_none_of_the_pictures(tmp_path, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("a picture is opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "open", opened)
    assert load_vgg19("standin").name == "standin"


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_damaged_standin_is_refused(folder):
    path = folder / STANDIN_FILE
    whole = path.read_bytes()
    with np.load(io.BytesIO(whole)) as arrays:
        name = "block3_conv2/kernel"
        tampered = npz(**dict(arrays) | {name: arrays[name][..., ::-1]})
    flipped = bytearray(whole)
    flipped[5_000_000] ^= 255
    for content in (tampered, npz(some=np.array([print], object)), whole[:-100], bytes(flipped), b"", b"PK"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"{STANDIN_FILE} is damaged: its sha256 is .*git checkout"):
            load_vgg19("standin", folder=folder)
    path.unlink()
    with pytest.raises(WeightsError, match=f"{STANDIN_FILE} cannot be read .No such file.*git checkout"):
        load_vgg19("standin", folder=folder)


# ---- files of Keras


@pytest.mark.parametrize("file", ["new.weights.h5", "old.h5"])
def test_network_is_keras_vgg19(keras_vgg19, picture, file):
    model, folder = keras_vgg19
    names = ["block1_conv1", "block3_conv4", "block5_conv4", "block2_conv2"]
    vgg = load_vgg19(str(folder / file), normalise=False)
    ours = get_layer_outputs(vgg, names)(picture(48, 80))
    reference = keras.Model(model.input, [model.get_layer(name).output for name in names])(picture(48, 80))
    for a, b, name in zip(ours, reference, names, strict=True):
        assert a.shape == b.shape, name
        assert np.allclose(a, b, rtol=1e-4, atol=1e-6), name
    assert vgg.name == file
    assert vgg.sha256 == hashlib.sha256((folder / file).read_bytes()).hexdigest()


def test_warnings_that_are_errors_refuse_no_right_file(keras_vgg19, monkeypatch):
    def load_weights(self, path, really=keras.Model.load_weights):
        warnings.warn("something that Keras uses is old", DeprecationWarning, stacklevel=2)
        return really(self, path)

    monkeypatch.setattr(keras.Model, "load_weights", load_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vgg = load_vgg19(str(keras_vgg19[1] / "new.weights.h5"), normalise=False)
    assert list(vgg.layers) == list(LAYER_NAMES)


def test_wrong_weights_files_are_refused(tmp_path, keras_vgg19):
    whole = (keras_vgg19[1] / "new.weights.h5").read_bytes()
    keras.applications.VGG16(include_top=False, weights=None).save_weights(tmp_path / "vgg16.weights.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.arange(5)
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "page.h5").write_bytes(b"<html>")
    (tmp_path / "half.weights.h5").write_bytes(whole[: len(whole) // 2])
    for name in ("vgg16.weights.h5", "other.h5", "empty.h5", "page.h5", "half.weights.h5"):
        with pytest.raises(WeightsError, match=f"{name} holds no weights of a Keras VGG19 without top .* .+"):
            load_vgg19(str(tmp_path / name))


def test_names_that_lead_to_no_weights_are_refused(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    for name in (tmp_path / "folder.h5", tmp_path / "missing.h5", "x" * 300 + ".h5"):
        with pytest.raises(WeightsError, match='h5 cannot be read .*WEIGHTS must be "auto", "imagenet", "standin" or'):
            load_vgg19(str(name))
    with pytest.raises(WeightsError, match="great_wave.jpg is no .h5 file. WEIGHTS must be"):
        load_vgg19("images/great_wave.jpg")


def remove(layer):
    del layer["vars"]


def spoil(layer):
    layer["vars"]["1"][...] = np.nan


@pytest.mark.parametrize(("alter", "message"), [(remove, "holds no weights"), (spoil, "those of block.* not finite")])
def test_a_layer_without_weights_is_refused(altered, alter, message):
    with pytest.raises(WeightsError, match=f"altered.weights.h5 .*{message}"):
        load_vgg19(str(altered(alter)))


def test_a_layer_of_which_keras_says_nothing_is_refused(keras_vgg19, monkeypatch):
    monkeypatch.setattr(keras.Model, "load_weights", lambda self, path: None)
    with pytest.raises(WeightsError, match="those of block1_conv1 are missing or not finite"):
        load_vgg19(str(keras_vgg19[1] / "new.weights.h5"))


def test_errors_without_words_are_named(keras_vgg19, monkeypatch):
    def load_weights(self, path):
        raise MemoryError

    monkeypatch.setattr(keras.Model, "load_weights", load_weights)
    with pytest.raises(WeightsError, match="holds no weights .*: MemoryError"):
        load_vgg19(str(keras_vgg19[1] / "new.weights.h5"))


# ---- the cache


def test_weights_are_loaded_once_for_the_same_settings(capsys):
    first = load_vgg19("standin", normalise=False)
    assert load_vgg19("standin", normalise=False) is first
    assert capsys.readouterr().out.count("Weights: standin, sha256 f3044b44995d…") == 1
    assert load_vgg19("standin", normalise=True).layers is not first.layers


def test_each_pooling_is_loaded_and_normalised_by_itself(monkeypatch):
    monkeypatch.setattr(vgg19, "normalise_activations", lambda layers, images, pooling: pooling)
    for pooling in ("max", "average", "max"):
        vgg = load_vgg19("standin", pooling=pooling)
        assert (vgg.pooling, vgg.layers) == (pooling, pooling)


def test_a_file_that_has_changed_is_read_anew(altered):
    def shift(layer):
        layer["vars"]["1"][...] = 5.0

    path = altered(lambda layer: None)
    first = load_vgg19(str(path), normalise=False)
    altered(shift, path)
    second = load_vgg19(str(path), normalise=False)
    assert second.sha256 != first.sha256
    assert any((bias == 5.0).all() for _, bias in second.layers.values())


# ---- the ImageNet weights


@pytest.fixture
def server(monkeypatch):
    """A server on the loopback address that plays the one with the ImageNet weights.

    .body is what it sends (None: there is no such file), .promised how long it says that is, .stalls whether it then
    stays silent. Weights count as right if they are b"right".
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked += 1
            self.send_response(404 if server.body is None else 200)
            self.send_header("Content-Length", str(server.promised))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(server.body or b"")
                if server.stalls:
                    server.over.wait(20)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.promised, server.stalls, server.asked, server.over = b"right", 5, False, 0, threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(vgg19, "IMAGENET_URL", f"http://127.0.0.1:{server.server_port}/vgg19.h5")
    monkeypatch.setattr(vgg19, "IMAGENET_MD5", hashlib.md5(b"right").hexdigest())
    monkeypatch.setattr(vgg19, "_load_h5", lambda path, name: VGG19(name, hashlib.sha256(b"right").hexdigest(), {}))
    monkeypatch.setenv("no_proxy", "*")
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def load_auto(folder, capsys):
    """Load "auto" weights without normalising; return them and the lines printed."""
    capsys.readouterr()
    vgg = load_vgg19("auto", normalise=False, folder=folder)
    return vgg, capsys.readouterr().out.strip().splitlines()


def test_imagenet_weights_are_downloaded_once(server, tmp_path, capsys):
    tmp_path /= "new"
    vgg, lines = load_auto(tmp_path, capsys)
    assert vgg.name == "imagenet"
    assert lines[-1].startswith("Weights: imagenet, sha256 ")
    assert files(tmp_path) == [IMAGENET_FILE]
    assert (tmp_path / IMAGENET_FILE).read_bytes() == b"right"
    vgg19._load.cache_clear()
    assert load_vgg19("imagenet", normalise=False, folder=tmp_path) == vgg
    assert server.asked == 1


def test_the_official_file_goes_the_same_way_as_any_h5(keras_vgg19, tmp_path, monkeypatch):
    body = (keras_vgg19[1] / "old.h5").read_bytes()
    (tmp_path / IMAGENET_FILE).write_bytes(body)
    monkeypatch.setattr(vgg19, "IMAGENET_MD5", hashlib.md5(body).hexdigest())
    vgg = load_vgg19("auto", normalise=False, folder=tmp_path)
    assert (vgg.name, vgg.sha256) == ("imagenet", hashlib.sha256(body).hexdigest())
    assert list(vgg.layers) == list(LAYER_NAMES)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"body": b"wrong"}, "Incomplete or corrupted file"),
        ({"promised": 500}, "got only 5 out of 500 bytes"),
        ({"body": None, "promised": 0}, "Not Found"),
        ({"promised": 500, "stalls": True}, "timed out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_failed_downloads_leave_nothing_and_auto_takes_the_standin(server, folder, monkeypatch, capsys, answer, reason):
    monkeypatch.setattr(vgg19, "DOWNLOAD_TIMEOUT", 0.4)
    vars(server).update(answer)
    before = socket.getdefaulttimeout()
    with pytest.raises(WeightsError, match=f"the ImageNet weights could not be downloaded .*{reason}"):
        load_vgg19("imagenet", folder=folder)
    vgg, lines = load_auto(folder, capsys)
    assert vgg.name == "standin"
    assert lines[-2].startswith("Using the stand-in for VGG19: the ImageNet weights could not be downloaded (")
    assert reason in lines[-2]
    assert lines[-1].startswith("Weights: standin")
    assert files(folder) == [STANDIN_FILE]
    assert socket.getdefaulttimeout() == before


def test_without_a_network_auto_takes_the_standin(server, folder, capsys, monkeypatch):
    with socket.socket() as nobody:  # bound, but not listening
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(vgg19, "IMAGENET_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/vgg19.h5")
        vgg, lines = load_auto(folder, capsys)
    assert vgg.name == "standin"
    assert "refused" in lines[-2]


def test_a_folder_that_cannot_be_written_ends_in_the_standin(server, folder, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    vgg, lines = load_auto(folder, capsys)
    assert vgg.name == "standin"
    assert os.strerror(28) in lines[-2]
    assert files(folder) == [STANDIN_FILE]


def test_what_a_killed_download_leaves_is_in_nobodys_way(server, folder):
    (folder / ".download-abc").mkdir()
    (folder / ".download-abc" / IMAGENET_FILE).write_bytes(b"ri")
    assert load_vgg19("imagenet", normalise=False, folder=folder).name == "imagenet"
    assert (folder / IMAGENET_FILE).read_bytes() == b"right"


def test_a_file_with_a_wrong_hash_is_an_error_and_kept(server, folder, capsys):
    path = folder / IMAGENET_FILE
    path.write_bytes(b"half of it")
    with pytest.raises(WeightsError) as error:
        load_vgg19("imagenet", folder=folder)
    parts = str(path), hashlib.md5(b"half of it").hexdigest(), vgg19.IMAGENET_MD5, "Move it away", f'WEIGHTS ("{path}")'
    for part in parts:
        assert part in str(error.value)
    vgg, lines = load_auto(folder, capsys)
    assert vgg.name == "standin"
    assert "is not the file that Keras publishes" in lines[-2]
    assert path.read_bytes() == b"half of it"
    assert server.asked == 0


# ---- normalisation


def test_normalisation_images_come_with_the_tutorial(tmp_path):
    found = normalisation_images()
    assert len(found) == 6
    for image in found:
        assert image.dtype == tf.float32
        assert (image.shape[0], image.shape[3]) == (1, 3)
        assert 0 <= np.min(image) < 0.2 < 0.8 < np.max(image) <= 1
    path = tmp_path / NORMALISATION_FILE
    path.write_bytes((WEIGHTS_FOLDER / NORMALISATION_FILE).read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"{NORMALISATION_FILE} is damaged: its sha256 is .*git checkout"):
        normalisation_images(tmp_path)


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


def test_network_ends_at_the_deepest_layer(tiny_vgg):
    network = get_layer_outputs(tiny_vgg, ["block3_conv1", "block1_conv2"])
    convolutions = [layer.name for layer in network.layers if "conv" in layer.name]
    assert convolutions == list(LAYER_NAMES[:5])


def test_missing_layers_are_identities(tiny_vgg, picture):
    layers = {name: values for name, values in tiny_vgg.layers.items() if name != "block1_conv2"}
    network = get_layer_outputs(tiny_vgg._replace(layers=layers), ["block1_conv1", "block1_conv2"])
    a, b = network(picture(32, 40))
    assert np.array_equal(a, b)


def test_pooling_takes_the_largest_or_the_mean_of_four(picture):
    x = picture(34, 41).numpy()
    fours = x[:, :34, :40].reshape(1, 17, 2, 20, 2, 3)
    for pooling, expected in (("max", fours.max((2, 4))), ("average", fours.mean((2, 4)))):
        network = get_layer_outputs(VGG19("identities", "", {}, pooling), ["block1_conv1", "block2_conv1"])
        assert np.allclose(network(x)[1], expected, atol=1e-6), pooling


def test_unknown_layer_lists_the_layers(tiny_vgg):
    with pytest.raises(SettingsError, match="no layer 'conv1' in VGG19. Layers are: block1_conv1, .*, block5_conv4"):
        get_layer_outputs(tiny_vgg, ["block1_conv1", "conv1"])


def test_bfloat16_activations_are_close_to_float32():
    vgg = load_vgg19("standin")
    names = ["block1_conv1", "block4_conv2", "block5_conv1"]
    image = preprocess_image(load_image("images/summer_palace.jpg", 96))
    exact, low = (get_layer_outputs(vgg, names, precision)(image) for precision in ("float32", "bfloat16"))
    for a, b, name in zip(exact, low, names, strict=True):
        assert b.dtype == tf.bfloat16, name
        assert tf.norm(a - tf.cast(b, tf.float32)) < 0.03 * tf.norm(a), name


def test_precision_is_obeyed_or_the_faster_one(monkeypatch):
    assert choose_precision("float32") == "float32"
    assert choose_precision("bfloat16") == "bfloat16"
    monkeypatch.setattr(vgg19, "_two_convolutions", lambda x, kernel: x[0, 0, 0, 0])
    for seconds_per_call, expected in (((1.0, 0.5), "bfloat16"), ((1.0, 0.95), "float32"), ((1.0, 2.0), "float32")):
        clock = accumulate(step for _ in range(6) for seconds in seconds_per_call for step in (0.0, seconds))
        monkeypatch.setattr(vgg19, "time", SimpleNamespace(perf_counter=lambda clock=clock: next(clock)))
        assert vgg19._faster_precision.__wrapped__() == expected


def test_the_faster_precision_is_found_once(monkeypatch):
    found = choose_precision("auto")
    assert found in ("float32", "bfloat16")
    monkeypatch.setattr(time, "perf_counter", lambda: 1 / 0)
    assert choose_precision("auto") == found
