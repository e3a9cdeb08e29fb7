"""Figures and the live view: what is shown, in a notebook and elsewhere."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nst import plots
from nst.images import save_image

HISTORY = [(0, 5.0, 100.0, 0.0, 2.5), (1, 5.5, 50.0, 0.25, 1.0), (2, 6.0, 25.0, 0.5, 0.5)]


class Handle:
    """Stands for what display returns: an output that can be shown anew."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, bundle, raw):
        self.shown.append(("update", bundle))


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as in a notebook: a list of (how, bundle)."""
    shown = []

    def display(bundle, raw, display_id=False):
        shown.append(("display", bundle))
        return Handle(shown) if display_id else None

    monkeypatch.setattr(plots, "get_ipython", lambda: object())
    monkeypatch.setattr(plots, "display", display)
    return shown


def drawn(bundle):
    """Return the picture of a notebook output, as an array."""
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))) as picture:
        return np.asarray(picture)


def test_figures_are_shown_as_jpeg_with_a_text(shown, picture, tmp_path):
    plots.show_images([picture(30, 40), picture(50, 20)], ["wide", "high"])
    plots.plot_costs([(0, 0.1, 10.0, 0.0, 2.0), (1, 0.2, 5.0, 1.0, 1.0)])
    plots.show_channels([np.random.default_rng(0).uniform(0, 1, (1, 6, 8, 4))], ["block1_conv1"], count=3)
    paths = [tmp_path / f"image_{epoch:05d}.jpg" for epoch in range(0, 20, 2)]
    for path in paths:
        save_image(picture(24, 32), path)
    plots.show_snapshots(paths, most=4)
    assert [bundle["text/plain"] for _, bundle in shown] == [
        "wide | high",
        "costs over epochs",
        "channels of block1_conv1",
        "epoch 0 | epoch 6 | epoch 12 | epoch 18",
    ]
    for _, bundle in shown:
        assert drawn(bundle).std() > 5, f"{bundle['text/plain']}: nothing is drawn"


def test_outside_a_notebook_figures_are_a_line_of_text(capsys, picture):
    plots.show_images([picture(30, 40)], ["a picture"])
    plots.plot_costs([])
    assert capsys.readouterr().out == "a picture\ncosts over epochs\n"


def test_channels_that_vary_most_are_shown(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show_figure", lambda figure, text: figures.append(figure))
    strength = np.array([[1.0, 5.0, 0.0, 3.0], [0.0, 1.0, 4.0, 2.0]])  # how much each channel of two layers varies
    stripes = np.arange(6)[:, None] % 2 * np.ones((1, 8))
    activations = [(stripes[None, :, :, None] * s).astype(np.float32) for s in strength]
    plots.show_channels(activations, ["shallow", "deep"], count=2)
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles == ["shallow, channel 1", "shallow, channel 3", "deep, channel 2", "deep, channel 3"]


def test_all_kinds_of_costs_can_be_drawn(shown):
    style_alone = [(0, 1.0, 0.0, 0.0, 2.0), (1, 2.0, 0.0, 0.0, 1.0)]  # whose weight is 0
    for history in ([], HISTORY[:1], HISTORY, style_alone):
        plots.plot_costs(history)
    assert len(shown) == 4


# ---- the live view


def test_status_line_says_how_it_stands():
    assert plots.status_line(HISTORY[:1], [(400, 123)]) == "epoch 1/123   J 100   J_content 0   J_style 2.5"
    line = plots.status_line(HISTORY, [(400, 123)])
    assert line == "epoch 3/123   J 25   J_content 0.5   J_style 0.5   0.50 s/epoch   1:00 left"


def test_status_line_reckons_with_the_larger_sizes():
    sizes = [(100, 4), (200, 3)]
    history = [(epoch, float(epoch), 9.0, 1.0, 1.0) for epoch in range(4)]
    assert plots.status_line(history[:2], sizes).endswith("1.00 s/epoch   0:14 left"), "2 here, 3 of 4 s there"
    history += [(4, 13.0, 9.0, 1.0, 1.0), (5, 17.5, 9.0, 1.0, 1.0)]
    assert plots.status_line(history[:5], sizes).endswith("J_style 1")
    line = plots.status_line(history, sizes)
    assert line.startswith("epoch 6/7 ")
    assert line.endswith("4.50 s/epoch   0:04 left")


def test_live_view_is_one_output_drawn_now_and_then(shown, picture, monkeypatch):
    now = iter([100.0, 101.0, 104.0, 104.5])
    monkeypatch.setattr(plots, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    view = plots.LiveView([(40, 4)], "alpha 10   40 px")
    history = [*HISTORY, (3, 6.5, 12.0, 0.5, 0.25)]
    for count in range(1, 5):
        view.update(picture(30, 40), history[:count], last=count == 4)
    assert [how for how, _ in shown] == ["display", "update", "update"], "one second later is too soon, the last is not"
    texts = [bundle["text/plain"] for _, bundle in shown]
    assert [text[:29] for text in texts] == [f"alpha 10   40 px   epoch {epoch}/4 "[:29] for epoch in (1, 3, 4)]
    assert drawn(shown[-1][1]).std() > 5, "nothing is drawn"


def test_live_view_outside_a_notebook_is_a_line_of_text(capsys, picture):
    plots.LiveView([(40, 3)], "alpha 10   40 px").update(picture(30, 40), HISTORY, last=True)
    assert capsys.readouterr().out.startswith("alpha 10   40 px   epoch 3/3   J 25 ")
