"""Colour apart from light and dark, and how the photo's colours are kept."""

import numpy as np
import pytest

from nst.backend import tf
from nst.colours import LUMINANCE, colour, match_colours, with_colours_of


def moments(image):
    pixels = np.reshape(image, (-1, 3)).astype(np.float64)
    return pixels.mean(axis=0), np.cov(pixels.T)


def test_colour_has_no_light_and_dark(picture):
    x = picture(9, 7)
    assert np.allclose(np.tensordot(colour(x), LUMINANCE, 1), 0, atol=1e-6)
    assert np.allclose(colour(tf.repeat(x[..., :1], 3, axis=-1)), 0, atol=1e-6), "greys"
    assert np.allclose(colour(x) + np.tensordot(x, LUMINANCE, 1)[..., None], x, atol=1e-6)
    assert np.allclose(colour(tf.constant([[[[1.0, 0, 0]]]])), [[[[0.701, -0.299, -0.299]]]], atol=1e-6)


def test_light_of_one_and_colours_of_the_other(picture):
    photo, painted = 0.4 + 0.2 * picture(9, 7, 1), 0.4 + 0.2 * picture(9, 7, 2)  # nothing to clip
    both = with_colours_of(photo, painted)
    assert np.allclose(colour(both), colour(photo), atol=1e-6)
    assert np.allclose(np.tensordot(both, LUMINANCE, 1), np.tensordot(painted, LUMINANCE, 1), atol=1e-6)
    red, white = tf.constant([[[[1.0, 0.0, 0.0]]]]), tf.ones((1, 1, 1, 3))
    assert np.allclose(with_colours_of(red, white), [[[[1.0, 0.701, 0.701]]]], atol=1e-6), "too strong a colour"


def test_matched_colours_have_the_photos_mean_and_covariance(picture):
    style, photo = picture(40, 30, 1), 0.4 + 0.2 * picture(20, 50, 2)
    matched = match_colours(style, photo)
    assert matched.shape == style.shape
    for found, wanted in zip(moments(matched), moments(photo), strict=True):
        assert np.allclose(found, wanted, atol=2e-3), "but for what is clipped"
    assert np.allclose(match_colours(photo, photo), photo, atol=1e-4), "nothing to match"


@pytest.mark.parametrize("which", ["grey", "flat"])
@pytest.mark.parametrize("side", ["style", "photo"])
def test_grey_pictures_and_flat_colours_are_matched_calmly(picture, which, side):
    """A covariance that has no inverse must not blow the colours up."""
    poor = tf.repeat(picture(20, 30, 1)[..., :1], 3, axis=-1) if which == "grey" else tf.fill((1, 20, 30, 3), 0.25)
    rich = picture(30, 20, 2)
    matched = match_colours(*((poor, rich) if side == "style" else (rich, poor)))
    assert np.isfinite(matched).all()
    mean, covariance = moments(matched)
    assert np.allclose(mean, moments(rich if side == "style" else poor)[0], atol=0.05)
    if side == "photo":
        assert np.abs(colour(matched)).max() < 1 / 255, "no colour comes of none"
    elif which == "flat":
        assert np.allclose(covariance, 0, atol=1e-6), "a flat picture stays flat"
