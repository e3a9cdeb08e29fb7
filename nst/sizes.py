"""From coarse to fine: the sizes at which a picture is painted, and how long at each."""

import math
from typing import Any, NamedTuple

from nst.errors import SettingsError
from nst.images import MIN_SIDE

LARGEST_START = 200  # pixels of the long side: a painting shows after seconds; from smaller ones faces come apart
LEAST_EPOCHS = 20  # at a further size: fewer do not paint over what enlarging has blurred


class Size(NamedTuple):
    """What is painted at one size; images are float32 RGB in [0, 1], shape (1, H, W, 3).

    number: from 0. start: what to begin with, as INIT says, or the picture of the size before, enlarged. content_image.
    style_images: list of images. masks, parts: as sources.Sources. epochs: their number at this size. refines: whether
    the picture is refined, not begun.
    """

    number: int
    start: Any
    content_image: Any
    style_images: list
    masks: Any
    parts: list
    epochs: int
    refines: bool


def plan_sizes(settings, shapes):
    """Return the sizes at which to paint, from coarse to fine, and how many epochs at each.

    Gatys et al. (2017), section 6: what is painted small and then enlarged has strokes that fit the picture, and a
    large picture that starts from it needs few steps.

    Args:
        settings: Settings. The first size gets EPOCHS epochs, each further one half of those of the one before, so that
            each takes about as long, but not less than 20.
        shapes: as choose_sizes, which chooses the sizes: the first is at most 200, each further one larger by √2.

    Returns:
        list of (length of the long side in pixels, number of epochs).

    Raises:
        SettingsError: as choose_sizes.
    """
    least = min(LEAST_EPOCHS, settings.EPOCHS)
    sizes = choose_sizes(settings, shapes, math.sqrt(2), LARGEST_START)
    return [(size, max(least, round(settings.EPOCHS / 2**i))) for i, size in enumerate(sizes)]


def choose_sizes(settings, shapes, factor, largest_start):
    """Return the sizes of SIZES or, if that is [], IMAGE_SIZE divided by a factor again and again, smallest first.

    Args:
        settings: Settings.
        shapes: (H, W) of the content image and the style images; sizes at which one of them would have a side of less
            than 32 pixels are left out.
        factor: by which a size is larger than the one before.
        largest_start: pixels; it is divided until it is not larger.

    Raises:
        SettingsError: SIZES begins with a size at which one of the images would have a side of less than 32 pixels.
    """
    scales = [1.0] + [settings.STROKE_SIZE] * (len(shapes) - 1)
    thinnest = min(scale * min(shape) / max(shape) for scale, shape in zip(scales, shapes, strict=True))
    if settings.SIZES and round(settings.SIZES[0] * thinnest) < MIN_SIDE:
        raise SettingsError(
            f"SIZES begins with {settings.SIZES[0]}, which leaves the short side of a picture less than {MIN_SIDE} "
            f"pixels. Begin with {math.ceil(MIN_SIDE / thinnest)} or more."
        )
    sizes = settings.SIZES or [settings.IMAGE_SIZE]
    while not settings.SIZES and round(sizes[0]) > largest_start and sizes[0] / factor * thinnest >= MIN_SIDE:
        sizes = [sizes[0] / factor, *sizes]
    return [round(size) for size in sizes]
