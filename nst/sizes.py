"""From coarse to fine: the sizes at which a picture is painted, and how long at each."""

import math

from nst.errors import SettingsError
from nst.images import MIN_SIDE

LARGEST_START = 200  # pixels of the long side: a painting shows after seconds; from smaller ones faces come apart
LEAST_EPOCHS = 20  # at a further size: fewer do not paint over what enlarging has blurred


def plan_sizes(settings, shapes):
    """Return the sizes at which to paint, from coarse to fine, and how many epochs at each.

    Gatys et al. (2017), section 6: what is painted small and then enlarged has strokes that fit the picture, and a
    large picture that starts from it needs few steps.

    Args:
        settings: dict of the settings. If SIZES is [], IMAGE_SIZE is divided by the square root of two, again and
            again, down to 142 to 200. The first size gets EPOCHS epochs, each further one half of those of the one
            before, so that each takes about as long, but not less than 20.
        shapes: (H, W) of the content image and the style images; sizes at which one of them would have a side of less
            than 32 pixels are left out.

    Returns:
        list of (length of the long side in pixels, number of epochs).

    Raises:
        SettingsError: SIZES begins with a size at which one of the images would have a side of less than 32 pixels.
    """
    scales = [1.0] + [settings["STROKE_SIZE"]] * (len(shapes) - 1)
    sizes = settings["SIZES"]
    thinnest = min(scale * min(shape) / max(shape) for scale, shape in zip(scales, shapes, strict=True))
    if sizes and sizes[0] * thinnest < MIN_SIDE - 1:
        raise SettingsError(
            f"SIZES begins with {sizes[0]}, which leaves the short side of a picture less than {MIN_SIDE} pixels. "
            f"Begin with {math.ceil(MIN_SIDE / thinnest)} or more."
        )
    if not sizes:
        sizes = [settings["IMAGE_SIZE"]]
        while round(sizes[0]) > LARGEST_START and sizes[0] / math.sqrt(2) * thinnest >= MIN_SIDE:
            sizes.insert(0, sizes[0] / math.sqrt(2))
    least = min(LEAST_EPOCHS, settings["EPOCHS"])
    return [(round(size), max(least, round(settings["EPOCHS"] / 2**i))) for i, size in enumerate(sizes)]
