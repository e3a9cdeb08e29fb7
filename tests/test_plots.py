"""Figures and the live view: what is shown, in a notebook and elsewhere, and titles in any letters."""

import base64
import html
import io
import itertools
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from nst import plots, titles
from nst.errors import RunError
from nst.images import save_image
from nst.matrices import show_gram_matrices
from nst.status import status_line

ROWS = [(0, 5.0, 100.0, 0.0, 2.5), (1, 5.5, 50.0, 0.25, 1.0), (2, 6.0, 25.0, 0.5, 0.5)]
HISTORY = [dict(zip(("epoch", "seconds", "J", "J_content", "J_style"), row, strict=True)) for row in ROWS]


@pytest.fixture
def shown(monkeypatch):
    """What a notebook displays: a list of bundles."""
    shown = []
    monkeypatch.setattr(plots, "get_ipython", lambda: object())
    monkeypatch.setattr(plots, "display", lambda bundle, raw, **more: shown.append(bundle))
    return shown


def drawn(bundle):
    """Return the picture of a notebook output, as an array."""
    (data,) = re.findall('src="data:image/jpeg;base64,([^"]*)"', bundle["text/html"])
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture)


def described(bundle):
    """Return what a notebook output says to those who cannot see it."""
    (words,) = re.findall('<img [^>]*alt="([^"]*)"', bundle["text/html"])
    return html.unescape(words)


def rendered(figure):
    """Return a figure as an array of grey values."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return np.asarray(Image.open(buffer).convert("L"))


def test_figures_are_shown_as_jpeg_with_a_text(shown, picture, tmp_path):
    plots.show_images([picture(30, 40), picture(50, 20)], ["wide", "high"])
    plots.plot_costs(HISTORY)
    plots.show_channels([np.random.default_rng(0).uniform(0, 1, (1, 6, 8, 4))], ["block1_conv1"], count=3)
    plots.show_grid([[np.zeros((6, 8, 3))]], ["row"], ["column"])
    plots.show_points([np.random.default_rng(0).normal(size=(50, 2))], ["points"])
    paths = [tmp_path / f"image_{epoch:05d}.jpg" for epoch in range(0, 20, 2)]
    for path in paths:
        save_image(picture(24, 32), path)
    plots.show_snapshots(paths, most=4)
    plots.LiveView([(40, 3)], "alpha 10").update(picture(30, 40), HISTORY, last=True)
    assert [bundle["text/plain"] for bundle in shown] == [
        "wide | high",
        "costs over epochs",
        "channels of block1_conv1",
        "column",
        "points",
        "epoch 0 | epoch 6 | epoch 12 | epoch 18",
        f"alpha 10   {status_line(HISTORY, [(40, 3)])}",
    ]
    for bundle in shown:
        assert drawn(bundle).std() > 5, f"{bundle['text/plain']}: nothing is drawn"


def test_figures_are_described_for_those_who_cannot_see_them(shown, picture):
    """What each holds, from what it was drawn from; also in letters that HTML takes for its own."""
    plots.show_images([picture(30, 40)], ['a "wide" & <high> one'])
    plots.plot_costs(HISTORY)
    activations = np.random.default_rng(0).uniform(0, [[[1, 9, 2, 5]]], (1, 6, 8, 4))
    plots.show_channels([activations], ["block1_conv1"], count=2)
    plots.show_grid([[np.zeros((6, 8, 3)), None], ["it failed", None]], ["BETA = 1", "BETA = 2"], ["cat", "wave"])
    plots.show_points([np.zeros((9, 2))] * 2, ["a ring", "a blob"])
    plots.LiveView([(40, 3)], "alpha 10").update(picture(30, 40), HISTORY, last=True)
    image, costs, channels, grid, points, live = map(described, shown)
    assert image == 'A picture: a "wide" & <high> one.'
    assert (
        costs
        == "Costs over 3 epochs, on a log axis: J from 100 to 25, J_content from 0 to 0.5, J_style from 2.5 to 0.5."
    )
    assert "block1_conv1, channels 1, 3" in channels
    assert grid.startswith("A grid of pictures. Columns: cat, wave. Rows: BETA = 1, BETA = 2.")
    assert "Not painted yet: BETA = 1 wave." in grid and "No picture of BETA = 2 cat: it failed" in grid
    assert points == "Clouds of points side by side: a ring, a blob."
    assert "alpha 10" in live and live.endswith(costs)


def test_gram_matrices_are_shown_with_how_far_they_are_from_the_second(shown):
    """Of any number of channels and regions; the first ones shown are those that the second has more of."""
    of_photo, of_painting = np.diag([9.0, 1.0, 4.0]), np.diag([1.0, 9.0, 4.0])
    show_gram_matrices([of_photo, of_painting, of_painting], ["photo", "painting", "result"], count=2)
    assert described(shown[-1]).endswith("second: photo: 114 % off, painting, result: 0 % off.")
    photo, painting = (drawn(shown[-1])[100:300, left : left + 300].astype(int) for left in (50, 450))
    assert photo.mean(axis=(1, 2))[:50].mean() < painting.mean(axis=(1, 2))[:50].mean()
    show_gram_matrices([np.random.default_rng(0).uniform(0, 1, (2, 5, 5))] * 2, ["photo", "painting"])
    assert shown[-1]["text/plain"] == " | ".join(
        ["photo, region 1: 0 % off", "painting, region 1", "photo, region 2: 0 % off", "painting, region 2"]
    )
    show_gram_matrices([np.zeros((4, 4))] * 2, ["photo", "painting"])
    for wrong in (np.zeros((2, 64)), np.zeros(3), np.float32(1)):
        with pytest.raises(
            RunError, match=r"^A Gram matrix is .n_C, n_C., and this one is \(.*: there is nothing to draw"
        ):
            show_gram_matrices([np.zeros((4, 4)), wrong], ["photo", "painting"])


def test_outside_a_notebook_figures_are_a_line_of_text(capsys, picture):
    plots.show_images([picture(30, 40)], ["a picture"])
    plots.plot_costs(HISTORY)
    plots.LiveView([(40, 3)], "alpha 10   40 px").update(picture(30, 40), HISTORY, last=True)
    assert capsys.readouterr().out.startswith("a picture\ncosts over epochs\nalpha 10   40 px   epoch 3/3   J 25 ")


def test_long_titles_are_folded_to_their_picture(shown, picture):
    """A title is as wide as its picture at the most: pictures beside it have titles of their own."""
    for title in ("short", "alpha 10   beta 40   " + " → ".join(["512"] * 30)):
        plots.show_images([picture(30, 40)] * 5, [title, "b", "c", "d", "e"])
    short, long = map(drawn, shown)
    assert long.shape[0] > short.shape[0] + 60, "in several lines"
    assert shown[1]["text/plain"].startswith("alpha 10   beta 40   512 → 512")


def test_all_kinds_of_costs_can_be_drawn(shown):
    style_alone = [row | {"J_content": 0.0} for row in HISTORY]  # the other's weight is 0
    other_names = [{"epoch": n, "seconds": 1.0, "loss": 3.0, "J_of_one_layer": 2.0, "J_": 1.0} for n in range(2)]
    negative = [row | dict.fromkeys(("J", "J_content", "J_style"), -1.0) for row in HISTORY]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for history in (HISTORY[:1], style_alone, other_names, negative):
            plots.plot_costs(history)
    assert len(shown) == 4


def test_of_a_run_without_a_step_no_costs_are_drawn(shown, capsys):
    """It may have been stopped."""
    plots.plot_costs([])
    assert (shown, capsys.readouterr().out) == ([], "No step was done in this run, so there are no costs.\n")


# ---- a grid


def test_grid_shows_bytes_and_floats_alike():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    of_bytes, of_floats = (rendered(plots.draw_grid([[cell]])) for cell in (pixels, pixels / 255))
    assert np.array_equal(of_bytes, of_floats)
    assert of_bytes.std() > 20, "something is drawn"


def test_a_long_message_takes_no_room_from_the_pictures():
    """Errors of an edited function within tf.function have pages of text."""
    black, columns = np.zeros((32, 48, 3), np.uint8), ["a", "b", "c"]
    pages = "in user code: " + "some function in some file, " * 300
    short, long = ((rendered(plots.draw_grid([[black, c, black]], [""], columns)) < 50).mean() for c in ("why", pages))
    assert short > 0.3, f"two pictures fill most of two thirds: {short}"
    assert long > 0.8 * short, f"the pictures shrink from {short} to {long}"


def test_long_titles_leave_their_neighbours_room():
    """Settings that are lists, and names of files, run over into the next picture's title otherwise."""
    long = "STYLE_LAYERS = [block1_conv1 0.5, block2_conv1 0.25, bl…]\nCONTENT_IMAGE = " + "A_PHOTO_OF_MINE-" * 4
    for columns in (2, 6):
        figure = plots.draw_grid([[np.zeros((32, 48, 3))] * columns] * 2, [long] * 2, [long] * columns)
        figure.draw_without_rendering()
        boxes = [axes.title.get_window_extent() for axes in figure.axes[:columns]]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes)), f"{columns} columns"
        assert figure.axes[0].bbox.y1 <= boxes[0].y0 < boxes[0].y1 <= figure.bbox.y1
        upper, lower = (figure.axes[i * columns].yaxis.label.get_window_extent() for i in (0, 1))
        assert upper.y0 > lower.y1
    figure = plots.draw_grid([[None] * 4], columns=["\u666f" * 60, "", "", ""])
    assert max(map(len, figure.axes[0].get_title().split("\n"))) == 18, "three inches of letters as high as wide"


def test_titles_are_no_formulas_and_no_boxes(monkeypatch, capsys):
    """Names of files may hold anything."""
    titles._fonts_for.cache_clear()
    families = {"DejaVu Sans", "Last Resort High-Efficiency"}
    monkeypatch.setattr(titles.fontManager, "ttflist", [f for f in titles.fontManager.ttflist if f.name in families])
    strange = "$\\frac{ costs 5$ é 雪景\udcff"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.draw_grid([[strange], [None]], [strange, ""], [f"{strange}\n$_^"], strange)
        rendered(figure)
    wanted = "$\\frac{ costs 5$ é ???"
    top = figure.axes[0]
    assert [top.get_title(), top.get_ylabel(), top.texts[0].get_text()] == [f"{wanted}\n$_^", wanted, wanted]
    assert figure.get_suptitle() == wanted
    assert capsys.readouterr().out.count("Note: no font here has 景雪?, so titles show ? instead.") == 1, "said once"
    titles._fonts_for.cache_clear()


# ---- the live view


def test_status_line_says_how_it_stands_and_reckons_with_the_larger_sizes():
    assert status_line(HISTORY[:1], [(400, 123)]) == "epoch 1/123   J 100   J_content 0   J_style 2.5"
    line = status_line(HISTORY, [(400, 123)])
    assert line == "epoch 3/123   J 25   J_content 0.5   J_style 0.5   0.50 s/epoch   1:00 left"
    sizes, seconds = [(100, 4), (200, 3)], [0.0, 1.0, 2.0, 3.0, 13.0, 17.5]
    history = [{"epoch": epoch, "seconds": s, "J": 9.0} for epoch, s in enumerate(seconds)]
    assert status_line(history[:2], sizes).endswith("1.00 s/epoch   0:14 left"), "2 here, 3 of 4 s there"
    assert status_line(history[:5], sizes) == "epoch 5/7   J 9", "the first epoch of a size holds the tracing"
    assert status_line(history, sizes) == "epoch 6/7   J 9   4.50 s/epoch   0:04 left"
