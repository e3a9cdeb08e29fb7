"""Figures, and the live view of a run."""

import io
import math
import textwrap
import time
import unicodedata

import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from nst.costs import costs_of
from nst.described import describe_costs, describe_grid, describe_row, picture_output
from nst.errors import RunError
from nst.images import to_uint8
from nst.status import status_line
from nst.titles import write


def show_images(images, titles):
    """Show images side by side.

    Args:
        images: list of float RGB images in [0, 1], shape (1, H, W, 3), of any sizes.
        titles: list of as many strings.
    """
    width, described = 12 / len(images), describe_row(titles)
    folded = [_fold(title, 1.2 * width) for title in titles]  # 48 letters in 4 inches
    height = max(width * image.shape[-3] / image.shape[-2] for image in images) + 0.3
    height += 0.19 * max(title.count("\n") for title in folded)
    figure = Figure(figsize=(12, height), layout="constrained")
    for axes, image, title in zip(figure.subplots(1, len(images), squeeze=False)[0], images, folded, strict=True):
        _draw_image(axes, image)
        write(axes.set_title("", fontsize=11), title)
    show_figure(figure, " | ".join(titles), described)


def show_channels(activations, names, count=5):
    """Show the channels of some layers that vary most over a picture: bright where their pattern was found.

    Args:
        activations: list of tensors of shape (1, n_H, n_W, n_C), one per layer.
        names: list of the layers' names.
        count: how many channels of each layer.
    """
    height = 12 / count * activations[0].shape[1] / activations[0].shape[2] + 0.25
    figure, described = Figure(figsize=(12, height * len(names)), layout="constrained"), []
    for row, a, name in zip(figure.subplots(len(names), count, squeeze=False), activations, names, strict=True):
        channels = np.moveaxis(np.asarray(a[0], np.float32), -1, 0)
        chosen = np.argsort(channels.std(axis=(1, 2)))[::-1][:count]
        described.append(f"{name}, channels {', '.join(map(str, chosen))}")
        for axes, number in zip(row, chosen, strict=True):
            axes.imshow(channels[number], cmap="gray", vmax=np.percentile(channels[number], 99.5))
            axes.set_axis_off()
            write(axes.set_title("", fontsize=10), f"{name}, channel {number}")
    words = f"Single channels, each a grey picture that is bright where its pattern was found: {'; '.join(described)}."
    show_figure(figure, "channels of " + ", ".join(names), words)


def plot_costs(history):
    """Plot the costs over the epochs, on a log axis.

    Args:
        history: list of rows, from Run.
    """
    if not history:
        print("No step was done in this run, so there are no costs.")
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    _draw_costs(figure.subplots(), history)
    show_figure(figure, "costs over epochs", describe_costs(history))


def spread(things, most):
    """Return at most `most` of some things, evenly spread, the first and the last among them."""
    return [things[i] for i in sorted({round(i) for i in np.linspace(0, len(things) - 1, min(most, len(things)))})]


def show_snapshots(paths, most=6):
    """Show at most `most` snapshots of a run, evenly spread, the first and the last among them.

    Args:
        paths: list of pathlib.Path, from Run.snapshots.
        most: how many at the most, 2 or more.

    Raises:
        RunError: there are none.
    """
    if not paths:
        raise RunError("Nothing was painted in this run, so there are no snapshots.")
    chosen = spread(paths, most)
    images = []
    for path in chosen:
        with Image.open(path) as picture:
            images.append(np.asarray(picture, np.float32) / 255.0)
    show_images(images, [f"epoch {int(path.stem.removeprefix('image_'))}" for path in chosen])


class Screen:
    """A place in a cell's output that is drawn again and again, or lines of text where there is no notebook."""

    SECONDS_BETWEEN = 3.0  # one drawing takes about as long as one step

    def __init__(self):
        self._handle, self._drawn = None, -math.inf

    def show(self, draw, text, last=False):
        """Draw again, unless that was done a moment ago.

        Args:
            draw: function that returns a matplotlib Figure.
            text: what to say where no pictures are shown.
            last: whether to draw in any case.
        """
        now = time.perf_counter()
        if not last and now - self._drawn < self.SECONDS_BETWEEN:
            return
        self._drawn = now
        if get_ipython() is None:
            print(text)
        elif self._handle is None:
            self._handle = display(_bundle(draw(), text), raw=True, display_id=True)
        else:
            self._handle.update(_bundle(draw(), text), raw=True)


class LiveView:
    """The picture and the cost curve of a run, drawn in one place while the loop runs.

    Args:
        sizes: list of (size, epochs), from plan_sizes.
        turned: text that names the settings on which the picture depends most.
    """

    def __init__(self, sizes, turned):
        self._sizes, self._turned, self._screen = sizes, turned, Screen()

    def say(self, text):
        """Tell how the run begins or ends."""
        print(text)

    def update(self, image, history, last):
        """Draw the picture and the costs again, unless that was done a moment ago.

        Args:
            image: float32 RGB in [0, 1], shape (1, H, W, 3).
            history: list of rows, from Run; one or more.
            last: whether to draw in any case.
        """
        text = status_line(history, self._sizes)
        self._screen.show(lambda: self._draw(image, history, text), f"{self._turned}   {text}", last)

    def _draw(self, image, history, text):
        figure = Figure(figsize=(10, 4.1))  # no layout engine and no text but the axes': this is drawn often
        _draw_image(figure.add_axes((0.01, 0.02, 0.5, 0.84)), image)
        axes = figure.add_axes((0.6, 0.13, 0.38, 0.66))
        _draw_costs(axes, history)
        axes.set_xlim(0, sum(epochs for _, epochs in self._sizes))
        write(figure.suptitle("", fontsize=10, family="monospace"), f"{self._turned}\n{text}")
        figure.set_label(f"The picture as it is now, and beside it a curve. {self._turned}. {describe_costs(history)}")
        return figure


def draw_grid(cells, rows=("",), columns=("",), title=""):
    """Return a figure with pictures in a grid, or in a single row.

    Args:
        cells: list of rows, each a list of images (float RGB in [0, 1] or uint8, shape (H, W, 3)), of texts (why there
            is no picture), or None (not yet).
        rows, columns: their titles.
        title: of the whole.
    """
    images = [cell for row in cells for cell in row if cell is not None and not isinstance(cell, str)]
    width, names = 12 / max(3, len(columns)), any(rows)
    height = width * max([image.shape[-3] / image.shape[-2] for image in images], default=0.7)
    rows, columns = [_fold(row, height) for row in rows], [_fold(column, width) for column in columns]
    lines = max(title.count("\n") for title in columns) + 1
    size = width * len(columns) + 0.3 * names, height * len(rows) + 0.17 * lines + 0.3
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, (row, cells_of_row) in enumerate(zip(grid, cells, strict=True)):
        for axes, cell, column in zip(row, cells_of_row, columns, strict=True):
            if isinstance(cell, str):
                words = textwrap.fill(textwrap.shorten(cell, 300, placeholder=" …"), 34)
                write(axes.text(0.5, 0.5, "", ha="center", va="center", fontsize=8, color="firebrick"), words)
            elif cell is not None:
                _draw_image(axes, cell)
            axes.set(xticks=[], yticks=[], frame_on=False)
            axes.set_axis_on()
            axes.set_anchor("S")
            write(axes.set_title("", fontsize=10), column if i == 0 else "")
        row[0].set_ylabel("", fontsize=10)
        write(row[0].yaxis.label, rows[i])
    if title:
        write(figure.suptitle("", fontsize=10, family="monospace"), title)
    figure.set_label(describe_grid(cells, rows, columns, title))
    return figure


def _fold(title, inches):
    """Return a title in lines of at most so many inches at 10 points: ten letters each, or six wide ones, as of CJK."""
    lines = []
    for line in title.split("\n"):
        wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in line)
        lines += (
            textwrap.wrap(line, max(1, int(10 * inches * len(line) / (len(line) + 0.6 * wide)))) if line else [line]
        )
    return "\n".join(lines)


def show_grid(cells, rows=("",), columns=("",)):
    """Show images in a grid: see draw_grid."""
    show_figure(draw_grid(cells, rows, columns), " | ".join(columns))


def show_points(clouds, titles):
    """Show clouds of points in the plane side by side.

    Args:
        clouds: list of arrays of shape (n, 2).
        titles: list of as many strings.
    """
    figure = Figure(figsize=(3.2 * len(clouds), 3.2), layout="constrained")
    for axes, points, title in zip(figure.subplots(1, len(clouds), squeeze=False)[0], clouds, titles, strict=True):
        axes.scatter(*np.asarray(points).T, s=9)
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", xticks=[], yticks=[])
        write(axes.set_title(""), title)
    show_figure(figure, " | ".join(titles), describe_row(titles, "Clouds of points side by side"))


def _bundle(figure, text):
    """Return a figure as a notebook output, with its label for those who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=100, pil_kwargs={"quality": 80})
    return picture_output(buffer.getvalue(), text, figure.get_label())


def show_figure(figure, text, description=""):
    """Show a figure in the notebook; elsewhere print the text that stands for it.

    Args:
        figure: matplotlib Figure.
        text: what is printed.
        description: what is to be seen, for those who cannot see it; the figure's own label when empty.
    """
    figure.set_label(description or figure.get_label())
    if get_ipython() is None:
        print(text)
    else:
        display(_bundle(figure, text), raw=True)


def _draw_image(axes, image):
    picture = Image.fromarray(image if image.dtype == np.uint8 else to_uint8(image))
    picture.thumbnail((1200, 1200))  # a figure shows no more
    axes.imshow(picture)
    axes.set_axis_off()


def _draw_costs(axes, history):
    epochs = [row["epoch"] for row in history]
    costs = {name: [row[name] for row in history] for name in costs_of(history[0])}
    for name, values in costs.items():
        if max(values) <= 0:  # nothing that a log axis can show
            continue
        first, _, rest = name.replace("_", r"\_").partition(r"\_")
        axes.plot(epochs, values, label=f"${first}_{{{rest}}}$" if rest else f"${first}$")
    axes.set_yscale("log", nonpositive="mask")
    if len(epochs) > 1:  # the content cost starts at zero, or near it in low precision: nothing to see there
        axes.set_ylim(bottom=0.5 * min((min(v[1:]) for v in costs.values() if min(v[1:]) > 0), default=0) or None)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cost")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=3, frameon=False)
