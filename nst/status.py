"""A run in words: what it paints with, how far it is, and how a stopped one goes on."""

import itertools

from nst.costs import costs_of


def title(settings, idle, sizes):
    """Return what names the settings on which a picture depends most, but for those that nothing looks at.

    Args:
        settings: Settings.
        idle: list of names of settings.
        sizes: list of (size, epochs), from plan_sizes.
    """
    turned = [name for name in ("ALPHA", "BETA") if name in settings and name not in idle]
    pixels = " → ".join(str(size) for size, _ in sizes)
    return "   ".join([*(f"{name.lower()} {settings[name]:g}" for name in turned), f"{pixels} px"])


def stopped(history, sizes, folder, notebook):
    """Return how a run was stopped and goes on; notebook is the name of its own where it runs elsewhere, or None."""
    where = f'RESUME = "{folder.as_posix()}"' + (f" in {notebook}" if notebook else "")
    return (
        f"Stopped after epoch {len(history)} of {sum(epochs for _, epochs in sizes)}. The picture so far is saved.\n"
        f'To continue, set {where} and run all cells; after that, set it to "".'
    )


def status_line(history, sizes):
    """Return epoch, costs, seconds per epoch and, from the second epoch on, the time left, in one line.

    Args:
        history: list of rows, from Run.
        sizes: list of (size, epochs), from plan_sizes.
    """
    text = f"epoch {len(history)}/{sum(epochs for _, epochs in sizes)}"
    for i, (name, cost) in enumerate(costs_of(history[-1]).items()):
        text += f"   {name} {cost:.{3 if i else 4}g}"
    if found := pace(history, sizes):
        text += f"   {found[0]:.2f} s/epoch   {clock(found[1])} left"
    return text


def pace(history, sizes):
    """Return the seconds per epoch at this size, and those that are left for all; None for a size's first epoch.

    Args:
        history: list of rows, from Run.
        sizes: list of (size, epochs), from plan_sizes.
    """
    epoch, seconds = len(history) - 1, history[-1]["seconds"]
    ends = list(itertools.accumulate(epochs for _, epochs in sizes))
    now = next(i for i, end in enumerate(ends) if epoch < end)
    rows = history[ends[now] - sizes[now][1] :]
    if len(rows) < 2:  # the first epoch holds the tracing
        return None
    per_epoch = (seconds - rows[0]["seconds"]) / (len(rows) - 1)
    left = ends[now] - epoch - 1  # and then those of the larger sizes, which take longer
    left += sum(epochs * (size / sizes[now][0]) ** 2 for size, epochs in sizes[now + 1 :])
    return per_epoch, per_epoch * left


def clock(seconds):
    """Return a time as minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
