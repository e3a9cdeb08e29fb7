"""The helper module: settings, images, weights and network, the run and its records, plots."""

import contextlib
import errno
import functools
import hashlib
import http.server
import io
import os
import threading

import h5py
import numpy as np
import pytest
from PIL import Image

import nst_utils
from conftest import SETTINGS

tf = nst_utils.tf

# ---------------------------------------------------------------------------------------------------- settings


def test_current_settings_are_the_known_names():
    namespace = {"EPOCHS": 3, "OUTPUT_DIR": "", "J": 1.0, "G_S": 2.0, "epoch": 4, "MY_OWN": [tf]}
    assert nst_utils.current_settings(namespace) == {"EPOCHS": 3, "OUTPUT_DIR": ""}
    assert nst_utils.read_settings(namespace, {}) == {"EPOCHS": 3, "OUTPUT_DIR": ""}


def test_misspelt_setting_in_the_cell_is_an_error():
    with pytest.raises(nst_utils.SettingsError, match="APLHA is no setting. Did you mean ALPHA?"):
        nst_utils.read_settings(SETTINGS | {"APLHA": 3.0}, {})


def test_whole_numbers_do_for_numbers_and_the_home_folder_has_a_short_name():
    settings = nst_utils.read_settings(SETTINGS | {"ALPHA": 10, "BETA": 40, "LEARNING_RATE": 1}, {"NST_BETA": "2.5"})
    assert [settings[name] for name in ("ALPHA", "BETA", "LEARNING_RATE")] == [10.0, 2.5, 1.0]
    assert all(type(settings[name]) is float for name in ("ALPHA", "BETA", "LEARNING_RATE"))
    path = nst_utils.read_settings(SETTINGS | {"CONTENT_IMAGE": "~/a.jpg"}, {})["CONTENT_IMAGE"]
    assert path == os.path.expanduser("~/a.jpg")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("EPOCHS", "60", 60),
        ("ALPHA", "2.5", 2.5),
        ("ALPHA", "3", 3.0),
        ("CONTENT_IMAGE", "images/x.jpg", "images/x.jpg"),
        ("NORMALISE_ACTIVATIONS", "false", False),
        ("NORMALISE_ACTIVATIONS", "1", True),
        ("STYLE_LAYERS", "[('block2_conv1', 2)]", [("block2_conv1", 2)]),
        ("OUTPUT_DIR", "output/does-not-exist", "output/does-not-exist"),
    ],
)
def test_environment_wins_and_is_converted(name, text, value, capsys):
    settings = nst_utils.read_settings(SETTINGS, {f"NST_{name}": text, "PATH": "/"})
    assert settings[name] == value
    assert type(settings[name]) is type(SETTINGS[name])
    assert settings == SETTINGS | {name: value}
    assert type(settings[name]) is nst_utils.SETTINGS[name]
    assert f"NST_{name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("NST_EPOCH", "60", "no setting of this notebook.*NST_EPOCHS"),
        ("NST_EPOCHS", "many", "a whole number"),
        ("NST_EPOCHS", "2.5", "a whole number"),
        ("NST_ALPHA", "high", "a number"),
        ("NST_NORMALISE_ACTIVATIONS", "maybe", "true or false"),
        ("NST_STYLE_LAYERS", "block1_conv1", "must be a list, e.g."),
        ("NST_STYLE_LAYERS", "7", "must be a list, e.g."),
    ],
)
def test_wrong_environment_is_an_error_that_says_what_is_allowed(variable, text, message):
    with pytest.raises(nst_utils.SettingsError, match=message):
        nst_utils.read_settings(SETTINGS, {variable: text})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EPOCHS": 0}, "EPOCHS = 0 .* 1 or more"),
        ({"EPOCHS": True}, "EPOCHS = True"),
        ({"IMAGE_SIZE": 31}, "IMAGE_SIZE = 31 .* 32 to 20000"),
        ({"SAVE_EVERY": 0}, "SAVE_EVERY"),
        ({"LEARNING_RATE": 0.0}, "LEARNING_RATE"),
        ({"LEARNING_RATE": 1e39}, "LEARNING_RATE = 1e\\+39 .* at most 1e6"),
        ({"LEARNING_RATE": float("nan")}, "LEARNING_RATE"),
        ({"ALPHA": -1.0}, "ALPHA = -1.0"),
        ({"BETA": float("nan")}, "BETA = nan"),
        ({"BETA": float("inf")}, "BETA = inf"),
        ({"SMOOTHNESS": "much"}, "SMOOTHNESS = 'much'"),
        ({"ALPHA": 0, "BETA": 0.0}, "nothing to minimise"),
        ({"PRECISION": "float16"}, "PRECISION = 'float16'.*bfloat16"),
        ({"CONTENT_LAYER": "block9_conv1"}, "CONTENT_LAYER = 'block9_conv1'.*block1_conv1, .*block5_conv4"),
        ({"STYLE_LAYERS": []}, "at least one weight above 0"),
        ({"STYLE_LAYERS": [("block1_conv1", 0.0)]}, "at least one weight above 0"),
        ({"STYLE_LAYERS": [("block1_conv1", -1.0)]}, "finite and 0 or more"),
        ({"STYLE_LAYERS": [("block1_conv1", float("nan"))]}, "finite and 0 or more"),
        ({"STYLE_LAYERS": [("conv1", 1.0)]}, "no layer 'conv1' in VGG19. Layers are: block1_conv1, "),
        ({"STYLE_LAYERS": (("block1_conv1", 1.0),)}, "list of"),
        ({"STYLE_LAYERS": {"block1_conv1": 1.0}}, "list of"),
        ({"STYLE_LAYERS": None}, "list of"),
        ({"STYLE_LAYERS": [("block1_conv1", "0.5")]}, "block1_conv1 has weight '0.5'"),
        ({"STYLE_LAYERS": [("block1_conv1", np.float32(0.5))]}, "block1_conv1 has weight"),
        ({"EPOCHS": np.int64(5)}, "EPOCHS = .* whole number"),
        ({"BETA": 10**400}, "BETA = 1000"),
        ({"IMAGE_SIZE": 20001}, "32 to 20000"),
        ({"CONTENT_IMAGE": None}, "CONTENT_IMAGE = None .* text in quotes"),
        ({"CONTENT_IMAGE": ""}, "CONTENT_IMAGE = '' .* not empty"),
        ({"OUTPUT_DIR": None}, "OUTPUT_DIR = None .* text in quotes"),
        ({"WEIGHTS": 3}, "WEIGHTS = 3 .* text in quotes"),
        ({"NORMALISE_ACTIVATIONS": "False"}, "NORMALISE_ACTIVATIONS = 'False' .* true or false"),
        ({"STYLE_LAYERS": ["block1_conv1"]}, "list of \\(layer name, weight\\)"),
        ({"OUTPUT_DIR": "images"}, 'OUTPUT_DIR = "images" holds something already'),
        ({"OUTPUT_DIR": "README.md"}, "holds something already"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(nst_utils.SettingsError, match=message):
        nst_utils.check_settings(SETTINGS | changes)


# ------------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize(("width", "height"), [(100, 60), (60, 100), (50, 50), (333, 150)])
def test_load_image_keeps_the_aspect_ratio(tmp_path, width, height):
    Image.new("RGB", (width, height), (255, 0, 51)).save(tmp_path / "a.png")
    image = nst_utils.load_image(tmp_path / "a.png", 80)
    scale = 80 / max(width, height)
    assert image.shape == (1, round(height * scale), round(width * scale), 3)
    assert image.dtype == tf.float32
    assert np.allclose(image, np.array([1.0, 0.0, 0.2]), atol=1e-6)


def test_images_survive_saving(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    nst_utils.save_image(pixels[np.newaxis] / 255.0, tmp_path / "a.png")
    assert np.array_equal(nst_utils.to_uint8(nst_utils.load_image(tmp_path / "a.png", 64)), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_to_uint8_rounds_and_clips():
    image = np.array([[[[0.4999 / 255, 0.5001 / 255, 254.6 / 255], [-1.0, 2.0, 1.0]]]])
    assert nst_utils.to_uint8(image).tolist() == [[[0, 1, 255], [0, 255, 255]]]


def test_jpeg_snapshots_are_close_to_the_picture(tmp_path, picture):
    image = picture(48, 64)
    nst_utils.save_image(image, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.format == "JPEG"
        difference = np.abs(np.asarray(saved, np.float32) - nst_utils.to_uint8(image))
    assert difference.mean() < 1.5


def test_preprocess_is_that_of_keras(picture):
    image = picture(20, 30)
    reference = tf.keras.applications.vgg19.preprocess_input(image * 255.0)
    assert np.allclose(nst_utils.preprocess_image(image), reference, atol=1e-4)


# ----------------------------------------------------------------------------------------- weights and network


@pytest.fixture(scope="module")
def standin():
    return nst_utils.load_vgg19("standin", normalise=False)


@pytest.fixture(scope="module")
def keras_vgg19(tmp_path_factory):
    """Keras's own VGG19 with random weights, and its files in both formats of Keras."""
    tf.keras.utils.set_random_seed(3)
    model = tf.keras.applications.VGG19(include_top=False, weights=None)
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


def test_standin_holds_what_the_readme_says(standin):
    assert standin.name == "standin"
    assert set(nst_utils.LAYER_NAMES) - set(standin.layers) == {f"block{b}_conv4" for b in (3, 4, 5)}
    assert (nst_utils.WEIGHTS_FOLDER / nst_utils.STANDIN_FILE).stat().st_size < 13e6
    n_in = 3
    for name, (kernel, bias) in standin.layers.items():
        n_out = nst_utils.VGG19_BLOCKS[int(name[5]) - 1][1]
        assert kernel.shape == (3, 3, n_in, n_out)
        assert bias.shape == (n_out,)
        assert kernel.dtype == bias.dtype == np.float32
        n_in = n_out


def test_standin_tells_a_photo_from_its_shuffled_pixels(standin):
    photo = nst_utils.load_image("images/summer_palace.jpg", 128)
    order = np.random.default_rng(1).permutation(photo.shape[1] * photo.shape[2])
    shuffled = tf.reshape(tf.gather(tf.reshape(photo, (-1, 3)), order), photo.shape)
    outputs = nst_utils.get_layer_outputs(standin, [("block1_conv1", 1), ("block4_conv1", 1)])
    a, b = (outputs(nst_utils.preprocess_image(image))[1].numpy().mean(axis=(0, 1, 2)) for image in (photo, shuffled))
    # 0.24 here; a network of random weights gives 0.97
    assert np.corrcoef(a, b)[0, 1] < 0.6, "a trained network answers structure, not the colours alone"


@pytest.mark.parametrize("file", ["new.weights.h5", "old.h5"])
def test_network_is_keras_vgg19(keras_vgg19, picture, file):
    model, folder = keras_vgg19
    names = ["block1_conv1", "block3_conv4", "block5_conv4", "block2_conv2"]
    vgg = nst_utils.load_vgg19(str(folder / file), normalise=False)
    ours = nst_utils.get_layer_outputs(vgg, [(name, 1) for name in names])(picture(48, 80))
    reference = tf.keras.Model(model.input, [model.get_layer(name).output for name in names])(picture(48, 80))
    for a, b in zip(ours, reference, strict=True):
        assert a.shape == b.shape
        assert np.allclose(a, b, rtol=1e-4, atol=1e-6)
    assert vgg.sha256 == hashlib.sha256((folder / file).read_bytes()).hexdigest()


def test_network_ends_at_the_deepest_layer(tiny_vgg):
    outputs = nst_utils.get_layer_outputs(tiny_vgg, [("block3_conv1", 1), ("block1_conv2", 1)])
    convolutions = [layer.name for layer in outputs.layers if "conv" in layer.name]
    assert convolutions == list(nst_utils.LAYER_NAMES[:5])


def test_missing_layers_are_identities(tiny_vgg, picture):
    layers = {name: values for name, values in tiny_vgg.layers.items() if name != "block1_conv2"}
    a, b = nst_utils.get_layer_outputs(tiny_vgg._replace(layers=layers), [("block1_conv1", 1), ("block1_conv2", 1)])(
        picture(32, 40)
    )
    assert np.array_equal(a, b)


def test_unknown_layer_lists_the_layers(tiny_vgg):
    with pytest.raises(nst_utils.SettingsError, match="no layer 'conv1' in VGG19. Layers are: block1_conv1, "):
        nst_utils.get_layer_outputs(tiny_vgg, [("conv1", 1)])


def test_normalisation_makes_mean_activations_one_and_changes_nothing_else(standin):
    images = [nst_utils.load_image(path, 96) for path in nst_utils.NORMALISATION_IMAGES[:2]]
    normalised = standin._replace(layers=nst_utils.normalise_activations(standin.layers, images))
    layers = [(name, 1) for name in nst_utils.LAYER_NAMES]
    before, after = (nst_utils.get_layer_outputs(vgg, layers) for vgg in (standin, normalised))
    activations = [after(nst_utils.preprocess_image(image)) for image in images]
    for index, name in enumerate(nst_utils.LAYER_NAMES):
        means = [float(tf.reduce_mean(a[index])) for a in activations]
        assert np.isclose(np.mean(means), 1.0, rtol=1e-3), name
    for a, b in zip(before(nst_utils.preprocess_image(images[0])), activations[0], strict=True):
        scale = tf.reduce_sum(a) / tf.reduce_sum(b)
        assert tf.norm(a - b * scale) < 1e-3 * tf.norm(a)


def test_bfloat16_activations_are_close_to_float32(standin, picture):
    vgg = standin._replace(layers=nst_utils.normalise_activations(standin.layers))
    layers = [("block1_conv1", 1), ("block4_conv2", 1), ("block5_conv1", 1)]
    image = nst_utils.preprocess_image(nst_utils.load_image("images/summer_palace.jpg", 96))
    exact, low = (nst_utils.get_layer_outputs(vgg, layers, precision)(image) for precision in ("float32", "bfloat16"))
    for a, b in zip(exact, low, strict=True):
        assert b.dtype == tf.bfloat16
        assert tf.norm(a - tf.cast(b, tf.float32)) < 0.03 * tf.norm(a)


def test_precision_is_obeyed_or_the_faster_one(monkeypatch):
    assert nst_utils.choose_precision("float32") == "float32"
    assert nst_utils.choose_precision("bfloat16") == "bfloat16"
    assert nst_utils.choose_precision("auto") in ("float32", "bfloat16")
    for seconds_per_call, expected in (((1.0, 0.5), "bfloat16"), ((1.0, 0.95), "float32"), ((1.0, 2.0), "float32")):
        clock = iter(np.cumsum([step for _ in range(6) for s in seconds_per_call for step in (0.0, s)]))
        monkeypatch.setattr(nst_utils.time, "perf_counter", lambda clock=clock: float(next(clock)))
        assert nst_utils.choose_precision("auto") == expected


def test_wrong_weights_files_are_refused(tmp_path, keras_vgg19):
    whole = (keras_vgg19[1] / "new.weights.h5").read_bytes()
    tf.keras.applications.VGG16(include_top=False, weights=None).save_weights(tmp_path / "vgg16.weights.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.arange(5)
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "page.h5").write_bytes(b"<html>")
    (tmp_path / "half.weights.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.h5").mkdir()
    for name in ("vgg16.weights.h5", "other.h5", "empty.h5", "page.h5", "half.weights.h5"):
        with pytest.raises(nst_utils.WeightsError, match=f"{name} holds no weights of a Keras VGG19"):
            nst_utils.load_vgg19(str(tmp_path / name))
    with pytest.raises(nst_utils.WeightsError, match="great_wave.jpg is no .h5 file. WEIGHTS must be"):
        nst_utils.load_vgg19("images/great_wave.jpg")
    for name in ("folder.h5", "missing.h5"):
        with pytest.raises(nst_utils.WeightsError, match=f"{name} cannot be read.*WEIGHTS must be"):
            nst_utils.load_vgg19(str(tmp_path / name))


def test_weights_that_are_not_finite_are_refused(tmp_path, keras_vgg19):
    path = tmp_path / "nan.weights.h5"
    path.write_bytes((keras_vgg19[1] / "new.weights.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        datasets = []
        file.visititems(lambda name, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        datasets[0][...] = np.nan
    with pytest.raises(nst_utils.WeightsError, match="not finite"):
        nst_utils.load_vgg19(str(path))


def test_damaged_standin_is_refused(tmp_path):
    whole = (nst_utils.WEIGHTS_FOLDER / nst_utils.STANDIN_FILE).read_bytes()
    path = tmp_path / nst_utils.STANDIN_FILE
    with np.load(io.BytesIO(whole)) as arrays:
        arrays = dict(arrays)
    tampered, pickled = io.BytesIO(), io.BytesIO()
    np.savez(tampered, **arrays | {"block3_conv2/kernel": arrays["block3_conv2/kernel"][..., ::-1]})
    np.savez(pickled, **arrays | {"block1_conv1/bias": np.array([print], dtype=object)})
    flipped = bytearray(whole)
    flipped[5_000_000] ^= 255
    missing = io.BytesIO()
    np.savez(missing, some=np.zeros(3))
    for content in (
        tampered.getvalue(),
        pickled.getvalue(),
        missing.getvalue(),
        whole[:-100],
        bytes(flipped),
        b"",
        b"PK",
    ):
        path.write_bytes(content)
        with pytest.raises(nst_utils.WeightsError, match="is damaged .*git checkout"):
            nst_utils.load_vgg19("standin", folder=tmp_path)
    path.unlink()
    with pytest.raises(nst_utils.WeightsError, match="cannot be read.*git checkout"):
        nst_utils.load_vgg19("auto", folder=tmp_path)


def test_imagenet_file_with_a_wrong_hash_is_refused_and_kept(tmp_path):
    path = tmp_path / nst_utils.IMAGENET_FILE
    path.write_bytes(b"half of it")
    with pytest.raises(nst_utils.WeightsError) as error:
        nst_utils.load_vgg19("imagenet", folder=tmp_path)
    message = str(error.value)
    for part in (str(path), hashlib.md5(b"half of it").hexdigest(), nst_utils.IMAGENET_MD5, "Move it away"):
        assert part in message
    assert path.read_bytes() == b"half of it"


@pytest.fixture
def server(monkeypatch):
    """A server on the loopback address that plays the one with the ImageNet weights; set .answer to what it sends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if callable(server.answer):
                return server.answer(self)
            body, promised = server.answer
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            return self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(nst_utils, "IMAGENET_URL", f"http://127.0.0.1:{server.server_port}/vgg19.h5")
    monkeypatch.setenv("no_proxy", "*")
    yield server
    server.shutdown()
    server.server_close()


def test_imagenet_weights_are_downloaded_once_and_checked(server, keras_vgg19, tmp_path, monkeypatch, capsys):
    body = (keras_vgg19[1] / "old.h5").read_bytes()
    server.answer = body, len(body)
    monkeypatch.setattr(nst_utils, "IMAGENET_MD5", hashlib.md5(body).hexdigest())
    vgg = nst_utils.load_vgg19("auto", normalise=False, folder=tmp_path)
    assert vgg.name == "imagenet"
    assert [p.name for p in tmp_path.iterdir()] == [nst_utils.IMAGENET_FILE]
    server.answer = None, 0
    again = nst_utils.load_vgg19("imagenet", normalise=False, folder=tmp_path)
    assert again.sha256 == vgg.sha256 == hashlib.sha256(body).hexdigest()
    out = capsys.readouterr().out
    assert "Downloading" in out
    assert "Weights: imagenet" in out


@pytest.mark.parametrize(
    ("body", "promised", "reason"),
    [(b"wrong", 5, "has MD5"), (b"short", 500, "ended after 5 of 500 bytes"), (None, 0, "Not Found")],
)
def test_failed_downloads_leave_nothing_and_auto_takes_the_standin(server, tmp_path, body, promised, reason, capsys):
    server.answer = body, promised
    with pytest.raises(nst_utils.WeightsError, match=reason):
        nst_utils.load_vgg19("imagenet", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    standin = nst_utils.WEIGHTS_FOLDER / nst_utils.STANDIN_FILE
    (tmp_path / nst_utils.STANDIN_FILE).symlink_to(standin.resolve())
    assert nst_utils.load_vgg19("auto", normalise=False, folder=tmp_path).name == "standin"
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-2].startswith("Using the stand-in")
    assert reason in lines[-2]
    assert lines[-1].startswith("Weights: standin")


def test_total_variation_and_its_gradient_are_those_of_tensorflow(picture):
    x = picture(31, 47)
    for run in (lambda function: function, tf.function):
        values, gradients = [], []
        for function in (lambda x: nst_utils.total_variation(x), lambda x: tf.image.total_variation(x)[0]):

            def both(image, function=function):
                with tf.GradientTape() as tape:
                    tape.watch(image)
                    value = 3.0 * function(image)
                return value, tape.gradient(value, image)

            value, gradient = run(both)(x)
            values.append(value), gradients.append(gradient)
        assert np.isclose(*values, rtol=1e-5)
        assert np.allclose(*gradients, atol=1e-6)


def test_enlarged_images_keep_their_content_and_lose_the_marks_of_the_border(picture):
    image = picture(40, 60).numpy()
    marked = image.copy()
    marked[:, :2], marked[:, -2:], marked[:, :, :2], marked[:, :, -2:] = 0.0, 1.0, 1.0, 0.0
    large = nst_utils.enlarge_image(marked, (81, 120)).numpy()
    assert large.shape == (1, 81, 120, 3)
    assert large.min() >= 0
    assert large.max() <= 1
    assert np.allclose(large, nst_utils.enlarge_image(image, (81, 120)), atol=1e-6)
    back = tf.image.resize(large, (40, 60), antialias=True)
    assert np.abs(back - image)[:, 5:-5, 5:-5].max() < 0.05


def test_sizes_decide_and_are_checked(capsys):
    settings = nst_utils.read_settings(SETTINGS, {"NST_SIZES": "(64, 128)", "NST_TILE": "512"})
    assert (settings["SIZES"], settings["IMAGE_SIZE"], settings["TILE"]) == ([64, 128], 128, 512)
    assert "IMAGE_SIZE = 128 (the last of SIZES)" in capsys.readouterr().out
    for sizes in ([64, 64], [128, 64], [16, 64], [64.5], 64, "64", [True], [30_000]):
        with pytest.raises(nst_utils.SettingsError, match=r"SIZES = .* whole numbers of pixels.*each larger"):
            nst_utils.read_settings(SETTINGS | {"SIZES": sizes}, {})
    for tile in (-1, 10, 63, 512.0, "512", None):
        with pytest.raises(nst_utils.SettingsError, match="TILE = .* 0, or a whole number of pixels, 64 or more"):
            nst_utils.read_settings(SETTINGS | {"TILE": tile}, {})
    with pytest.raises(nst_utils.SettingsError, match=r"NST_SIZES='large' does not convert.*\[300, 600, 1200\]"):
        nst_utils.read_settings(SETTINGS, {"NST_SIZES": "large"})


def test_status_line_reckons_with_the_larger_sizes():
    sizes = [(100, 4), (200, 3)]
    history = [(epoch, float(epoch), 9.0, 1.0, 1.0) for epoch in range(4)]
    assert nst_utils.status_line(history[:2], sizes).endswith("1.00 s/epoch   0:14 left"), "2 here, 3 of 4 s there"
    history += [(4, 13.0, 9.0, 1.0, 1.0), (5, 17.5, 9.0, 1.0, 1.0)]
    assert nst_utils.status_line(history[:5], sizes).endswith("J_style 1")
    line = nst_utils.status_line(history, sizes)
    assert line.startswith("epoch 6/7 ")
    assert line.endswith("4.50 s/epoch   0:04 left")


def test_status_line_says_how_it_stands():
    history = [(0, 5.0, 100.0, 0.0, 2.5), (1, 5.5, 50.0, 0.25, 1.0), (2, 6.0, 25.0, 0.5, 0.5)]
    assert nst_utils.status_line(history[:1], [(400, 123)]) == "epoch 1/123   J 100   J_content 0   J_style 2.5"
    line = nst_utils.status_line(history, [(400, 123)])
    assert line == "epoch 3/123   J 25   J_content 0.5   J_style 0.5   0.50 s/epoch   1:00 left"


def test_lines_that_stall_or_creep_end_in_the_standin(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(nst_utils, "DOWNLOAD_TIMEOUT", 0.4)
    standin = nst_utils.WEIGHTS_FOLDER / nst_utils.STANDIN_FILE
    (tmp_path / nst_utils.STANDIN_FILE).symlink_to(standin.resolve())
    over = threading.Event()

    def answer(handler, pause):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not over.wait(pause):
                handler.wfile.write(b"x")

    for pause, reason in ((60, "timed out"), (0.05, "slower than 10 kB/s")):
        server.answer = functools.partial(answer, pause=pause)
        assert nst_utils.load_vgg19("auto", normalise=False, folder=tmp_path).name == "standin"
        assert reason in capsys.readouterr().out
    over.set()
    assert [p.name for p in tmp_path.iterdir()] == [nst_utils.STANDIN_FILE]


def test_addresses_that_do_not_answer_are_given_up(tmp_path, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(nst_utils, "DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(nst_utils.urllib.request, "urlopen", lambda *_, **__: over.wait(60))
    with pytest.raises(nst_utils.WeightsError, match="could not be downloaded .no answer within"):
        nst_utils.load_vgg19("imagenet", folder=tmp_path)
    over.set()


def test_full_or_read_only_weights_folder_ends_in_the_standin(server, keras_vgg19, tmp_path, monkeypatch, capsys):
    body = (keras_vgg19[1] / "old.h5").read_bytes()
    server.answer = body, len(body)
    monkeypatch.setattr(nst_utils, "IMAGENET_MD5", hashlib.md5(body).hexdigest())
    standin = nst_utils.WEIGHTS_FOLDER / nst_utils.STANDIN_FILE
    (tmp_path / nst_utils.STANDIN_FILE).symlink_to(standin.resolve())
    for number in (errno.ENOSPC, errno.EROFS):

        def refuse(*_, number=number):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(nst_utils.os, "fsync", refuse)
            assert nst_utils.load_vgg19("auto", normalise=False, folder=tmp_path).name == "standin"
        assert os.strerror(number) in capsys.readouterr().out
        assert [p.name for p in tmp_path.iterdir()] == [nst_utils.STANDIN_FILE]


# ------------------------------------------------------------------------------------------------------- plots


def test_plots_are_shown_as_jpeg_with_a_text(monkeypatch, picture, tmp_path):
    shown = []
    monkeypatch.setattr(nst_utils, "get_ipython", lambda: object())
    monkeypatch.setattr(nst_utils, "display", lambda bundle, raw: shown.append(bundle))
    nst_utils.show_images([picture(30, 40), picture(50, 20)], ["wide", "high"])
    nst_utils.plot_costs([(0, 0.1, 10.0, 0.0, 2.0), (1, 0.2, 5.0, 1.0, 1.0)])
    paths = [tmp_path / f"image_{epoch:05d}.jpg" for epoch in range(0, 20, 2)]
    for path in paths:
        nst_utils.save_image(picture(24, 32), path)
    nst_utils.show_snapshots(paths, most=4)
    assert [bundle["text/plain"] for bundle in shown] == [
        "wide | high",
        "costs over epochs",
        "epoch 0 | epoch 6 | epoch 12 | epoch 18",
    ]
    for bundle in shown:
        jpeg = nst_utils.base64.b64decode(bundle["image/jpeg"])
        with Image.open(nst_utils.io.BytesIO(jpeg)) as drawn:
            assert np.asarray(drawn).std() > 5, "something is drawn"
