"""scripts/run_notebook.py: what it prints and leaves, the page, signals, and all that must not end a run."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from nbconvert import ScriptExporter
from PIL import Image

import scripts.run_notebook
from conftest import ROOT, raiser
from nst.commands import command_of
from nst.lesson import SECOND
from scripts.page import draw_formulas, save_page, show_run
from scripts.run_notebook import LANGUAGE, finish, store
from scripts.terminal import shell_word, short_status

SMALL = {"NST_WEIGHTS": "standin", "NST_PRECISION": "float32", "NST_IMAGE_SIZE": "64", "NST_EPOCHS": "3"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
COMMAND = [sys.executable, ROOT / "scripts" / "run_notebook.py"]


def start(*arguments, cwd=ROOT, environ=(), **settings):
    """Start the script and return its process; its lines come on stdout."""
    environ = os.environ | SMALL | {f"NST_{name}": str(value) for name, value in settings.items()} | dict(environ)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    return subprocess.Popen([*COMMAND, *arguments], cwd=cwd, env=environ, **pipes)


def execute(*arguments, code=0, **more):
    """Run the script to its end and return what it prints."""
    process = start(*arguments, **more)
    try:
        out, _ = process.communicate(timeout=1200)
    finally:
        process.kill()
    assert process.returncode == code, out
    assert "Traceback" not in out and "AutoGraph" not in out, out
    return out


def signal_at(process, text, *numbers):
    """Send signals to the script, two seconds apart, when it writes a line with a text; return all that it writes."""
    lines, too_long = [], threading.Timer(600, process.kill)
    too_long.start()
    for line in process.stdout:
        lines.append(line)
        if text in line:
            for i, number in enumerate(numbers):
                threading.Timer(2 * i, process.send_signal, [number]).start()
    process.wait()
    too_long.cancel()
    return "".join(lines)


@pytest.fixture
def notebook_of(tmp_path):
    """A function that writes a notebook and returns its path: texts are Markdown, (source, tag, …) are code cells."""

    def write(*cells):
        code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
        cells = [text(c) if isinstance(c, str) else code(c[0], metadata={"tags": list(c[1:])}) for c in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "small.ipynb")
        return tmp_path / "small.ipynb"

    return write


def state_of(folder):
    facts = json.loads((folder / "settings.json").read_text())
    return facts["state"], facts["epochs_done"]


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """What a run through two small sizes prints, and the folder that it was told to fill."""
    folder = tmp_path_factory.mktemp("headless") / "trial"
    pictures = {"CONTENT_IMAGE": "images/chelsea_the_cat.jpg", "STYLE_IMAGE": "images/great_wave.jpg"}
    return execute(SIZES="[64, 96]", EPOCHS=10, SAVE_EVERY=6, OUTPUT_DIR=folder, **pictures), folder


def test_a_run_leaves_exactly_the_promised_files(headless):
    _, folder = headless
    widths = {0: 64, 6: 64, 10: 64, 12: 96, 18: 96, 20: 96}
    snapshots = {f"image_{epoch:05d}.jpg": width for epoch, width in widths.items()}
    assert {p.name for p in folder.iterdir()} == {*snapshots, "generated_image.png", "history.csv", "settings.json"}
    for name, width in snapshots.items():
        with Image.open(folder / name) as picture:
            assert picture.width == width, name
    assert state_of(folder) == ("finished", 20)
    assert {p.name for p in folder.parent.iterdir()} == {"trial", "trial.html"}


def test_a_run_prints_progress_settings_and_where_things_are(headless):
    out, folder = headless
    for expected in ("— Train\n", "EPOCHS = 10 (from NST_EPOCHS)\n", "\nepoch 20/20, 0:00 left, J "):
        assert expected in out
    assert out.splitlines()[-2:] == [f"{folder}/generated_image.png", f"{folder}.html"]
    for toy in ("J_style_layer", "block1_conv1"):
        assert toy not in out, "what a cell shows is for the page"


def test_which_weights_are_taken_is_said_though_the_rest_of_a_cell_is_for_the_page(notebook_of, tmp_path):
    path = notebook_of(("print('Weights: standin, since …\\nof the page\\nNote: a.png: it is so')", "shows"), ("1",))
    out = execute(path, OUTPUT_DIR=tmp_path / "run")
    assert "Weights: standin, since …\nNote: a.png: it is so\n" in out and "of the page" not in out


def test_page_opens_with_the_result_and_needs_no_network(headless):
    _, folder = headless
    page = folder.with_name("trial.html").read_text(encoding="utf-8")
    head, lesson = page.split("</section>")
    assert ">Neural style transfer<" in lesson
    assert head.count("data:image/jpeg") == 3, "the result, the photo and the painting"
    assert re.findall("<figcaption>(.*?)<", head) == ["chelsea_the_cat.jpg", "great_wave.jpg"]
    assert "<code>EPOCHS = 10</code>" in head
    assert "<code>BETA" not in head, "only what differs from the notebook"
    assert lesson.count("data:image/jpeg") >= 6
    assert "J_style_layer = " in lesson, "toys are on the page"
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:)", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


@POSIX
@pytest.mark.slow
def test_stopped_and_resumed_is_the_same_as_in_one_go(tmp_path):
    """In tiles at the second size. A stopped run ends with the line that goes on, and that line does."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    settings = {"SIZES": "[64, 96]", "TILE": 64, "EPOCHS": 40}
    execute(OUTPUT_DIR=whole, **settings)
    process = start(OUTPUT_DIR=stopped, **settings)
    lines = signal_at(process, "epoch 1/60", signal.SIGHUP).splitlines()
    assert process.returncode == 128 + signal.SIGHUP, lines
    assert state_of(stopped)[0] == "stopped"
    assert lines[-5:] == [
        f"Stopped after epoch {state_of(stopped)[1]} of 60.",
        f"{stopped}/generated_image.png",
        f"{stopped}.html",
        "To go on:",
        f"NST_RESUME={stopped} make run",
    ]
    assert "Done" not in "".join(lines)
    assert "— Look at the result" not in lines, "the rest of the lesson is for the page"
    head = stopped.with_suffix(".html").read_text(encoding="utf-8").split("</section>")[0]
    assert f"Stopped after epoch {state_of(stopped)[1]} of 60" in head
    execute(RESUME=stopped, TILE=64, OUTPUT_DIR=stopped)  # its variable may still be set
    assert state_of(stopped) == ("finished", 60)
    assert {p.name for p in stopped.iterdir()} == {p.name for p in whole.iterdir()}
    pictures = [np.asarray(Image.open(folder / "generated_image.png"), int) for folder in (whole, stopped)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@POSIX
def test_a_kernel_that_does_not_hear_of_a_stop_before_the_training_is_ended(notebook_of, tmp_path):
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    )
    process = start(notebook_of((deaf,), ("1", "training")), OUTPUT_DIR=tmp_path / "run")
    out = signal_at(process, "deaf", signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT, out
    assert out.endswith("Stopping …\nStopped before there was a page.\n")


@POSIX
@pytest.mark.slow
def test_a_signal_before_the_training_leaves_nothing(tmp_path):
    process = start(OUTPUT_DIR=tmp_path / "run")
    out = signal_at(process, "— Calculate the content cost", signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT, out
    assert out.endswith("Stopping …\nStopped before there was a page.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message", "left"),
    [
        ({"EPOCHS": 0}, "SettingsError: EPOCHS = 0 cannot work", None),
        ({"BETA": 1e25, "SAVE_EVERY": 1}, "RunError: In epoch", "failed"),
    ],
)
def test_a_failed_run_ends_with_its_message(tmp_path, settings, message, left):
    assert message in execute(code=1, OUTPUT_DIR=tmp_path / "run", **settings)
    assert (state_of(tmp_path / "run")[0] if left else list(tmp_path.iterdir())) == (left or [])


@POSIX
@pytest.mark.slow
def test_experiments_run_small_and_are_stopped_after_a_step(tmp_path):
    """The whole, then one that is stopped while it compares: what follows is left out, and the page is finished."""
    execute("going_further.ipynb", EPOCHS=2, OUTPUT_DIR=tmp_path)
    page = (tmp_path / "going_further.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") + page.count("data:image/webp") >= 12
    assert {path.name for path in tmp_path.glob("compare-*")} == {f"compare-{n:03}" for n in range(1, 11)}
    process = start("going_further.ipynb", EPOCHS=500, OUTPUT_DIR=tmp_path / "stopped")
    out = signal_at(process, "1 of 5", signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT, out
    assert "Stopped: 4 more would have come." in out
    assert "What would follow is left out." in out
    assert (tmp_path / "stopped" / "going_further.html").exists()


# ---- small notebooks of all kinds: any can be run, and little can end it


def test_a_console_that_knows_few_letters(notebook_of, tmp_path):
    path = notebook_of("## Malen → 画", ("print('größer → 大')",), ("print('a toy')", "shows"))
    environ = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    out = execute(path, environ=environ, OUTPUT_DIR=tmp_path)
    assert out.startswith("? Malen ? ?\ngr??er ? ?\nDone in ")
    page = (tmp_path / "small.html").read_text(encoding="utf-8")
    assert "größer → 大" in page
    assert "a toy" in page


@POSIX
def test_a_long_folder_for_temporary_files(notebook_of, tmp_path):
    """A socket's name may have about a hundred bytes: then the kernel is reached another way, and nothing is left."""
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    out = execute(notebook_of(("print('here')",)), environ={"TMPDIR": str(folder)}, OUTPUT_DIR=tmp_path)
    assert out.startswith("here\nDone in ")
    assert list(folder.iterdir()) == []


@POSIX
def test_a_closed_pipe_does_not_end_a_run(notebook_of, tmp_path):
    path = notebook_of(("print('first')",), ("print('second')", "training"))
    process = start(path, OUTPUT_DIR=tmp_path)
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert "second" in (tmp_path / "small.html").read_text(encoding="utf-8")


@POSIX
def test_what_a_kernel_leaves_when_it_is_killed_is_removed_and_continued(notebook_of, tmp_path):
    (tmp_path / "temporary").mkdir()
    code = """
        import os, pathlib, signal, tempfile
        tempfile.mkstemp()
        pathlib.Path(os.environ["NST_OUTPUT_DIR"], "run").mkdir(exist_ok=True)
        pathlib.Path(os.environ["NST_OUTPUT_DIR"], "run", "checkpoint.npz").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = notebook_of((textwrap.dedent(code), "training"))
    out = execute(path, code=1, OUTPUT_DIR=tmp_path, environ={"TMPDIR": str(tmp_path / "temporary")})
    assert f"To go on:\n{command_of(str(path), {'RESUME': f'{tmp_path}/run'})}\n" in out
    relative = os.path.relpath(tmp_path, ROOT)  # to where the kernel runs, which is not here
    out = execute(path, code=1, OUTPUT_DIR=relative, environ={"TMPDIR": str(tmp_path / "temporary")}, cwd=tmp_path)
    assert f"To go on:\n{command_of(str(path), {'RESUME': f'{relative}/run'})}\n" in out
    elsewhere = {"TMPDIR": str(tmp_path / "temporary"), "NST_RESUME": str(tmp_path / "run")}
    code = f"import pathlib\npathlib.Path('{tmp_path}/run/checkpoint.npz').touch()\n1 / 0"
    path = notebook_of((code, "training"))
    out = execute(path, code=1, OUTPUT_DIR=tmp_path / "other", environ=elsewhere)
    assert out.endswith(f"To go on:\n{command_of(str(path), {'RESUME': f'{tmp_path}/run'})}\n"), "if it fails"
    os.utime(tmp_path / "run" / "checkpoint.npz", (0, 0))
    for end, goes_on in (("1 / 0", False), ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", True)):
        out = execute(notebook_of((end, "training")), code=1, OUTPUT_DIR=tmp_path / "other", environ=elsewhere)
        assert ("To go on:" in out) == goes_on, "killed before it has saved anything"
    assert f"as in {command_of(str(path), {'TILE': 512})}." in out
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_end_of_a_run_is_found_among_all_that_its_last_cell_sends(notebook_of, tmp_path):
    """A stream may come in pieces."""
    (tmp_path / "run").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "run" / "generated_image.png")
    facts = {"state": "finished", "settings": {}, "sizes": [[9, 1]], "epochs_done": 1}
    facts |= {"content_image": {"file": "a.png"}, "style_images": [{"file": "b.png"}]}
    (tmp_path / "run" / "settings.json").write_text(json.dumps(facts))
    name = os.fsencode(tmp_path / "run").hex()
    report = [nbformat.v4.new_output("stream", text=text) for text in (name[:7], name[7:], "\n")]
    path, said = notebook_of(("1",)), []
    terminal = SimpleNamespace(say=said.append)
    assert finish(nbformat.read(path, as_version=4), path, report, None, terminal) == 0
    assert said == [f"{tmp_path}/run/generated_image.png", f"{tmp_path}/run.html"]


def test_a_full_temporary_folder_is_said(notebook_of, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "TemporaryDirectory", raiser(OSError(28, "No space left on device", "/tiny")))
    monkeypatch.setattr(sys, "argv", ["", str(notebook_of(("1",)))])
    monkeypatch.setattr(scripts.run_notebook, "Terminal", lambda: None)
    with pytest.raises(SystemExit, match="1"):
        scripts.run_notebook.main()
    assert "could not be run: [Errno 28] No space left on device: '/tiny'. Make room" in capsys.readouterr().err


def test_a_word_for_the_shell_is_the_name_whatever_the_console_knows(monkeypatch):
    names = ["output/it's", "gro\udcdf", "図 1"]
    for encoding in ("ascii", "utf-8"):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        words = [shell_word(name) for name in names]
        monkeypatch.undo()
        shown = subprocess.run(["bash", "-c", f"printf '%s\\n' {' '.join(words)}"], capture_output=True).stdout
        assert shown.splitlines() == [os.fsencode(name) for name in names]


@POSIX
def test_a_second_signal_ends_a_kernel_that_does_not_answer(notebook_of, tmp_path):
    (tmp_path / "temporary").mkdir()
    code = """
        import os, signal, subprocess, time
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        print("training", os.getpid(), child.pid, flush=True)
        time.sleep(1)  # for the line to be sent
        os.kill(os.getpid(), signal.SIGSTOP)
    """
    path = notebook_of((textwrap.dedent(code), "training"))
    process = start(path, environ={"TMPDIR": str(tmp_path / "temporary")})
    out = signal_at(process, "training", signal.SIGTERM, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert "Stopping after this step … (once more ends it at once)\nEnded at once.\n" in out
    assert list((tmp_path / "temporary").iterdir()) == []
    kernel, child = re.match(r"training (\d+) (\d+)\n", out).groups()
    assert ends(kernel)
    assert ends(child), "the kernel's children go with it"


def ends(pid):
    """Return whether a process is gone, or goes within a minute."""
    for _ in range(600):
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout
        if state.strip()[:1] in ("", "Z"):
            return True
        time.sleep(0.1)
    return False


@POSIX
def test_a_killed_kernel_is_explained(notebook_of):
    path = notebook_of(("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "training"))
    out = execute(path, code=1)
    assert re.fullmatch(
        "\nThe notebook's kernel was ended from outside, .* IMAGE_SIZE smaller, or set TILE = 512.*\n", out
    )


@POSIX
def test_what_a_library_says_at_the_end_is_shown_if_it_was_the_end(notebook_of, tmp_path):
    """Libraries of a kernel write past its cells: a complaint at its end is none of the reader's business."""
    says = "import atexit, os\natexit.register(lambda: os.write(2, b'Assertion failed'))"
    assert "Assertion failed" not in execute(notebook_of((says,)), OUTPUT_DIR=tmp_path)
    says = "import os\nos.write(2, b'Assertion failed')\nos.abort()"
    path = notebook_of((says, "training"))
    assert execute(path, code=1).endswith(f" {command_of(str(path), {'TILE': 512})}.\nAssertion failed\n")
    second = path.rename(tmp_path / SECOND)
    assert execute(second, code=1).endswith("make IMAGE_SIZE smaller.\nAssertion failed\n"), "tiles save little there"


@POSIX
def test_a_signal_after_the_training_finishes_the_page(notebook_of, tmp_path):
    """The script is started from elsewhere, and the page goes beside what has its name."""
    (tmp_path / "small.html").write_text("mine")
    path = notebook_of(("1", "training"), ("import time\nprint('now', flush=True)\ntime.sleep(1)",))
    process = start(path, cwd=tmp_path, OUTPUT_DIR=tmp_path)
    out = signal_at(process, "now", signal.SIGINT)
    assert process.returncode == 0, out
    assert "The training is over; finishing the page." in out
    assert (tmp_path / "small.html").read_text() == "mine"
    assert (tmp_path / "small-2.html").exists()


def test_a_cell_that_fails_is_named(notebook_of):
    out = execute(notebook_of(("x = 1\nx / 0",)), code=1)
    assert "The notebook stopped: ZeroDivisionError: division by zero\nin the cell that begins: x = 1\n" in out


def test_what_is_no_notebook(tmp_path):
    (tmp_path / "small.ipynb").write_text("{")
    for name in (tmp_path / "small.ipynb", "missing.ipynb", 300 * "x"):
        assert f"{name} is no notebook, or is not there" in execute(name, code=2)


def test_status_fits_the_terminal_and_begins_with_what_counts():
    text = (
        "alpha 10   beta 200   64 px   epoch 12/300   J 6.02   J_content 0.1   J_style 3.4   0.12 s/epoch   0:45 left"
    )
    assert short_status(text).startswith("epoch 12/300, 0:45 left, J 6.02, alpha 10, ")
    assert short_status(text, 40) == "epoch 12/300, 0:45 left, J 6.02"
    assert short_status("黄色い猫   epoch 1/3", 79) == "epoch 1/3, 黄色い猫"
    assert short_status("黄色い猫", 5) == "黄色", "each takes two columns"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_names_that_cannot_be_written_do_not_break_the_page(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "painted.png")
    odd = os.fsdecode(b"\xff<\xfe")
    facts = {"content_image": {"file": odd}, "style_images": [{"file": "画" * 300}], "settings": {"INIT": odd}}
    facts |= {"sizes": [[9, 1]], "epochs_done": 1}
    result = show_run(tmp_path / "painted.png", ["", ""], facts, {"INIT": "content"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    for name in (odd, "画" * 83, "x" * 250):
        path = save_page(notebook, tmp_path / f"{name}.html", result)
        page = path.read_text(encoding="utf-8")
        assert "<figcaption>?&lt;?</figcaption>" in page
        assert page.index('class="result"') < page.index(">Title<")


def test_formulas_are_drawn():
    text = draw_formulas(r"Let $\alpha$ be 5 \$: $$J = \frac{1}{2} \tag{3}$$ and $\nonsense{x}$")
    assert text.count("<img src=") == 2
    assert "(3)" in text
    assert r"<code>\nonsense{x}</code>" in text


def test_a_stored_notebook_can_be_converted_to_a_script(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("x = 1")]
    store(nbformat.v4.new_notebook(cells=cells), tmp_path / "small.ipynb")
    notebook = nbformat.read(tmp_path / "small.ipynb", as_version=4)
    assert notebook.metadata.language_info == LANGUAGE
    source, resources = ScriptExporter().from_notebook_node(notebook)
    assert resources["output_extension"] == ".py"
    assert "# # Title" in source
