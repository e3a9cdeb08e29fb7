"""From coarse to fine: the sizes at which a picture is painted, and how long at each."""

import math

from nst.errors import SettingsError
from nst.images import MIN_SIDE


def plan_sizes(settings, shapes):
    """Return the sizes at which to paint, from coarse to fine, and how many epochs at each.

    Gatys et al. (2017), section 6: what is painted small and then enlarged has strokes that fit the picture, and a
    large picture that starts from it needs few steps.

    Args:
        settings: dict of the settings. If SIZES is [], IMAGE_SIZE is halved until it is nearest to 400. The first size
            gets EPOCHS epochs, each further one two fifths of those of the one before.
        shapes: (H, W) of the content and the style image; sizes at which one of them would have a side of less than 32
            pixels are left out.

    Returns:
        list of (length of the long side in pixels, number of epochs).

    Raises:
        SettingsError: SIZES begins with a size at which one of the images would have a side of less than 32 pixels.
    """
    sizes, thinnest = settings["SIZES"], min(min(shape) / max(shape) for shape in shapes)
    if sizes and sizes[0] * thinnest < MIN_SIDE - 1:
        raise SettingsError(
            f"SIZES begins with {sizes[0]}, which leaves the short side of a picture less than {MIN_SIDE} pixels. "
            f"Begin with {math.ceil(MIN_SIDE / thinnest)} or more."
        )
    if not sizes:
        halvings = max(0, round(math.log2(settings["IMAGE_SIZE"] / 400)))
        sizes = [round(settings["IMAGE_SIZE"] / 2**i) for i in range(halvings, -1, -1)]
        sizes = [size for size in sizes[:-1] if size * thinnest >= MIN_SIDE] + sizes[-1:]
    return [(size, max(1, round(settings["EPOCHS"] * 0.4**i))) for i, size in enumerate(sizes)]
