"""The pictures that a run is made from at each of its sizes: photo, style images, masks, and what it begins as.

Images are float32 RGB in [0, 1] with shape (1, H, W, 3) everywhere.
"""

import math
from typing import NamedTuple

import numpy as np

from nst.backend import tf
from nst.colours import match_colours, with_colours_of
from nst.errors import SettingsError
from nst.images import MIN_SIDE, enlarge_image, load_image, scaled_size
from nst.settings import style_pictures
from nst.table import STARTS

ANY_SIZE = 20_000  # pixels: a size at which each picture that is long enough can be looked at
BLACK = 0.02  # a mask that is nowhere lighter is all black; JPEG files are not quite 0


class Sources(NamedTuple):
    """The pictures that a run is made from, at one size.

    content_image, style_images (a list): float32 RGB in [0, 1], shape (1, H, W, 3). masks: float32 array of shape
    (number of masks, H, W), 1 where a style image paints, at most 1 in all. parts: list with an entry per style image,
    None or a mask of its own, (1, H, W), 1 where it is looked at. style_weights: list of numbers that add up to 1.
    keep_colours: as KEEP_COLOURS.
    """

    content_image: tf.Tensor
    style_images: list
    masks: np.ndarray
    parts: list
    style_weights: list
    keep_colours: str

    def mix(self, grams):
        """Return the style that the generated image is to have, a list with an entry per layer.

        grams holds, for each style image, the mean Gram matrices (n_C, n_C) of all layers, or other means of products;
        an entry is their mean by style_weights. With masks it is all of them, (n_masks, n_C, n_C), each times the root
        of its mask's share of the picture, as tiles.Look.guides has it.
        """
        layers = zip(*grams, strict=True)
        if not len(self.masks):
            return [tf.add_n([w * G for w, G in zip(self.style_weights, layer, strict=True)]) for layer in layers]
        roots = np.sqrt(self.masks.mean(axis=(1, 2)))
        return [tf.stack([root * G for root, G in zip(roots, layer, strict=True)]) for layer in layers]

    def see_styles(self, style_images, look):
        """Return what the style of the generated image is to be: see Run.look_at_style. look is a tiles.Look."""
        seen, reduced = [], []
        for image, part in zip(style_images, self.parts, strict=True):
            guides = () if part is None else look.guides(part)
            seen.append(look(image, guides))
            scale = 1.0 if part is None else part.mean() ** -0.5  # as the guides weigh a part
            reduced.append([(look.reduce(a)[0] if guides else look.reduce(a)) * scale for a in seen[-1][:-1]])
        one = len(style_images) == 1 and not len(self.masks)
        return [*(reduced[0] if one else self.mix(reduced)), seen[0][-1]]

    def finish(self, image):
        """Return what is shown and saved of an image of this size: with the photo's colours, and within the masks."""
        if self.keep_colours == "luminance":
            image = with_colours_of(self.content_image, image)
        if len(self.masks):
            painted = tf.reduce_sum(self.masks, axis=0)[..., tf.newaxis]
            image = painted * image + (1.0 - painted) * self.content_image
        return image


def load_sources(settings, size):
    """Return the Sources of a run at a size, the length of its long side in pixels; errors are those of load_masks."""
    content_image = load_image(settings.CONTENT_IMAGE, size)
    style_images = load_style_images(settings.STYLE_IMAGE, size, settings.STROKE_SIZE)
    if settings.KEEP_COLOURS == "match":
        style_images = [match_colours(image, content_image) for image in style_images]
    masks = load_masks(settings.STYLE_MASKS, content_image.shape[1:3])
    paths = settings.STYLE_PARTS or [None] * len(style_images)
    parts = [
        path and load_masks([path], image.shape[1:3], "STYLE_PARTS")
        for path, image in zip(paths, style_images, strict=True)
    ]
    weights = [weight for _, weight in style_pictures(settings.STYLE_IMAGE)]
    return Sources(content_image, style_images, masks, parts, weights, settings.KEEP_COLOURS)


def check_sources(settings):
    """Return the (H, W) of the photo and of each style image at the largest size, and look whether all is in order.

    Raises:
        ImageError: a picture is missing or cannot be used.
        SettingsError: a mask is black or of other proportions than the photo, or STROKE_SIZE is so small that a style
            image would have a side of less than 32 pixels.
    """
    size, stroke_size = settings.IMAGE_SIZE, settings.STROKE_SIZE
    scaled_size(settings.CONTENT_IMAGE, min([size, *settings.SIZES]))
    shapes = [scaled_size(settings.CONTENT_IMAGE, size)]
    for path, _ in style_pictures(settings.STYLE_IMAGE):
        _check_strokes(path, size, stroke_size)
        shapes.append(scaled_size(path, round(size * stroke_size), enlarge=stroke_size > 1))
    masks = [("STYLE_MASKS", path, shapes[0]) for path in settings.STYLE_MASKS]
    masks += [("STYLE_PARTS", path, shape) for path, shape in zip(settings.STYLE_PARTS, shapes[1:], strict=False)]
    for name, path, shape in masks:
        if load_masks([path], shape, name).max() <= BLACK:
            raise SettingsError(f"{name}: {path} is black everywhere. Make it white where its style counts.")
    if settings.INIT not in STARTS:
        scaled_size(settings.INIT, ANY_SIZE)
    return shapes


def _check_strokes(path, size, stroke_size):
    own = scaled_size(path, round(size * max(1.0, stroke_size)))
    least = max(1.0, stroke_size) * MIN_SIDE / min(own)
    if stroke_size < least:
        raise SettingsError(
            f"STROKE_SIZE = {stroke_size:g} leaves {path} a short side of less than {MIN_SIDE} pixels. Set "
            f"{math.ceil(100 * least) / 100:g} or more, or a larger IMAGE_SIZE."
        )


def enlarged_styles(settings):
    """Return a sentence for each style image that STROKE_SIZE enlarges beyond its own pixels."""
    said, size = [], round(settings.IMAGE_SIZE * settings.STROKE_SIZE)
    for path, _ in style_pictures(settings.STYLE_IMAGE) if settings.STROKE_SIZE > 1 else ():
        own = max(scaled_size(path, size, enlarge=False))
        if own < size:
            said.append(f"{path} is enlarged from {own} to {size} pixels for STROKE_SIZE: its strokes get soft.")
    return said


def load_style_images(style_image, size, stroke_size=1.0):
    """Read the style images at the size that gives strokes of the size asked for.

    Args:
        style_image: path, or list of (path, weight), as the setting STYLE_IMAGE.
        size: length of the long side of the picture to be painted, in pixels.
        stroke_size: size of the style images beside it. Up to 1 they are not enlarged, since this would only blur them.

    Returns:
        list of tf.Tensor, float32 RGB in [0, 1], shape (1, H, W, 3).

    Raises:
        ImageError: as load_image.
        SettingsError: strokes so small that a style image would have a side of less than 32 pixels.
    """
    paths = [path for path, _ in style_pictures(style_image)]
    for path in paths:
        _check_strokes(path, size, stroke_size)
    return [load_image(path, round(size * stroke_size), enlarge=stroke_size > 1) for path in paths]


def load_masks(paths, shape, name="STYLE_MASKS"):
    """Read the masks, a list of paths, of a picture of shape (H, W); name is that of their setting, for messages.

    Returns:
        float32 array of shape (number of masks, H, W), 1 where the style image paints, 0 where it does not, and
        shares where masks overlap. What is transparent is black.

    Raises:
        ImageError: as load_image.
        SettingsError: a mask has other proportions than the picture.
    """
    masks = []
    for path in paths:
        mask = load_image(path, max(shape), background="black")
        height, width = mask.shape[1:3]
        if abs(math.log(width / height * shape[0] / shape[1])) > 0.02 + 1 / min(shape):
            raise SettingsError(
                f"{name}: {path} is {width}×{height} where its picture is {shape[1]}×{shape[0]}. Draw the mask on a "
                "copy of the picture, so that it has its proportions."
            )
        masks.append(np.mean(tf.image.resize(mask, shape, antialias=True)[0], axis=-1))
    masks = np.array(masks, np.float32).reshape(-1, *shape)
    return masks / np.maximum(1.0, masks.sum(axis=0))


def start_image(settings, content_image, painted=None):
    """Return what the picture begins as, an image of the content_image's shape: what INIT says, or what is painted.

    Another picture than the photo is scaled to cover it, and cut in the middle; painted, an image of the size before,
    is enlarged. ImageError: as load_image.
    """
    init, shape = settings.INIT, content_image.shape
    if painted is not None:
        return painted if painted.shape == shape else enlarge_image(painted, shape[1:3])
    if init == "content":
        return content_image
    if init == "noise":
        return tf.constant(np.random.default_rng(settings.SEED).uniform(size=shape), tf.float32)
    if init == "style":
        start = _covering(style_pictures(settings.STYLE_IMAGE)[0][0], *shape[1:3])
        return match_colours(start, content_image) if settings.KEEP_COLOURS == "match" else start
    return _covering(init, *shape[1:3])


def _covering(path, height, width):
    """Return a picture scaled to cover a height and a width, and cut in the middle."""
    h, w = scaled_size(path, ANY_SIZE)
    size = math.floor(max(height / h, width / w) * ANY_SIZE)
    while any(have < want for have, want in zip(scaled_size(path, size), (height, width), strict=True)):
        size += 1
    picture = load_image(path, size)
    top, left = ((have - want) // 2 for have, want in zip(picture.shape[1:3], (height, width), strict=True))
    return picture[:, top : top + height, left : left + width]
