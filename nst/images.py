"""Pictures: read right or refused with the reason, saved whole, enlarged, and brought into the range VGG19 expects.

Images are float32 RGB in [0, 1] with shape (1, H, W, 3) everywhere.
"""

import difflib
import functools
import io
import math
import re
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

from nst.backend import tf
from nst.decode import FORMATS, MAX_PIXELS, open_picture, to_rgb, upright_size
from nst.errors import ImageError
from nst.files import write_file

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of the VGG networks' training pictures, 0-255
MIN_SIDE = 32  # pixels after resizing: block5 has a sixteenth of them
MAX_ASPECT_RATIO = 10
EXAMPLES = Path("images")


def load_image(path, size, enlarge=True, background="white"):
    """Read a picture and scale it, aspect ratio kept.

    Rotation flags and colour profiles are obeyed (one that cannot be used is left out and named), transparent pictures
    are laid on a background (of one that is transparent all over the colours are taken, which is said), of several
    frames or pages the first is taken, and 16-bit and floating-point pictures are brought to 8 bits.

    Args:
        path: file of one of nst.decode.FORMATS, whatever its name.
        size: length of the long side in pixels.
        enlarge: False leaves a smaller picture as it is. A style image has no finer strokes than its file has.
        background: "white" or "black".

    Returns:
        tf.Tensor, float32 RGB in [0, 1], shape (1, H, W, 3), max(H, W) = size, or less if it is not to be enlarged.

    Raises:
        ImageError: the file is missing, unreadable, damaged, over 100 megapixels, longer than 1:10, or its short side
            would have less than 32 pixels.
    """
    height, width = scaled_size(path, size, enlarge)
    with open_picture(Path(path)) as opened:
        picture, remarks = to_rgb(opened, (width, height), background)
    for sentence in remarks:
        say_once(f"Note: {str(path).encode(errors='replace').decode()}: {sentence}")
    return tf.constant(np.asarray(picture, np.float32)[np.newaxis] / 255.0)


def scaled_size(path, size, enlarge=True):
    """Return the (H, W) that load_image gives a picture, from the file's head alone.

    Args and Raises: as load_image; damage behind the head is not seen.
    """
    with open_picture(_existing_file(path)) as opened:
        width, height = upright_size(opened)
    long, short = max(width, height), min(width, height)
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path} has {width * height / 1e6:.2f} megapixels, 100 are the most. Make it smaller.")
    if long > MAX_ASPECT_RATIO * short:
        raise ImageError(f"{path} is {width}×{height}: longer than 1:{MAX_ASPECT_RATIO}. Cut a part out of it.")
    least = math.ceil(MIN_SIDE * long / short)
    if not enlarge:  # but never below the smallest side that VGG19 can look at
        size = min(size, max(long, least))
    if round(short * size / long) < MIN_SIDE:
        raise ImageError(
            f"{path} gets a short side of {round(short * size / long)} pixels, {MIN_SIDE} are the least. "
            f"IMAGE_SIZE, or the first of SIZES, must be {least} or more."
        )
    return round(height * size / long), round(width * size / long)


def _existing_file(path):
    """Return the path of a picture; raise an error that says more than Pillow would, if it is none."""
    if not isinstance(path, (str, Path)):
        raise ImageError(f"A picture is named by its path, a text in quotes, and this is {type(path).__name__}.")
    if re.match("(https?|ftp|file|data|s3|gs):", str(path), re.IGNORECASE):
        raise ImageError(f"{str(path)[:200]} is an address. Download the picture and name the file.")
    if "\0" in str(path):
        raise ImageError(f"{str(path)!r} cannot be the name of a picture.")
    path = Path(path)
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder. Name a picture in it.{_nearest_names(path / 'picture.jpg')}")
        if not path.is_file():
            what = "is no ordinary file" if path.exists() else "does not exist"
            raise ImageError(f"{path} {what}.{_nearest_names(path)}")
        with open(path, "rb") as file:
            start = file.read(1)
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}.") from None
    if not start:
        raise ImageError(f"{path} is empty. Copy or download it again.")
    return path


def _nearest_names(path):
    """Return a sentence with the files in path's folder, or in images/, whose names look most like it."""
    if (there := EXAMPLES / path.name).is_file():
        return f" Do you mean {there}?"
    plain = functools.partial(unicodedata.normalize, "NFKC")  # one accent or blank for all that look like it
    for other in (other for other in path.parent.glob("*") if plain(other.name) == plain(path.name)):
        return f" {other} only looks the same: copy its name from here."
    for folder, cutoff in ((path.parent, 0.6), (EXAMPLES, 0.6), (path.parent, 0.0)):
        pictures = [p.name for p in folder.glob("*") if is_named_as_picture(p) and p.is_file()]
        within = [name for name in sorted(pictures) if len(path.stem) > 2 and path.stem.lower() in name.lower()][:3]
        near = within or difflib.get_close_matches(
            path.name, sorted(pictures), n=8 if cutoff == 0 else 3, cutoff=cutoff
        )
        if near:
            return f" In {folder} there is: {', '.join(near)}."
    here = path.parent.absolute()
    missing = f"picture in {here}" if path.parent.is_dir() else f"folder {path.parent} either"
    return f" There is no {missing}."


def is_named_as_picture(path):
    """Return whether a pathlib.Path has a suffix of one of the formats that are read, and is not hidden."""
    return not path.name.startswith(".") and Image.registered_extensions().get(path.suffix.lower()) in FORMATS


@functools.cache
def say_once(sentence):
    """Print a sentence, unless this process has printed it before."""
    print(sentence)


def to_uint8(image):
    """Return float RGB in [0, 1], shape (1, H, W, 3) or (H, W, 3), as rounded uint8 of shape (H, W, 3)."""
    pixels = np.asarray(image, np.float32)
    pixels = pixels[0] if pixels.ndim == 4 else pixels
    return np.round(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


def save_image(image, path):
    """Write an image, as to_uint8 takes it, as .jpg (quality 95) or .png, whole or not at all.

    Raises:
        ImageError: another suffix.
        RunError: as write_file.
    """
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    kind = formats.get(Path(path).suffix.lower())
    if kind is None:
        raise ImageError(f"{path}: pictures are saved as {', '.join(formats)}.")
    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(to_uint8(image)).save(buffer, kind, **options)
    write_file(path, buffer.getvalue())


def enlarge_image(image, size):
    """Return an image, float32 RGB in [0, 1], shape (1, h, w, 3), enlarged (bicubic) to a size (H, W)."""
    return tf.clip_by_value(tf.image.resize(image, size, "bicubic"), 0.0, 1.0)


def preprocess_image(image):
    """Turn an image into what VGG19 was trained on: BGR, 0-255, the channel means of its training set subtracted.

    Args:
        image: float32 RGB in [0, 1], shape (1, H, W, 3).

    Returns:
        float32 tensor of the same shape, B in about [-104, 151], G in [-117, 138], R in [-124, 131].
    """
    return image[..., ::-1] * 255.0 - tf.constant(IMAGENET_MEAN_BGR)


def differences(image):
    """Return how much each value of an image differs from its neighbours: the root of half the sum of four squares.

    On a slope this is its steepness, whatever its direction. Beyond the edges the image is mirrored, so that values
    there have four neighbours, too.

    Args:
        image: float32, shape (1, H, W, 3), H and W at least 2.

    Returns:
        float32 tensor of the same shape, 0.001 or more, so that it has a gradient everywhere.
    """
    padded = tf.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), "REFLECT")
    down, right = padded[:, 1:, 1:-1] - padded[:, :-1, 1:-1], padded[:, 1:-1, 1:] - padded[:, 1:-1, :-1]
    down, right = down**2, right**2
    return tf.sqrt(0.5 * (down[:, 1:] + down[:, :-1] + right[:, :, 1:] + right[:, :, :-1]) + 1e-6)
