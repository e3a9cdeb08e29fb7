"""The costs that a lesson hands over: each a finite number, or a sentence that says what is likely wrong."""

import math

from nst.errors import RunError

WEIGHTS = ("ALPHA", "BETA", "SMOOTHNESS", "COLOUR_SMOOTHNESS")


def as_number(name, cost):
    """Return a cost as a float.

    Raises:
        RunError: it is None, or more than one number.
    """
    if cost is None:
        raise RunError(f"{name} is None: a function that computes it returns nothing.")
    try:
        return float(cost)
    except (TypeError, ValueError):
        shape = getattr(cost, "shape", type(cost).__name__)
        raise RunError(f"{name} must be one number, and is {shape}: add it up in the function.") from None


def not_finite(costs, settings, epoch, kept):
    """Return the error of an epoch in which a cost or the picture is not finite.

    Args:
        costs: dict of name to value.
        settings: Settings.
        epoch: its number.
        kept: epochs after which the picture is kept, 0 for none.
    """
    wrong = ", ".join(name for name, cost in costs.items() if not math.isfinite(cost)) or "the picture"
    likely = ""
    if weights := {name: settings[name] for name in WEIGHTS if name in settings}:
        name = max(weights, key=weights.get)
        likely = f"The likely cause is {name} = {weights[name]:g}, which outweighs the others: lower it. "
    picture = f" The picture is that after epoch {kept} again." if kept else ""
    return RunError(
        f"In epoch {epoch} not finite: {wrong}. {likely}If you have edited a function, look at it first.{picture}"
    )


def costs_of(row):
    """Return a dict of name to value of the costs in a row of a run's history."""
    return {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
