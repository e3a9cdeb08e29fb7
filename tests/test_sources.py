"""What a run is made from: style images and their strokes, masks, starts; each control by a number in a whole run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nst_utils
from conftest import SETTINGS, costs_of, facts_of, paint, saved_picture, stop_at
from nst.backend import tf
from nst.colours import colour
from nst.images import save_image, to_uint8
from nst.settings import check_settings
from nst.sources import check_sources, load_sources, start_image

WAVE, VILLAGE, CAT = (f"images/{name}.jpg" for name in ("great_wave", "village_street_in_auvers", "chelsea_the_cat"))


def settings_with(**settings):
    return check_settings(SETTINGS | settings)


@pytest.fixture
def mask(tmp_path):
    """A function that saves a mask of the palace's proportions, white between two shares of its width."""

    def make(left, right, name="mask.png", size=(640, 427)):
        picture = Image.new("L", size)
        picture.paste(255, (round(left * size[0]), 0, round(right * size[0]), size[1]))
        picture.save(tmp_path / name)
        return str(tmp_path / name)

    return make


@pytest.fixture
def gram_distances(lesson):
    """A function: how far a picture's first Gram matrix, or of columns of it, is from those of a run's styles."""
    gram = lesson["mean_gram_matrix"]

    def measure(run, image, part=slice(None)):
        G, *styles = (gram(run.look(tf.constant(each))[0]) for each in (image[:, :, part], *run.style_images))
        return [float(tf.norm(G - G_S) / tf.norm(G_S)) for G_S in styles]

    return measure


# ---- where to start


def test_starts(picture):
    photo = picture(40, 60)
    start = lambda **changes: start_image(settings_with(**changes), photo)  # noqa: E731
    assert start() is photo
    noise = start(INIT="noise")
    assert noise.shape == photo.shape
    assert np.array_equal(noise, start(INIT="noise"))
    assert not np.array_equal(noise, start(INIT="noise", SEED=1))
    assert (np.min(noise) >= 0) and (np.max(noise) <= 1) and np.std(noise) > 0.2
    assert np.array_equal(start(INIT="style"), start(INIT=WAVE))
    assert np.array_equal(start(INIT="style", STYLE_IMAGE=[(CAT, 1.0), (WAVE, 2.0)]), start(INIT=CAT)), "the first"
    matched = start_image(settings_with(INIT="style", KEEP_COLOURS="match"), 0.4 + 0.2 * photo)
    assert np.allclose(np.mean(matched, axis=(1, 2)), np.mean(0.4 + 0.2 * photo, axis=(1, 2)), atol=0.01)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (427, 640), (33, 200), (800, 1199)])
def test_a_picture_to_start_from_covers_the_photo(shape, tmp_path):
    """One of the same shape is taken as it is, so a painting can be gone on with."""
    start = start_image(settings_with(INIT=CAT), tf.zeros((1, *shape, 3)))
    assert start.shape == (1, *shape, 3)
    assert np.std(start[:, :, -1]) > 0.01, "up to its edges"
    save_image(start, tmp_path / "before.png")
    again = start_image(settings_with(INIT=str(tmp_path / "before.png")), tf.zeros((1, *shape, 3)))
    assert np.array_equal(to_uint8(again), to_uint8(start))


def test_a_picture_to_start_from_is_recorded_and_may_be_long(folder, tmp_path):
    """It is scaled to cover the photo, so it is never as thin as beside it."""
    Image.open(CAT).resize((900, 120)).save(tmp_path / "long.png")
    run = paint(INIT=str(tmp_path / "long.png"), SIZES=[64, 96])
    assert run.picture.shape == (1, 64, 96, 3)
    assert facts_of(run.folder)["init_image"]["file"] == run.settings.INIT


# ---- several styles


def test_blends_move_from_one_style_to_the_other(folder, gram_distances):
    runs = [paint(STYLE_IMAGE=[(WAVE, 4 - i), (VILLAGE, i)], EPOCHS=40, BETA=1e4, ALPHA=0.0) for i in range(5)]
    distances = np.array([gram_distances(run, run.generated_image) for run in runs])
    assert (np.diff(distances[:, 0]) > 0).all(), f"away from the first: {distances[:, 0]}"
    assert (np.diff(distances[:, 1]) < 0).all(), f"towards the second: {distances[:, 1]}"
    facts = facts_of(runs[1].folder)
    assert [(style["file"], style["weight"]) for style in facts["style_images"]] == [(WAVE, 0.75), (VILLAGE, 0.25)]
    assert runs[1].folder.name.startswith("summer_palace-great_wave+village_street_in_auvers-")


def test_only_ratios_of_weights_count_however_large_and_a_blend_resumes(folder):
    single, blend = paint(), paint(STYLE_IMAGE=[(WAVE, 2), (VILLAGE, 0)])
    assert np.array_equal(blend.generated_image, single.generated_image), "of one and nothing, to the last bit"
    assert blend.folder.name.startswith("summer_palace-great_wave-"), "the folder tells what paints"
    first, second = (paint(STYLE_IMAGE=[(WAVE, w), (VILLAGE, 3 * w)]) for w in (0.5, 5e307))
    assert np.array_equal(first.generated_image, second.generated_image)
    paint(stop_at(3), STYLE_IMAGE=[(WAVE, 1), (VILLAGE, 3)], OUTPUT_DIR=str(folder))
    run = paint(RESUME=str(folder))
    assert np.array_equal(run.generated_image, first.generated_image)
    assert run.settings.STYLE_IMAGE == [(WAVE, 1), (VILLAGE, 3)], "pairs, as they were written"


# ---- strokes


def test_stroke_size_scales_the_style_image_and_enlarges_it_only_when_asked(folder, tmp_path, capsys):
    width = lambda **settings: paint(EPOCHS=1, **settings).style_images[0].shape[2]  # noqa: E731
    assert {stroke: width(STROKE_SIZE=stroke) for stroke in (0.8, 1.0, 2.0)} == {0.8: 51, 1.0: 64, 2.0: 128}
    small = str(tmp_path / "small.png")
    Image.open(WAVE).resize((80, 55)).save(small)
    assert width(IMAGE_SIZE=96, STYLE_IMAGE=small) == 80
    assert "is enlarged" not in capsys.readouterr().out
    assert width(IMAGE_SIZE=96, STYLE_IMAGE=small, STROKE_SIZE=1.5) == 144
    assert f"{small} is enlarged from 80 to 144 pixels for STROKE_SIZE" in capsys.readouterr().out
    assert width(IMAGE_SIZE=48, STROKE_SIZE=2.0) == 96, "too thin without it"


# ---- the photo's colours


def test_kept_colours_are_the_photos(folder):
    run = paint(KEEP_COLOURS="luminance", BETA=400.0, EPOCHS=20)
    picture, photo, painted = (
        saved_picture(run.folder)[np.newaxis] / np.float32(255),
        run.content_image,
        run.generated_image,
    )
    unclipped = np.all((picture > 0) & (picture < 1), axis=-1)
    assert unclipped.mean() > 0.5
    assert np.abs(colour(tf.constant(picture)) - colour(photo))[unclipped].max() <= 2 / 255
    assert np.abs(colour(painted) - colour(photo)).mean() > 4 / 255, "the variable is left alone"
    assert np.abs(picture - photo).mean() > 0.02, "and light and dark are painted"
    assert np.array_equal(to_uint8(run.picture), to_uint8(picture))


# ---- a style for each region


def test_each_region_comes_nearer_to_its_own_style(folder, mask, gram_distances):
    """A narrow region as well as a wide one; the weights do not count."""
    settings = {"STYLE_IMAGE": [(VILLAGE, 1), (WAVE, 9)], "EPOCHS": 60, "BETA": 1e4, "ALPHA": 0.1}
    run = paint(STYLE_MASKS=[mask(0, 0.3, "a.png"), mask(0.3, 1, "b.png")], **settings)
    unmasked, parts = paint(**settings | {"EPOCHS": 1}), (slice(0, 19), slice(19, None))  # its look knows no guides
    narrow, wide = (gram_distances(unmasked, run.generated_image, part) for part in parts)
    photo = [gram_distances(unmasked, unmasked.content_image, part) for part in parts]
    assert narrow[0] < 0.5 * photo[0][0] and narrow[0] < narrow[1], (narrow, photo)
    assert wide[1] < 0.5 * photo[1][1] and wide[1] < wide[0], (wide, photo)


@pytest.mark.parametrize("masked", [False, True])
def test_mixed_and_masked_styles_in_tiles_are_what_they_are_as_a_whole(folder, mask, masked):
    settings = {"STYLE_IMAGE": [(VILLAGE, 1), (WAVE, 2)], "IMAGE_SIZE": 150, "EPOCHS": 3, "SIZES": [150]}
    settings |= {"STYLE_LAYERS": [("block1_conv1", 0.5), ("block3_conv1", 0.5)]}
    settings["STYLE_MASKS"] = [mask(0, 0.3, "a.png"), mask(0.3, 1, "b.png")] if masked else []
    whole, tiled = paint(**settings), paint(**settings, TILE=64)
    assert tiled.tiled and not whole.tiled
    assert np.allclose(costs_of(tiled), costs_of(whole), rtol=1e-3, atol=1e-9)


def test_where_no_mask_is_white_the_photo_stays(folder, mask):
    run = paint(STYLE_MASKS=[mask(0, 0.5)], BETA=400.0, EPOCHS=20)
    picture, photo = saved_picture(run.folder)[np.newaxis] / 255, np.asarray(run.content_image)
    assert np.abs(picture - photo)[:, :, 34:].max() < 1 / 255
    assert np.abs(picture - photo)[:, :, :30].mean() > 0.03
    assert np.abs(run.generated_image - photo)[:, :, 34:].max() > 0.01, "the variable is left alone"


def test_a_masked_run_resumes_and_keeps_its_masks(folder, mask):
    settings = {"STYLE_MASKS": [mask(0, 0.5)], "SIZES": [48, 96], "EPOCHS": 4}
    whole = paint(**settings)
    paint(stop_at(3), **settings, OUTPUT_DIR=str(folder))
    assert np.array_equal(paint(RESUME=str(folder)).picture, whole.picture)
    assert (folder / "style_mask_1.png").read_bytes() == Path(settings["STYLE_MASKS"][0]).read_bytes()


def test_a_painting_is_looked_at_in_part(folder, tmp_path, mask):
    """Of one whose right half is white, the left half alone paints as if it were the painting."""
    both = np.asarray(Image.open(WAVE).resize((128, 88))).copy()
    Image.fromarray(both[:, :64]).save(tmp_path / "left.png")
    both[:, 64:] = 255
    Image.fromarray(both).save(tmp_path / "both.png")
    settings = {"STYLE_IMAGE": str(tmp_path / "both.png"), "IMAGE_SIZE": 128, "SIZES": [128], "EPOCHS": 1}
    half = paint(STYLE_PARTS=[mask(0, 0.5, size=(128, 88))], **settings)
    left = paint(**settings | {"STYLE_IMAGE": str(tmp_path / "left.png")})
    whole, white = paint(**settings), paint(STYLE_PARTS=[mask(0, 1, size=(128, 88))], **settings)
    J_style = {name: run.history[0]["J_style"] for name, run in locals().items() if hasattr(run, "history")}
    assert np.isclose(J_style["half"], J_style["left"], rtol=0.1), J_style
    assert abs(J_style["whole"] / J_style["left"] - 1) > 0.3, f"the other half makes a difference: {J_style}"
    assert np.isclose(J_style["white"], J_style["whole"], rtol=1e-3), J_style


def test_masks_are_soft_transparent_or_overlap(tmp_path, mask):
    """As a paint program leaves one that draws on a layer above the photo; where masks overlap they share."""
    ramp = np.tile(np.linspace(0, 255, 640), (427, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    layer = Image.new("RGBA", (64, 43), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 20, 43))
    layer.save(tmp_path / "layer.png")
    soft, drawn = (
        load_sources(settings_with(STYLE_MASKS=[str(tmp_path / name)]), 64).masks[0]
        for name in ("ramp.png", "layer.png")
    )
    assert np.allclose(soft, np.linspace(0, 1, 64), atol=0.02)
    assert (drawn[:, :18].min(), drawn[:, 22:].max()) == (1, 0)
    both = {"STYLE_IMAGE": [(WAVE, 1), (CAT, 1)], "STYLE_MASKS": [mask(0, 1), mask(0.5, 1, "b.png")]}
    first, second = load_sources(settings_with(**both), 64).masks
    assert np.allclose(first + second, 1) and np.allclose(second[:, 40:], 0.5)


# ---- what cannot work


def test_what_cannot_work_is_refused_before_anything(folder, mask):
    for settings, message in (
        ({"INIT": "images/great_wav.jpg"}, "images/great_wav.jpg does not exist.*great_wave.jpg"),
        ({"STROKE_SIZE": 0.4}, r"STROKE_SIZE = 0.4 leaves images/great_wave.jpg .* Set 0.75 or more"),
        ({"IMAGE_SIZE": 40}, "summer_palace.jpg gets a short side of 27 pixels"),
        ({"STYLE_MASKS": [mask(0, 0)]}, r"mask.png is black everywhere. Make it white where its style"),
        (
            {"STYLE_MASKS": [mask(0, 1, "b.png", (300, 300))]},
            "b.png is 64×64 where its picture is 64×43. Draw the mask",
        ),
        ({"STYLE_MASKS": ["no-such-mask.png"]}, "no-such-mask.png does not exist"),
    ):
        with pytest.raises(nst_utils.NSTError, match=message):
            check_sources(settings_with(**settings))
    with pytest.raises(nst_utils.ImageError, match="does not exist"):
        paint(INIT="images/great_wav.jpg", OUTPUT_DIR=str(folder))
    assert not folder.exists()
