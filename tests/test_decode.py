"""Picture files: what is optional never refuses one, and what comes out is right or refused with the reason."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from conftest import run_python
from nst.errors import ImageError
from nst.images import load_image, scaled_size, to_uint8

WHITE, RED, BLUE = (255, 255, 255), (200, 30, 30), (30, 30, 200)
CORNER = Image.new("RGB", (120, 80), RED)
CORNER.paste(BLUE, (0, 0, 60, 40))


@pytest.fixture
def load(tmp_path):
    """A function that saves a picture, or writes bytes, and loads the file at 120 pixels, as integers."""

    def save_and_load(picture, name="a.png", **options):
        if isinstance(picture, bytes):
            (tmp_path / name).write_bytes(picture)
        else:
            picture.save(tmp_path / name, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return to_uint8(load_image(tmp_path / name, 120)).astype(int)

    return save_and_load


def flat(mode, colour):
    return Image.new(mode, (120, 80), colour)


def content_of(picture, kind, **options):
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits, row_above, row_below, *chunks, colour=0):
    """Return a PNG file of 120 × 80 pixels, its upper and its lower half of one kind of row."""
    head = struct.pack(">IIBBBBB", 120, 80, bits, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + row_above) * 40 + (b"\0" + row_below) * 40)
    parts = chunk(b"IHDR", head), *chunks, chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(above, below, bits=8, photometric=1, order="<", **tags):
    """Return a TIFF file of 120 × 80 pixels, whose upper half repeats some bytes and whose lower half others.

    Tags by number as _338=(1,): shorts, if they are small.
    """
    samples = len(bits) if isinstance(bits, tuple) else 1
    pixels = above * (4800 // (2 if bits == 12 else 1)) + below * (4800 // (2 if bits == 12 else 1))
    entries = {256: 120, 257: 80, 258: bits, 259: 1, 262: photometric, 273: 0, 277: samples, 278: 80, 279: len(pixels)}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    directory, more = b"", b""
    for tag, values in sorted(entries.items()):
        values = values if isinstance(values, tuple) else (values,)
        kind, code = ("H", 3) if max(values) < 2**16 and tag != 273 else ("I", 4)
        end = 14 + 12 * len(entries) + len(more)
        data = struct.pack(f"{order}{len(values)}{kind}", *([14 + 12 * len(entries)] if tag == 273 else values))
        if len(data) > 4:
            more, data = more + data, struct.pack(order + "I", end + len(pixels))
        directory += struct.pack(order + "HHI4s", tag, code, len(values), data.ljust(4, b"\0"))
    head = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    return head + directory + b"\0" * 4 + pixels + more


# ---- orientation


TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # by EXIF: Pillow's Transpose; others turn nothing


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_pictures_come_out_upright_and_their_size_is_known_before(load, tmp_path, mode, kind, options):
    if (mode, kind) == ("I;16", "JPEG"):
        pytest.skip("8 bits alone")
    grey = np.asarray(CORNER)[..., 0]
    picture = CORNER if mode == "RGB" else Image.fromarray(grey.astype(np.uint16) * 257)
    upright = CORNER if mode == "RGB" else Image.fromarray(grey).convert("RGB")
    for orientation in range(1 if "compression" in options else 0, 9 if "compression" in options else 11):
        exif = Image.Exif()
        exif[0x0112] = orientation
        loaded = load(content_of(picture, kind, exif=exif, **options))
        shown = upright.transpose(Image.Transpose(TURNS[orientation])) if orientation in TURNS else upright
        assert scaled_size(tmp_path / "a.png", 120) == shown.size[::-1] == loaded.shape[:2], orientation
        assert np.abs(loaded - np.asarray(shown)).mean() < 2, orientation


def exif_of(kind, count, value):
    """Return EXIF data with an orientation of some type."""
    return struct.pack(">2sHIHHHI4sI", b"MM", 42, 8, 1, 0x112, kind, count, value, 0)


@pytest.mark.parametrize(
    "exif",
    [
        exif_of(1, 1, b"\6\0\0\0"),
        exif_of(99, 1, b"\0\6\0\0"),
        exif_of(3, 70000, b"\0\0\0\6"),
        b"\0\0\x11\0\0\1\4\0",
        b"",
    ],
)
def test_odd_exif_refuses_no_picture(load, exif):
    files = [content_of(CORNER, kind, exif=b"Exif\0\0" + exif, quality=95) for kind in ("JPEG", "WEBP")]
    files += [content_of(CORNER, "PNG")[:-12] + chunk(b"eXIf", exif) + chunk(b"IEND", b"")]
    described = Image.Exif()
    described[0x010E] = "a note"
    good = described.tobytes()[6:14]
    files += [content_of(CORNER, "AVIF", exif=described, quality=95).replace(good, exif[:8].ljust(8, b"x"))]
    for data in files:
        loaded = load(data)
        turned = CORNER if loaded.shape[0] == 80 else CORNER.transpose(Image.Transpose.ROTATE_270)
        assert np.abs(loaded - np.asarray(turned)).mean() < 4, data[:12]


# ---- notes and profiles


@pytest.mark.parametrize(
    "note",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)), chunk(b"pHYs", b"a"),
        chunk(b"tEXt", b"Comment\0x")[:-1] + b"!", chunk(b"iCCP", b"p\0\0xx"), chunk(b"tRNS", b"\0"),
    ],
)  # fmt: skip
def test_odd_notes_refuse_no_png(load, note):
    stored = content_of(CORNER, "PNG")
    for data in (stored[:33] + note + stored[33:], stored[:-12] + note + stored[-12:]):
        assert np.array_equal(load(data), np.asarray(CORNER))


@pytest.mark.parametrize("tag", [270, 282, 305, 34675])
def test_notes_behind_the_end_refuse_no_tiff_and_a_lost_profile_is_said(load, capsys, tag):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = {270: "what is to be seen", 282: 72.0, 305: "what has made it"}
    for options in ({}, {"compression": "tiff_lzw"}, {"big_tiff": True}):
        stored = bytearray(content_of(CORNER, "TIFF", tiffinfo=notes, icc_profile=profile, **options))
        place = stored.index(struct.pack("<HH", tag, {282: 5, 34675: 7}.get(tag, 2))) + (
            12 if "big_tiff" in options else 8
        )
        stored[place : place + 4] = struct.pack("<I", 10**9)
        assert np.array_equal(load(bytes(stored), "a.tif"), np.asarray(CORNER)), options
    assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == (tag == 34675)


@pytest.mark.parametrize("body", [b"", b"JFIF\0", b"ICC_PROFILE\0", b"MPF\0MM\0*\0"])
def test_odd_notes_refuse_no_jpeg(load, body):
    stored = content_of(CORNER, "JPEG", quality=95, subsampling=0)
    for marker in (0xE0, 0xE1, 0xE2, 0xED):
        data = stored[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + stored[2:]
        assert np.abs(load(data) - np.asarray(CORNER)).mean() < 2, hex(marker)


@pytest.mark.parametrize("length", [0, 7, 10**6, 2**32 - 1])
def test_notes_of_a_wrong_length_refuse_no_webp(load, length):
    stored = content_of(CORNER, "WEBP", lossless=True, exif=exif_of(3, 1, b"\0\6\0\0"), xmp=b"<x/>")
    for note, turn in ((b"EXIF", length > 9), (b"XMP ", True)):
        at = stored.find(note) + 4
        loaded = load(stored[:at] + struct.pack("<I", length) + stored[at + 4 :])
        turned = CORNER.transpose(Image.Transpose.ROTATE_270) if turn else CORNER
        assert np.array_equal(loaded.shape, np.asarray(turned).shape)


def test_notes_of_a_webp_before_its_pixels_are_read(load):
    stored = content_of(CORNER, "WEBP", lossless=True, exif=exif_of(3, 1, b"\0\6\0\0"))
    pixels, note = stored.index(b"VP8L"), stored.index(b"EXIF")
    assert load(stored[:pixels] + stored[note:] + stored[pixels:note]).shape == (120, 80, 3)


def test_a_png_that_ends_within_a_note_behind_its_pixels_is_whole(load):
    stored = content_of(CORNER, "PNG")[:-12] + chunk(b"tEXt", b"Comment\0" + b"y" * 300)
    for left_out in (1, 100, 304, 308, 311):
        assert np.array_equal(load(stored[:-left_out]), np.asarray(CORNER)), left_out


def test_colour_profiles_are_converted_to_srgb(load, capsys):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)
    for kind in ("PNG", "TIFF", "JPEG", "WEBP"):
        blue = load(content_of(flat("RGB", (255, 0, 0)), kind, icc_profile=swapped))
        assert np.abs(blue - (0, 0, 255)).max() <= 4, f"{kind}: a profile whose red is blue"
    box = struct.pack(">I", 11 + len(swapped)) + b"colr\2\0\0" + swapped
    plain = content_of(flat("RGB", (255, 0, 0)), "JPEG2000")
    blue = load(
        plain.replace(b"\0\0\0\x0fcolr\1\0\0\0\0\0\x10", box).replace(
            b"\0\0\0\x2djp2h", struct.pack(">I", 45 - 15 + len(box)) + b"jp2h"
        )
    )
    assert np.abs(blue - (0, 0, 255)).max() <= 4, "JPEG 2000"
    transparent = load(flat("RGBA", (255, 0, 0, 102)), icc_profile=swapped)
    assert np.abs(transparent - (153, 153, 255)).max() <= 2
    assert capsys.readouterr().out == ""


def test_a_colour_space_without_a_profile_is_sRGB_or_said(load, capsys):
    for kind, codes, said in (("PNG", (1, 13), 0), ("PNG", (12, 13), 1), ("PNG", (9, 16), 1)):
        data = content_of(CORNER, kind)
        load(data[:33] + chunk(b"cICP", bytes((*codes, 0, 1))) + data[33:], f"{codes}.png")
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == said, (kind, codes)
    data = content_of(CORNER, "PNG")
    for gamma, more, said in ((45455, b"", 0), (100_000, b"", 1), (100_000, chunk(b"sRGB", b"\0"), 0)):
        notes = chunk(b"gAMA", struct.pack(">I", gamma)) + more
        loaded = load(data[:33] + notes + data[33:], f"{gamma}-{len(more)}.png")
        assert np.array_equal(loaded, np.asarray(CORNER))
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == said, gamma
    for green, said in ((60_000, 0), (71_000, 1)):  # Adobe RGB's
        primaries = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, green, 15000, 6000))
        load(data[:33] + primaries + data[33:], f"primaries-{green}.png")
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == said, green
    gif = content_of(CORNER, "GIF")
    extended = gif[: -len(gif.partition(b",")[2]) - 1] + b"\x21\xff\x0bICCRGBG1012\1x\0," + gif.partition(b",")[2]
    bmp = content_of(CORNER, "BMP")
    head = struct.pack("<I", 124) + bmp[18:54].ljust(52, b"\0") + b"%s" + bytes(64)
    bmp = bmp[:10] + struct.pack("<I", 138) + head + bmp[54:]
    cases = ((gif, 0), (extended, 1), (bmp % b"BGRs", 0), (bmp % b"DEBM", 1))
    for number, (data, said) in enumerate(cases):
        assert np.array_equal(load(data, f"{number}.bmp"), np.asarray(CORNER))
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == said, number
    camera = Image.Exif()
    camera.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}
    load(CORNER, "_dsc.jpg", exif=camera)
    assert "_dsc.jpg: its colour profile cannot be used and is left out" in capsys.readouterr().out
    plain = content_of(CORNER, "AVIF")
    at = plain.index(b"colrnclx") + 8
    for codes, said in (((1, 13), 0), ((12, 13), 1), ((9, 18), 1)):
        load(plain[:at] + struct.pack(">HH", *codes) + plain[at + 4 :], f"{codes}.avif")
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == said, codes


@pytest.mark.parametrize(("meaning", "right"), [(1, True), (2, False), (65535, False)])
def test_a_fourth_channel_of_jpeg_2000_is_opacity_or_refused(load, meaning, right):
    plain = content_of(flat("RGBA", (255, 0, 0, 102)), "JPEG2000", irreversible=False)
    assert plain.count(b"cdef") == 1
    data = plain.replace(struct.pack(">HHH", 3, 1, 0), struct.pack(">HHH", 3, meaning, 0))
    if right:
        assert np.abs(load(data, "a.jp2") - (255, 153, 153)).max() <= 2
    else:
        with pytest.raises(ImageError, match="is a JPEG 2000 file of a rare kind, which is not read right. Save it"):
            load(data, "a.jp2")


def test_what_is_read_wrong_of_jpeg_2000_is_refused_and_notes_refuse_nothing(load):
    plain = content_of(CORNER, "JPEG2000", irreversible=False)
    at = plain.index(b"jp2c")
    note = b"<x>id 90abcdef1234, colr\2</x>"
    noted = plain[: at - 4] + struct.pack(">I4s", 8 + len(note), b"xml ") + note + plain[at - 4 :]
    for data, name in ((plain, "a.jp2"), (noted, "b.jp2"), (plain[at + 4 :], "c.j2k")):
        assert np.array_equal(load(data, name), np.asarray(CORNER)), name
    for bits in (4, 12, 16):  # whose white comes black, or grey
        deep = bytearray(plain)
        deep[at + 46 : at + 55 : 3] = bytes([bits - 1] * 3)
        with pytest.raises(ImageError, match="is a JPEG 2000 file of a rare kind, which is not read right. Save it"):
            load(bytes(deep), "d.jp2")
    swapped = content_of(flat("RGBA", (255, 0, 0, 102)), "JPEG2000")
    for i, place in ((0, 3), (2, 1)):  # blue first
        swapped = swapped.replace(struct.pack(">HHH", i, 0, i + 1), struct.pack(">HHH", i, 0, place))
    with pytest.raises(ImageError, match="is a JPEG 2000 file of a rare kind"):
        load(swapped, "e.jp2")


@pytest.mark.parametrize("space", [b"\0\0\0\x0e", b"\0\0\0\x14"])
def test_a_colour_space_of_jpeg_2000_that_is_left_out_is_said(load, capsys, space):
    plain, srgb = content_of(CORNER, "JPEG2000"), b"\0\0\0\x0fcolr\1\0\0\0\0\0\x10"
    other = srgb[:-4] + space
    load(plain.replace(srgb, other), "a.jp2")
    assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == 1
    longer, at = struct.pack(">I", 45 + 15) + b"jp2h", plain.index(b"\0\0\0\x2djp2h")
    for first, second, said in ((srgb, other, 0), (other, srgb, 1)):  # the first counts
        load(plain.replace(srgb, first + second).replace(plain[at : at + 8], longer), f"{said}.jp2")
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == said
    long = plain.replace(srgb, other).replace(plain[at : at + 8], b"\0\0\0\1jp2h" + struct.pack(">Q", 45 + 8))
    load(long, "long.jp2")
    assert capsys.readouterr().out.count("its colour profile cannot be used and is left out") == 1


def test_the_size_has_no_say_in_what_white_is_in_floating_point(load, tmp_path):
    values = np.full((100, 100), 0.2, np.float32)
    values[:50] = 1.0  # an edge, which scaling overshoots
    for white in (1, 255, 65535):
        Image.fromarray(values * white).save(tmp_path / f"{white}.tif")
        for size in (64, 100, 200):
            loaded = to_uint8(load_image(tmp_path / f"{white}.tif", size))
            assert loaded.max() == 255 and loaded.mean() == pytest.approx(153, abs=1), (white, size)


@pytest.mark.parametrize(("light", "said"), [(1.0, 0), (255.0, 0), (10.0, 1), (360.0, 1), (3.9, 1)])
def test_what_is_taken_for_white_of_doubtful_numbers_is_said(load, capsys, light, said):
    ramp = np.linspace(0, light, 120, dtype=np.float32)[np.newaxis].repeat(80, axis=0)
    load(Image.fromarray(ramp), "a.tif")
    assert capsys.readouterr().out.count("is taken for white of its floating-point numbers.") == said


def test_a_file_that_is_cut_while_it_is_read_is_an_error_like_others(tmp_path):
    """And not the end of the process, as it would be if the file were mapped into the memory."""
    content = content_of(Image.effect_noise((600, 400), 90), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    program = f"""
        from nst.decode import open_picture, to_rgb

        with open_picture({str(tmp_path / "a.png")!r}) as opened:
            open({str(tmp_path / "a.png")!r}, "wb").close()
            print(to_rgb(opened, (60, 40), "white")[0].size)
    """
    assert run_python(program).stdout.strip() == "(60, 40)"


def test_a_turn_that_stands_in_xmp_alone_is_none(load):
    note = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'
    plain = content_of(CORNER, "JPEG")
    noted = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note + plain[2:]
    assert load(noted, "a.jpg").shape == load(plain, "b.jpg").shape == (80, 120, 3)


def test_an_icon_of_many_bytes_is_no_tga(load):
    icon = content_of(
        flat("RGBA", (10, 200, 30, 255)).resize((128, 128)), "ICO", sizes=[(128, 128)], bitmap_format="bmp"
    )
    assert np.array_equal(load(icon, "a.ico")[60, 60], (10, 200, 30))


def test_a_page_that_is_larger_than_the_first_is_only_another_page(load):
    pages = [flat("RGB", RED).resize((600, 400)), flat("RGB", BLUE).resize((1300, 800))]
    data = content_of(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert np.array_equal(load(data, "a.tif")[40, 60], RED)


def test_a_grey_profile_of_a_grey_picture_that_comes_in_colour(load, capsys):
    curve = struct.pack(">4sII", b"curv", 0, 0)  # linear
    white = struct.pack(">4sI3i", b"XYZ ", 0, 63190, 65536, 54061)
    table = struct.pack(">I4sII4sII", 2, b"kTRC", 156, 12, b"wtpt", 168, 20)
    head = struct.pack(">II4s4s4s4s", 188, 0, b"\2\x10\0\0", b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    profile = head.ljust(128, b"\0") + table + curve + white
    grey = load(content_of(flat("L", 64), "AVIF", icc_profile=profile, quality=100), "a.avif")
    assert np.abs(grey - 137).max() <= 3 and capsys.readouterr().out == ""
    coloured = load(CORNER, "b.png", icc_profile=profile)
    assert np.array_equal(coloured, np.asarray(CORNER))
    assert capsys.readouterr().out.count("its colour profile cannot be used and is left out.") == 1


def test_a_damaged_profile_of_a_png_is_left_out_and_named(load, capsys):
    data, whole = (
        content_of(CORNER, "PNG"),
        zlib.compress(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    )
    for number, packed in enumerate((b"", zlib.compress(bytes(500))[:9], whole[:-1], b"no zlib")):
        loaded = load(data[:33] + chunk(b"iCCP", b"name\0\0" + packed) + data[33:], f"{number}.png")
        assert np.array_equal(loaded, np.asarray(CORNER))
        assert capsys.readouterr().out.count("its colour profile cannot be used and is left out.") == 1


@pytest.mark.parametrize("profile", [b"no profile", b"x" * 2_000_000, bytes(16) + b"\xff" * 4 + bytes(200)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_profile_that_is_left_out_is_named_once(load, capsys, kind, profile):
    for _ in range(2):
        loaded = load(content_of(CORNER, kind, icc_profile=profile))
        assert np.array_equal(loaded, np.asarray(CORNER))
    assert capsys.readouterr().out.count("a.png: its colour profile cannot be used and is left out.") == 1


# ---- colours


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (flat("RGBA", (255, 0, 0, 102)), (255, 153, 153)),
        (flat("LA", (0, 51)), (204, 204, 204)),
        (flat("1", 1), WHITE),
    ],
)
def test_modes_and_transparency(load, picture, expected):
    assert np.abs(load(picture) - expected).max() <= 1


@pytest.mark.parametrize(
    ("bits", "above", "below", "transparent", "grey"),
    [
        (1, b"\0", b"\xff", 0, 255),
        (4, b"\x33", b"\x99", 3, 153),
        (16, b"\x0b\xb8", b"\x9c\x40", 3000, 156),
    ],
)
def test_a_transparent_grey_of_png_is_white(load, bits, above, below, transparent, grey):
    above, below = above * (120 * bits // 8 // len(above)), below * (120 * bits // 8 // len(below))
    pixels = load(png(bits, above, below, chunk(b"tRNS", struct.pack(">H", transparent))))
    assert (pixels[:38] == 255).all() and (pixels[42:] == grey).all()


def test_a_picture_that_is_transparent_all_over_is_shown_and_named(load, capsys):
    for picture, name, colour in ((flat("RGBA", (*RED, 0)), "a.png", RED), (flat("LA", (51, 0)), "b.png", 51)):
        assert (load(picture, name) == colour).all()
        assert f"{name}: all of it is transparent. Its transparency is left out." in capsys.readouterr().out


def test_a_white_drawing_on_nothing_is_said(load, capsys):
    drawing = flat("RGBA", (255, 255, 255, 0))
    drawing.paste((255, 255, 255, 255), (20, 20, 60, 60))
    assert (load(drawing) == WHITE).all()
    assert "a.png: nothing of it is to be seen on white, on which it is laid." in capsys.readouterr().out


def test_a_png_of_one_chunk_whose_end_was_never_written_is_refused(load):
    rows = np.random.default_rng(0).integers(0, 255, (40, 120), np.uint8).tobytes()
    whole = png(8, rows[:120], rows[120:240])
    assert load(whole).shape == (80, 120, 3)
    for part in (0.5, 0.9):
        cut = int(part * len(whole))
        with pytest.raises(ImageError, match="is damaged: its pixels are not whole|cannot be decoded"):
            load(whole[:cut] + bytes(len(whole) - cut), f"{part}.png")


NOISE = Image.effect_noise((120, 80), 50).point(lambda value: value // 4)
LARGER = Image.effect_noise((360, 240), 50).convert("RGB")
OF_TIFF = tiff(b"\1", b"\2", _259=8).replace(
    b"\1" * 4800 + b"\2" * 4800, zlib.compress(NOISE.tobytes()).ljust(9600, b"\7")
)


@pytest.mark.parametrize(
    "whole",
    [
        content_of(LARGER, "WEBP", lossless=True),
        content_of(LARGER, "WEBP"),
        content_of(LARGER, "QOI"),
        OF_TIFF,
    ],
)
def test_a_file_whose_end_was_never_written_is_said(load, capsys, whole):
    load(whole, "whole.img")
    assert capsys.readouterr().out == ""
    cut = len(whole) // 2 if whole is OF_TIFF else len(whole) * 9 // 10
    load(whole[:cut] + bytes(len(whole) - cut), "half.img")
    assert "half.img: the file ends with zeros, so it may not be whole." in capsys.readouterr().out


def test_a_whole_file_may_end_with_zeros(load, capsys):
    drawing = flat("RGB", WHITE)
    drawing.paste(RED, (20, 20, 60, 60))
    few = drawing.quantize(16)
    for number, (kind, options) in enumerate((("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {}))):
        load(content_of(few, kind, **options), f"{number}.img")
    barred = CORNER.resize((360, 240))
    barred.paste(0, (0, 0, 360, 40))
    load(content_of(barred, "BMP"), "barred.bmp")
    assert capsys.readouterr().out == ""


def test_what_stands_behind_the_end_of_a_png_is_passed_over(load):
    stored = content_of(CORNER, "PNG")
    assert np.array_equal(load(stored + stored[33:-20] + bytes(5000)), np.asarray(CORNER))


def test_what_the_frame_of_a_gif_leaves_free_is_transparent(load):
    data = content_of(flat("P", 0).convert("RGB"), "GIF")
    pixels = load(data[:6] + struct.pack("<HH", 150, 100) + data[10:], "a.gif")
    assert (pixels[:60, :92] == 0).all() and (pixels[68:] == 255).all() and (pixels[:, 100:] == 255).all()


def test_transparent_colours_are_white(load):
    picture = Image.new("P", (120, 80), 0)
    picture.putpalette([*RED, *BLUE])
    picture.paste(1, (0, 0, 60, 80))
    for transparency in (0, b"\x00\xff"):
        pixels = load(picture, transparency=transparency)
        assert (pixels[20, 5] == BLUE).all() and (pixels[20, 100] == WHITE).all()
    pixels = load(CORNER, transparency=RED)
    assert (pixels[20, 5] == BLUE).all() and (pixels[60] == WHITE).all()


def test_a_transparent_colour_of_16_bits_is_left_out_and_named(load, capsys):
    deep = [struct.pack(">HHH", *colour) * 120 for colour in ((3000, 40000, 1), (3001, 40000, 5))]
    pixels = load(png(16, *deep, chunk(b"tRNS", struct.pack(">HHH", 3000, 40000, 1)), colour=2))
    assert (pixels == (11, 156, 0)).all(), "which Pillow cannot tell apart"
    assert "a.png: its transparent colour cannot be used and is left out." in capsys.readouterr().out


def test_a_transparency_that_is_damaged_is_left_out_and_named(load, capsys):
    note = chunk(b"tRNS", struct.pack(">HHH", *RED))
    stored = content_of(CORNER, "PNG")
    assert np.array_equal(load(stored[:33] + note[:-1] + b"!" + stored[33:]), np.asarray(CORNER))
    assert "a.png: its transparency is damaged and left out." in capsys.readouterr().out


def test_more_transparencies_than_colours_refuse_no_png(load):
    parts = chunk(b"PLTE", bytes([10, 20, 30] * 256)), chunk(b"tRNS", b"\xff" * 300)
    assert (load(png(8, bytes(120), bytes(120), *parts, colour=3)) == (10, 20, 30)).all()


def shorts(*values, order="<"):
    return struct.pack(f"{order}{len(values)}H", *values)


INK = np.zeros(768, int)  # a colour map of 8 bits
INK[[1, 257, 513]], INK[[2, 258, 514]] = 12, 156


@pytest.mark.parametrize(
    ("data", "grey"),
    [
        (tiff(shorts(3000), shorts(40000), 16), (12, 156)),
        (tiff(shorts(3000, order=">"), shorts(40000, order=">"), 16, order=">"), (12, 156)),
        (tiff(shorts(3000), shorts(40000), 16, photometric=0), (243, 99)),
        (tiff(b"\x0b\xb0\xbb", b"\x9c\x49\xc4", 12), (12, 156)),
        (tiff(struct.pack("<f", 0.047), struct.pack("<f", 0.612), 32, _339=3), (12, 156)),
        (tiff(struct.pack("<f", 12), struct.pack("<f", 156), 32, _339=3), (12, 156)),
        (tiff(struct.pack("<f", 0.047), struct.pack("<f", 0.612), 32, 0, _339=3), (243, 99)),
        (tiff(b"\1", b"\2", photometric=3, _320=tuple(INK * 257)), (12, 156)),
        (tiff(b"\1\2\3", b"\2\3\4", (8,) * 3, 2, _274=9), None),
        (tiff(b"\x32\x80", b"\x32\x80", (8, 8), _338=1), (177, 177)),
        (tiff(b"\x32\x32\x32\x80", b"\x32\x32\x32\x80", (8,) * 4, 2, _338=1), (177, 177)),
        (tiff(b"\0\0\0\xf3", b"\0\0\0\x63", (8,) * 4, 5), (12, 156)),
    ],
)
def test_layouts_of_tiff_that_are_read(load, data, grey):
    pixels = load(data, "a.tif")
    expected = [(1, 2, 3), (2, 3, 4)] if grey is None else [(value,) * 3 for value in grey]
    assert np.abs(pixels[:38] - expected[0]).max() <= 1
    assert np.abs(pixels[42:] - expected[1]).max() <= 1


@pytest.mark.parametrize(("light", "white"), [(1.02, 1), (300.0, 1), (900.0, 1023), (40_000.0, 65535)])
def test_a_highlight_of_a_float_picture_leaves_the_rest_as_it_is(load, light, white):
    values = np.full((80, 120), 0.6 * white, np.float32)
    values[:2, :3] = light
    assert np.abs(load(Image.fromarray(values), "a.tif")[20:] - 153).max() <= 1


def test_a_fourth_byte_of_tga_without_meaning_is_passed_over(load):
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 120, 80, 32, 0x20)
    assert (load(head + bytes([30, 20, 10, 0]) * 9600, "a.tga") == (10, 20, 30)).all()
    head = head[:-1] + b"\x28"  # eight bits of alpha
    pixels = load(head + bytes([30, 20, 10, 0]) * 4800 + bytes([30, 20, 10, 255]) * 4800, "a.tga")
    assert (pixels[:38] == WHITE).all() and (pixels[42:] == (10, 20, 30)).all()


def test_a_palette_of_tga_may_be_transparent(load):
    head = struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, 2, 32, 0, 0, 120, 80, 8, 0x28)
    palette = bytes([*RED[::-1], 0, *BLUE[::-1], 255])
    pixels = load(head + palette + bytes(4800) + b"\1" * 4800, "a.tga")
    assert (pixels[:38] == WHITE).all() and (pixels[42:] == BLUE).all()


def test_native_code_says_nothing_past_the_message(load, capfd):
    whole = content_of(Image.effect_noise((120, 80), 50), "TIFF", compression="tiff_lzw")
    with pytest.raises(ImageError, match="cannot be decoded: its pixels are not whole. It may be damaged"):
        load(whole.replace(whole[200:1200], b"\xff" * 1000), "a.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(shorts(1, 2, 3), shorts(3, 2, 1), (16,) * 3, 2, _284=2), "is a TIFF file of a rare kind"),
        (tiff(b"\1", b"\2", _339=2), "is a TIFF file of a rare kind"),
        (tiff(struct.pack("<I", 3000), struct.pack("<I", 40000), 32), "is a TIFF file of a rare kind"),
        (tiff(b"\1", b"\2", photometric=3, _320=tuple(INK)), "is a TIFF file of a rare kind"),
        (tiff(b"\1\2\3\4", b"\1\2\3\4", (8,) * 4, 5, _332=2), "is a TIFF file of a rare kind"),
        (tiff(b"\1", b"\2").replace(shorts(262, 3), shorts(263, 3)), "is a TIFF file of a rare kind"),
        (tiff(b"\1\2\3", b"\1\2\3", (8,) * 3, 6), "is a TIFF file of a rare kind"),
        (tiff(b"\1\2\3", b"\1\2\3", (8,) * 3, 2, _254=1), "holds a small preview of the picture, as raw"),
        (tiff(b"\1\2\3", b"\1\2\3", (8,) * 3, 2, _50706=1025), "holds a small preview of the picture, as raw"),
        (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 99, "is a raw camera file. Export it as JPEG or TIFF"),
        (b"II*\0\x08\x0a\0\0IIIICwaR" + b"\0" * 99, "is a raw camera file. Export it as JPEG or TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is an HEIC picture.* Convert it to JPEG: "),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 99, "is a film. Take one picture out of it"),
        (b"8BPS\0\1" + b"\0" * 99, "is a Photoshop document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{ } loop\n", "is a PostScript or PDF document"),
        (b"\xef\xbb\xbf<!-- a page -->", "is a web page or an SVG drawing"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + b"\0" * 99, "is a PNG for iPhone apps alone"),
        (tiff(shorts(1, 2), shorts(3, 2), (16,) * 2, 1, _338=2), "is a TIFF file of a rare kind, .* or damaged"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "is no picture that Pillow can read"),
        (b"  <svg>", "is a web page or an SVG drawing"),
        (b"", "is empty. Copy or download it again"),
        (content_of(CORNER, "JPEG")[:-200], "cannot be decoded: .*truncated.* It may be damaged"),
        (tiff(*[struct.pack("<f", np.nan)] * 2, 32, _339=3), "has pixels that are no finite numbers"),
    ],
)
def test_refused_with_the_reason(load, data, message):
    with pytest.raises(ImageError, match=f"a.jpg.* {message}"):
        load(data, "a.jpg")


def test_a_preview_is_known_by_the_larger_picture_beside_it(load):
    small = tiff(b"\1\2\3", b"\1\2\3", (8,) * 3, 2, _330=2**20)
    at = len(small)
    for width, refused in ((6000, True), (60, False)):
        data = small.replace(struct.pack("<I", 2**20), struct.pack("<I", at))
        data += struct.pack("<HHHII", 1, 256, 4, 1, width) + b"\0" * 4
        if refused:
            with pytest.raises(ImageError, match="small preview"):
                load(data)
        else:
            assert (load(data) == (1, 2, 3)).all()


def test_cmyk_ycck_and_lab(load):
    red = load(flat("CMYK", (0, 255, 255, 0)), "a.jpg", quality=95)[5, 5]
    assert red[0] > 200 and red[1:].max() < 80
    lab = Image.merge("LAB", [flat("L", value) for value in (138, 209, 195)])  # red: L 54, a 81, b 67
    assert np.abs(load(lab, "b.tif")[5, 5] - (255, 0, 0)).max() < 16
    stored = bytearray(content_of(flat("CMYK", (55, 127, 127, 0)), "JPEG", quality=95))
    stored[stored.find(b"Adobe") + 11] = 2  # 200, 128, 128, 255 read as YCCK in Adobe's inverted way: ink 200 of 255
    grey = load(bytes(stored), "ycck.jpg")[5, 5]
    assert grey.max() - grey.min() <= 4 and abs(grey.mean() - 55) <= 6


def test_of_several_frames_the_first_is_taken(load):
    for name in ("a.gif", "a.tif", "apng.png"):
        pixels = load(flat("RGB", BLUE), name, save_all=True, append_images=[flat("RGB", RED)])
        assert np.abs(pixels - BLUE).max() <= 8, name


# ---- large


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), [("jpg", 300), ("png", 440), ("tif", 440)])
def test_large_pictures_take_little_memory(tmp_path, kind, most):
    pytest.importorskip("resource", reason="not on Windows")
    path = tmp_path / f"large.{kind}"
    values = np.linspace(0, 1, 9000, dtype=np.float32)[None].repeat(9000, axis=0)
    picture = Image.fromarray(values if kind == "tif" else np.uint16(values * 65535))
    (CORNER.resize((9000, 9000)) if kind == "jpg" else picture).save(path)
    program = f"""
        import resource, sys
        from nst.images import load_image

        load_image("images/summer_palace.jpg", 400)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(load_image({str(path)!r}, 400).shape)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(more // (2**20 if sys.platform == "darwin" else 2**10))
    """
    shape, megabytes = run_python(program).stdout.splitlines()
    assert shape == "(1, 400, 400, 3)"
    assert int(megabytes) < most
