"""Pictures in: what is read is read right, what cannot be read is refused with the reason."""

import io
import signal
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

import nst_utils
from conftest import ROOT

WHITE, RED = (255, 255, 255), (255, 0, 0)


@pytest.fixture
def load(tmp_path):
    """A function that saves a picture, or writes bytes, and loads the file at its own size, as uint8."""

    def save_and_load(picture, name="a.png", size=None, **options):
        path = tmp_path / name
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.save(path, **options)
            size = size or max(picture.size)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return nst_utils.to_uint8(nst_utils.load_image(path, size or 64))

    return save_and_load


def flat(mode, colour, size=(48, 40)):
    return Image.new(mode, size, colour)


def photo(size=(96, 64)):
    with Image.open(ROOT / "images" / "summer_palace.jpg") as picture:
        return picture.resize(size, Image.Resampling.LANCZOS)


# ------------------------------------------------------------------------------------------------- read right

AS_STORED = {  # what a camera stores, so that the flag turns it upright
    1: lambda p: p,
    2: lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda p: p.transpose(Image.Transpose.ROTATE_180),
    4: lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda p: p.transpose(Image.Transpose.TRANSPOSE),
    6: lambda p: p.transpose(Image.Transpose.ROTATE_90),
    7: lambda p: p.transpose(Image.Transpose.TRANSVERSE),
    8: lambda p: p.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", AS_STORED)
def test_all_orientations_come_out_upright(load, orientation):
    upright = photo()
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(load(AS_STORED[orientation](upright), exif=exif), np.asarray(upright))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (flat("RGBA", (255, 0, 0, 0)), WHITE),
        (flat("RGBA", (255, 0, 0, 255)), RED),
        (flat("RGBA", (255, 0, 0, 102)), (255, 153, 153)),
        (flat("LA", (0, 51)), (204, 204, 204)),
        (flat("L", 90), (90, 90, 90)),
        (flat("1", 1), WHITE),
        (flat("1", 0), (0, 0, 0)),
    ],
)
def test_transparent_pictures_are_laid_on_white(load, picture, expected):
    assert np.abs(load(picture).astype(int) - expected).max() <= 1


def test_transparent_palette_colours_are_white(load):
    picture = Image.new("P", (48, 40), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(1, (0, 0, 24, 40))
    for transparency in (0, b"\x00\xff"):
        pixels = load(picture, transparency=transparency)
        assert (pixels[20, 5] == (0, 0, 255)).all()
        assert (pixels[20, 40] == WHITE).all()
    assert (load(picture)[20, 40] == RED).all()


def test_palette_with_alpha_and_transparent_colours_of_other_modes(load):
    assert (load(flat("PA", (7, 0)).convert("RGBA")) == 255).all()
    assert (load(flat("RGB", RED), transparency=RED) == 255).all()
    assert (load(flat("L", 60), transparency=60) == 255).all()
    with nst_utils._image_errors("x"):  # PA itself can be saved nowhere
        palette_alpha = flat("P", 0).convert("PA")
        palette_alpha.putalpha(0)
        assert nst_utils._to_rgb(palette_alpha, 48).getpixel((5, 5)) == WHITE


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        (np.full((40, 48), 32768, np.uint16), "a.png", 128),
        (np.full((40, 48), 65535, np.uint16), "a.tif", 255),
        (np.full((40, 48), 128, np.int32), "a.tif", 128),
        (np.full((40, 48), 32768, np.int32), "a.tif", 128),
        (np.full((40, 48), 0.5, np.float32), "a.tif", 128),
        (np.full((40, 48), 100.0, np.float32), "a.tif", 100),
        (np.full((40, 48), -3.0, np.float32), "a.tif", 0),
    ],
)
def test_deep_greys_are_scaled_to_eight_bits(load, values, name, expected):
    assert (load(Image.fromarray(values), name) == expected).all()


def test_cmyk_ycck_and_lab(load):
    red = load(flat("CMYK", (0, 255, 255, 0)), "a.jpg", quality=95)
    assert red[5, 5, 0] > 200
    assert red[5, 5, 1:].max() < 80
    assert load(flat("CMYK", (0, 0, 0, 0)), "a.tif").min() >= 253
    lab = Image.merge("LAB", [flat("L", value) for value in (138, 209, 195)])  # red: L 54, a 81, b 67
    assert np.abs(load(lab, "b.tif")[5, 5].astype(int) - RED).max() < 16

    buffer = io.BytesIO()  # stored as 200, 128, 128, 255: read as YCCK in Adobe's inverted way, ink 200 of 255
    flat("CMYK", (55, 127, 127, 0)).save(buffer, "JPEG", quality=95)
    stored = bytearray(buffer.getvalue())
    adobe = stored.find(b"Adobe")
    stored[adobe + 11] = 2
    grey = load(bytes(stored), "ycck.jpg", size=48)[5, 5].astype(int)
    assert grey.max() - grey.min() <= 4
    assert abs(grey.mean() - 55) <= 6


def test_colour_profiles_are_converted_to_srgb(load):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)
    assert np.abs(load(flat("RGB", RED), icc_profile=profile).astype(int) - RED).max() <= 1
    blue = load(flat("RGB", RED), icc_profile=swapped)
    assert np.abs(blue.astype(int) - (0, 0, 255)).max() <= 2, "a profile whose red is blue"
    transparent = load(flat("RGBA", (255, 0, 0, 102)), icc_profile=swapped)
    assert np.abs(transparent.astype(int) - (153, 153, 255)).max() <= 2
    assert (load(flat("RGB", RED), icc_profile=b"no profile") == RED).all(), "a broken profile is passed over"


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"])
def test_the_first_frame_is_taken(load, name):
    frames = [flat("RGB", (0, 0, 250)), flat("RGB", RED)]
    pixels = load(frames[0], name, save_all=True, append_images=frames[1:])
    assert np.abs(pixels.astype(int) - (0, 0, 250)).max() <= 8


@pytest.mark.parametrize("name", ["a.webp", "a.avif", "a.bmp", "a.ppm", "a.tif", "a.gif", "a.png", "a.jpg"])
def test_formats(load, name):
    pixels = load(photo(), name)
    assert pixels.shape == (64, 96, 3)
    assert np.abs(pixels.astype(int) - np.asarray(photo())).mean() < 12


def test_progressive_jpeg_and_small_decoding(load):
    whole = load(photo((960, 640)), "a.jpg", size=96, quality=95, progressive=True)
    assert np.abs(whole.astype(int) - np.asarray(photo())).mean() < 4


# ---------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "a.jpg", "is empty"),
        (b"<!DOCTYPE html><html></html>", "a.jpg", "web page"),
        (b"  <html>", "a.png", "web page"),
        (b"just some words", "a.jpg", "no picture that Pillow can read"),
        (photo, "cut.jpg", "cannot be decoded: .*truncated"),
        (photo, "cut.png", "cannot be decoded"),
        (flat("RGB", RED, (1100, 100)), "a.png", "longer than 1:10"),
        (flat("RGB", RED, (300, 100)), "a.png", "short side of 21 pixels, 32 are the least. Set IMAGE_SIZE = 96"),
        (flat("1", 0, (12000, 9000)), "a.png", "108 megapixels, 100 are the most"),
        (Image.fromarray(np.full((40, 48), np.nan, np.float32)), "a.tif", "not finite"),
    ],
)
def test_refused_with_the_reason(load, tmp_path, content, name, message):
    if content is photo:
        photo().save(tmp_path / name)
        content = (tmp_path / name).read_bytes()[:-900]
    elif isinstance(content, Image.Image):
        content.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
    with pytest.raises(nst_utils.ImageError, match=message) as error:
        load(content, name)
    assert name in str(error.value), "the message names the file"


def test_decompression_bombs_are_refused_before_decoding(load):
    buffer = io.BytesIO()
    flat("L", 0).save(buffer, "PNG")
    bomb = bytearray(buffer.getvalue())
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(nst_utils.ImageError, match="megapixels"):
        load(bytes(bomb))


def test_addresses_and_pictures_too_large_for_the_memory(tmp_path, monkeypatch):
    with pytest.raises(nst_utils.ImageError, match="is an address. Download the picture"):
        nst_utils.load_image("https://example.org/a.jpg", 64)
    photo().save(tmp_path / "a.png")

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(nst_utils, "_to_rgb", no_memory)
    with pytest.raises(nst_utils.ImageError, match="a.png does not fit into the memory. Lower IMAGE_SIZE"):
        nst_utils.load_image(tmp_path / "a.png", 64)


def test_missing_files_and_folders():
    with pytest.raises(nst_utils.ImageError, match="images/summer_place.jpg does not exist.*summer_palace.jpg"):
        nst_utils.load_image("images/summer_place.jpg", 64)
    with pytest.raises(nst_utils.ImageError, match="no folder nowhere"):
        nst_utils.load_image("nowhere/a.jpg", 64)
    with pytest.raises(nst_utils.ImageError, match="images is a folder.*jpg"):
        nst_utils.load_image("images", 64)


# ------------------------------------------------------------------------------------------- large and damaged


def test_a_50_megapixel_photo_costs_under_300_megabytes(tmp_path):
    photo((8660, 5774)).save(tmp_path / "large.jpg", quality=80)
    program = f"""
import nst_utils, resource
nst_utils.load_image("images/summer_palace.jpg", 400)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(nst_utils.load_image({str(tmp_path / "large.jpg")!r}, 400).shape)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    shape, megabytes = result.stdout.splitlines()
    assert shape == "(1, 267, 400, 3)"
    assert int(megabytes) < 300


def damaged_files(count):
    """Yield (name, bytes): pictures of many formats with bytes flipped, cut, spliced, or their headers swapped."""
    random = np.random.default_rng(2016)
    samples = {}
    for name, options in {
        "jpg": {}, "progressive.jpg": {"progressive": True}, "png": {}, "gif": {}, "webp": {}, "tif": {},
        "lzw.tif": {"compression": "tiff_lzw"}, "bmp": {}, "ppm": {}, "avif": {},
    }.items():  # fmt: skip
        buffer = io.BytesIO()
        photo().save(buffer, Image.registered_extensions()["." + name.split(".")[-1]], **options)
        samples[name] = buffer.getvalue()
    names = list(samples)
    for index in range(count):
        name, other = names[index % len(names)], samples[names[random.integers(len(names))]]
        data = bytearray(samples[name])
        kind = ("flip", "flip the head", "cut", "splice", "swap the head")[index // len(names) % 5]
        if kind.startswith("flip"):
            reach = len(data) if kind == "flip" else 64
            for at in random.integers(0, reach, random.integers(1, 12)):
                data[at] = random.integers(256)
        elif kind == "cut":
            del data[random.integers(len(data)) :]
        elif kind == "splice":
            at, length = random.integers(len(data)), random.integers(1, 400)
            data[at : at + length] = other[at : at + length]
        else:
            data[: random.integers(4, 40)] = other[: random.integers(4, 40)]
        yield f"{index}-{kind.replace(' ', '-')}.{name}", bytes(data)


def test_damaged_files_load_or_raise_image_error(tmp_path, capfd):
    outcomes = {"loaded": 0, "refused": 0}

    def too_long(*_):
        raise AssertionError("a damaged file hangs the reader")

    handler = signal.signal(signal.SIGALRM, too_long) if hasattr(signal, "SIGALRM") else None
    try:
        for name, data in damaged_files(500):
            path = tmp_path / name
            path.write_bytes(data)
            if handler is not None:
                signal.setitimer(signal.ITIMER_REAL, 30)  # a guard against hanging; the slowest takes far under 2 s
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    image = nst_utils.load_image(path, 96).numpy()
                except nst_utils.ImageError as error:
                    outcomes["refused"] += 1
                    assert str(path) in str(error)
                    continue
            outcomes["loaded"] += 1
            assert image.shape[0] == 1, name
            assert image.shape[3] == 3, name
            assert max(image.shape[1:3]) == 96, name
            assert np.isfinite(image).all(), name
            assert image.min() >= 0, name
            assert image.max() <= 1, name
    finally:
        if handler is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
    assert outcomes["loaded"] > 50, "the damage leaves some readable"
    assert outcomes["refused"] > 100
    captured = capfd.readouterr()
    assert captured.out + captured.err == "", "nothing on the screen"


def test_small_pictures_are_enlarged_only_if_asked_for(tmp_path):
    path = tmp_path / "small.png"
    Image.new("RGB", (120, 90), "red").save(path)
    assert nst_utils.load_image(path, 200).shape == (1, 150, 200, 3)
    assert nst_utils.load_image(path, 200, enlarge=False).shape == (1, 90, 120, 3)
    assert nst_utils.load_image(path, 60, enlarge=False).shape == (1, 45, 60, 3)
    Image.new("RGB", (40, 10), "red").save(path)
    assert nst_utils.load_image(path, 200, enlarge=False).shape == (1, 32, 128, 3), "VGG19 needs 32 pixels"
