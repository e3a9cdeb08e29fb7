"""Compare: the same picture with other settings, side by side."""

import itertools
import re
import time

from nst.errors import NSTError, SettingsError
from nst.exhibition import label
from nst.images import to_uint8, write_file
from nst.lesson import run_lesson
from nst.plots import Screen, clock, draw_grid, pace
from nst.records import claim_folder, parent_folder
from nst.replay import decide_settings, say_what_paints
from nst.settings import SETTINGS, read_settings
from nst.sources import check_sources


def compare(**settings):
    """Paint a picture with several values of one setting, or of two, and show them side by side.

    Each is painted with the cells of the notebook as last saved, its long side 200 pixels unless you say otherwise,
    into a folder of its own in output/compare-<NNN>/ (or in OUTPUT_DIR, if that is set), where the sheet is kept as
    sheet.png. What wins: a value that is compared, then an NST_ variable, then a value fixed in the call, then the
    notebook. Stopped, it ends after the step and keeps what has been painted. A value that fails leaves its place to
    the message, and the others go on.

    Args:
        **settings: a list of values, or a dict of name to value, is compared; another value is fixed. Of settings that
            are lists themselves only a dict is compared: compare(STYLE_LAYERS={"fine": […], "coarse": […]}).

    Raises:
        SettingsError: no such setting, nothing or more than two settings to compare, or no value that can work.
        ImageError: a picture that all of them need cannot be used.
        RunError: the folder cannot be made, or the sheet not be written.
    """
    compared = {name: values for name, value in settings.items() if (values := _values(name, value)) is not None}
    decided = decide_settings({n: value for n, value in settings.items() if n not in compared}, compared)
    if {"OUTPUT_DIR", "RESUME"} & compared.keys():
        raise SettingsError("OUTPUT_DIR and RESUME cannot be compared: each picture gets a new folder of its own.")
    for name in (name for name, values in compared.items() if not values):
        raise SettingsError(f"{name} has no values. Give it some, such as BETA=[50, 400].")
    if not 1 <= len(compared) <= 2:
        raise SettingsError(
            f"{len(compared) or 'No'} settings have several values. Give them to one or two, such as BETA=[50, 400]."
        )
    _Comparison(decided, compared).paint()


def _values(name, value):
    """Return a dict of title to value of what is compared, or None for a value that is fixed."""
    if isinstance(value, dict):
        return {str(title): one for title, one in value.items()}
    kind = SETTINGS[name].kind if name in SETTINGS else None
    if kind is list or not isinstance(value, (list, tuple)):
        return None
    if isinstance(kind, tuple) and any(isinstance(one, (list, tuple)) for one in value):
        return None  # one list of pairs
    titles = [label(one) for one in value]
    titles = titles if len(set(titles)) == len(titles) else map(repr, value)
    return {f"{name} = {title}": one for title, one in zip(titles, value, strict=True)}


class _Comparison:
    """The pictures of a comparison as they come; it stands in for the live view of each run."""

    def __init__(self, decided, compared):
        *rows, (column, columns) = compared.items()
        self.rows = [(title, {name: one}) for name, values in rows for title, one in values.items()] or [("", {})]
        self.columns = [(title, {column: one}) for title, one in columns.items()]
        self.cells = [[None] * len(self.columns) for _ in self.rows]  # None, a picture, or why there is none
        self.parent = parent_folder(decided)
        self.wanted, self.errors = {}, []
        for (i, (_, row)), (j, (_, column)) in itertools.product(enumerate(self.rows), enumerate(self.columns)):
            try:
                settings = read_settings(decided | row | column | {"OUTPUT_DIR": ""}, environ={})
                check_sources(settings)
                self.wanted[i, j] = settings
            except NSTError as error:
                self.errors.append(error)
                self.cells[i][j] = str(error)
        self.screen, self.seconds, self.said = Screen(), [], set()

    def paint(self):
        """Paint what can be painted, one after the other, and keep the sheet."""
        if not self.wanted:
            raise self.errors[0]
        left = list(self.wanted)
        say_what_paints()
        self.folder, _ = claim_folder(self.parent, "compare")
        stopped = False
        while left and not stopped:
            self.place, self.left = left.pop(0), left
            stopped = self._paint_one(*self.place)
        write_file(self.folder / "sheet.png", lambda file: self._draw().savefig(file, dpi=150))
        self.screen.show(self._draw, self._text(), last=True)
        for i, row in enumerate(self.cells):
            for j, cell in enumerate(row):
                if isinstance(cell, str):  # the sheet has no room for pages, and in a terminal there is none
                    print(f"{self._title(i, j)}: {cell}")
        if stopped:
            print(f"Stopped: {len(left)} more would have come.")
        print(f"The pictures and sheet.png are in {self.folder.as_posix()}.")

    def _paint_one(self, i, j):
        """Paint one picture; return whether it was stopped."""
        name = re.sub(r"[^\w.+-]+", "-", self._title(i, j)).strip("-.")[:100] or "picture"
        while (self.folder / name).exists():  # of titles that differ in signs alone
            name += "+"
        settings, self.started = self.wanted[i, j] | {"OUTPUT_DIR": (self.folder / name).as_posix()}, time.monotonic()
        try:
            run = run_lesson(settings, environ={}, watch=self._watch)["run"]
        except KeyboardInterrupt:
            return True
        except Exception as error:  # also of functions that a reader has edited
            self.cells[i][j] = str(error) if isinstance(error, NSTError) else f"{type(error).__name__}: {error}"
            return False
        self.cells[i][j] = to_uint8(run.picture)
        self.seconds.append(time.monotonic() - self.started)
        return run.stop_asked

    def _watch(self, run):
        self.plan = run.plan
        return self

    def say(self, text):
        """Print what a run says, once."""
        if text not in self.said:
            print(text)
        self.said.add(text)

    def update(self, image, history, last):
        """Draw the pictures that there are, and this one as it grows."""
        i, j = self.place
        found, epochs = pace(history, self.plan), sum(epochs for _, epochs in self.plan)
        number = len(self.wanted) - len(self.left)
        text = f"{number} of {len(self.wanted)}   {self._title(i, j)}   epoch {len(history)}/{epochs}"
        if found:
            one = self.seconds[-1] if self.seconds else time.monotonic() - self.started + found[1]
            text += f"   {clock(found[1] + one * len(self.left))} left for all"

        def draw():
            self.cells[i][j] = to_uint8(image)
            figure = self._draw()
            figure.suptitle(text, fontsize=10, family="monospace")
            return figure

        self.screen.show(draw, text)

    def _title(self, i, j):
        return " ".join(title for title in (self.rows[i][0], self.columns[j][0]) if title)

    def _draw(self):
        rows, columns = ([title for title, _ in titles] for titles in (self.rows, self.columns))
        return draw_grid(self.cells, rows, columns)

    def _text(self):
        """Return what the sheet shows, in words."""
        texts = [" | ".join(title for title, _ in self.columns)]
        texts += [title for title, _ in self.rows if title]
        return "\n".join(texts)
