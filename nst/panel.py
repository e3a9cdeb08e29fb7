"""A panel to steer by hand: what a student turns, as sliders and buttons, painted with the notebook's own cells."""

import contextlib
import html
import io
import threading
import time

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import display
from PIL import Image

from nst.commands import command_of
from nst.described import picture_output
from nst.errors import NSTError, SettingsError, in_words
from nst.images import load_image, to_uint8
from nst.lesson import FIRST, ROOT, SECOND, Lesson
from nst.replay import decide_small, own_folder
from nst.settings import decide, differing
from nst.status import status_line
from nst.uploads import keep_picture, pictures_for_menu

LESSONS = (("Gram matrices", FIRST), ("nearest neighbours", SECOND))
COLOURS = (("the painting's", ""), ("the photo's (luminance)", "luminance"), ("the photo's (match)", "match"))
SECONDS_BETWEEN = 1.0  # two drawings of the picture as it grows
WIDTH = "470px"
SHOWN = 560  # pixels of a picture that is chosen
ADD = "<style>.nst-add.nst-add {font-size: 0} .nst-add::after {content: 'Add'; font-size: 13px}</style>"  # no count
CODE = "white-space: pre-wrap; word-break: normal; user-select: all"


class Panel:
    """Widgets for the settings that a student turns, the picture as it grows, and the line that repeats it.

    It paints in a thread of its own, so that the notebook stays usable, with a lesson's cells as last saved. It begins
    with the values of the call, which win over NST_ variables, and these over the notebook; what is turned in the panel
    wins over all. Another lesson begins likewise, but keeps what is turned, ALPHA aside, which has another scale there.
    OUTPUT_DIR is where the folders are made.

    Args:
        lesson: path of the notebook of the lesson that it begins with; the first lesson when None.
        **settings: values that the panel begins with.

    Attributes:
        widget: ipywidgets.Widget, the whole panel.

    Raises:
        SettingsError: a name that is no setting, a value that cannot work, or several styles.
        ImageError: the photo cannot be used.
    """

    def __init__(self, lesson=None, **settings):
        lesson, self._given = Lesson(lesson), settings
        self._thread = self._run = self._error = self._stopped = None
        self._remarks, self._elsewhere = [], {}  # what is turned of settings that this lesson does not have
        self._stop_asked, self._ended = threading.Event(), threading.Event()
        self._ended.set()
        described = {"style": {"description_width": "70px"}, "layout": widgets.Layout(width="340px")}
        path = lesson.name if lesson.path.resolve().parent == ROOT else lesson.path.as_posix()
        lessons = [*LESSONS, *([] if path in dict(LESSONS).values() else [(lesson.name, path)])]
        self._choice = widgets.Dropdown(options=lessons, value=path, description="lesson", **described)
        self._controls = {
            "CONTENT_IMAGE": widgets.Dropdown(options=pictures_for_menu(), description="content", **described),
            "STYLE_IMAGE": widgets.Dropdown(options=pictures_for_menu(), description="style", **described),
            "ALPHA": widgets.SelectionSlider(options=_steps(1.0), description="alpha", **described),
            "BETA": widgets.SelectionSlider(options=_steps(1.0), description="beta", **described),
            "IMAGE_SIZE": widgets.BoundedIntText(min=32, max=20_000, description="pixels", **described),
            "EPOCHS": widgets.BoundedIntText(min=1, max=10**9, description="epochs", **described),
            "KEEP_COLOURS": widgets.Dropdown(options=COLOURS, description="colours", **described),
        }
        share = widgets.Layout(width="auto", flex="1 1 0")
        self._upload = widgets.FileUpload(accept="image/*", multiple=True, description="Add", layout=share)
        self._upload.add_class("nst-add")
        self._upload.observe(self._keep_uploads, "value")
        self._run_button = widgets.Button(description="Run", button_style="primary", layout=share)
        self._stop_button = widgets.Button(description="Stop", disabled=True, layout=share)
        self._go_on_button = widgets.Button(description="Go on", disabled=True, layout=share)
        self._run_button.on_click(lambda button: self.run())
        self._stop_button.on_click(lambda button: self.stop())
        self._go_on_button.on_click(lambda button: self.go_on())
        self._status = widgets.HTML()
        self._picture = widgets.Image(format="jpeg", layout=widgets.Layout(width=WIDTH, object_fit="contain"))
        buttons = [self._run_button, self._stop_button, self._go_on_button, self._upload, widgets.HTML(ADD)]
        self._turned = widgets.VBox(layout=widgets.Layout(overflow="visible"))
        left = widgets.VBox(
            [self._turned, widgets.HBox(buttons, layout=widgets.Layout(width="344px")), self._status],
            layout=widgets.Layout(width="360px"),
        )
        self.widget = widgets.HBox([left, self._picture], layout=widgets.Layout(flex_flow="row wrap", gap="16px"))
        self._take(lesson, settings, {})
        self._show(load_image(self._decided.CONTENT_IMAGE, SHOWN))
        self._say("Turn what you like and press Run.")
        for name in ("CONTENT_IMAGE", "STYLE_IMAGE"):
            self._controls[name].observe(self._show_chosen, "value")
        self._choice.observe(self._change_lesson, "value")

    def _take(self, lesson, given, turned):
        """Take a lesson, and show the controls of what it has settings for, at the values given or turned."""
        decided = decide_small(lesson, given)
        if not isinstance(decided.STYLE_IMAGE, str):
            raise SettingsError("The panel paints with one style. For several, use paint or compare.")
        self._lesson, self._decided = lesson, decided
        self._add_pictures(decided.CONTENT_IMAGE, decided.STYLE_IMAGE)
        shown = {name: control for name, control in self._controls.items() if name in decided}
        for name, control in shown.items():
            value = turned.get(name, decided[name])
            if name in ("ALPHA", "BETA"):
                control.options = _steps(value)
            control.value = value
        self._turned.children = [self._choice, *shown.values()]

    def _add_pictures(self, *paths):
        """Offer pictures besides; what is chosen stays."""
        for name in ("CONTENT_IMAGE", "STYLE_IMAGE"):
            control = self._controls[name]
            chosen, control.options = control.value, pictures_for_menu(*(path for _, path in control.options), *paths)
            control.value = chosen

    def _changed(self):
        """Return what has been turned, a dict of settings."""
        controls = {name: control for name, control in self._controls.items() if name in self._decided}
        return {name: control.value for name, control in controls.items() if control.value != self._decided[name]}

    def _change_lesson(self, change):
        turned = {name: value for name, value in (self._elsewhere | self._changed()).items() if name != "ALPHA"}
        try:
            lesson = Lesson(change["new"])
            known = lesson.settings().keys() - {"ALPHA"}
            self._take(lesson, {name: self._given[name] for name in self._given.keys() & known}, turned)
            self._elsewhere = {name: value for name, value in turned.items() if name not in known}
        except NSTError as error:
            self._say(str(error), "firebrick")
            self._choice.unobserve(self._change_lesson, "value")
            self._choice.value = change["old"]
            self._choice.observe(self._change_lesson, "value")

    def run(self):
        """Paint with what the panel shows, as the button Run does. Of a second call while it paints nothing comes.

        Returns:
            threading.Thread that paints; join() waits for it.
        """
        return self._start(None)

    def go_on(self):
        """Go on with the picture that was stopped last, with its own settings, as the button Go on does; see run."""
        if self._stopped is None and self._ended.is_set():
            self._say("No picture was stopped.")
            return self._thread
        return self._start(self._stopped)

    def _start(self, stopped):
        """Paint in a thread what was stopped or, when None, what the panel shows."""
        if not self._ended.is_set():
            self._say("This picture is still being painted: wait, or press Stop first.")
        else:
            self._stop_asked.clear()
            self._ended.clear()
            self._error, self._remarks = None, []
            self._run_button.disabled = self._go_on_button.disabled = True
            self._stop_button.disabled = False
            self._say("Getting ready …")
            what = stopped or (self._lesson, self._decided, self._changed())
            self._thread = threading.Thread(target=self._paint, args=what, daemon=True)
            self._thread.start()
        return self._thread

    def paint(self):
        """Show the panel, paint as run does, and wait for the end. Jupyter's stop button ends it after the step.

        Raises:
            What the painting raises.
        """
        shown = display(self, display_id=True) if get_ipython() else None
        self.run()
        try:
            self._ended.wait()  # a join that is interrupted takes its thread for ended
        except KeyboardInterrupt:
            self.stop()
            self._ended.wait()
        if self._error:
            raise self._error
        if shown:
            shown.update(self)

    def stop(self):
        """End the painting after the current step, as the button Stop does."""
        self._stop_asked.set()
        if run := self._run:
            run.stop()

    def _paint(self, lesson, decided, turned):
        parent = {"OUTPUT_DIR": decided.OUTPUT_DIR}
        try:
            with contextlib.ExitStack() as stack:
                if not decided.RESUME:
                    decided = decide(decided | {"OUTPUT_DIR": ""}, turned, environ={}) | parent
                    decided = stack.enter_context(own_folder(decided))
                run = lesson.run(decided, self._watch)["run"]
            resume = {"OUTPUT_DIR": "", "RESUME": run.folder.as_posix()}
            self._stopped = (lesson, run.settings | resume, {}) if run.state == "stopped" else None
            self._show(run.picture)
            line = settings_line(lesson, run.settings)
            self._say(f"{run.state.capitalize()}: {run.folder.as_posix()}. To paint it again:", code=line)
        except Exception as error:  # in a thread nobody else would tell
            self._error = error
            self._say(in_words(error), "firebrick")
        finally:
            self._run = None
            self._stop_button.disabled, self._run_button.disabled = True, False
            self._go_on_button.disabled = self._stopped is None
            self._ended.set()

    def _watch(self, run):
        self._run, self._drawn = run, 0.0
        if self._stop_asked.is_set():  # before there was a run
            run.stop()
        return self

    def say(self, text):
        """Show what the run says, and keep it in sight while it paints."""
        self._remarks += [text] * (self._run.state == "running")  # at the end the button Go on says the rest
        self._say("")

    def update(self, image, history, last):
        """Show the picture as it grows."""
        if last or time.monotonic() - self._drawn > SECONDS_BETWEEN:
            self._drawn = time.monotonic()
            self._show(image)
            self._say(status_line(history, self._run.plan))

    def _say(self, text, colour="inherit", code=""):
        code = f"<pre style='{CODE}'>{html.escape(code)}</pre>" if code else ""
        lines = [*((remark, "inherit") for remark in self._remarks), (text, colour)]
        said = (f"<div style='line-height: 1.4; color: {colour}'>{html.escape(text)}</div>" for text, colour in lines)
        self._status.value = "".join([*said, code])

    def _show(self, image):
        buffer = io.BytesIO()
        picture = Image.fromarray(to_uint8(image))
        picture.thumbnail((1120, 1120))
        picture.save(buffer, "JPEG", quality=88)
        self._picture.value = buffer.getvalue()

    def _show_chosen(self, change):
        """Show the picture that is chosen, unless one is being painted."""
        if self._ended.is_set():
            try:
                self._show(load_image(change["new"], SHOWN))
            except NSTError as error:
                self._say(str(error), "firebrick")

    def _keep_uploads(self, change):
        """Keep the pictures that come, offer them, and take the last one for the content."""
        if not change["new"]:
            return
        said, colour = [], "inherit"
        for upload in change["new"]:
            try:
                path = keep_picture(upload["name"], bytes(upload["content"]))
            except (NSTError, OSError) as error:
                said, colour = [*said, str(error)], "firebrick"
                continue
            self._add_pictures(path)
            self._controls["CONTENT_IMAGE"].value = path
            said.append(f"{path} is kept.")
        if self._ended.is_set():
            self._remarks = []
            self._say(" ".join(said), colour)
        else:
            self._remarks += said
        self._upload.value = ()  # so that the same file may come again

    def _repr_mimebundle_(self, **kwargs):
        """Return the panel, and for where widgets are not alive its picture and a sentence."""
        text = "A panel with sliders and buttons, when the notebook runs; here the picture that it shows."
        bundle = self.widget._repr_mimebundle_(**kwargs)
        return bundle | picture_output(self._picture.value, text)


def _steps(start):
    """Return 0, 0.001, 0.002, 0.005, … 50000, and what a slider begins with, as a list of (label, value)."""
    values = {0.0, start, *(float(f"{digit}e{power}") for power in range(-3, 5) for digit in (1, 2, 5))}
    return [(f"{value:g}", value) for value in sorted(values)]


def settings_line(lesson, settings):
    """Return the command that paints with these settings: what differs from the notebook, and the script."""
    different = [name for name in differing(lesson.settings(), settings) if name not in ("OUTPUT_DIR", "RESUME")]
    return command_of(lesson.name, {name: settings[name] for name in different})
