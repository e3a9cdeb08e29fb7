"""The second lesson: its functions, taken from the notebook, and small runs of it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import SETTINGS, run_python, stop_at
from nst.backend import tf
from nst.context import Context, running
from nst.lesson import Lesson, run_cell
from nst.settings import check_settings

NEIGHBOURS = Lesson("nearest_neighbours.ipynb")
SMALL = {"STYLE_IMAGE": "images/great_wave.jpg", "IMAGE_SIZE": 96, "SIZES": [48, 96], "EPOCHS": 3, "LAST_EPOCHS": 7}
SMALL |= {"WEIGHTS": "standin", "PRECISION": "float32", "SAVE_EVERY": 2}


@pytest.fixture(scope="module")
def lesson():
    """What its cells define before the training."""
    return NEIGHBOURS.run(train=False)


def paint(after_epoch=None, **settings):
    """Do a very small run of the lesson, and after each epoch a function of the run; return the run."""
    names = NEIGHBOURS.run(SMALL | settings, train=False)
    record = names["nst_utils"].Run.record

    def record_and_more(run, **costs):
        record(run, **costs)
        after_epoch(run)

    with pytest.MonkeyPatch.context() as patch, running(Context(SMALL | settings)):
        if after_epoch:
            patch.setattr(names["nst_utils"].Run, "record", record_and_more)
        run_cell(NEIGHBOURS.cells[-1][0], names)
    return names["run"]


def places(count, channels, seed):
    return tf.constant(np.random.default_rng(seed).uniform(0, 2, (count, channels)), tf.float32)


def test_a_picture_matched_with_itself_finds_itself(lesson):
    phi = places(3000, 8, 1)  # more rows than are looked at at once
    assert np.array_equal(lesson["find_neighbours"](phi, phi), np.arange(3000))


def test_neighbours_are_those_of_the_whole_table(lesson):
    x, s = places(30, 5, 1).numpy(), places(40, 5, 2).numpy()
    x_, s_ = x - x.mean(0), s - s.mean(0)
    table = (x_ / np.linalg.norm(x_, axis=1)[:, None]) @ (s_ / np.linalg.norm(s_, axis=1)[:, None]).T
    assert np.array_equal(lesson["find_neighbours"](tf.constant(x), tf.constant(s)), table.argmax(1))


def test_the_order_of_the_paintings_places_does_not_matter(lesson):
    x, s = places(30, 5, 1), places(40, 5, 2)
    shuffled = tf.gather(s, np.random.default_rng(3).permutation(40))
    found, again = (tf.gather(phi, lesson["find_neighbours"](x, phi)) for phi in (s, shuffled))
    assert np.array_equal(found, again)


def test_cost_is_zero_at_the_match_whatever_its_length_and_its_gradient_right(lesson):
    cost, matched, mu = lesson["compute_neighbour_cost"], places(20, 6, 1), places(1, 6, 2)[0]
    assert float(cost(mu + 3.0 * (matched - mu), matched, mu)) == pytest.approx(0, abs=1e-6)
    assert float(cost(mu - (matched - mu), matched, mu)) == pytest.approx(2, abs=1e-6)
    phi = tf.Variable(places(20, 6, 3))
    with tf.GradientTape() as tape:
        J = cost(phi, matched, mu)
    gradient = tape.gradient(J, phi)
    step = 0.01 * gradient / tf.norm(gradient)
    slope = (cost(phi + step, matched, mu) - cost(phi - step, matched, mu)) / 0.02
    assert float(slope) == pytest.approx(float(tf.norm(gradient)), rel=0.01)


@pytest.mark.parametrize("shape", [(45, 71), (64, 64), (9, 130)])
def test_a_pyramid_collapses_to_its_image(lesson, picture, shape):
    image = picture(*shape)
    pyramid = lesson["laplacian_pyramid"](image)
    assert np.allclose(lesson["collapse"](pyramid), image, atol=1e-6)
    assert pyramid[0].shape == image.shape
    assert all(min(level.shape[1:3]) >= 4 for level in pyramid)


def test_places_lie_on_the_grid_of_the_first_layer(lesson):
    fine, coarse = tf.ones((1, 5, 7, 4)), tf.ones((1, 3, 4, 9))
    described = lesson["describe_places"]([fine, coarse])
    assert [tuple(d.shape) for d in described] == [(35, 4), (35, 9)]
    assert np.allclose(described[0], 0.5), "divided by the root of the number of channels"
    assert np.allclose(described[1], 1 / 3)


def test_sizes_double_and_the_last_comes_twice(lesson):
    settings = lesson["settings"]
    assert lesson["plan"](settings, [(300, 400), (400, 400)]) == [(128, 60), (256, 60), (512, 40), (512, 15)]
    without = lesson["plan"](settings | {"LAST_EPOCHS": 0, "IMAGE_SIZE": 200}, [(300, 400), (400, 400)])
    assert without == [(100, 60), (200, 60)]


def costs_of(run):
    return [(row["J"], row["J_content"], row["J_neighbours"]) for row in run.history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run."""
    return paint(OUTPUT_DIR=str(tmp_path_factory.mktemp("neighbours") / "run"))


def test_costs_fall_at_each_size_and_j_is_what_is_recorded(whole):
    assert [row["epoch"] for row in whole.history] == list(range(13)), "3 epochs at 48 pixels, 3 at 96, 7 of the last"
    for J, J_content, J_neighbours in costs_of(whole):
        assert pytest.approx(whole.settings.ALPHA * J_content + J_neighbours, rel=1e-5) == J
    J = [row["J"] for row in whole.history]
    assert J[2] < J[0]
    assert J[5] < J[3]
    assert J[10] < J[6]


@pytest.mark.parametrize("epoch", [4, 8])
def test_stopped_and_resumed_is_the_same_as_in_one_go(whole, tmp_path, epoch):
    """In the middle of a size, and in the last pass before its neighbours are found anew."""
    paint(stop_at(epoch), OUTPUT_DIR=str(tmp_path / "run"))
    run = paint(RESUME=str(tmp_path / "run"))
    assert costs_of(run) == costs_of(whole)
    assert np.array_equal(run.picture, whole.picture)


def test_tiles_are_as_good_as_the_whole(whole, tmp_path):
    tiled = paint(TILE=64, OUTPUT_DIR=str(tmp_path / "run"))
    assert tiled.tiled
    of_tiles, of_whole = np.array(costs_of(tiled)), np.array(costs_of(whole))
    assert np.allclose(of_tiles[:7], of_whole[:7], rtol=1e-4), "until layers find neighbours of their own"
    assert np.allclose(of_tiles[:, 0], of_whole[:, 0], rtol=2e-3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is read as on Linux")
@pytest.mark.parametrize("tile", [0, 128])
def test_the_memory_reckoned_is_about_what_is_taken(tmp_path, tile):
    program = f"""
        import re
        import nst_utils
        from nst.lesson import Lesson

        def most():
            return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

        begin = nst_utils.Run.__enter__
        nst_utils.Run.__enter__ = lambda run: (before.append(most()), begin(run))[1]
        before, settings = [], {SMALL | {"IMAGE_SIZE": 448, "SIZES": [448], "EPOCHS": 2, "TILE": tile}}
        run = Lesson("nearest_neighbours.ipynb").run(settings | {{"OUTPUT_DIR": {str(tmp_path / "run")!r}}})["run"]
        print((most() - before[0]) / run._look.memory(*run.content_image.shape[1:3]))
    """
    share = float(run_python(program).stdout.splitlines()[-1])
    assert 0.4 < share < 1.5, f"{share:.2f} of what was reckoned was taken"


def test_each_region_is_painted_from_its_own_style(lesson):
    top = np.zeros((64, 96), np.float32)
    top[:32] = 1.0
    run = SimpleNamespace(network=SimpleNamespace(precision="float32"))
    size = SimpleNamespace(masks=np.stack([top, 1.0 - top]))
    x, styles = places(16 * 24, 6, 1), [[places(50, 6, 2)], [places(40, 6, 3)]]
    found = lesson["match"](run, size, [x], styles)[0].numpy()
    assert (found[: 8 * 24] < 50).all()
    assert (found[8 * 24 :] >= 50).all()


def test_settings_are_those_of_the_table():
    settings = NEIGHBOURS.settings()
    assert check_settings(settings) == settings
    assert settings.keys() - SETTINGS.keys() == {"MIXTURE", "LAST_EPOCHS"}
