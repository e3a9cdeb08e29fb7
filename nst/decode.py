"""Picture files of the formats that are meant: opened, and made 8-bit sRGB; what cannot be read right is refused."""

import contextlib
import errno
import io
import os
import re
import threading
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nst.errors import ImageError
from nst.files import silent_stderr
from nst.notes import without_notes

FORMATS = (  # Pillow knows more: some it hands to other programs, some it reads wrong, of some it knows the head alone
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "PCX", "QOI", "SGI", "TGA"
)  # fmt: skip
MAX_PIXELS = 100_000_000
RARE_TIFF = "is a TIFF file of a rare kind, which is not read right, or damaged. Save it again as JPEG or PNG."

_ONE_AT_A_TIME = threading.RLock()  # warnings are turned off and on again for all threads
_HEADS = {  # what a file begins with, and what is to be said then
    rb"(\xef\xbb\xbf)?\s*<(!--|!doctype|html|head|body|\?xml|svg)": "a web page or an SVG "
    "drawing. Save the picture itself, as JPEG or PNG.",
    rb"....ftyp(hei|hev|(mif1|msf1)(?!.{0,60}avi[fs]))": "an HEIC picture, as phones take them. Convert it to JPEG: "
    "Photos or Preview exports it on a Mac, Photos or Paint on Windows, `heif-convert` on Linux.",
    rb"\x89PNG.{8}CgBI": "a PNG for iPhone apps alone. Open it on a Mac and export it as PNG.",
    rb"....ftyp(isom|iso\d|mp4|M4V|qt  |3g|avc1|MSNV|dash)": "a film. Take one picture out of it.",
    rb"%!PS|\xc5\xd0\xd3\xc6|%PDF": "a PostScript or PDF document. Export it as PNG.",
    rb"8BP[SB]": "a Photoshop document. Export it as JPEG or PNG.",
    rb"....ftypcrx|FUJIFILM|II\*\0....(CR|IIII.waR)|MM\0\*....MMMMRaw|II(RO|RS|U\0)|FOVb|\0MRM": "a raw camera file. "
    "Export it as JPEG or TIFF.",
}
_PROFILED = rb"GIF8.*\x21\xff\x0bICCRGBG1012|BM.{12}\x7c\0\0\0.{52}(DEBM|KNIL)"  # with one that Pillow passes over
_TURNS = {  # by EXIF's number; with others a picture stays as it is
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_TIFF_LAYOUTS = {  # (photometric interpretation, sample format): bits per sample that were compared with other readers
    (0, 1): (1, 2, 4, 8, 16), (1, 1): (1, 2, 4, 8, 12, 16), (0, 3): (32,), (1, 3): (32,),
    (2, 1): (8, 16), (3, 1): (1, 2, 4, 8), (5, 1): (8, 16), (6, 1): (8,), (8, 1): (8,),
}  # fmt: skip


@contextlib.contextmanager
def open_picture(path):
    """Open a picture, a file that can be read, with Pillow; what goes wrong with it becomes an ImageError.

    Yields:
        Pillow's image, not decoded yet, for upright_size and to_rgb.

    Raises:
        ImageError: another format, a layout that is not read right, or damage.
    """
    try:
        with open(path, "rb") as file, _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = file.read(1024)
            for start, sentence in _HEADS.items():
                if re.match(start, head, re.IGNORECASE | re.DOTALL):
                    raise ImageError(f"is {sentence}")
            # by its name, Pillow would map it into the memory, and tear what it turns
            quiet = silent_stderr() if head[:2] in (b"II", b"MM") else contextlib.nullcontext()  # libtiff talks
            with quiet, without_notes(file, head) as (source, info), Image.open(source, formats=FORMATS) as opened:
                opened.info |= {"remarks": [], **info}
                packed = opened.format == "TIFF" and opened.info["compression"] != "raw"
                if (packed or opened.format in ("WEBP", "AVIF", "QOI")) and _ends_with_zeros(file):
                    opened.info["remarks"].append("the file ends with zeros, so it may not be whole. Copy it again.")
                opened.info.pop("xmp", None)  # by which other programs turn nothing
                if opened.format == "TIFF":
                    _vouch_for_tiff(opened, head)
                elif opened.format == "TGA" and not head[17] & 15:
                    opened.info["opaque"] = True  # its fourth byte means nothing
                elif re.match(_PROFILED, head, re.DOTALL) or (opened.format == "JPEG" and _is_adobe_rgb(opened)):
                    opened.info.setdefault("icc_profile", b"not read")
                yield opened
    except ImageError as error:
        raise ImageError(f"{path} {error}") from None
    except UnidentifiedImageError:
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise ImageError(f"{path} {RARE_TIFF}") from None
        raise ImageError(
            f"{path} is no picture that Pillow can read: of another kind, or damaged. Save it "
            "again as JPEG or PNG, or copy it again."
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} has over {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller.") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            raise ImageError(f"{path} does not fit into the memory. Lower IMAGE_SIZE, or make it smaller.") from None
        reason = re.sub("decoder error.*", "its pixels are not whole", str(error)) or type(error).__name__
        raise ImageError(
            f"{path} cannot be decoded: {reason}. It may be damaged: copy it again, or save it as JPEG or PNG."
        ) from None


def _ends_with_zeros(file):
    """Return whether a file ends with many zeros, as what was copied by half does; whole ones may have hundreds."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - max(1000, size // 20)))
    return not any(file.read())


def _is_adobe_rgb(opened):
    """Return whether a camera has noted that its colours are those of Adobe RGB, as it may instead of a profile."""
    with contextlib.suppress(Exception):  # odd EXIF data
        return opened.getexif().get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    return False


def _vouch_for_tiff(opened, head):
    """Refuse what is not read right of TIFF's many layouts, and note what Pillow does not say of the others."""
    tags = opened.tag_v2

    def values_of(tag, *default):
        values = tags.get(tag, default)
        return values if isinstance(values, tuple) else (values,)

    def width_at(offset):
        with contextlib.suppress(Exception):
            directory = ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])
            opened.fp.seek(offset)
            directory.load(opened.fp)
            return directory[256]
        return 0

    others = [*values_of(330)[:20], *[tags.next] * (tags[256] <= 512)]  # pages of scans differ, too
    larger = any(width_at(offset) > 2 * tags[256] for offset in others)
    if larger or tags.get(254) in (1, 3, 5, 7) or 50706 in tags:
        raise ImageError("holds a small preview of the picture, as raw camera files do. Export it as JPEG or TIFF.")
    bits, formats = set(values_of(258, 1)), set(values_of(339, 1))
    packing, photometric = opened.info["compression"], tags.get(262)
    planes = tags.get(284, 1) == 2 and tags.get(277, 1) > 1
    if (
        len(bits) > 1
        or 262 not in tags
        or packing == "webp"
        or not bits <= {*_TIFF_LAYOUTS.get((6 if packing == "tiff_jpeg" else photometric, *formats), ())}
        or (planes and (bits != {8} or opened.mode not in ("RGB", "RGBA", "CMYK") or 1 in values_of(338)))
        or (packing == "raw" and photometric == 6)
        or (packing != "raw" and opened.mode == "F" and head.startswith(b"MM"))
        or (photometric == 3 and max(tags[320]) < 256)  # a colour map meant to be of 8 bits
        or tags.get(332, 1) != 1  # other inks than CMYK
    ):
        raise ImageError(RARE_TIFF)
    opened.info |= {"negative": photometric == 0, "bits": max(bits)}

    orientation, exif = tags.get(0x0112), opened.getexif()  # Pillow turns it by exif, but takes its size from the tag
    for tag in list(exif):
        del exif[tag]
    exif[0x0112] = orientation if orientation in list(_TURNS) else 1


def _turn(opened):
    """Return how a picture is to be turned, or None."""
    if opened.format != "TIFF":  # which Pillow turns by itself
        with contextlib.suppress(Exception):
            return _TURNS.get(opened.getexif().get(0x0112))
    return None


def upright_size(opened):
    """Return the (width, height) of a picture from open_picture after its turning."""
    return opened.size[::-1] if _turn(opened) in [_TURNS[number] for number in (5, 6, 7, 8)] else opened.size


def to_rgb(opened, size, background):
    """Decode a picture from open_picture, turn it upright, scale it to (width, height) and make it 8-bit sRGB.

    Transparent pictures are laid on a background. Returns Pillow's image of mode RGB, and a list of sentences on what
    was not taken as it stands.
    """
    turn, profile = _turn(opened), opened.info.get("icc_profile", b"")
    if upright_size(opened) != opened.size:
        size = size[::-1]
    opened.draft(None, (2 * max(size), 2 * max(size)))  # JPEG: decode it smaller
    opened.load()
    remarks = opened.info["remarks"]
    if opened.mode.startswith(("I", "F")):
        picture = _scale_deep(opened, size)
    else:
        picture = _in_8_bits(opened)
        if picture.mode in ("LA", "RGBA") and picture.getextrema()[-1] == (0, 0):
            picture = picture.convert(picture.mode.removesuffix("A"))
            remarks.append("all of it is transparent. Its transparency is left out.")
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture = picture.transpose(turn) if turn is not None else picture
    alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
    colour, obeyed = _to_srgb(picture.convert(picture.mode.removesuffix("A")), profile)
    if alpha:
        colour = Image.composite(colour, Image.new("RGB", colour.size, background), alpha)
        if background == "white" and colour.getextrema() == ((255, 255),) * 3:
            remarks.append("nothing of it is to be seen on white, on which it is laid. Lay it on another colour.")
    if not obeyed:
        remarks.append("its colour profile cannot be used and is left out. The colours are taken as sRGB.")
    return colour, remarks


def _in_8_bits(picture):
    """Return a picture of 8 bits in mode L, LA, RGB, RGBA, CMYK or LAB."""
    mode, covered = picture.mode, getattr(picture, "dispose_extent", None)  # by the first frame of a GIF
    if covered and covered != (0, 0, *picture.size):
        frame, picture = picture.convert("RGBA").crop(covered), Image.new("RGBA", picture.size)
        picture.paste(frame, covered)
        return picture
    if picture.info.get("opaque"):
        picture = picture.convert("RGB")
    elif mode in ("La", "PA") or "transparency" in picture.info:
        picture = picture.convert("LA" if mode in ("1", "L", "La") else "RGBA")
    elif mode in ("1", "P", "HSV", "YCbCr", "RGBX"):
        clear = mode == "P" and picture.palette.mode == "RGBA"
        picture = picture.convert("L" if mode == "1" else "RGBA" if clear else "RGB")
    return picture


def _scale_deep(picture, size):
    """Return a picture of mode I;16, I or F scaled, as L, or as LA where a grey of it is transparent."""
    picture = picture.convert("I") if picture.mode == "I;16B" else picture  # which Pillow scales wrong
    values = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    if not np.isfinite(values).all():
        raise ImageError("has pixels that are no finite numbers (NaN or infinity). Save it again as JPEG or PNG.")
    white = 4095 if picture.info.get("bits") == 12 else 65535
    if picture.mode == "F":
        high = np.quantile(np.asarray(picture.resize(size, Image.Resampling.NEAREST)), 0.99)  # some may be brighter
        white = next(
            (usual for usual in (1, 255, 1023, 4095, 65535) if high <= usual * (4 if usual == 1 else 1.2)), high
        )
        if not 0.5 * white < high <= white:  # it is not sure
            picture.info["remarks"].append(f"{white:g} is taken for white of its floating-point numbers.")
    scaled = np.clip(values / np.float64(white), 0.0, 1.0)
    scaled = 1.0 - scaled if picture.info.get("negative") else scaled
    grey = Image.fromarray(np.round(scaled * 255.0).astype(np.uint8))
    if "transparency" not in picture.info:
        return grey
    opaque = Image.fromarray(np.uint8(255) * (np.asarray(picture) != picture.info["transparency"]))
    return Image.merge("LA", [grey, opaque.resize(size, Image.Resampling.LANCZOS)])


def _to_srgb(picture, profile):
    """Return a picture of mode L, RGB, CMYK or LAB as RGB, and whether its profile, if it has one, could be used."""
    srgb = ImageCms.createProfile("sRGB")
    if picture.mode == "LAB":
        return ImageCms.profileToProfile(picture, ImageCms.createProfile("LAB"), srgb, outputMode="RGB"), True
    if profile == b"":
        return picture.convert("RGB"), True
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "GRAY" and _is_grey(picture):  # as AVIF has greys
            picture = picture.convert("L")
        return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB"), True
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return picture.convert("RGB"), False


def _is_grey(picture):
    red, *others = picture.split()
    return all(ImageChops.difference(red, other).getextrema()[1] <= 4 for other in others)
