"""The panel, driven as its widgets drive it: what it begins with, Run and Stop, uploads, and what it leaves."""

import base64
import copy
import datetime
import html
import io
import json
import re
import shlex
import shutil
import threading

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

import nst.panel
import nst.records
import nst.replay
import nst.runs
import nst_utils
from conftest import SETTINGS
from nst.backend import tf
from nst.images import save_image, to_uint8
from nst.panel import keep_picture, settings_line
from nst.settings import read_settings

TINY = {"IMAGE_SIZE": 48, "EPOCHS": 3}
WAIT = 120  # seconds after which a thread that has not come is taken for lost


@pytest.fixture
def pictures(tmp_path, monkeypatch, picture):
    """The folder that stands for images/: a photo and two styles."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate(("photo.jpg", "style.png", "other.jpg")):
        save_image(picture(50, 72, seed), folder / name)
    (folder / "notes.txt").write_text("no picture")
    monkeypatch.setattr(nst.panel, "PICTURES", folder)
    return folder


@pytest.fixture
def make_panel(folder, pictures, monkeypatch):
    """A function that makes a panel which paints very small pictures; they are all stopped in the end."""
    saved = SETTINGS | {name: (pictures / file).as_posix() for name, file in FILES.items()}
    for module in (nst.replay, nst.panel):
        monkeypatch.setattr(module, "saved_settings", lambda: copy.deepcopy(saved))
    panels = []

    def make(**settings):
        panels.append(nst_utils.Panel(**TINY | settings))
        return panels[-1]

    yield make
    for panel in panels:
        panel.stop()
        if panel._thread:
            panel._thread.join(WAIT)


FILES = {"CONTENT_IMAGE": "photo.jpg", "STYLE_IMAGE": "style.png"}
DESCRIPTIONS = {"CONTENT_IMAGE": "content", "STYLE_IMAGE": "style", "ALPHA": "alpha", "BETA": "beta"}
DESCRIPTIONS |= {"IMAGE_SIZE": "pixels", "EPOCHS": "epochs", "KEEP_COLOURS": "colours"}


@pytest.fixture
def gate(monkeypatch):
    """Holds each run after its first epoch: wait for it with reached.wait, let it go with opened.set."""

    class Gate:
        reached, opened, threads = threading.Event(), threading.Event(), []

    record = nst.runs.Run.record

    def record_and_wait(run, *costs):
        record(run, *costs)
        Gate.threads.append(threading.current_thread())
        Gate.reached.set()
        assert Gate.opened.wait(WAIT), "nobody has opened the gate"

    monkeypatch.setattr(nst.runs.Run, "record", record_and_wait)
    yield Gate
    Gate.opened.set()


def parts(widget):
    """Return all widgets in a widget."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def find(panel, description):
    """Return the control with a description."""
    (found,) = [part for part in parts(panel.widget) if getattr(part, "description", None) == description]
    return found


def control(panel, name):
    return find(panel, DESCRIPTIONS[name])


def values(panel):
    return {name: control(panel, name).value for name in DESCRIPTIONS}


def status(panel):
    """Return what the panel says, and the line of settings, as texts."""
    (said,) = [part for part in parts(panel.widget) if type(part) is widgets.HTML]
    text, _, line = said.value.partition("<pre")
    text = html.unescape(re.sub("<[^>]*>", "", text))
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


def runs():
    output = nst.records.OUTPUT_FOLDER
    return sorted(path.name for path in output.iterdir()) if output.exists() else []


def facts_of(name):
    return json.loads((nst.records.OUTPUT_FOLDER / name / "settings.json").read_text())


# ---- what it begins with


def test_it_begins_with_the_notebook_as_saved_small(make_panel, pictures):
    panel = nst_utils.Panel()
    expected = {name: SETTINGS[name] for name in DESCRIPTIONS} | {"IMAGE_SIZE": 200}
    expected |= {name: (pictures / file).as_posix() for name, file in FILES.items()}
    assert values(panel) == expected
    menu = [name for name, _ in control(panel, "CONTENT_IMAGE").options]
    assert menu == ["other.jpg", "photo.jpg", "style.png"], "pictures alone"
    assert menu == [name for name, _ in control(panel, "STYLE_IMAGE").options]
    photo = np.asarray(Image.open(pictures / "photo.jpg").resize(picture_of(panel).shape[1::-1]), np.float32)
    assert np.abs(picture_of(panel) - photo).mean() < 6, "it shows the photo"
    assert status(panel) == ("Turn what you like and press Run.", "")
    assert (find(panel, "Run").disabled, find(panel, "Stop").disabled) == (False, True)


def test_variable_wins_over_a_fixed_value_and_what_is_turned_wins_over_both(make_panel, monkeypatch):
    monkeypatch.setenv("NST_BETA", "3")
    monkeypatch.setenv("NST_KEEP_COLOURS", "match")
    panel = make_panel(BETA=50, ALPHA=5, EPOCHS=2, SEED=9)
    begun = values(panel)
    assert (begun["BETA"], begun["ALPHA"], begun["EPOCHS"], begun["KEEP_COLOURS"]) == (3.0, 5.0, 2, "match")
    control(panel, "BETA").value = 100.0
    control(panel, "KEEP_COLOURS").value = ""
    paint(panel)
    (name,) = runs()
    settings = facts_of(name)["settings"]
    assert (settings["BETA"], settings["ALPHA"], settings["EPOCHS"], settings["KEEP_COLOURS"]) == (100.0, 5.0, 2, "")
    assert settings["SEED"] == 9, "what the panel has no control for"


def test_pictures_from_elsewhere_are_in_the_menus(make_panel, tmp_path, picture):
    save_image(picture(40, 60), tmp_path / "mine.jpg")
    panel = make_panel(CONTENT_IMAGE=str(tmp_path / "mine.jpg"))
    assert control(panel, "CONTENT_IMAGE").value == str(tmp_path / "mine.jpg")
    assert "mine.jpg" in [name for name, _ in control(panel, "STYLE_IMAGE").options]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"BTEA": 3}, r"BTEA is no setting. Do you mean BETA\?"),
        ({"STYLE_IMAGE": [("a.jpg", 1), ("b.jpg", 1)]}, "The panel paints with one style. For several, use paint or"),
        ({"CONTENT_IMAGE": "images/nope.jpg"}, "images/nope.jpg does not exist"),
        ({"CONTENT_IMAGE": 3}, "CONTENT_IMAGE = 3 cannot work"),
        ({"BETA": "much"}, "BETA = 'much' cannot work: it must be a finite number"),
        ({"BETA": -1}, "BETA = -1.0 cannot work: it must be a finite number"),
        ({"IMAGE_SIZE": 10}, "IMAGE_SIZE = 10 cannot work: it must be a whole number of pixels, 32 to 20000"),
        ({"KEEP_COLOURS": "all"}, "KEEP_COLOURS = 'all' cannot work"),
        ({"STYLE_LAYERS": []}, "STYLE_LAYERS = .* cannot work"),
        ({"RESUME": "output/old"}, "RESUME goes on with a run in the notebook"),
    ],
)
def test_what_cannot_work_is_an_error_at_once(make_panel, settings, message):
    with pytest.raises(nst_utils.NSTError, match=message):
        make_panel(**settings)


def test_variable_with_several_styles_is_an_error_at_once(make_panel, monkeypatch):
    monkeypatch.setenv("NST_STYLE_IMAGE", "[('a.jpg', 1), ('b.jpg', 1)]")
    with pytest.raises(nst_utils.SettingsError, match="The panel paints with one style"):
        make_panel()


@pytest.mark.parametrize(("name", "value"), [("ALPHA", 0.0), ("BETA", 1 / 3), ("BETA", 1e6), ("ALPHA", 1e6)])
def test_sliders_go_in_round_steps_and_have_a_place_for_what_they_begin_with(make_panel, name, value):
    slider = control(make_panel(**{name: value}), name)
    assert slider.value == value
    values = [value for _, value in slider.options]
    assert {0.0, 1.0, 2.0, 5.0, 10.0, 500.0, value} <= set(values)
    assert values == sorted(values)


def test_sizes_count_until_another_size_is_turned(make_panel):
    panel = make_panel(SIZES=[48, 64], IMAGE_SIZE=48)
    paint(panel)
    assert facts_of(runs()[-1])["sizes"] == [[48, 3], [64, 3]]
    control(panel, "IMAGE_SIZE").value = 80
    paint(panel)
    assert facts_of(runs()[-1])["sizes"] == [[80, 3]], "what the panel shows wins"


def test_it_shows_the_last_of_sizes(make_panel):
    assert control(make_panel(SIZES=[48, 96], IMAGE_SIZE=48), "IMAGE_SIZE").value == 96


# ---- Run and Stop


def test_run_paints_into_a_folder_and_shows_the_picture(make_panel, pictures):
    panel = make_panel()
    before = picture_of(panel)
    control(panel, "BETA").value = 500.0
    control(panel, "IMAGE_SIZE").value = 160  # at which JPEG's errors are small
    paint(panel)
    assert runs() == ["photo-style-001"]
    folder = nst.records.OUTPUT_FOLDER / "photo-style-001"
    facts = facts_of("photo-style-001")
    assert (facts["state"], facts["epochs_done"], facts["settings"]["BETA"]) == ("finished", 3, 500.0)
    assert status(panel)[0] == f"Finished: {folder.as_posix()}. To paint it again:"
    with Image.open(folder / "generated_image.png") as saved:
        result = np.asarray(saved, np.float32)
    shown = picture_of(panel)
    assert shown.shape == result.shape != before.shape
    photo = np.asarray(Image.open(pictures / "photo.jpg").resize(result.shape[1::-1]), np.float32)
    assert np.abs(shown - result).mean() < 5 < np.abs(shown - photo).mean() / 1.5, "the result is shown"
    assert (find(panel, "Run").disabled, find(panel, "Stop").disabled) == (False, True)
    control(panel, "STYLE_IMAGE").value = control(panel, "CONTENT_IMAGE").options[0][1]
    paint(panel)
    paint(panel)
    assert runs() == ["photo-other-001", "photo-other-002", "photo-style-001"]


def test_settings_line_repeats_the_run(make_panel, pictures, monkeypatch):
    """Read as a shell and the notebook would."""
    shutil.copy(pictures / "photo.jpg", pictures / "it's a $photo & more.jpg")
    layers = [("block1_conv1", 0.5), ("block2_conv1", 0.25)]
    panel = make_panel(
        CONTENT_IMAGE=(pictures / "it's a $photo & more.jpg").as_posix(),
        STYLE_LAYERS=layers,
        NORMALISE_ACTIVATIONS=False,
        SIZES=[48, 64],
        KEEP_COLOURS="luminance",
        BETA=1 / 3,
    )
    paint(panel)
    text, line = status(panel)
    assert text.startswith("Finished: ")
    *assignments, make, target = shlex.split(line)
    assert (make, target) == ("make", "run")
    environ = dict(assignment.split("=", 1) for assignment in assignments)
    assert all(name.startswith("NST_") for name in environ), environ
    again = read_settings(nst.panel.saved_settings(), environ)
    painted = panel_settings(runs()[-1])
    assert painted["STYLE_LAYERS"] == [list(pair) for pair in layers]
    assert json.loads(json.dumps(again)) | {"OUTPUT_DIR": ""} == painted | {"OUTPUT_DIR": ""}
    assert not {"NST_OUTPUT_DIR", "NST_RESUME", "NST_SEED"} & environ.keys(), "what is as in the notebook is left out"


def panel_settings(name):
    return facts_of(name)["settings"]


def test_settings_line_of_the_notebook_itself():
    saved = nst.panel.saved_settings()
    assert settings_line(saved | {"OUTPUT_DIR": "output/a"}) == "make run"
    assert settings_line(saved | {"KEEP_COLOURS": "match", "STYLE_MASKS": []}) == "NST_KEEP_COLOURS=match make run"


def test_it_paints_in_a_thread_and_leaves_the_main_one_free(make_panel, gate):
    panel = make_panel()
    thread = panel.run()
    assert gate.reached.wait(WAIT), "it has not begun"
    assert thread.is_alive() and gate.threads == [thread]
    assert thread is not threading.current_thread()
    assert not find(panel, "Stop").disabled
    assert status(panel)[0].startswith("epoch 1/3   J "), "the picture grows"
    control(panel, "BETA").value = 500.0  # of this one nothing is turned any more
    gate.opened.set()
    thread.join(WAIT)
    assert panel_settings(runs()[0])["BETA"] == SETTINGS["BETA"]


def test_second_run_while_one_paints_starts_nothing_and_says_so(make_panel, gate):
    panel = make_panel()
    thread = panel.run()
    assert gate.reached.wait(WAIT), "it has not begun"
    assert panel.run() is thread
    find(panel, "Run").click()
    assert status(panel)[0] == "This picture is still being painted: wait, or press Stop first."
    assert not find(panel, "Stop").disabled
    gate.opened.set()
    thread.join(WAIT)
    assert runs() == ["photo-style-001"]
    assert facts_of("photo-style-001")["state"] == "finished"
    paint(panel)
    assert runs() == ["photo-style-001", "photo-style-002"], "afterwards it paints again"


def test_stop_ends_after_the_step(make_panel, gate):
    panel = make_panel(EPOCHS=100_000)
    thread = panel.run()
    assert gate.reached.wait(WAIT), "it has not begun"
    find(panel, "Stop").click()
    gate.opened.set()
    thread.join(WAIT)
    assert not thread.is_alive(), "it has not heard of it"
    facts = facts_of("photo-style-001")
    assert (facts["state"], facts["epochs_done"]) == ("stopped", 1)
    text, line = status(panel)
    assert text.startswith("Stopped: ") and "photo-style-001" in text
    assert "NST_EPOCHS=100000" in line
    assert find(panel, "Stop").disabled
    control(panel, "EPOCHS").value = 2
    paint(panel)
    assert facts_of("photo-style-002")["state"] == "finished", "the next run is not stopped"


def test_stop_before_the_run_exists_counts(make_panel, monkeypatch):
    """The weights are still being read."""
    load, reached, opened = nst.runs.load_vgg19, threading.Event(), threading.Event()

    def wait_and_load(*args):
        reached.set()
        assert opened.wait(WAIT)
        return load(*args)

    monkeypatch.setattr(nst.runs, "load_vgg19", wait_and_load)
    panel = make_panel(EPOCHS=100_000)
    thread = panel.run()
    try:
        assert reached.wait(WAIT), "it has not begun"
        assert status(panel)[0] == "Getting ready …"
        find(panel, "Stop").click()
    finally:
        opened.set()
    thread.join(WAIT)
    assert not thread.is_alive(), "it has not heard of it"
    assert status(panel)[0].startswith("Stopped: ")
    assert facts_of("photo-style-001")["epochs_done"] == 0


def test_stop_with_nothing_to_stop(make_panel):
    panel = make_panel()
    find(panel, "Stop").click()
    paint(panel)
    assert status(panel)[0].startswith("Finished: ")
    find(panel, "Stop").click()
    assert status(panel)[0].startswith("Finished: ")


def test_output_dir_is_where_folders_are_made(make_panel, tmp_path):
    panel = make_panel(OUTPUT_DIR=str(tmp_path / "mine"))
    paint(panel)
    paint(panel)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["photo-style-001", "photo-style-002"]
    assert runs() == []


def test_paint_waits_for_the_end(make_panel):
    panel = make_panel()
    panel.paint()
    assert not panel._thread.is_alive()
    assert facts_of("photo-style-001")["state"] == "finished"


def test_paint_raises_what_goes_wrong_so_that_a_headless_run_fails(make_panel):
    panel = make_panel()
    control(panel, "ALPHA").value = control(panel, "BETA").value = 0.0
    with pytest.raises(nst_utils.SettingsError, match="ALPHA = BETA = 0 leaves nothing to minimise"):
        panel.paint()
    assert "ALPHA = BETA = 0" in status(panel)[0]
    control(panel, "ALPHA").value = 10.0
    panel.paint()
    assert status(panel)[0].startswith("Finished: ")


def test_interrupted_while_it_waits_it_stops_after_the_step(make_panel, gate, monkeypatch):
    panel = make_panel(EPOCHS=100_000)
    join = threading.Thread.join

    def interrupted(thread, timeout=None):
        monkeypatch.setattr(threading.Thread, "join", join)
        assert gate.reached.wait(WAIT), "it has not begun"
        timer.start()
        raise KeyboardInterrupt

    timer = threading.Timer(0.0, lambda: (panel._stop_asked.wait(WAIT), gate.opened.set()))
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    panel.paint()
    join(timer, WAIT)
    assert not panel._thread.is_alive()
    assert facts_of("photo-style-001")["state"] == "stopped"


# ---- gone wrong


def test_errors_are_shown_and_the_panel_stays_usable(make_panel, pictures, monkeypatch):
    panel = make_panel()
    photo = (pictures / "photo.jpg").read_bytes()
    (pictures / "photo.jpg").unlink()
    paint(panel)
    text, line = status(panel)
    assert text.startswith(f"{pictures.as_posix()}/photo.jpg does not exist. In ") and not line
    assert runs() == [], "no empty folder is left"
    assert (find(panel, "Run").disabled, find(panel, "Stop").disabled) == (False, True)
    (pictures / "photo.jpg").write_bytes(photo)
    with monkeypatch.context() as patch:
        patch.setattr(nst.runs.Run, "record", lambda run, *costs: 1 / 0)
        paint(panel)
    assert status(panel) == ("ZeroDivisionError: division by zero", "")
    assert runs() == [], "nothing has been painted"
    paint(panel)
    assert status(panel)[0].startswith("Finished: ")


def test_messages_are_text_and_not_markup(make_panel, pictures):
    shutil.copy(pictures / "photo.jpg", pictures / "<b>bold.jpg")
    panel = make_panel(CONTENT_IMAGE=(pictures / "<b>bold.jpg").as_posix())
    (pictures / "<b>bold.jpg").unlink()
    paint(panel)
    (said,) = [part for part in parts(panel.widget) if type(part) is widgets.HTML]
    assert "&lt;b&gt;bold.jpg does not exist" in said.value and "<b>" not in said.value


# ---- uploads


def test_uploads_are_kept_and_offered(make_panel, pictures, picture):
    panel = make_panel()
    control(panel, "STYLE_IMAGE").value = (pictures / "other.jpg").as_posix()
    content = bytes_of(picture(40, 60, seed=5))
    upload(panel, ("mine.png", content))
    path = (pictures / "mine.png").as_posix()
    assert (pictures / "mine.png").read_bytes() == content
    assert status(panel)[0] == f"{path} is kept."
    for name in FILES:
        assert ("mine.png", path) in control(panel, name).options
    assert control(panel, "CONTENT_IMAGE").value == path
    assert control(panel, "STYLE_IMAGE").value == (pictures / "other.jpg").as_posix(), "the chosen style stays"
    paint(panel)
    assert runs() == ["mine-other-001"]
    first, second = (bytes_of(picture(40, 60, seed)) for seed in (6, 7))
    upload(panel, ("mine.png", first), ("MINE.JPG", bytes_of(picture(40, 60), "JPEG")))
    upload(panel, ("mine.png", second))
    assert (pictures / "mine.png").read_bytes() == content, "nothing is overwritten"
    assert [(pictures / f"mine-{number}.png").read_bytes() for number in (2, 3)] == [first, second]
    assert (pictures / "MINE.JPG").exists()
    assert control(panel, "CONTENT_IMAGE").value == (pictures / "mine-3.png").as_posix()
    assert len(control(panel, "STYLE_IMAGE").options) == 7


def test_upload_that_is_no_picture_is_told_and_not_kept(make_panel, pictures, picture):
    panel = make_panel()
    before = {path.name for path in pictures.iterdir()}
    upload(panel, ("broken.png", bytes_of(picture(40, 60))[:200]))
    assert status(panel)[0].startswith("broken.png cannot be decoded")
    upload(panel, ("words.jpg", b"these are words"))
    assert status(panel)[0] == "words.jpg is no picture that Pillow can read. Save it again as JPEG or PNG."
    assert {path.name for path in pictures.iterdir()} == before
    assert control(panel, "CONTENT_IMAGE").value == (pictures / "photo.jpg").as_posix()


def test_a_bad_upload_among_good_ones_is_told_and_the_others_are_kept(make_panel, pictures, picture):
    panel = make_panel()
    upload(panel, ("words.jpg", b"these are words"), ("mine.png", bytes_of(picture(40, 60))))
    assert (pictures / "mine.png").exists() and not (pictures / "words.jpg").exists()
    text, _ = status(panel)
    assert "words.jpg is no picture" in text and "mine.png is kept" in text, text


@pytest.mark.parametrize("name", ["../../x.jpg", "/etc/x.jpg", "..\\..\\x.jpg", "C:\\pictures\\x.jpg", "a/../x.jpg"])
def test_names_of_uploads_lead_nowhere_else(pictures, picture, tmp_path, name):
    before = {path for path in tmp_path.rglob("*")}
    assert keep_picture(name, bytes_of(picture(40, 60), "JPEG")) == (pictures / "x.jpg").as_posix()
    assert {path for path in tmp_path.rglob("*")} - before == {pictures / "x.jpg"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"...", "^x.txt is no picture by its name. It must end in one of .jpg, .jpeg, .png"),
        ("picture", b"...", "^picture is no picture by its name"),
        ("", b"...", "is no picture by its name"),
        ("..", b"...", "is no picture by its name"),
        (".jpg", b"...", "^.jpg is no picture by its name"),
        ("x.jpg", b"", "^x.jpg is empty. Copy or download it again"),
        ("x.png", b"<svg>", "^x.png is a web page or an SVG drawing"),
        ("x.png", b"nothing", "^x.png is no picture that Pillow can read"),
        ("long.png", None, "^long.png is 660×60: longer than 1:10"),
    ],
)
def test_what_is_no_usable_picture_is_not_kept(pictures, tmp_path, name, content, message):
    before = {path for path in tmp_path.rglob("*")}
    content = bytes_of(tf.zeros((60, 660, 3))) if content is None else content
    with pytest.raises(nst_utils.ImageError, match=message) as error:
        keep_picture(name, content)
    assert "/tmp" not in str(error.value), "where it was tried is nobody's business"
    assert {path for path in tmp_path.rglob("*")} == before


def test_long_name_is_cut(pictures, picture):
    """Systems count otherwise: one's longest name is too long for another."""
    content = bytes_of(picture(40, 60))
    paths = [keep_picture(200 * "雪" + ".png", content) for _ in range(2)]
    assert paths == [(pictures / f"{60 * '雪'}{end}.png").as_posix() for end in ("", "-2")]
    assert all((pictures / path).read_bytes() == content for path in paths)


def test_without_a_folder_for_pictures(pictures, picture):
    shutil.rmtree(pictures)
    with pytest.raises(nst_utils.RunError, match="x.jpg could not be written"):
        keep_picture("x.jpg", bytes_of(picture(40, 60), "JPEG"))


# ---- as an output of the notebook


def test_output_has_the_widget_a_picture_and_a_sentence(make_panel):
    panel = make_panel()
    paint(panel)
    bundle = panel._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))) as opened:
        assert np.array_equal(np.asarray(opened, np.float32), picture_of(panel)), "the picture as painted"
    assert bundle["text/plain"].startswith("A panel with sliders and buttons")
