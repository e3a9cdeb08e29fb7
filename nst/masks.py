"""Masks made from a photo, for STYLE_MASKS."""

import os

import numpy as np
from PIL import Image, ImageFilter

from nst.errors import ImageError
from nst.images import load_image, save_image, to_uint8
from nst.records import claim_folder, parent_folder

SIZE = 640  # pixels of the masks' long side
CALM = 9  # pixels across which single light and dark spots are passed over
SOFT = 3  # pixels over which the edge fades


def threshold_masks(photo, lightness):
    """Make two masks of a photo, one white where it is light, such as the sky, the other where it is dark.

    Args:
        photo: path of the photo.
        lightness: between dark, 0, and light, 1, where the edge is.

    Returns:
        paths of the two masks, which add up to white, in a new folder output/masks-<NNN> (or in NST_OUTPUT_DIR).

    Raises:
        ImageError: as load_image, or nothing in the photo is lighter, or darker.
    """
    grey = Image.fromarray(to_uint8(load_image(photo, SIZE))).convert("L")
    calm = grey.filter(ImageFilter.MedianFilter(CALM)).filter(ImageFilter.GaussianBlur(CALM / 2))
    edge = Image.fromarray(255 * (np.asarray(calm) > 255 * lightness).astype(np.uint8))
    light = np.asarray(edge.filter(ImageFilter.GaussianBlur(SOFT)), np.float32) / 255
    if not 0 < np.asarray(edge).mean() < 255:
        low, high = np.asarray(calm).min() / 255, np.asarray(calm).max() / 255
        raise ImageError(
            f"lightness = {lightness:g} does not divide {photo}, which goes from {low:.2f} to {high:.2f}. Choose a "
            "value between."
        )
    folder, _ = claim_folder(parent_folder({"OUTPUT_DIR": os.environ.get("NST_OUTPUT_DIR", "")}), "masks")
    paths = []
    for name, mask in (("light", light), ("dark", 1 - light)):
        paths.append((folder / f"{name}.png").as_posix())
        save_image(np.repeat(mask[..., np.newaxis], 3, axis=-1), paths[-1])
    return paths
