"""The panel, driven as its widgets drive it: what it begins with, Run and Stop, uploads, and what it leaves."""

import base64
import datetime
import html
import io
import json
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

import nst.records
import nst.runs
import nst.uploads
import nst_utils
from conftest import SETTINGS, facts_of, saved_picture, write_lesson
from nst.backend import tf
from nst.images import save_image, to_uint8
from nst.lesson import SECOND, Lesson
from nst.panel import settings_line
from nst.settings import decide
from nst.uploads import keep_picture

TINY = {"IMAGE_SIZE": 48, "EPOCHS": 3}
WAIT = 120  # seconds after which a thread that has not come is taken for lost
DESCRIPTIONS = {"CONTENT_IMAGE": "content", "STYLE_IMAGE": "style", "ALPHA": "alpha", "BETA": "beta"}
DESCRIPTIONS |= {"IMAGE_SIZE": "pixels", "EPOCHS": "epochs", "KEEP_COLOURS": "colours"}


@pytest.fixture
def pictures(tmp_path, monkeypatch, picture):
    """The folder that stands for images/: a photo and two styles."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate(("photo.jpg", "style.png", "other.jpg")):
        save_image(picture(50, 72, seed), folder / name)
    (folder / "notes.txt").write_text("no picture")
    monkeypatch.setattr(nst.uploads, "EXAMPLES", folder)
    return folder


@pytest.fixture
def lesson(folder, pictures, tmp_path):
    """A lesson that was last saved with the settings of a very small run."""
    photo, style = ((pictures / name).as_posix() for name in ("photo.jpg", "style.png"))
    return write_lesson(tmp_path / "lesson.ipynb", CONTENT_IMAGE=photo, STYLE_IMAGE=style)


@pytest.fixture
def make_panel(lesson):
    """A function that makes a panel which paints very small pictures; they are all stopped in the end."""
    panels = []

    def make(lesson=lesson, **settings):
        panels.append(nst_utils.Panel(lesson, **TINY | settings))
        return panels[-1]

    yield make
    for panel in panels:
        panel.stop()
        if panel._thread:
            panel._thread.join(WAIT)


@pytest.fixture
def gate(monkeypatch):
    """Holds each run after its first epoch: wait for it with reached.wait, let it go with opened.set."""
    gate, record = SimpleNamespace(reached=threading.Event(), opened=threading.Event()), nst.runs.Run.record

    def record_and_wait(run, **costs):
        record(run, **costs)
        gate.reached.set()
        assert gate.opened.wait(WAIT), "nobody has opened the gate"

    monkeypatch.setattr(nst.runs.Run, "record", record_and_wait)
    yield gate
    gate.opened.set()


def parts(widget):
    """Return all widgets in a widget."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def find(panel, description):
    """Return the control of a setting, or the one with a description."""
    wanted = DESCRIPTIONS.get(description, description)
    (found,) = [part for part in parts(panel.widget) if getattr(part, "description", None) == wanted]
    return found


def said_by(panel):
    (said,) = [part for part in parts(panel.widget) if type(part) is widgets.HTML and "<style>" not in part.value]
    return said.value


def status(panel):
    """Return what the panel says last, and the line of settings, as texts."""
    text, _, line = said_by(panel).partition("<pre")
    text = html.unescape(re.sub("<[^>]*>", "", re.split("<div[^>]*>", text)[-1]))
    return text, html.unescape(line.partition(">")[2].removesuffix("</pre>"))


def picture_of(panel):
    (image,) = [part for part in parts(panel.widget) if type(part) is widgets.Image]
    with Image.open(io.BytesIO(image.value)) as opened:
        assert opened.format == "JPEG"
        return np.asarray(opened, np.float32)


def paint(panel):
    """Press Run, and wait for the end."""
    find(panel, "Run").click()
    panel._thread.join(WAIT)
    assert not panel._thread.is_alive(), "it does not end"


def upload(panel, *files):
    """Choose files to upload: pairs of name and content."""
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    find(panel, "Add").value = [
        {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": now}
        for name, content in files
    ]


def bytes_of(image, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, kind)
    return buffer.getvalue()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def runs():
    return names_in(nst.records.OUTPUT_FOLDER)


def facts(name):
    return facts_of(nst.records.OUTPUT_FOLDER / name)


# ---- what it begins with


def test_it_begins_with_the_notebook_as_saved_small(lesson, pictures):
    panel = nst_utils.Panel(lesson)
    expected = {name: Lesson(lesson).settings()[name] for name in DESCRIPTIONS} | {"IMAGE_SIZE": 200, "EPOCHS": 60}
    assert {name: find(panel, name).value for name in DESCRIPTIONS} == expected
    for name in ("CONTENT_IMAGE", "STYLE_IMAGE"):
        menu = [name for name, _ in find(panel, name).options]
        assert menu == ["other.jpg", "photo.jpg", "style.png"], "pictures alone"
    assert status(panel) == ("Turn what you like and press Run.", "")
    assert (find(panel, "Run").disabled, find(panel, "Stop").disabled) == (False, True)


def test_what_is_turned_wins_over_a_fixed_value_and_this_over_a_variable(make_panel, monkeypatch):
    for name, value in {"BETA": "3", "KEEP_COLOURS": "match", "SIZES": "[48, 64]"}.items():
        monkeypatch.setenv(f"NST_{name}", value)
    panel = nst_utils.Panel(make_panel()._lesson.path, BETA=50, ALPHA=1 / 3, EPOCHS=2, SEED=9)
    begun = [find(panel, name).value for name in ("BETA", "ALPHA", "EPOCHS", "KEEP_COLOURS", "IMAGE_SIZE")]
    assert begun == [50.0, 1 / 3, 2, "match", 64]
    steps = [value for _, value in find(panel, "ALPHA").options]
    assert {0.0, 0.02, 1.0, 2.0, 5.0, 500.0, 1 / 3} < set(steps) and steps == sorted(steps), "round ones, and its own"
    paint(panel)
    find(panel, "BETA").value = 100.0
    find(panel, "KEEP_COLOURS").value = ""
    find(panel, "IMAGE_SIZE").value = 80
    paint(panel)
    for name, beta, colours, sizes in zip(runs(), (50, 100), ("match", ""), ([48, 64], [80]), strict=True):
        found = facts(name)
        expected = {"BETA": beta, "ALPHA": 1 / 3, "EPOCHS": 2, "KEEP_COLOURS": colours, "SEED": 9}
        assert {key: found["settings"][key] for key in expected} == expected, "SEED has no control"
        assert [size for size, _ in found["sizes"]] == sizes, "sizes count until another size is turned"


def test_a_lesson_without_a_setting_has_no_control_for_it(make_panel, lesson, monkeypatch, capsys):
    monkeypatch.setenv("NST_BETA", "3")
    panel = make_panel(write_lesson(lesson, without=["BETA", "KEEP_COLOURS", "SIZES"]))
    described = {getattr(part, "description", "") for part in parts(panel.widget)}
    assert set(DESCRIPTIONS.values()) - described == {"beta", "colours"}
    assert "NST_BETA is passed over" in capsys.readouterr().out
    with pytest.raises(nst_utils.SettingsError, match="BETA is no setting of this lesson"):
        make_panel(BETA=3)


def test_pictures_from_elsewhere_are_in_the_menus_and_folders_are_made_elsewhere(make_panel, tmp_path, picture):
    save_image(picture(40, 60), tmp_path / "mine.jpg")
    panel = make_panel(CONTENT_IMAGE=tmp_path / "mine.jpg", OUTPUT_DIR=tmp_path / "mine")
    assert find(panel, "CONTENT_IMAGE").value == str(tmp_path / "mine.jpg")
    assert "mine.jpg" in [name for name, _ in find(panel, "STYLE_IMAGE").options]
    paint(panel)
    assert (names_in(tmp_path / "mine"), runs()) == (["mine-style-001"], [])


def test_what_cannot_work_is_an_error_at_once(make_panel):
    for settings, message in (
        ({"STYLE_IMAGE": [("a.jpg", 1), ("b.jpg", 1)]}, "The panel paints with one style. For several, use paint or"),
        ({"CONTENT_IMAGE": "images/nope.jpg"}, "images/nope.jpg does not exist"),
        ({"BETA": -1}, "BETA = -1.0 cannot work: it must be a finite number"),
    ):
        with pytest.raises(nst_utils.NSTError, match=message):
            make_panel(**settings)


@pytest.fixture
def other(lesson, monkeypatch, tmp_path):
    """A second lesson, which has no colours to keep and another alpha; the panel offers both."""
    saved = Lesson(lesson).settings() | {"ALPHA": 0.25}
    path = write_lesson(tmp_path / "other.ipynb", without=["KEEP_COLOURS"], **saved)
    monkeypatch.setattr(nst.panel, "LESSONS", (("first", lesson.as_posix()), ("second", path.as_posix())))
    return path


def test_another_lesson_paints_with_what_is_turned_and_its_own_alpha(make_panel, lesson, other):
    def shows_colours():
        return "colours" in {getattr(part, "description", "") for part in parts(panel.widget)}

    panel = make_panel(ALPHA=7.0, BETA=50.0, KEEP_COLOURS="match", SEED=9)
    choice = find(panel, "lesson")
    assert [name for name, _ in choice.options] == ["first", "second"] and shows_colours()
    find(panel, "EPOCHS").value, find(panel, "BETA").value, find(panel, "ALPHA").value = 2, 500.0, 20.0
    find(panel, "KEEP_COLOURS").value = "luminance"
    choice.value = other.as_posix()
    assert not shows_colours()
    paint(panel)
    expected = {"ALPHA": 0.25, "BETA": 500.0, "EPOCHS": 2, "SEED": 9, "IMAGE_SIZE": TINY["IMAGE_SIZE"]}
    found = facts(runs()[0])["settings"]
    assert {name: found[name] for name in expected} == expected and "KEEP_COLOURS" not in found
    assert status(panel)[1].endswith(" scripts/run_notebook.py other.ipynb")
    other.unlink()
    choice.value = lesson.as_posix()
    assert (find(panel, "BETA").value, find(panel, "KEEP_COLOURS").value) == (500.0, "luminance")
    choice.value = other.as_posix()
    assert "cannot be read" in status(panel)[0]
    assert choice.value == lesson.as_posix() and shows_colours(), "nothing else has changed"


def test_a_stopped_picture_goes_on_with_the_lesson_that_began_it(make_panel, other, monkeypatch):
    panel, record = make_panel(KEEP_COLOURS="match", SAVE_EVERY=1), nst.runs.Run.record
    with monkeypatch.context() as patch:
        patch.setattr(nst.runs.Run, "record", lambda run, **costs: [record(run, **costs), panel.stop()])
        paint(panel)
    find(panel, "lesson").value = other.as_posix()
    panel.go_on().join(WAIT)
    found = facts(runs()[0])
    assert (found["state"], found["settings"]["KEEP_COLOURS"]) == ("finished", "match"), status(panel)


def test_its_picture_has_no_tooltip_which_keeps_browsers_from_showing_it(make_panel):
    """JupyterLab's view of an Image has no description, whose length it asks for when there is a tooltip."""
    (image,) = [part for part in parts(make_panel().widget) if type(part) is widgets.Image]
    assert image.tooltip is None


def test_it_offers_both_lessons_and_begins_with_the_one_that_is_named():
    panel = nst_utils.Panel("nearest_neighbours.ipynb")
    choice = find(panel, "lesson")
    assert list(choice.options) == list(nst.panel.LESSONS) and choice.value == "nearest_neighbours.ipynb"
    assert find(panel, "ALPHA").value == Lesson(choice.value).settings()["ALPHA"]


# ---- Run and Stop


def test_run_paints_into_a_folder_and_shows_the_picture(make_panel, pictures):
    panel = make_panel()
    find(panel, "IMAGE_SIZE").value = 160  # at which JPEG's errors are small
    before = np.asarray(Image.open(pictures / "photo.jpg").resize((160, 111)), np.float32)
    find(panel, "BETA").value = 500.0
    paint(panel)
    assert runs() == ["photo-style-001"]
    folder, found = nst.records.OUTPUT_FOLDER / "photo-style-001", facts("photo-style-001")
    assert (found["state"], found["epochs_done"], found["settings"]["BETA"]) == ("finished", 3, 500.0)
    assert status(panel)[0] == f"Finished: {folder.as_posix()}. To paint it again:"
    result = saved_picture(folder).astype(np.float32)
    shown = picture_of(panel)
    assert np.abs(shown - result).mean() < 5 < np.abs(before - result).mean(), "the result is shown"
    assert (find(panel, "Run").disabled, find(panel, "Stop").disabled) == (False, True)
    bundle = panel._repr_mimebundle_()  # what a notebook stores
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    (jpeg,) = re.findall('src="data:image/jpeg;base64,([^"]*)" alt="A panel with', bundle["text/html"])
    with Image.open(io.BytesIO(base64.b64decode(jpeg))) as opened:
        assert np.array_equal(np.asarray(opened, np.float32), shown)
    assert bundle["text/plain"].startswith("A panel with sliders and buttons")


def test_settings_line_repeats_the_run(make_panel, pictures, lesson):
    """Read as a shell and the notebook would."""
    shutil.copy(pictures / "photo.jpg", pictures / "it's a $photo & more.jpg")
    panel = make_panel(
        CONTENT_IMAGE=(pictures / "it's a $photo & more.jpg").as_posix(),
        STYLE_LAYERS=[("block1_conv1", 0.5), ("block2_conv1", 0.25)],
        NORMALISE_ACTIVATIONS=False,
        SIZES=[48, 64],
        BETA=1 / 3,
    )
    paint(panel)
    text, line = status(panel)
    assert text.startswith("Finished: ")
    assert line.endswith(" scripts/run_notebook.py lesson.ipynb")
    environ = dict(assignment.split("=", 1) for assignment in shlex.split(line)[:-3])
    again = decide(Lesson(lesson).settings(), {"OUTPUT_DIR": ""}, environ)
    assert json.loads(json.dumps(again)) == facts(runs()[-1])["settings"] | {"OUTPUT_DIR": ""}
    assert not {"NST_OUTPUT_DIR", "NST_RESUME", "NST_SEED"} & environ.keys(), "what is as in the notebook is left out"
    first = Lesson()
    assert settings_line(first, first.settings() | {"OUTPUT_DIR": "a", "BETA": 3.0}) == "NST_BETA=3.0 make run"
    second = Lesson(SECOND)
    assert settings_line(second, second.settings()) == "make neighbours"


def test_it_paints_in_a_thread_and_a_second_run_meanwhile_starts_nothing(make_panel, gate):
    panel = make_panel()
    thread = panel.run()
    assert gate.reached.wait(WAIT), "it has not begun"
    assert thread.is_alive() and thread is not threading.current_thread()
    assert status(panel)[0].startswith("epoch 1/3   J "), "the picture grows"
    assert "Painting with tiny weights" in said_by(panel), "what was said before it stays"
    assert find(panel, "Run").disabled
    find(panel, "BETA").value = 500.0  # of this one nothing is turned any more
    find(panel, "Run").click()
    assert status(panel)[0] == "This picture is still being painted: wait, or press Stop first."
    assert panel.run() is thread and not find(panel, "Stop").disabled
    gate.opened.set()
    thread.join(WAIT)
    assert runs() == ["photo-style-001"]
    found = facts("photo-style-001")
    assert (found["state"], found["settings"]["BETA"]) == ("finished", SETTINGS["BETA"])


def test_stop_ends_after_the_step(make_panel, gate):
    panel = make_panel(EPOCHS=100_000)
    find(panel, "Stop").click()  # nothing yet
    thread = panel.run()
    assert gate.reached.wait(WAIT), "it has not begun"
    find(panel, "Stop").click()
    gate.opened.set()
    thread.join(WAIT)
    assert not thread.is_alive(), "it has not heard of it"
    found = facts("photo-style-001")
    assert (found["state"], found["epochs_done"]) == ("stopped", 1)
    text, line = status(panel)
    assert text.startswith("Stopped: ") and "photo-style-001" in text
    assert "NST_EPOCHS=100000" in line
    assert find(panel, "Stop").disabled
    find(panel, "EPOCHS").value = 2
    panel.paint()
    assert facts("photo-style-002")["state"] == "finished", "the next run is not stopped, and paint waits for it"
    assert find(panel, "Go on").disabled, "there is nothing to go on with"


def test_a_stopped_picture_goes_on_with_its_own_settings_as_often_as_it_is_stopped(make_panel, gate, pictures):
    panel, record = make_panel(EPOCHS=4, SAVE_EVERY=1), nst.runs.Run.record
    gate.opened.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nst.runs.Run, "record", lambda run, **costs: [record(run, **costs), panel.stop()])
        paint(panel)
        find(panel, "BETA").value = 500.0
        for epochs in (1, 2):
            found = facts("photo-style-001")
            assert (found["state"], found["epochs_done"]) == ("stopped", epochs)
            assert not find(panel, "Go on").disabled
            if epochs == 1:
                find(panel, "Go on").click()
                panel._thread.join(WAIT)
    photo = (pictures / "photo.jpg").read_bytes()
    (pictures / "photo.jpg").unlink()
    panel.go_on().join(WAIT)
    assert "photo.jpg does not exist" in status(panel)[0] and not find(panel, "Go on").disabled, "it can be tried again"
    (pictures / "photo.jpg").write_bytes(photo)
    panel.go_on().join(WAIT)
    found = facts("photo-style-001")
    assert (found["state"], found["epochs_done"], found["settings"]["BETA"]) == ("finished", 4, SETTINGS["BETA"])
    assert (runs(), status(panel)[0][:9]) == (["photo-style-001"], "Finished:")
    assert find(panel, "Go on").disabled


def test_stop_before_the_run_exists_counts(make_panel, monkeypatch):
    """The weights are still being read."""
    load, said = nst_utils.load_vgg19, []

    def stop_and_load(*args):
        said.append(status(panel)[0])
        find(panel, "Stop").click()
        return load(*args)

    monkeypatch.setattr(nst_utils, "load_vgg19", stop_and_load)
    panel = make_panel(EPOCHS=100_000)
    paint(panel)
    assert said == ["Getting ready …"]
    assert (status(panel)[0][:9], facts("photo-style-001")["epochs_done"]) == ("Stopped: ", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
def test_interrupted_while_it_waits_it_stops_after_the_step(make_panel, gate):
    panel = make_panel(EPOCHS=100_000)

    def interrupt():
        assert gate.reached.wait(WAIT), "it has not begun"
        os.kill(os.getpid(), signal.SIGINT)
        panel._stop_asked.wait(WAIT)
        gate.opened.set()

    threading.Thread(target=interrupt).start()
    panel.paint()
    assert facts("photo-style-001")["state"] == "stopped"


# ---- gone wrong


def test_errors_are_shown_and_the_panel_stays_usable(make_panel, pictures, monkeypatch):
    panel = make_panel()
    photo = (pictures / "photo.jpg").read_bytes()
    (pictures / "photo.jpg").unlink()
    paint(panel)
    text, line = status(panel)
    assert text.startswith(f"{pictures.as_posix()}/photo.jpg does not exist. In ") and not line
    assert (find(panel, "Run").disabled, find(panel, "Stop").disabled) == (False, True)
    (pictures / "photo.jpg").write_bytes(photo)
    with monkeypatch.context() as patch:
        patch.setattr(nst.runs.Run, "record", lambda run, **costs: 1 / 0)
        paint(panel)
    assert status(panel) == ("ZeroDivisionError: division by zero", "")
    find(panel, "ALPHA").value = find(panel, "BETA").value = 0.0
    with pytest.raises(nst_utils.SettingsError, match="ALPHA = BETA = 0 leaves nothing to minimise"):
        panel.paint()  # so that a headless run fails
    assert runs() == [], "no empty folder is left"
    find(panel, "ALPHA").value = 10.0
    paint(panel)
    assert status(panel)[0].startswith("Finished: ")
    panel._say("<b>bold.jpg & more")
    assert "&lt;b&gt;bold.jpg &amp; more" in said_by(panel), "messages are no markup"


# ---- uploads


def test_uploads_are_kept_and_offered(make_panel, pictures, picture):
    panel = make_panel()
    find(panel, "STYLE_IMAGE").value = (pictures / "other.jpg").as_posix()
    first, second, third = (bytes_of(picture(40, 60, seed)) for seed in (5, 6, 7))
    upload(panel, ("mine.png", first))
    path = (pictures / "mine.png").as_posix()
    assert (pictures / "mine.png").read_bytes() == first
    assert status(panel)[0] == f"{path} is kept."
    for name in ("CONTENT_IMAGE", "STYLE_IMAGE"):
        assert ("mine.png", path) in find(panel, name).options
    assert find(panel, "CONTENT_IMAGE").value == path
    assert find(panel, "STYLE_IMAGE").value == (pictures / "other.jpg").as_posix(), "the chosen style stays"
    for _ in range(2):  # which a file may be
        upload(panel, ("words.jpg", b"these are words"))
        assert "words.jpg is no picture" in status(panel)[0]
        find(panel, "CONTENT_IMAGE").value = (pictures / "photo.jpg").as_posix()
        panel._say("")
    upload(panel, ("mine.png", second), ("words.jpg", b"these are words"), ("MINE.PNG", third))
    assert [(pictures / name).read_bytes() for name in ("mine.png", "mine-2.png")] == [first, second]
    assert (pictures / "MINE.PNG").exists() and not (pictures / "words.jpg").exists()
    text, _ = status(panel)
    assert "words.jpg is no picture that Pillow can read" in text and "mine-2.png is kept" in text, text
    assert len(find(panel, "STYLE_IMAGE").options) == 6


def test_what_is_chosen_or_added_is_shown(make_panel, pictures, picture, gate):
    panel = make_panel()

    def shows(image):
        image = to_uint8(tf.image.resize(image, picture_of(panel).shape[:2], antialias=True)).astype(np.float32)
        return np.abs(image - picture_of(panel)).mean() < 6

    photo, other = picture(50, 72, 0), picture(50, 72, 2)
    assert shows(photo) and not shows(other)
    find(panel, "CONTENT_IMAGE").value = (pictures / "other.jpg").as_posix()
    assert shows(other)
    find(panel, "STYLE_IMAGE").value = (pictures / "photo.jpg").as_posix()
    assert shows(photo)
    upload(panel, ("mine.png", bytes_of(picture(50, 72, 5))))
    assert shows(picture(50, 72, 5))
    (pictures / "style.png").write_bytes(b"none")
    find(panel, "STYLE_IMAGE").value = (pictures / "style.png").as_posix()
    assert "style.png is no picture" in status(panel)[0] and shows(picture(50, 72, 5))
    find(panel, "STYLE_IMAGE").value = (pictures / "other.jpg").as_posix()
    panel.run()
    assert gate.reached.wait(WAIT)
    find(panel, "CONTENT_IMAGE").value = (pictures / "photo.jpg").as_posix()
    assert not shows(photo), "the picture that grows stays in sight"
    upload(panel, ("words.jpg", b"these are words"))
    gate.opened.set()
    panel._thread.join(WAIT)
    assert "words.jpg is no picture" in said_by(panel) and status(panel)[0].startswith("Finished"), "both are read"


@pytest.mark.parametrize("name", ["../../x.jpg", "..\\..\\x.jpg", "C:\\pictures\\x.jpg"])
def test_names_of_uploads_lead_nowhere_else(pictures, picture, tmp_path, name):
    before = {*tmp_path.rglob("*")}
    assert keep_picture(name, bytes_of(picture(40, 60), "JPEG")) == (pictures / "x.jpg").as_posix()
    assert {*tmp_path.rglob("*")} - before == {pictures / "x.jpg"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"GIF", "^x.txt is a picture, but not by its name. It must end in .jpg, .png or the like"),
        ("..", b"...", "is no picture that Pillow can read"),
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is an HEIC picture, .* Convert it to JPEG"),
        ("x.jpg", b"", "^x.jpg is empty. Copy or download it again"),
        ("C:\\Temp\\x.png", b"\x89PNG", "^x.png is no picture that Pillow can read"),
        ("long.png", None, "^long.png is 660×60: longer than 1:10"),
    ],
)
def test_what_is_no_usable_picture_is_not_kept(pictures, tmp_path, monkeypatch, name, content, message):
    """And no message names a place that is gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nst.uploads, "EXAMPLES", pictures.relative_to(tmp_path))
    content = bytes_of(tf.zeros((60, 660, 3))) if content is None else content
    content = bytes_of(tf.zeros((60, 66, 3)), "GIF") if content == b"GIF" else content
    before = {*tmp_path.rglob("*")}
    with pytest.raises(nst_utils.ImageError, match=message) as error:
        keep_picture(name, content)
    assert not re.search("Temp|" + re.escape(str(tmp_path)), str(error.value))
    assert {*tmp_path.rglob("*")} == before


def test_a_long_name_is_cut_and_a_missing_folder_made(pictures, picture):
    """Systems count otherwise: one's longest name is too long for another."""
    shutil.rmtree(pictures)
    paths = [keep_picture(200 * "雪" + ".png", bytes_of(picture(40, 60))) for _ in range(2)]
    assert paths == [(pictures / f"{20 * '雪'}{end}.png").as_posix() for end in ("", "-2")]
