"""What stands in picture files beside the pixels: hidden where it could refuse a picture, read where Pillow does not.

What is optional (dates, names, places, profiles) never refuses a picture: every pixel is there.
"""

import contextlib
import functools
import mmap
import os
import re
import struct
import zlib

from nst.errors import ImageError

MAX_PROFILE = 20_000_000  # bytes
TIFF_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes by type, if not 1
OF_TIFF_PIXELS = {*range(254, 267), 273, 274, 277, 278, 279, 284, *range(317, 348), *range(512, 533)}
SRGB = 0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06  # x, y of white, red, green and blue (IEC 61966-2-1)


@contextlib.contextmanager
def without_notes(file, head):
    """Yield what Pillow is to read, and what it is to know of the notes.

    It refuses a JPEG, PNG, WebP or AVIF file for one bad note, and gets a copy in memory whose notes have names that
    it passes over.
    """
    starts = {
        rb"\xff\xd8": _hide_jpeg_notes, rb"\x89PNG.{30}": _hide_png_notes,
        rb"....ftyp(avi[fs]|mi[af]|msf1)": _hide_avif_notes, rb"RIFF....WEBP": _end_webp_before_notes,
        rb"....jP  |\xff\x4f\xff\x51": _vouch_for_jpeg2000,
    }  # fmt: skip
    hide = next((hide for start, hide in starts.items() if re.match(start, head, re.DOTALL)), None)
    if head[:2] in (b"II", b"MM") and (broken := list(_broken_tiff_notes(file, head))):
        hide = functools.partial(_empty_tiff_notes, broken=broken)
    file.seek(0)
    if hide is None:
        yield file, {}
    else:
        with mmap.mmap(-1, os.fstat(file.fileno()).st_size) as data:  # of the file itself, it would die with a stick
            file.readinto(data)
            yield data, hide(data)


def _broken_tiff_notes(file, head):
    """Yield the tag and the place of each note in a TIFF's first directory whose content lies behind the file's end."""
    order, large = "<" if head[:2] == b"II" else ">", 43 in head[2:4]  # BigTIFF
    first, number, entry = ("Q", "Q", "HHQQ") if large else ("I", "H", "HHII")
    with contextlib.suppress(struct.error, OSError):
        (at,) = struct.unpack_from(order + first, head, 8 if large else 4)
        file.seek(at)
        entries = struct.unpack(order + number, file.read(struct.calcsize(order + number)))[0]
        for _ in range(entries):
            place = file.tell()
            tag, kind, count, at = struct.unpack(order + entry, file.read(struct.calcsize(order + entry)))
            size = count * TIFF_SIZES.get(kind, 1)
            behind = size > (8 if large else 4) and at + size > os.fstat(file.fileno()).st_size
            if behind and tag not in OF_TIFF_PIXELS:
                yield tag, slice(place + 4, place + struct.calcsize(order + entry))


def _empty_tiff_notes(data, broken):
    """Give these notes no content, since Pillow reads no further than to a broken one."""
    for _, place in broken:
        data[place] = bytes(place.stop - place.start)
    return {"icc_profile": b"broken"} if 34675 in dict(broken) else {}


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
    if kind == b"cHRM":
        found = [int.from_bytes(content[i : i + 4], "big") / 1e5 for i in range(0, 32, 4)]
        return all(abs(one - other) < 0.03 for one, other in zip(found, SRGB, strict=True))
    return _is_like_srgb(*content[:2])


def _vouch_for_jpeg2000(data):
    """Refuse what is not read right of JPEG 2000, and return the profile, which Pillow passes over."""
    start = max(0, data.find(b"\xff\x4f\xff\x51"))  # of the pixels
    bits = data[start + 42 : start + 42 + 3 * int.from_bytes(data[start + 40 : start + 42], "big") : 3]
    header = dict(_boxes(data, 0, start)).get(b"jp2h", (0, 0))
    boxes = {kind: data[slice(*place)] for kind, place in reversed([*_boxes(data, *header)])}  # the first counts
    channels = list(struct.iter_unpack(">HHH", boxes.get(b"cdef", b"")[2:]))
    plain = [(i, 0, i + 1) for i in range(len(channels))]
    if (
        channels not in (plain, [*plain[:-1], (len(plain) - 1, 1, 0)])  # the last may be the opacity
        or ({*bits} - {7} and len(bits) > 1)  # Pillow makes black of what is white in more, and grey in fewer
        or ({*bits} & {*range(7)} and b"pclr" not in boxes)
    ):
        raise ImageError("is a JPEG 2000 file of a rare kind, which is not read right. Save it again as PNG.")
    method, space, profile = boxes.get(b"colr", b"\1")[:1], boxes.get(b"colr", b"")[3:7], boxes.get(b"colr", b"")[3:]
    if method in (b"\2", b"\3"):
        return {"icc_profile": profile}
    return {} if int.from_bytes(space, "big") in (0, 12, 16, 17, 18) else {"icc_profile": b"enumerated"}


def _boxes(data, at, end):
    """Yield the kind of each box between two places of a JPEG 2000 file, and (begin, end) of what is in it."""
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        begin = at + 8
        if length == 1:
            (length,), begin = struct.unpack(">Q", data[at + 8 : at + 16].rjust(8, b"\0")), at + 16
        yield kind, (begin, at + length)
        at += max(length, 8)


def _end_webp_before_notes(data):
    """Have a WebP file end where its notes begin, which is after the pixels; return its EXIF data."""
    at, kinds, info, ends = 12, set(), {}, []
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            info["exif"] = data[at + 8 : at + 8 + length]
        if kind in (b"EXIF", b"XMP ") and kinds & {b"VP8 ", b"VP8L", b"ANMF"}:
            ends.append(at)
        kinds.add(kind)
        at += 8 + length + length % 2
    if ends:
        data[4:8] = struct.pack("<I", ends[0] - 8)
    if data[12:16] == b"VP8X":
        data[20] &= 0xF3  # no notes
    return info


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
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 8 + length
        kinds.add(kind)
        if kind == b"IEND":  # behind it others may have put anything
            break
        if kind[0] & 32 and b"IDAT" in kinds and end + 4 > len(data):  # cut in a note behind the pixels
            data[at : at + 8] = b"\0\0\0\0IEND"
        if kind == b"IDAT" and zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ImageError("is damaged: its pixels are not whole. Copy it again.")
        if kind[0] & 32 and end + 4 <= len(data):  # a small letter: not needed
            content = data[start:end]
            if kind == b"iCCP":
                info["icc_profile"] = kind  # which cannot be used, and is said
                with contextlib.suppress(zlib.error):
                    packed = content.partition(b"\0")[2][1:]
                    unpacker = zlib.decompressobj()
                    unpacked = unpacker.decompress(packed, MAX_PROFILE)
                    info["icc_profile"] = unpacked if unpacker.eof else kind
            elif kind == b"eXIf":
                info["exif"] = content
            elif kind in (b"gAMA", b"cHRM", b"cICP") and not _means_srgb(kind, content):
                info.setdefault("icc_profile", kind)
            elif kind == b"tRNS":
                if data[end : end + 4] != zlib.crc32(kind + content).to_bytes(4, "big"):
                    info["remarks"] = ["its transparency is damaged and left out."]
                elif kind_of_colour == 0 and length == 2:  # Pillow widens fewer bits to 8
                    info["transparency"] = int.from_bytes(content, "big") * (255 // (2**bits - 1) or 1)
                elif kind_of_colour == 2 and length == 6 and bits == 8:
                    info["transparency"] = struct.unpack(">HHH", content)
                elif kind_of_colour == 2:  # of 16 bits Pillow keeps 8, which others share
                    info["remarks"] = ["its transparent colour cannot be used and is left out."]
                elif kind_of_colour == 3 and length:
                    info["transparency"] = content[:256]
            data[at + 4 : start], data[end : end + 4] = b"nOTE", zlib.crc32(b"nOTE" + content).to_bytes(4, "big")
        at = end + 4
    if b"sRGB" in kinds and info.get("icc_profile") in (b"gAMA", b"cHRM"):  # which is to be passed over then
        del info["icc_profile"]
    return info
