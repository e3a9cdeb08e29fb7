"""Pictures: their sizes, the names that lead to none, damaged files, and saving whole."""

import builtins
import errno
import faulthandler
import io
import itertools
import os
import re
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, raiser
from nst import decode
from nst.backend import keras, tf
from nst.errors import ImageError
from nst.images import differences, enlarge_image, load_image, preprocess_image, save_image, scaled_size, to_uint8

RED = (255, 0, 0)


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
            return to_uint8(load_image(path, size or 64))

    return save_and_load


def flat(mode, colour, size=(48, 40)):
    return Image.new(mode, size, colour)


def photo(size=(96, 64)):
    with Image.open(ROOT / "images" / "summer_palace.jpg") as picture:
        return picture.resize(size, Image.Resampling.LANCZOS)


def content_of(picture, kind="PNG", **options):
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


# ---- sizes


@pytest.mark.parametrize(("width", "height"), [(60, 100), (333, 150)])
def test_load_image_keeps_the_aspect_ratio(tmp_path, width, height):
    flat("RGB", (255, 0, 51), (width, height)).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", 80)
    scale = 80 / max(width, height)
    assert image.shape == (1, round(height * scale), round(width * scale), 3)
    assert image.dtype == tf.float32
    assert np.allclose(image, np.array([1.0, 0.0, 0.2]), atol=1e-6)


def test_small_pictures_are_enlarged_only_if_asked_for(tmp_path):
    path = tmp_path / "small.png"
    flat("RGB", RED, (120, 90)).save(path)
    assert load_image(path, 200).shape == (1, 150, 200, 3)
    assert load_image(path, 200, enlarge=False).shape == (1, 90, 120, 3)
    assert load_image(path, 60, enlarge=False).shape == (1, 45, 60, 3)
    flat("RGB", RED, (40, 10)).save(path)
    assert load_image(path, 200, enlarge=False).shape == (1, 32, 128, 3), "VGG19 needs 32 pixels"


def test_large_jpegs_are_decoded_smaller(load, monkeypatch):
    decoded, convert = [], decode._in_8_bits

    def watched(picture):
        decoded.append(picture.size)
        return convert(picture)

    monkeypatch.setattr(decode, "_in_8_bits", watched)
    small = load(photo((960, 640)), "a.jpg", size=96, quality=95, progressive=True)
    assert np.abs(small.astype(int) - np.asarray(photo())).mean() < 4
    assert 2 * 96 <= decoded[0][0] < 960, "smaller, but at least twice the size that is asked for"


# ---- refused


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1100, 100), "is 1100×100: longer than 1:10. Cut a part out"),
        ((300, 100), "short side of 21 pixels, 32 are the least. IMAGE_SIZE, or the first of SIZES, must be 96"),
        ((12000, 9000), "has 108.00 megapixels, 100 are the most. Make it smaller"),
    ],
)
def test_sizes_that_are_refused(load, size, message):
    with pytest.raises(ImageError, match=f"a.png.* {message}"):
        load(flat("1", 0, size), size=64)


def test_decompression_bombs_are_refused_before_decoding(load):
    bomb = bytearray(content_of(flat("L", 0)))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageError, match="a.png has over 100 megapixels. Make it smaller"):
        load(bytes(bomb))


def test_pictures_too_large_for_the_memory(load, monkeypatch):
    monkeypatch.setattr(decode, "_in_8_bits", raiser(MemoryError()))
    with pytest.raises(ImageError, match="a.png does not fit into the memory. Lower IMAGE_SIZE"):
        load(photo())


def test_names_that_lead_to_no_picture(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "mac").mkdir()
    (tmp_path / "mac" / "Köln\u202f1.jpg").touch()
    for path, message in (
        ("FTP://example.org/a.jpg", "is an address"),
        ("data:image/png;base64," + 9999 * "A", "^data:image.{0,200} is an address"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg is an address. Download the picture"),
        ("images/summer_place.jpg", "images.summer_place.jpg does not exist. In images there is: summer_palace.jpg"),
        ("nowhere/a.jpg", "does not exist. There is no folder nowhere either"),
        (tmp_path / "a.jpg", "does not exist. There is no picture in "),
        ("a.jpg", "a.jpg does not exist. There is no picture in .*[^.].$"),
        ("images/cat.jpg", "images.cat.jpg does not exist. In images there is: chelsea_the_cat.jpg"),
        (os.devnull, "is no ordinary file"),
        (
            tmp_path / "mac" / "Ko\u0308ln 1.jpg",
            "does not exist. .*Köln\u202f1.jpg only looks the same: copy its name from here.$",
        ),
        (tmp_path / "great_wav", "does not exist. In images there is: great_wave.jpg"),
        ("images", "images is a folder. Name a picture in it. In images there is: .*jpg"),
        ("x" * 300 + ".jpg", "cannot be opened: "),
        ("images/a\0.jpg", r"images/a.x00.jpg' cannot be the name of a picture"),
        ("summer_palace.jpg", "summer_palace.jpg does not exist. Do you mean images.summer_palace.jpg.$"),
    ):
        with pytest.raises(ImageError, match=message):
            load_image(path, 64)
    monkeypatch.setattr(builtins, "open", raiser(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(ImageError, match="great_wave.jpg cannot be opened: Permission denied"):
        load_image("images/great_wave.jpg", 64)


# ---- large, damaged, at the same time


def damaged_files(count):
    """Yield (name, bytes): pictures of many formats with bytes flipped, anywhere or in the head, or cut off."""
    random, samples = np.random.default_rng(2016), {}
    for name, options in {
        "jpg": {}, "progressive.jpg": {"progressive": True}, "png": {}, "gif": {}, "webp": {}, "tif": {},
        "lzw.tif": {"compression": "tiff_lzw"}, "bmp": {}, "ppm": {}, "avif": {},
    }.items():  # fmt: skip
        samples[name] = content_of(photo(), Image.registered_extensions()["." + name.split(".")[-1]], **options)
    for index, (name, whole) in zip(range(count), itertools.cycle(samples.items()), strict=False):
        data, kind = bytearray(whole), index // len(samples) % 3
        if kind == 0:
            del data[random.integers(len(data)) :]
        else:
            for at in random.integers(0, len(data) if kind == 1 else 64, random.integers(1, 12)):
                data[at] = random.integers(256)
        yield f"{index}.{name}", bytes(data)


@pytest.fixture
def not_for_ever():
    """End a test that hangs; what it guards takes far under two seconds each."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def test_damaged_files_load_or_raise_image_error(tmp_path, capfd, not_for_ever):
    outcomes = {"loaded": 0, "refused": 0}
    for name, data in damaged_files(100):
        path = tmp_path / name
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                image = load_image(path, 96).numpy()
            except ImageError as error:
                outcomes["refused"] += 1
                assert str(path) in str(error)
                continue
        outcomes["loaded"] += 1
        assert (image.shape[0], max(image.shape[1:3]), image.shape[3]) == (1, 96, 3), name
        assert np.isfinite(image).all(), name
        assert 0 <= image.min() <= image.max() <= 1, name
    assert min(outcomes.values()) > 20, f"the damage leaves some readable: {outcomes}"
    shown = capfd.readouterr()
    assert all("its colour profile cannot be used" in line for line in shown.out.splitlines())
    assert all(re.match("(a|tempfile).tif: ", line) for line in shown.err.splitlines()), "libtiff's alone"


def test_threads_that_load_pictures_leave_warnings_as_they_were():
    """What is turned off and on again for the whole process by two at once stays off."""
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: scaled_size("images/great_wave.jpg", 64), range(400)))
    assert list(warnings.filters) == before


# ---- saved


def test_to_uint8_rounds_and_clips():
    image = np.array([[[[0.4999 / 255, 0.5001 / 255, 254.6 / 255], [-1.0, 2.0, 1.0]]]])
    assert to_uint8(image).tolist() == to_uint8(image[0]).tolist() == [[[0, 1, 255], [0, 255, 255]]]


def test_images_survive_saving(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    save_image(pixels[np.newaxis] / 255.0, tmp_path / "a.PNG")
    assert np.array_equal(to_uint8(load_image(tmp_path / "a.PNG", 64)), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.PNG"]


def test_other_formats_are_refused(tmp_path, picture):
    with pytest.raises(ImageError, match=r"x.foo: pictures are saved as \.jpg, \.jpeg, \.png"):
        save_image(picture(8, 8), tmp_path / "x.foo")
    assert list(tmp_path.iterdir()) == []


# ---- enlarged and preprocessed


def test_enlarged_images_keep_their_content(picture):
    image = picture(40, 60).numpy()
    large = enlarge_image(image, (81, 120)).numpy()
    assert large.shape == (1, 81, 120, 3)
    assert np.abs(tf.image.resize(large, (40, 60), antialias=True) - image).max() < 0.05, "at its borders, too"
    large = enlarge_image(np.indices((40, 60)).sum(0)[None, ..., None] % 2 * np.ones(3, np.float32), (81, 120))
    assert (np.min(large), np.max(large)) == (0, 1), "bicubic goes beyond, the colours do not"


def test_preprocess_is_that_of_keras(picture):
    image = picture(20, 30)
    reference = keras.applications.vgg19.preprocess_input(image * 255.0)
    assert np.allclose(preprocess_image(image), reference, atol=1e-4)


# ---- smoothness


def slope(height, width, down, right):
    """Return a picture whose values grow by so much per pixel."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.repeat((down * y + right * x)[None, ..., None], 3, axis=-1)


@pytest.mark.parametrize(("down", "right"), [(0.03, 0.04), (-0.04, 0.03), (0.0, 0.05), (0.05, 0.0)])
def test_differences_on_a_slope_are_its_steepness_in_any_direction(down, right):
    inside = differences(slope(7, 9, down, right))[:, 1:-1, 1:-1]
    assert inside.shape == (1, 5, 7, 3)
    assert np.allclose(inside, np.hypot(0.05, 0.001), rtol=1e-3)


def test_differences_count_mirrored_neighbours_at_the_edges():
    step = np.zeros((1, 4, 5, 3), np.float32)
    step[:, 0] = 0.1
    found = differences(step).numpy()
    assert np.allclose(found[:, 0], 0.1, rtol=1e-3), "the row below stands above, too"
    assert np.allclose(found[:, 1], 0.1 / 2**0.5, rtol=1e-3)
    assert np.allclose(found[:, 2:], 0.001)
    assert np.allclose(differences(tf.fill((1, 2, 2, 3), 0.7)), 0.001), "flat, and as small as can be"


def test_gradient_of_the_differences_agrees_with_finite_differences(picture):
    x, weights = picture(9, 11, 1), picture(9, 11, 2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(weights * differences(x))
    gradient = tape.gradient(value, x).numpy()
    for where in ((0, 0, 0, 1), (0, 0, 5, 0), (0, 1, 10, 2), (0, 8, 3, 1), (0, 4, 6, 0)):
        step = np.zeros(x.shape, np.float32)
        step[where] = 0.002
        above, below = (tf.reduce_sum(weights * (differences(y) - differences(x))) for y in (x + step, x - step))
        assert np.isclose((above - below) / 0.004, gradient[where], rtol=0.02, atol=0.01), where


def test_gradient_of_the_differences_is_finite_where_the_picture_is_flat():
    x = tf.fill((1, 5, 6, 3), 0.5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(differences(x))
    assert np.array_equal(tape.gradient(value, x), np.zeros(x.shape))


@pytest.mark.parametrize("picture", [None, np.zeros((9, 9, 3)), 3])
def test_what_is_no_path_is_said(picture):
    with pytest.raises(ImageError, match=r"^A picture is named by its path, a text in quotes, and this is \w+\.$"):
        load_image(picture, 64)
