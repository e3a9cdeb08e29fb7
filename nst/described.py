"""Pictures in a notebook's output, with a description for those who cannot see them."""

import base64
import html

from nst.costs import costs_of


def picture_output(content, text, description="", kind="jpeg"):
    """Return a picture as a notebook output. It is HTML, since JupyterLab shows no other with a description.

    Args:
        content: bytes of the picture's file.
        text: what stands for it where no pictures are shown.
        description: what is to be seen, in words; the text when empty.
        kind: of the file, as in image/jpeg.
    """
    words, data = html.escape(" ".join((description or text).split())), base64.b64encode(content).decode()
    tag = f'<img src="data:image/{kind};base64,{data}" alt="{words}" style="max-width: 100%">'
    return {"text/html": tag, "text/plain": text}


def describe_row(titles, things="Pictures side by side"):
    """Return what a row of pictures shows."""
    return f"{things}: {', '.join(titles)}." if len(titles) > 1 else f"A picture: {titles[0]}."


def describe_grid(cells, rows, columns, title=""):
    """Return what a grid shows, as draw_grid takes it, and where it has gaps."""
    if len(rows) == len(columns) == 1:
        found = [describe_row([" ".join([*filter(None, (rows[0], columns[0]))]) or "no title"])]
    elif len(rows) == 1:
        found = [describe_row(columns)]
    else:
        found = [f"A grid of pictures. Columns: {', '.join(columns)}. Rows: {', '.join(rows)}."]
    for row, cells_of_row in zip(rows, cells, strict=True):
        for column, cell in zip(columns, cells_of_row, strict=True):
            place = " ".join(filter(None, (row, column)))
            if cell is None:
                found.append(f"Not painted yet: {place}.")
            elif isinstance(cell, str):
                found.append(f"No picture of {place}: {cell}")
    return " ".join([*found, title])


def describe_costs(history):
    """Return what curves of costs show: where each begins, and where it ends."""
    if not history:
        return "Costs: none yet."
    first, last = costs_of(history[0]), costs_of(history[-1])
    curves = [f"{name} from {first[name]:.3g} to {last[name]:.3g}" for name in first]
    return f"Costs over {len(history)} epochs, on a log axis: {', '.join(curves)}."
