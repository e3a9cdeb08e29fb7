"""Compare: the same picture with other settings, side by side."""

import functools
import itertools
import time
from pathlib import Path

from nst.errors import NSTError, SettingsError, in_words
from nst.exhibition import label
from nst.files import claim_folder, claim_name, fit_name, write_file
from nst.images import to_uint8
from nst.lesson import Lesson
from nst.plots import Screen, draw_grid
from nst.records import parent_folder
from nst.replay import decide_small, say_what_paints, take_functions
from nst.sources import check_sources
from nst.status import clock, pace
from nst.table import SETTINGS


def compare(lesson=None, **settings):
    """Paint a picture with several values of one setting, or of two, and show them side by side.

    Each is painted with a lesson's cells as last saved, its long side 200 pixels unless you say otherwise, into a
    folder of its own in output/compare-<NNN>/ (in OUTPUT_DIR, if that is set), where the sheet is kept as sheet.png.
    What the call says wins over NST_ variables, and these over the notebook. Stopped, it ends after the step and keeps
    what has been painted. A value that fails leaves its place to the message, and the others go on.

    Args:
        lesson: path of its notebook; the first lesson when None. A dict of title to path compares lessons, too.
        **settings: a list of values, or a dict of name to value, is compared; another value is fixed. Of settings that
            are lists themselves only a dict is compared: compare(STYLE_LAYERS={"fine": […], "coarse": […]}). Functions
            of the lesson are compared and fixed likewise: compare(total_cost={"theirs": None, "mine": my_cost}), where
            None is the lesson's own.

    Raises:
        SettingsError: no such setting, nothing or more than two settings to compare, or no value that can work.
        ImageError: a picture that all of them need cannot be used.
        RunError: the folder cannot be made, or the sheet not be written.
    """
    given = {**settings, "lesson": lesson}
    compared = {name: values for name, value in given.items() if (values := _values(name, value)) is not None}
    if {"OUTPUT_DIR", "RESUME"} & compared.keys():
        raise SettingsError("OUTPUT_DIR and RESUME cannot be compared: each picture gets a new folder of its own.")
    for name in (name for name, values in compared.items() if not values):
        raise SettingsError(f"{name} has no values. Give it some, such as BETA=[50, 400].")
    if not 1 <= len(compared) <= 2:
        raise SettingsError(
            f"{len(compared) or 'No'} settings have several values. Give them to one or two, such as BETA=[50, 400]; "
            'to one that is a list itself as a dict: STYLE_LAYERS={"fine": […], "coarse": […]}.'
        )
    same = {"IMAGE_SIZE": "SIZES", "SIZES": "IMAGE_SIZE"}  # two names of one thing, of which the compared one counts
    hidden = compared.keys() | {same[name] for name in compared.keys() & same.keys()}
    _Comparison({name: value for name, value in given.items() if name not in hidden}, compared).paint()


def _values(name, value):
    """Return a dict of title to value of what is compared, or None for a value that is fixed."""
    if isinstance(value, dict):
        return {str(title): one for title, one in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
    value = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value  # such as range(3)
    setting = SETTINGS.get(name)
    if not isinstance(value, list) or (setting and isinstance(setting.default, list)):
        return None
    if setting and list in setting.kinds and any(isinstance(one, (list, tuple)) for one in value):
        return None  # one list of pairs
    titles = [label(one) for one in value]
    if len(set(titles)) < len(titles):
        titles = [f"{titles[i]} {i + 1}" if callable(one) else repr(one) for i, one in enumerate(value)]
    return {f"{name} = {title}": one for title, one in zip(titles, value, strict=True)}


class _Comparison:
    """The pictures of a comparison as they come; it stands in for the live view of each run."""

    def __init__(self, fixed, compared):
        *down, (column, across) = compared.items()
        rows = {title: {name: one} for name, values in down for title, one in values.items()} or {"": {}}
        self.titles = list(rows), list(across)
        self.cells = [[None] * len(across) for _ in rows]  # None, a picture, or why there is none
        self.wanted, self.errors = {}, []  # lesson, settings and functions of each
        lessons = functools.cache(Lesson)
        for (i, row), (j, one) in itertools.product(enumerate(rows.values()), enumerate(across.values())):
            try:
                given = fixed | row | {column: one}
                lesson = lessons(given.pop("lesson"))
                given, functions = take_functions(lesson, given)
                settings = decide_small(lesson, given)
                self.parent = parent_folder(settings)
                check_sources(settings)
                self.wanted[i, j] = lesson, settings, functions
            except NSTError as error:
                self.errors.append(error)
                self.cells[i][j] = str(error)
        self.screen, self.seconds, self.said = Screen(), [], set()

    def paint(self):
        """Paint what can be painted, one after the other, and keep the sheet."""
        if not self.wanted:
            raise self.errors[0]
        left = list(self.wanted)
        for lesson in dict.fromkeys(lesson for lesson, _, _ in self.wanted.values()):
            say_what_paints(lesson, [settings for one, settings, _ in self.wanted.values() if one is lesson])
        self.folder, _ = claim_folder(self.parent, "compare")
        stopped = False
        while left and not stopped:
            self.place, self.left = left.pop(0), left
            stopped = self._paint_one(*self.place)
        write_file(self.folder / "sheet.png", lambda file: self._draw().savefig(file, dpi=150))
        rows, columns = self.titles
        self.screen.show(self._draw, "\n".join([" | ".join(columns), *filter(None, rows)]), last=True)
        for i, row in enumerate(self.cells):
            for j, cell in enumerate(row):
                if isinstance(cell, str):  # the sheet has no room for pages, and in a terminal there is none
                    print(f"{self._title(i, j)}: {cell}")
        if stopped and left:
            print(f"Stopped: {len(left)} more would have come.")
        kept = "The pictures and sheet.png are" if len(left) < len(self.wanted) else "sheet.png is"
        print(f"{kept} in {self.folder.as_posix()}.")

    def _paint_one(self, i, j):
        """Paint one picture; return whether it was stopped."""
        name = fit_name(self._title(i, j).replace(" = ", "-").replace(" ", "-"))
        folder = claim_name(self.folder / name, Path.mkdir)
        (lesson, settings, functions), self.started = self.wanted[i, j], time.monotonic()
        try:
            run = lesson.run(settings | {"OUTPUT_DIR": folder.as_posix()}, self._watch, functions=functions)["run"]
        except KeyboardInterrupt:
            self.left[:0] = [] if any(folder.glob("*")) else [self.place]
            return True
        except Exception as error:  # also of functions that a reader has edited
            self.cells[i][j] = in_words(error)
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
            return self._draw(text)

        self.screen.show(draw, text)

    def _title(self, i, j):
        rows, columns = self.titles
        return f"{rows[i]} {columns[j]}".strip()

    def _draw(self, title=""):
        return draw_grid(self.cells, *self.titles, title)
