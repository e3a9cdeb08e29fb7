"""Picture files of the formats that are meant: opened, and made 8-bit sRGB; what cannot be read right is refused.

What is optional (dates, names, places, profiles) never refuses a picture: every pixel is there.
"""

import contextlib
import io
import mmap
import re
import struct
import threading
import warnings
import zlib

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nst.errors import ImageError
from nst.files import silent_stderr

FORMATS = (  # Pillow knows more: some it hands to other programs, some it reads wrong, of some it knows the head alone
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "QOI", "SGI"
)  # fmt: skip
MAX_PIXELS = 100_000_000
MAX_PROFILE = 20_000_000  # bytes

_ONE_AT_A_TIME = threading.RLock()  # warnings are turned off and on again for all threads
_HEADS = {  # what a file begins with, and what is to be said then
    rb"\s*<(!doctype|html|\?xml|svg)": "a web page or an SVG drawing. Save the picture itself, as JPEG or PNG.",
    rb"....ftyp(hei|hev|(mif1|msf1)(?!.{0,60}avi[fs]))": "an HEIC picture, as phones take them. Convert it to JPEG: "
    "Photos or Preview exports it on a Mac, Photos or Paint on Windows, `heif-convert` on Linux.",
    rb"%!PS|\xc5\xd0\xd3\xc6|%PDF": "a PostScript or PDF document. Export it as PNG.",
    rb"8BP[SB]": "a Photoshop document. Export it as JPEG or PNG.",
    rb"....ftypcrx|FUJIFILM|II\*\0....CR|II(RO|RS|U\0)|FOVb|\0MRM": "a raw camera file. Export it as JPEG or TIFF.",
}
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
            head = file.read(512)
            for start, sentence in _HEADS.items():
                if re.match(start, head, re.IGNORECASE | re.DOTALL):
                    raise ImageError(f"is {sentence}")
            # by its name, Pillow would map it into the memory, and tear what it turns
            quiet = silent_stderr() if head[:2] in (b"II", b"MM") else contextlib.nullcontext()  # libtiff talks
            with quiet, _without_notes(file, head) as (source, info), Image.open(source, formats=FORMATS) as opened:
                opened.info.update(info)
                if opened.format == "TIFF":
                    _vouch_for_tiff(opened, head)
                elif opened.format == "TGA" and not head[17] & 15:
                    opened.info["opaque"] = True  # its fourth byte means nothing
                yield opened
    except ImageError as error:
        raise ImageError(f"{path} {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no picture that Pillow can read. Save it again as JPEG or PNG.") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} has over {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller.") from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into the memory. Lower IMAGE_SIZE, or make the file smaller.") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        reason = re.sub("decoder error.*", "its pixels are not whole", str(error)) or type(error).__name__
        raise ImageError(
            f"{path} cannot be decoded: {reason}. It may be damaged: copy it again, or save it as JPEG or PNG."
        ) from None


@contextlib.contextmanager
def _without_notes(file, head):
    """Yield what Pillow is to read, and what it is to know of the notes.

    It refuses a JPEG, PNG or AVIF file for one bad note, and gets a copy in memory (of the pages that change) whose
    notes have names that it passes over.
    """
    starts = {
        rb"\xff\xd8": _hide_jpeg_notes, rb"\x89PNG.{30}": _hide_png_notes, rb"....ftyp": _hide_avif_notes,
        rb"....jP  ": _profile_of_jpeg2000,
    }  # fmt: skip
    hide = next((hide for start, hide in starts.items() if re.match(start, head, re.DOTALL)), None)
    file.seek(0)
    if hide is None:
        yield file, {}
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
            yield data, hide(data)


def _hide_avif_notes(data):
    for note in re.finditer(rb"infe.{8,10}Exif", data[: 2**16], re.DOTALL):
        data[note.end() - 4 : note.end()] = b"note"
    coded = re.search(rb"colrnclx.(.).(.)", data[: 2**16], re.DOTALL)
    if coded and not re.search(b"colr(prof|rICC)", data[: 2**16]) and not _is_like_srgb(coded[1][0], coded[2][0]):
        return {"icc_profile": b"nclx"}
    return {}  # how an AVIF is turned stands elsewhere


def _is_like_srgb(primaries=1, transfer=1):
    """Return whether code points of H.273 mean a colour space that sRGB comes near; others are left out, and said."""
    return primaries in (1, 2, 5, 6, 7) and transfer in (1, 2, 4, 5, 6, 13, 14, 15)


def _means_srgb(kind, content):
    if kind == b"gAMA":
        return 40_000 < int.from_bytes(content[:4], "big") < 50_000  # 45,455 is 1 / 2.2
    return _is_like_srgb(*content[:2])


def _profile_of_jpeg2000(data):
    """Return the profile, which Pillow passes over: a box of colr that begins with 2, two more numbers, and then it."""
    boxes = data[: max(0, data.find(b"jp2c", 0, MAX_PROFILE))]
    meanings = re.search(rb"(....)cdef..", boxes, re.DOTALL)
    if meanings:
        channels = boxes[meanings.end() : meanings.start() + int.from_bytes(meanings[1], "big")]
        if any(meaning > 1 for _, meaning, _ in struct.iter_unpack(">HHH", channels)):  # neither colour nor opacity
            raise ImageError("is a JPEG 2000 file of a rare kind, which is not read right. Save it again as PNG.")
    box = re.search(rb"(....)colr\x02..", boxes, re.DOTALL)
    return {"icc_profile": boxes[box.end() : box.start() + int.from_bytes(box[1], "big")]} if box else {}


def _hide_jpeg_notes(data):
    known, at = rb"JFIF\0.{9}|Exif\0\0|http://ns\.adobe|ICC_PROFILE\0..|Adobe.{7}", 2
    while at + 4 < len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # until the pixels
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xE0 <= data[at + 1] <= 0xEF and not re.match(known, data[at + 4 : end], re.DOTALL):
            data[at + 1] = 0xEF
        at = end
    return {}


def _hide_png_notes(data):
    """Rename the chunks of a PNG file that hold no pixels; return its EXIF data, profile and transparent colour."""
    info, at, bits, kind_of_colour, kinds = {"exif": b""}, 8, data[24], data[25], set()
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 8 + length
        kinds.add(kind)
        if kind[0] & 32 and end + 4 <= len(data):  # a small letter: not needed
            content = data[start:end]
            if kind == b"iCCP":
                with contextlib.suppress(zlib.error):
                    packed = content.partition(b"\0")[2][1:]
                    info["icc_profile"] = zlib.decompressobj().decompress(packed, MAX_PROFILE)
            elif kind == b"eXIf":
                info["exif"] = content
            elif kind in (b"gAMA", b"cICP") and not _means_srgb(kind, content):
                info.setdefault("icc_profile", kind)
            elif kind == b"tRNS" and data[end : end + 4] == zlib.crc32(kind + content).to_bytes(4, "big"):
                if kind_of_colour == 0 and length == 2:  # Pillow widens fewer bits to 8
                    info["transparency"] = int.from_bytes(content, "big") * (255 // (2**bits - 1) or 1)
                elif kind_of_colour == 2 and length == 6:
                    info["transparency"] = tuple(v >> (bits - 8) for v in struct.unpack(">HHH", content))
                elif kind_of_colour == 3 and length:
                    info["transparency"] = content[:256]
            data[at + 4 : start], data[end : end + 4] = b"nOTE", zlib.crc32(b"nOTE" + content).to_bytes(4, "big")
        at = end + 4
    if b"sRGB" in kinds and info.get("icc_profile") == b"gAMA":  # which is to be passed over then
        del info["icc_profile"]
    return info


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

    larger = any(width_at(offset) > 2 * tags[256] for offset in (*values_of(330), tags.next))
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
        raise ImageError("is a TIFF file of a rare kind, which is not read right. Save it again as JPEG or PNG.")
    opened.info |= {"negative": photometric == 0, "bits": max(bits)}

    opened.info.pop("xmp", None)
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

    Transparent pictures are laid on a background. Returns Pillow's image of mode RGB, and whether its colour profile,
    if it has one, was obeyed.
    """
    turn, profile = _turn(opened), opened.info.get("icc_profile", b"")
    if upright_size(opened) != opened.size:
        size = size[::-1]
    opened.draft(None, (2 * max(size), 2 * max(size)))  # JPEG: decode it smaller
    opened.load()
    picture = (_scale_deep if opened.mode.startswith(("I", "F")) else _scale)(opened, size)
    picture = picture.transpose(turn) if turn is not None else picture
    alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
    colour, obeyed = _to_srgb(picture.convert(picture.mode.removesuffix("A")), profile)
    if alpha:
        colour = Image.composite(colour, Image.new("RGB", colour.size, background), alpha)
    return colour, obeyed


def _scale(picture, size):
    """Return a picture of 8 bits scaled, in mode L, LA, RGB, RGBA, CMYK or LAB."""
    mode = picture.mode
    if picture.info.get("opaque"):
        picture = picture.convert("RGB")
    elif mode in ("La", "PA") or "transparency" in picture.info:
        picture = picture.convert("LA" if mode in ("1", "L", "La") else "RGBA")
    elif mode in ("1", "P", "HSV", "YCbCr", "RGBX"):
        picture = picture.convert("L" if mode == "1" else "RGB")
    return picture.resize(size, Image.Resampling.LANCZOS)


def _scale_deep(picture, size):
    """Return a picture of mode I;16, I or F scaled, as L, or as LA where a grey of it is transparent."""
    picture = picture.convert("I") if picture.mode == "I;16B" else picture  # which Pillow scales wrong
    values = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    if not np.isfinite(values).all():
        raise ValueError("pixels are not finite (NaN or infinity)")
    white = 4095 if picture.info.get("bits") == 12 else 65535
    if picture.mode == "F":
        high = np.quantile(values, 0.99)  # a highlight may be brighter than white
        white = next((usual for usual in (1, 255, 1023, 4095, 65535) if high <= usual), values.max())
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
        if source.profile.xcolor_space.strip() == "GRAY" and picture.mode == "RGB":  # as AVIF has greys
            picture = picture.convert("L")
        return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB"), True
    except (ImageCms.PyCMSError, OSError, TypeError):
        return picture.convert("RGB"), False
