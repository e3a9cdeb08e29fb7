"""Gram matrices as pictures."""

import numpy as np
from matplotlib.figure import Figure

from nst.errors import RunError
from nst.plots import show_figure
from nst.titles import write


def show_gram_matrices(grams, titles, count=40):
    """Show Gram matrices of one layer side by side, and how far each is from the second, in all its entries.

    Shown are the channels in which the first two differ most: half of them stronger in the second, the others in the
    first. Brightness goes with the root of an entry.

    Args:
        grams: list of two or more tensors of shape (n_C, n_C), or (n_regions, n_C, n_C), which makes a row for each.
        titles: list of as many strings.
        count: how many channels at most.

    Raises:
        RunError: they are no square matrices.
    """
    for shape in (tuple(np.shape(gram)) for gram in grams):
        if len(shape) not in (2, 3) or shape[-1] != shape[-2] or not shape[-1]:
            raise RunError(
                f"A Gram matrix is (n_C, n_C), and this one is {shape}: there is nothing to draw. Go on below."
            )
    rows = list(zip(*(np.asarray(g, np.float32).reshape(-1, *g.shape[-2:]) for g in grams), strict=True))
    width = 9 / len(grams)
    figure, said = Figure(figsize=(9, (width + 0.3) * len(rows)), layout="constrained"), []
    places = figure.subplots(len(rows), len(grams), squeeze=False)
    for number, (axes_of_row, row) in enumerate(zip(places, rows, strict=True), start=1):
        strengths = [np.sqrt(np.maximum(np.diagonal(gram), 0)) for gram in row]
        order = np.argsort(strengths[0] - strengths[1])
        half = min(count, len(order)) // 2
        chosen = np.r_[order[:half], order[len(order) - half :]]
        shown = [np.sqrt(np.maximum(gram[np.ix_(chosen, chosen)], 0)) for gram in row]
        brightest = max(np.percentile(part, 99) for part in shown[:2])
        for i, (axes, gram, part, title) in enumerate(zip(axes_of_row, row, shown, titles, strict=True)):
            title = title if len(rows) == 1 else f"{title}, region {number}"
            off = np.linalg.norm(gram - row[1]) / max(np.linalg.norm(row[1]), 1e-12)
            said.append(title if i == 1 else f"{title}: {100 * off:.0f} % off")
            axes.imshow(part, cmap="magma", vmin=0, vmax=brightest or 1)
            axes.set_axis_off()
            write(axes.set_title("", fontsize=11), said[-1])
    words = "Gram matrices as pictures. Each number says how far one is from the second:"
    show_figure(figure, " | ".join(said), f"{words} {', '.join(said)}.")
