"""What a run is made from: style images and their strokes, masks, starts; each control by a number in a whole run."""

import json

import numpy as np
import pytest
from PIL import Image

import nst_utils
from conftest import SETTINGS, paint, prepare, stop_at, train
from nst.backend import tf
from nst.colours import colour
from nst.images import load_image, to_uint8
from nst.sources import load_sources, start_image

WAVE, VILLAGE, CAT = (f"images/{name}.jpg" for name in ("great_wave", "village_street_in_auvers", "chelsea_the_cat"))


def saved_picture(folder):
    with Image.open(folder / "generated_image.png") as saved:
        return np.asarray(saved, np.float32)[np.newaxis] / 255


def facts_of(run):
    return json.loads((run.folder / "settings.json").read_text())


@pytest.fixture
def mask(tmp_path):
    """A function that saves a mask of the palace's proportions, white between two shares of its width."""

    def make(left, right, name="mask.png", size=(640, 427)):
        picture = Image.new("L", size)
        picture.paste(255, (round(left * size[0]), 0, round(right * size[0]), size[1]))
        picture.save(tmp_path / name)
        return str(tmp_path / name)

    return make


def gram_distances(run, images, part=slice(None)):
    """Return how far the Gram matrix of block1_conv1 of a run's picture, or of columns of it, is from some images'."""
    gram = run._namespace["mean_gram_matrix"]
    painted = run.generated_image[:, :, part]
    of = [gram(run._look(tf.constant(image))[0]) for image in (painted, *images)]
    return [float(tf.norm(of[0] - G) / tf.norm(G)) for G in of[1:]]


# ---- where to start


def test_starts(picture):
    photo = picture(40, 60)
    start = lambda **changes: start_image(SETTINGS | changes, photo)  # noqa: E731
    assert start() is photo
    noise = start(INIT="noise")
    assert noise.shape == photo.shape
    assert np.array_equal(noise, start(INIT="noise"))
    assert not np.array_equal(noise, start(INIT="noise", SEED=1))
    assert (0.4 < np.mean(noise) < 0.6) and np.std(noise) > 0.2
    assert (np.min(noise) >= 0) and (np.max(noise) <= 1)
    assert np.array_equal(start(INIT="style"), start(INIT=WAVE))
    assert np.array_equal(start(INIT="style", STYLE_IMAGE=[(CAT, 1.0), (WAVE, 2.0)]), start(INIT=CAT)), "the first"


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (427, 640), (33, 200), (800, 1199)])
def test_a_picture_to_start_from_covers_the_photo(shape):
    photo = tf.zeros((1, *shape, 3))
    start = start_image(SETTINGS | {"INIT": CAT}, photo)
    assert start.shape == photo.shape
    assert np.std(start[:, :, -1]) > 0.01, "up to its edges"


def test_a_picture_of_the_same_shape_is_taken_as_it_is(tmp_path, picture):
    """So a painting can be gone on with."""
    before = picture(43, 64)
    Image.fromarray(to_uint8(before)).save(tmp_path / "before.png")
    start = start_image(SETTINGS | {"INIT": str(tmp_path / "before.png")}, tf.zeros((1, 43, 64, 3)))
    assert np.array_equal(to_uint8(start), to_uint8(before))


def test_the_same_seed_gives_the_same_picture_and_resumes(folder):
    first, second, other = (paint(INIT="noise", SEED=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.generated_image, second.generated_image)
    assert not np.array_equal(first.generated_image, other.generated_image)
    paint(stop_at(2), INIT="noise", SEED=3, OUTPUT_DIR=str(folder))
    resumed = paint(RESUME=str(folder))
    assert np.array_equal(resumed.generated_image, first.generated_image)
    assert facts_of(resumed)["settings"]["SEED"] == 3


def test_a_start_that_is_no_picture_is_refused_before_anything(folder):
    with pytest.raises(nst_utils.SettingsError, match='INIT = \'nosie\' .* "content", "noise", "style" or the path'):
        paint(INIT="nosie")
    with pytest.raises(nst_utils.ImageError, match="images/great_wav.jpg does not exist.*great_wave.jpg"):
        paint(INIT="images/great_wav.jpg")
    assert not folder.exists()


def test_the_file_that_it_began_as_is_recorded(folder):
    run = paint(INIT=CAT)
    assert facts_of(run)["init_image"]["file"] == CAT
    assert not np.array_equal(run.generated_image, paint().generated_image)


def test_a_long_picture_to_start_from_needs_no_larger_size(folder, tmp_path):
    """It is scaled to cover the photo, so it is never as thin as beside it."""
    Image.open(CAT).resize((900, 120)).save(tmp_path / "long.png")
    run = paint(INIT=str(tmp_path / "long.png"), SIZES=[64, 96])
    assert run.picture.shape == (1, 64, 96, 3)


def test_a_start_as_the_style_has_its_matched_colours(picture):
    photo = 0.4 + 0.2 * picture(40, 60)
    start = start_image(SETTINGS | {"INIT": "style", "KEEP_COLOURS": "match"}, photo)
    assert np.allclose(np.mean(start, axis=(1, 2)), np.mean(photo, axis=(1, 2)), atol=0.01)


# ---- several styles


def test_a_blend_of_one_and_nothing_is_the_single_style(folder):
    """To the last bit, in float32."""
    single, blend = paint(), paint(STYLE_IMAGE=[(WAVE, 2), (VILLAGE, 0)])
    assert [row[2:] for row in blend.history] == [row[2:] for row in single.history]
    assert np.array_equal(blend.generated_image, single.generated_image)
    assert blend.folder.name.startswith("summer_palace-great_wave-"), "the folder tells what paints"


def test_blends_move_from_one_style_to_the_other(folder):
    runs = [paint(STYLE_IMAGE=[(WAVE, 4 - i), (VILLAGE, i)], EPOCHS=40, BETA=1e4, ALPHA=0.0) for i in range(5)]
    distances = np.array([gram_distances(run, run.style_images) for run in runs])
    assert (np.diff(distances[:, 0]) > 0).all(), f"away from the first: {distances[:, 0]}"
    assert (np.diff(distances[:, 1]) < 0).all(), f"towards the second: {distances[:, 1]}"
    facts = facts_of(runs[1])
    assert [(style["file"], style["weight"]) for style in facts["style_images"]] == [(WAVE, 0.75), (VILLAGE, 0.25)]
    assert runs[1].folder.name.startswith("summer_palace-great_wave+village_street_in_auvers-")


def test_only_ratios_of_weights_count_however_large(folder):
    first, second = (paint(STYLE_IMAGE=[(WAVE, w), (VILLAGE, 3 * w)]) for w in (0.5, 5e307))
    assert np.array_equal(first.generated_image, second.generated_image)


def test_stopped_blend_goes_on_with_the_same_files(folder, tmp_path):
    whole = paint(STYLE_IMAGE=[(WAVE, 1), (VILLAGE, 1)])
    paint(stop_at(3), STYLE_IMAGE=[(WAVE, 1), (VILLAGE, 1)], OUTPUT_DIR=str(folder))
    run = paint(RESUME=str(folder))
    assert np.array_equal(run.generated_image, whole.generated_image)
    assert run.settings["STYLE_IMAGE"] == [(WAVE, 1), (VILLAGE, 1)], "pairs, as they were written"


# ---- strokes


def test_stroke_size_scales_the_style_image(folder, capsys):
    sizes = {stroke: paint(STROKE_SIZE=stroke).style_images[0].shape[2] for stroke in (0.8, 1.0, 2.0)}
    assert sizes == {0.8: 51, 1.0: 64, 2.0: 128}
    assert "is enlarged" not in capsys.readouterr().out


def test_strokes_are_enlarged_only_when_asked_and_then_said(folder, tmp_path, capsys):
    Image.open(WAVE).resize((80, 55)).save(tmp_path / "small.png")
    small = str(tmp_path / "small.png")
    assert paint(IMAGE_SIZE=96, STYLE_IMAGE=small).style_images[0].shape[2] == 80
    assert "is enlarged" not in capsys.readouterr().out
    assert paint(IMAGE_SIZE=96, STYLE_IMAGE=small, STROKE_SIZE=1.5).style_images[0].shape[2] == 144
    assert f"{small} is enlarged from 80 to 144 pixels for STROKE_SIZE" in capsys.readouterr().out


def test_too_fine_strokes_are_refused_and_sizes_leave_room_for_them(folder):
    with pytest.raises(
        nst_utils.SettingsError, match=r"STROKE_SIZE = 0.4 leaves images/great_wave.jpg .* Set 0.75 or more"
    ):
        paint(STROKE_SIZE=0.4)
    with pytest.raises(nst_utils.ImageError, match="short side"):
        paint(STYLE_IMAGE=WAVE, IMAGE_SIZE=40)
    assert paint(IMAGE_SIZE=48, STYLE_IMAGE=WAVE, STROKE_SIZE=2.0).style_images[0].shape[2] == 96
    shapes = [(341, 512), (200, 300)]
    settings = SETTINGS | {"IMAGE_SIZE": 512, "STROKE_SIZE": 0.15, "EPOCHS": 20}
    assert nst_utils.plan_sizes(settings, shapes) == [(362, 20), (512, 20)], "256 × 0.15 leave 26 pixels"


# ---- the photo's colours


def test_kept_colours_are_the_photos(folder):
    run = paint(KEEP_COLOURS="luminance", BETA=400.0, EPOCHS=20)
    picture, photo, painted = saved_picture(run.folder), run.content_image, run.generated_image
    unclipped = np.all((picture > 0) & (picture < 1), axis=-1)
    assert unclipped.mean() > 0.5
    assert np.abs(colour(tf.constant(picture)) - colour(photo))[unclipped].max() <= 2 / 255
    assert np.abs(colour(painted) - colour(photo)).mean() > 4 / 255, "the variable is left alone"
    assert np.abs(picture - photo).mean() > 0.02, "and light and dark are painted"
    with Image.open(run.snapshots[-1]) as snapshot:
        shown = np.asarray(snapshot, np.float32)[np.newaxis] / 255
    assert np.abs(shown - picture).mean() < 0.02, "snapshots have the colours, too"
    assert np.array_equal(to_uint8(run.picture), to_uint8(picture))


def test_matched_colours_are_nearer_to_the_photos(folder):
    runs = {how: paint(KEEP_COLOURS=how, BETA=400.0, EPOCHS=40) for how in ("", "match")}
    off = {how: np.abs(np.mean(run.picture - run.content_image, axis=(1, 2))).max() for how, run in runs.items()}
    assert off["match"] < 0.5 * off[""], off
    mean = np.mean(runs["match"].style_images[0], axis=(1, 2))
    assert np.allclose(mean, np.mean(runs["match"].content_image, axis=(1, 2)), atol=0.02), "but for what is clipped"


def test_a_failure_between_two_sizes_keeps_a_picture_of_one(folder):
    """What is shown is made of the photo at the size of the picture, not of the size that has just begun."""
    names = prepare(KEEP_COLOURS="luminance", SIZES=[48, 96], OUTPUT_DIR=str(folder))
    make = names["make_optimizer"]
    names["make_optimizer"] = lambda epochs, refines: 1 / 0 if refines else make(epochs, refines)
    with pytest.raises(ZeroDivisionError):
        train(names)
    assert names["run"].picture.shape == (1, 32, 48, 3)
    assert saved_picture(folder).shape == (1, 32, 48, 3)


# ---- a style for each region


def test_masks_as_the_layers_see_them(folder):
    names = prepare()
    names["run"] = run = nst_utils.Run(names)
    masks = np.zeros((2, 33, 47), np.float32)
    masks[0, :, :10] = masks[1, :, 10:] = 1.0
    (guides,) = run._look.guides(masks)
    assert guides.shape == (2, 33, 47)
    a = np.random.default_rng(0).normal(size=(1, 33, 47, 2)).astype(np.float32)
    for guide, mask in zip(guides, masks, strict=True):
        inside = tf.constant(a[:, :, mask[0] > 0])
        own = names["mean_gram_matrix"](inside)
        found = names["mean_gram_matrix"](tf.constant(a * guide[..., np.newaxis]))
        assert np.allclose(found, np.sqrt(mask.mean()) * own, rtol=1e-5), "over its own area, times the share's root"


def test_one_white_mask_is_the_same_as_none(folder, mask):
    masked, plain = paint(STYLE_MASKS=[mask(0, 1)]), paint()
    assert np.allclose([row[2:] for row in masked.history], [row[2:] for row in plain.history], rtol=1e-3)
    assert np.abs(masked.picture - plain.picture).max() < 0.02


def test_each_region_comes_nearer_to_its_own_style(folder, mask):
    """A narrow region as well as a wide one."""
    settings = {"STYLE_IMAGE": [(VILLAGE, 1), (WAVE, 9)], "EPOCHS": 60, "BETA": 1e4, "ALPHA": 0.1}
    run = paint(STYLE_MASKS=[mask(0, 0.3, "a.png"), mask(0.3, 1, "b.png")], **settings)
    narrow, wide = (gram_distances(run, run.style_images, part) for part in (slice(0, 19), slice(19, None)))
    before = train(prepare(**settings | {"EPOCHS": 1, "LEARNING_RATE": 1e-9}))
    photo = [gram_distances(before, before.style_images, part) for part in (slice(0, 19), slice(19, None))]
    assert narrow[0] < 0.5 * photo[0][0] and narrow[0] < narrow[1], (narrow, photo)
    assert wide[1] < 0.5 * photo[1][1] and wide[1] < wide[0], (wide, photo)
    assert run.settings["STYLE_IMAGE"][1] == (WAVE, 9), "the weights do not count"


@pytest.mark.parametrize("masked", [False, True])
def test_mixed_and_masked_styles_in_tiles_are_what_they_are_as_a_whole(folder, mask, masked):
    settings = {"STYLE_IMAGE": [(VILLAGE, 1), (WAVE, 2)], "IMAGE_SIZE": 150, "EPOCHS": 3, "SIZES": [150]}
    settings |= {"STYLE_LAYERS": [("block1_conv1", 0.5), ("block3_conv1", 0.5)]}
    settings["STYLE_MASKS"] = [mask(0, 0.3, "a.png"), mask(0.3, 1, "b.png")] if masked else []
    whole, tiled = paint(**settings), paint(**settings, TILE=64)
    assert tiled._look.splits(tiled.content_image)
    assert not whole._look.splits(whole.content_image)
    assert np.allclose([row[2:] for row in tiled.history], [row[2:] for row in whole.history], rtol=1e-3, atol=1e-9)


def test_where_no_mask_is_white_the_photo_stays(folder, mask):
    run = paint(STYLE_MASKS=[mask(0, 0.5)], BETA=400.0, EPOCHS=20)
    picture, photo = saved_picture(run.folder), np.asarray(run.content_image)
    assert np.abs(picture - photo)[:, :, 34:].max() < 1 / 255
    assert np.abs(picture - photo)[:, :, :30].mean() > 0.03
    assert np.abs(run.generated_image - photo)[:, :, 34:].max() > 0.01, "the variable is left alone"


def test_soft_edges_are_kept(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 640), (427, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    (mask,) = load_sources(SETTINGS | {"STYLE_MASKS": [str(tmp_path / "ramp.png")]}, 64).masks
    assert np.allclose(mask, np.linspace(0, 1, 64), atol=0.02)


def test_a_masked_run_resumes_and_its_masks_are_recorded(folder, mask):
    settings = {"STYLE_MASKS": [mask(0, 0.5)], "SIZES": [48, 96], "EPOCHS": 4}
    whole = paint(**settings)
    paint(stop_at(3), **settings, OUTPUT_DIR=str(folder))
    run = paint(RESUME=str(folder))
    assert np.array_equal(run.picture, whole.picture)
    assert facts_of(run)["style_masks"][0]["file"] == settings["STYLE_MASKS"][0]
    with open(settings["STYLE_MASKS"][0], "rb") as original:
        assert (folder / "style_mask_1.png").read_bytes() == original.read(), "kept with the run"


def test_masks_by_a_threshold(folder, tmp_path, monkeypatch):
    photo = np.full((400, 640, 3), 40, np.uint8)
    photo[:180] = 220
    photo[80, 80] = 0  # a spot
    Image.fromarray(photo).save(tmp_path / "photo.png")
    paths = nst_utils.threshold_masks(str(tmp_path / "photo.png"), 0.5)
    assert [path.rpartition("output/")[2] for path in paths] == ["masks-001/light.png", "masks-001/dark.png"]
    light, dark = (np.asarray(load_image(path, 640))[0, :, :, 0] for path in paths)
    assert np.allclose(light + dark, 1, atol=0.01)
    assert light[:165].min() > 0.98 and light[195:].max() < 0.02, "spots are passed over"
    assert 0.1 < light[178:182].mean() < 0.9, "the edge is soft"
    with pytest.raises(nst_utils.ImageError, match=r"lightness = 0.9 does not divide .*from 0.16 to 0.86. Choose"):
        nst_utils.threshold_masks(str(tmp_path / "photo.png"), 0.9)
    monkeypatch.setenv("NST_OUTPUT_DIR", str(tmp_path / "mine"))
    assert (
        nst_utils.threshold_masks(str(tmp_path / "photo.png"), 0.5)[0]
        == f"{tmp_path.as_posix()}/mine/masks-001/light.png"
    )


def test_a_mask_on_a_transparent_layer_is_white_where_it_is_drawn(tmp_path):
    """As a paint program leaves it that draws on a layer above the photo."""
    layer = Image.new("RGBA", (64, 43), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 20, 43))
    layer.save(tmp_path / "layer.png")
    (mask,) = load_sources(SETTINGS | {"STYLE_MASKS": [str(tmp_path / "layer.png")]}, 64).masks
    assert (mask[:, :18].min(), mask[:, 22:].max()) == (1, 0)


def test_where_masks_overlap_they_share(mask):
    settings = SETTINGS | {"STYLE_IMAGE": [(WAVE, 1), (CAT, 1)], "STYLE_MASKS": [mask(0, 1), mask(0.5, 1, "b.png")]}
    first, second = load_sources(settings, 64).masks
    assert np.allclose(first + second, 1)
    assert np.allclose(second[:, 40:], 0.5)


def test_masks_that_cannot_work_are_refused_before_anything(folder, mask):
    with pytest.raises(nst_utils.SettingsError, match=r"mask.png is black everywhere. Make it white where its style"):
        paint(STYLE_MASKS=[mask(0, 0)])
    with pytest.raises(nst_utils.SettingsError, match=r"mask.png is 64×64 where the photo is 64×43. Draw the mask on"):
        paint(STYLE_MASKS=[mask(0, 1, size=(300, 300))])
    with pytest.raises(nst_utils.SettingsError, match="STYLE_MASKS has 2 masks and STYLE_IMAGE 1 pictures: give one"):
        paint(STYLE_MASKS=[mask(0, 1)] * 2)
    with pytest.raises(nst_utils.ImageError, match="does not exist"):
        paint(STYLE_MASKS=["no-such-mask.png"])
    assert not folder.exists()
