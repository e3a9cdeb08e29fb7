"""The costs that a lesson computes: each a finite number that a picture changes, or a sentence on what is wrong."""

import math

from nst.errors import RunError

WEIGHTS = ("ALPHA", "BETA", "SMOOTHNESS", "COLOUR_SMOOTHNESS")
NEGATIVE = -1e-3  # by rounding, 1 minus a cosine may be a little below 0
ENORMOUS = 1e6  # a weight from which on it is the likely cause, not a function


def as_numbers(costs, history):
    """Return a dict of name to float of costs.

    Args:
        costs: dict of name to scalar, the sum of the others first: of these is told first what is wrong.
        history: list of rows of the epochs before.

    Raises:
        RunError: one is None, or more than one number, or the names are not those of before.
    """
    if taken := {"epoch", "seconds"} & costs.keys():
        raise RunError(f"run.record counts by itself: leave {' and '.join(sorted(taken))} out.")
    if history and (before := costs_of(history[-1])).keys() != costs.keys():
        raise RunError(f"run.record gets {', '.join(costs)}, and got {', '.join(before)} in the epoch before.")
    found = {name: _as_number(name, cost) for name, cost in reversed(costs.items())}
    return {name: found[name] for name in costs}


def _as_number(name, cost):
    if cost is None:
        raise RunError(f"{name} is None: the function that computes it returns nothing.")
    try:
        return float(cost)
    except (TypeError, ValueError):
        shape = getattr(cost, "shape", type(cost).__name__)
        raise RunError(f"{name} must be one number, and is {shape}: add it up in its function.") from None


def doubts(history):
    """Return a sentence on costs that are below 0 for the first time, or that no first step has changed; or ""."""
    *before, last = history
    negative = [name for name, cost in costs_of(last).items() if cost < NEGATIVE]
    if negative := [name for name in negative if all(row[name] >= NEGATIVE for row in before)]:
        return f"Below 0, which a cost never is: {', '.join(negative)}. Look for a sign, or for a missing square."
    if len(history) != 2:
        return ""
    first, second = history
    names = [name for name, cost in costs_of(first).items() if second[name] == cost]
    if len(names) == len(costs_of(first)):
        return "The first step has changed no cost: the picture stays as it is. Is the optimizer given the gradient?"
    return names and (
        f"The first step has not changed {', '.join(names)}: nothing is left to improve, or what computes it does not "
        "look at the generated image."
    )


def not_finite(costs, settings, epoch, kept):
    """Return the error of an epoch in which a cost or the picture is not finite.

    Args:
        costs: dict of name to value.
        settings: Settings.
        epoch: its number.
        kept: epochs after which the picture is kept, 0 for none.
    """
    wrong = [name for name, cost in costs.items() if not math.isfinite(cost)] or ["the picture"]
    weights = {name: settings[name] for name in WEIGHTS if name in settings}
    name = max(weights, key=weights.get, default="")
    likely = f"Look at the function of {wrong[-1]}" if wrong[-1] in costs else "Look at the functions of the costs"
    likely += ": a division by 0, a logarithm of 0, or a root of 0, whose slope is not finite."
    if weights.get(name, 0.0) > ENORMOUS:
        likely = f"The likely cause is {name} = {weights[name]:g}, which outweighs the others: lower it."
    picture = f" The picture is that after epoch {kept} again." if kept else ""
    return RunError(f"In epoch {epoch} not finite: {', '.join(wrong)}. {likely}{picture}")


def costs_of(row):
    """Return a dict of name to value of the costs in a row of a run's history."""
    return {name: value for name, value in row.items() if name not in ("epoch", "seconds")}
