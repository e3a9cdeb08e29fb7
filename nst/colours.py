"""Colour apart from light and dark: what smoothness is asked of, and how the photo's colours are kept.

Images are float32 RGB in [0, 1] with shape (1, H, W, 3) everywhere.
"""

import numpy as np

from nst.backend import tf

LUMINANCE = (0.299, 0.587, 0.114)  # how light red, green and blue are, ITU-R BT.601
LEAST_VARIANCE = 1e-4  # of a colour that stands for none: a spread of 2.5 levels of 255


def colour(image):
    """Return an image without its light and dark: its luminance subtracted (ITU-R BT.601).

    Args:
        image: float32 RGB in [0, 1], shape (1, H, W, 3).

    Returns:
        float32 tensor of the same shape, values in [-1, 1]; 0 for greys.
    """
    return image - tf.reduce_sum(image * LUMINANCE, axis=-1, keepdims=True)


def with_colours_of(photo, painted):
    """Return the light and dark of one image with the colours of another.

    A simple form of the luminance-only transfer of Gatys et al. (2016), "Preserving color in neural artistic style
    transfer": there the network sees light and dark alone, too, and the style's are first brought to the photo's. Both
    have one shape; the result is clipped where a colour is too strong for how light it is.
    """
    return tf.clip_by_value(painted - colour(painted) + colour(photo), 0.0, 1.0)


def match_colours(image, photo):
    """Return an image whose colours have the mean and the covariance of a photo's.

    The colour histogram matching of Gatys et al. (2016), "Preserving color in neural artistic style transfer": x' =
    A (x - mean) + mean of the photo, with A the root of the photo's covariance times the inverse root of the image's.
    Directions of colour in which the image hardly varies (of a grey picture all but one, of a flat one all) are not
    stretched to the photo's: they stay weak. The sizes may differ; the result is clipped to [0, 1].
    """
    pixels, wanted = (np.asarray(a, np.float64).reshape(-1, 3) for a in (image, photo))
    A = _root(np.cov(wanted.T), 0.0) @ np.linalg.inv(_root(np.cov(pixels.T), LEAST_VARIANCE))
    matched = (pixels - pixels.mean(axis=0)) @ A.T + wanted.mean(axis=0)
    return tf.constant(np.clip(matched, 0.0, 1.0).reshape(image.shape), tf.float32)


def _root(covariance, least):
    """Return the symmetric root of a covariance matrix, its variances not below the least."""
    variances, directions = np.linalg.eigh(covariance)
    return directions * np.sqrt(np.maximum(variances, least)) @ directions.T
