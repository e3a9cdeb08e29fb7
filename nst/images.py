"""Pictures: read right or refused with the reason, saved whole, enlarged, and brought into the range VGG19 expects.

Images are float32 RGB in [0, 1] with shape (1, H, W, 3) everywhere.
"""

import contextlib
import difflib
import io
import math
import os
import re
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from nst.backend import tf
from nst.errors import ImageError, RunError

IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)  # of the VGG networks' training pictures, 0-255
MAX_PIXELS = 100_000_000
MIN_SIDE = 32  # pixels after resizing: block5 has a sixteenth of them
MAX_ASPECT_RATIO = 10

_ONE_AT_A_TIME = threading.RLock()  # warnings are turned off and on again for all threads


def load_image(path, size, enlarge=True, background="white"):
    """Read a picture and scale it, aspect ratio kept.

    Rotation flags and colour profiles are obeyed, transparent pictures are laid on a background, of several frames or
    pages the first is taken, and 16-bit and floating-point pictures are brought to 8 bits.

    Args:
        path: file that Pillow can read.
        size: length of the long side in pixels.
        enlarge: False leaves a smaller picture as it is. A style image has no finer strokes than its file has.
        background: "white" or "black".

    Returns:
        tf.Tensor, float32 RGB in [0, 1], shape (1, H, W, 3), max(H, W) = size.

    Raises:
        ImageError: the file is missing, unreadable, damaged, over 100 megapixels, longer than 1:10, or its short side
            would have less than 32 pixels.
    """
    height, width = scaled_size(path, size, enlarge)
    with _open(path) as opened:
        opened.draft(None, (2 * max(height, width), 2 * max(height, width)))  # JPEG: decode it smaller
        picture = _to_rgb(ImageOps.exif_transpose(opened), (width, height), background)
    return tf.constant(np.asarray(picture, np.float32)[np.newaxis] / 255.0)


def scaled_size(path, size, enlarge=True):
    """Return the (H, W) that load_image gives a picture, from the file's head alone.

    Args and Raises: as load_image; damage behind the head is not seen.
    """
    with _open(path) as opened:
        width, height = opened.size
        if opened.getexif().get(0x0112, 1) >= 5:  # stored on its side
            width, height = height, width
    long, short = max(width, height), min(width, height)
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path} has {width * height / 1e6:.0f} megapixels, 100 are the most. Make it smaller.")
    if long > MAX_ASPECT_RATIO * short:
        raise ImageError(f"{path} is {width}×{height}: longer than 1:{MAX_ASPECT_RATIO}. Cut a part out of it.")
    least = math.ceil(MIN_SIDE * long / short)
    if not enlarge:  # but never below the smallest side that VGG19 can look at
        size = min(size, max(long, least))
    if round(short * size / long) < MIN_SIDE:
        raise ImageError(
            f"{path} gets a short side of {round(short * size / long)} pixels, {MIN_SIDE} are the least. "
            f"Set IMAGE_SIZE = {least} or more."
        )
    return round(height * size / long), round(width * size / long)


@contextlib.contextmanager
def _open(path):
    """Open a picture with Pillow; whatever goes wrong with it becomes an ImageError, and no warning is shown."""
    if re.match(r"https?:", str(path)):
        raise ImageError(f"{path} is an address. Download the picture and name the file.")
    path = Path(path)
    _check_image_file(path)
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                yield opened
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no picture that Pillow can read. Save it again as JPEG or PNG.") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} has over {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller.") from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into the memory. Lower IMAGE_SIZE, or make the file smaller.") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{path} cannot be decoded: {reason}. It may be damaged: copy it again, or save it as JPEG or PNG."
        ) from None


def _check_image_file(path):
    """Raise an error that says more than Pillow would, for what is no picture at all."""
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder. Name a picture in it.{_nearest_names(path / 'picture.jpg')}")
        if not path.is_file():
            raise ImageError(f"{path} does not exist.{_nearest_names(path)}")
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}.") from None
    if not start:
        raise ImageError(f"{path} is empty. Copy or download it again.")
    if re.match(rb"\s*<(!doctype|html|\?xml|svg)", start, re.IGNORECASE):
        raise ImageError(f"{path} is a web page or an SVG drawing. Save the picture itself, as JPEG or PNG.")


def _nearest_names(path):
    """Return a sentence with the files in path's folder whose names look most like it, or an empty string."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    pictures = Image.registered_extensions()
    here = sorted(p.name for p in path.parent.iterdir() if p.is_file() and p.suffix.lower() in pictures)
    near = difflib.get_close_matches(path.name, here, n=3, cutoff=0.3) or here[:8]
    return f" In {path.parent} there is: {', '.join(near)}." if near else f" There is no picture in {path.parent}."


def _to_rgb(picture, size, background):
    """Return a Pillow image of any mode as 8-bit sRGB of the given (width, height)."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _to_8_bits(picture)
    if picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode in ("1", "P", "HSV", "YCbCr"):
        picture = picture.convert("RGB")
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colour = _to_srgb(picture.convert("RGB") if alpha else picture, profile)
    if alpha:
        colour = Image.composite(colour, Image.new("RGB", colour.size, background), alpha)
    return colour


def _to_8_bits(picture):
    """Return a picture of mode I;16, I or F as L, scaled by the smallest usual white that holds its values."""
    values = np.asarray(picture, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels are not finite (NaN or infinity)")
    whites = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(picture.mode, (65535.0,))
    white = next((white for white in whites if values.max() <= white), values.max())
    return Image.fromarray(np.round(np.clip(values / white, 0.0, 1.0) * 255.0).astype(np.uint8))


def _to_srgb(picture, profile):
    """Return a picture of mode L, RGB, CMYK or LAB as RGB; a profile that does not fit is passed over."""
    srgb = ImageCms.createProfile("sRGB")
    if picture.mode == "LAB":
        return ImageCms.profileToProfile(picture, ImageCms.createProfile("LAB"), srgb, outputMode="RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
    return picture.convert("RGB")


def to_uint8(image):
    """Return float RGB in [0, 1], shape (1, H, W, 3) or (H, W, 3), as rounded uint8 of shape (H, W, 3)."""
    pixels = np.asarray(image, np.float32)
    pixels = pixels[0] if pixels.ndim == 4 else pixels
    return np.round(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


def save_image(image, path):
    """Write an image so that it appears under its name whole or not at all.

    Args:
        image: float RGB in [0, 1], shape (1, H, W, 3) or (H, W, 3).
        path: the suffix chooses the format: .jpg (quality 95) or .png.

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


def write_file(path, content):
    """Write to a temporary file beside path, flush it to the disk and rename it to path.

    Args:
        path: name of the file.
        content: bytes, or a function that writes into the open binary file which it is given.

    Raises:
        RunError: no room, no permission or no folder; what stood under the name before is still there. Its
            __cause__ is the OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} could not be written: {error.strerror}. What was saved before is whole. Make room on the disk or "
            f"check the folder's permissions, and run again, or go on with RESUME."
        ) from error


def enlarge_image(image, size):
    """Enlarge an image (bicubic).

    Args:
        image: float32 RGB in [0, 1], shape (1, h, w, 3).
        size: (H, W) to bring it to.

    Returns:
        float32 tensor, RGB in [0, 1], shape (1, H, W, 3).
    """
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
