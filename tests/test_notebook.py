"""The notebook as a whole: its stored state, the house behind it, headless runs with all their files, and nbval."""

import ast
import csv
import graphlib
import json
import os
import re
import signal
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from PIL import Image

import nst_utils
from conftest import ROOT
from nst.images import load_image, to_uint8
from nst.lesson import NOTEBOOK
from nst.settings import SETTINGS as TABLE
from nst.settings import check_settings

sys.path.insert(0, str(ROOT / "scripts"))
import benchmark
import run_notebook

SMALL = {"NST_WEIGHTS": "standin", "NST_PRECISION": "float32", "NST_IMAGE_SIZE": "96", "NST_EPOCHS": "10"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
EXPERIMENTS = ROOT / "going_further.ipynb"
BOTH = pytest.mark.parametrize("path", [NOTEBOOK, EXPERIMENTS], ids=lambda path: path.stem)
HEADLESS = [sys.executable, ROOT / "scripts" / "run_notebook.py"]


def environment(settings):
    return os.environ | SMALL | {f"NST_{name}": str(value) for name, value in settings.items()}


def execute(command=HEADLESS, **settings):
    return subprocess.run(
        command, cwd=ROOT, env=environment(settings), capture_output=True, text=True, encoding="utf-8", timeout=600
    )


def start(cwd=ROOT, command=HEADLESS, **settings):
    """Start a headless run and return its process; its lines come on stdout."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def signal_at(process, text, number):
    """Send a signal to a headless run when it writes a line with a text; return all that it writes."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            process.send_signal(number)
    return "".join(lines)


def state_of(folder):
    facts = json.loads((folder / "settings.json").read_text())
    return facts["state"], facts["epochs_done"]


# ---- the stored notebook


def tags(cell):
    return set(cell.metadata.get("tags", []))


def code_of(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture
def code_cells():
    return code_of(NOTEBOOK)


@pytest.fixture
def settings_cells(code_cells):
    """The two cells of settings, each as a dict of name to value."""
    cells = [cell for cell in code_cells if "settings" in tags(cell)]
    found = []
    for cell in cells:
        statements = ast.parse(cell.source).body
        assert all(isinstance(statement, ast.Assign) for statement in statements), "plain literals only"
        found.append({statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements})
    return found


@BOTH
def test_stored_from_one_clean_run(path):
    cells = code_of(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", f"stderr is stored under: {cell.source}"


@BOTH
def test_stored_outputs_are_those_of_any_machine(path):
    text = json.dumps([cell.outputs for cell in code_of(path)])
    assert not re.search(r" at 0x[0-9a-f]{6,}", text), "an object's address"
    assert not re.search(r"(/root|/home|/work|/tmp|/Users)/", re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)), (
        "an absolute path"
    )
    assert run_notebook.WIDGET not in text, "a widget without its program shows nothing"


def test_checked_and_shown_outputs_are_stored(code_cells):
    checked = [cell for cell in code_cells if "nbval-check-output" in tags(cell)]
    assert len(checked) >= 8
    assert all(cell.outputs for cell in checked), "a checked cell without output checks nothing"
    for cell in code_cells:
        if re.search(r"nst_utils\.(show_|plot_|Run\()", cell.source):
            assert any("image/jpeg" in output.get("data", {}) for output in cell.outputs), cell.source


def test_small_enough_for_code_hosting_pages():
    assert NOTEBOOK.stat().st_size < 1.5e6
    assert EXPERIMENTS.stat().st_size < 3e6


@BOTH
def test_metadata_is_minimal(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, cell.source


@BOTH
def test_cells_are_short_and_have_a_sentence_above(path):
    notebook = nbformat.read(path, as_version=4)
    for above, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            assert len([line for line in lines if line.strip()]) <= 20, cell.source
            assert max(map(len, lines)) <= 90, f"too wide for a page: {max(lines, key=len)}"
            if above.cell_type == "code":
                assert "def " in above.source + cell.source, f"no sentence above: {cell.source}"


def test_each_cell_has_one_purpose(code_cells):
    """What is tagged lesson defines; what is not, shows. So the lesson runs without its toys and figures."""
    for cell in code_cells:
        statements = ast.parse(cell.source).body
        defines = all(isinstance(s, (ast.Import, ast.FunctionDef, ast.Assign)) for s in statements)
        if "lesson" in tags(cell) - {"training"}:
            assert defines or "training" in tags(cell), f"this does more than define: {cell.source}"
        else:
            assert not any(isinstance(s, (ast.Import, ast.FunctionDef)) for s in statements), cell.source
            assert tags(cell) <= {"nbval-ignore-output", "nbval-check-output"}, f"unknown tag: {tags(cell)}"
            assert tags(cell), f"nbval must check or ignore what this shows: {cell.source}"
    assert [tags(cell) for cell in code_cells if "settings" in tags(cell)] == [
        {"parameters", "settings", "lesson"},
        {"settings", "lesson"},
    ]
    lesson = [cell for cell in code_cells if "lesson" in tags(cell)]
    assert [cell for cell in lesson if "training" in tags(cell)] == lesson[-1:]


def test_settings_stand_once_in_two_cells_and_are_valid(code_cells, settings_cells):
    first, finer = settings_cells
    assert list(first) == list(TABLE)[:9], "what a student turns"
    assert list(first | finer) == list(TABLE), "in the order of the table"
    assert check_settings(first | finer) == first | finer
    for cell in code_cells:
        if "settings" not in tags(cell):
            assert not re.search(rf"^({'|'.join(TABLE)}) *=", cell.source, re.MULTILINE), cell.source


def test_where_run_all_begins_and_ends(notebook):
    """JupyterLab jumps to the last cell, also when a cell near the top has failed."""
    assert "scroll back to *Train*" in notebook.cells[0].source
    assert "scroll up to the first red message" in notebook.cells[-1].source


def test_names_of_the_course_are_there(lesson):
    for name in (
        "compute_content_cost",
        "gram_matrix",
        "compute_layer_style_cost",
        "compute_style_cost",
        "total_cost",
        "train_step",
    ):
        assert callable(lesson[name])


# ---- the second notebook


def test_experiments_are_calls_with_their_pictures():
    """Each is a question, a call, its picture and what to see in it; no code of the lesson is repeated."""
    notebook = nbformat.read(EXPERIMENTS, as_version=4)
    first, *experiments = code_of(EXPERIMENTS)
    assert first.source.startswith("import nst_utils\n")
    assert len(experiments) >= 10
    for cell in experiments:
        assert tags(cell) == {"training", "nbval-ignore-output"}, cell.source
        assert any("image/jpeg" in output.get("data", {}) for output in cell.outputs), cell.source
    for cell in (first, *experiments):
        assert not re.search(r"\b(def|class|import (?!nst_utils)|tf\.|from)\b", cell.source), cell.source
    kinds = "".join({"markdown": "m", "code": "c"}[cell.cell_type] for cell in notebook.cells)
    assert re.fullmatch("mc(mcm)+", kinds), f"a sentence, a call, what to see: {kinds}"


def test_the_lesson_points_to_the_experiments_and_they_to_it(notebook):
    assert any("(going_further.ipynb)" in cell.source for cell in notebook.cells[-3:])
    assert f"({NOTEBOOK.name})" in nbformat.read(EXPERIMENTS, as_version=4).cells[0].source


def test_experiments_name_settings_that_there_are():
    """Their calls are read, not run: a setting that has been renamed shows at once."""
    for cell in code_of(EXPERIMENTS):
        for call in (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", "")
            if name in ("compare", "paint", "Panel"):
                assert {keyword.arg for keyword in call.keywords} <= set(TABLE), cell.source


@POSIX
@pytest.mark.slow
def test_experiments_run_small_and_are_stopped_after_a_step(tmp_path):
    """The whole, then one that is stopped while it compares: what follows is left out, and the page is finished."""
    command = [*HEADLESS, EXPERIMENTS.name]
    result = execute(command, IMAGE_SIZE=64, EPOCHS=2, OUTPUT_DIR=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    page = (tmp_path / "going_further.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") + page.count("data:image/webp") >= 12
    assert {path.name for path in tmp_path.glob("compare-*")} == {f"compare-{n:03}" for n in range(1, 8)}
    assert all((folder / "sheet.png").exists() for folder in tmp_path.glob("compare-*"))
    process = start(command=command, IMAGE_SIZE=64, EPOCHS=500, OUTPUT_DIR=tmp_path / "stopped")
    out = signal_at(process, "1 of 5", signal.SIGINT)
    assert process.wait(timeout=120) == 128 + signal.SIGINT, out
    assert "Stopped: 4 more would have come." in out
    assert "What would follow is left out." in out
    assert (tmp_path / "stopped" / "going_further.html").exists()


# ---- the house


def imports_of(path):
    """Return the (room, name) pairs that a file imports from the rooms in nst/, in its order."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    return [
        (node.module.removeprefix("nst."), alias.name) for node in nodes if "nst" in node.module for alias in node.names
    ]


def test_helpers_are_named_in_the_order_of_the_two_notebooks():
    source = "\n".join(cell.source for path in (NOTEBOOK, EXPERIMENTS) for cell in code_of(path))
    used = list(dict.fromkeys(re.findall(r"nst_utils\.(\w+)", source)))
    named = [name for room, name in imports_of(ROOT / "nst_utils.py") if room != "errors"]
    assert named == used
    assert all(hasattr(nst_utils, name) for name in named)


def test_rooms_are_small_and_imports_go_one_way():
    rooms = {path.stem: path for path in (ROOT / "nst").glob("*.py")}
    graph = {}
    for room, path in rooms.items():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, f"nst/{room}.py is too large a room"
        graph[room] = {other for other, _ in imports_of(path)}
        private = [name for _, name in imports_of(path) if name.startswith("_")]
        assert not private, f"nst/{room}.py takes {private} through a wall"
        assert not re.search(r"^ *import (nst|nst_utils)\b|nst_utils import", text, re.MULTILINE), room
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")
    assert set(order) == set(rooms)


# ---- headless runs


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """The result of scripts/run_notebook.py through two small sizes, and the folder that it was told to fill."""
    folder = tmp_path_factory.mktemp("headless") / "trial"
    result = execute(CONTENT_IMAGE="images/chelsea_the_cat.jpg", SIZES="[64, 96]", SAVE_EVERY=6, OUTPUT_DIR=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result, folder


def test_headless_run_leaves_exactly_the_promised_files(headless):
    result, folder = headless
    widths = {0: 64, 6: 64, 10: 64, 12: 96, 18: 96, 20: 96}
    snapshots = {f"image_{epoch:05d}.jpg": width for epoch, width in widths.items()}
    assert {p.name for p in folder.iterdir()} == {*snapshots, "generated_image.png", "history.csv", "settings.json"}
    for name, width in snapshots.items():
        with Image.open(folder / name) as picture:
            assert picture.width == width, name
    assert state_of(folder) == ("finished", 20)
    assert {p.name for p in folder.parent.iterdir()} == {"trial", "trial.html"}
    assert result.stdout.splitlines()[-2:] == [str(folder), f"{folder}.html"]


def test_headless_run_prints_progress_and_no_noise(headless):
    result, _ = headless
    assert result.stderr == ""
    assert "— Train" in result.stdout
    assert "epoch 20/20" in result.stdout
    assert "EPOCHS = 10 (from NST_EPOCHS)" in result.stdout


def test_headless_run_lowers_the_cost_and_changes_the_picture(headless):
    _, folder = headless
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    J = [float(row["J"]) for row in rows]
    assert J[9] < 0.5 * J[0]
    assert J[19] < J[10], "at the second size"
    assert float(rows[0]["J_content"]) < 1e-4, "the picture starts as the content image"
    with Image.open(folder / "generated_image.png") as picture:
        assert picture.size == (96, 64)
        generated = np.asarray(picture, np.float32)
    content = to_uint8(load_image("images/chelsea_the_cat.jpg", 96)).astype(np.float32)
    assert np.abs(generated - content).mean() > 10
    assert generated.std() > 20


def test_page_needs_no_network(headless):
    _, folder = headless
    page = folder.with_name("trial.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:)", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)
    assert page.count("data:image/jpeg") >= 6
    assert "$$" not in page
    assert r"\frac" not in re.sub(r'alt="[^"]*"', "", page)


@POSIX
@pytest.mark.slow
def test_stopped_and_resumed_headless_is_the_same_as_in_one_go(tmp_path):
    """Through the whole notebook, in tiles at the second size; the exit status says how it ended."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    settings = {"SIZES": "[64, 96]", "TILE": 64, "EPOCHS": 40}
    result = execute(OUTPUT_DIR=whole, **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    process = start(OUTPUT_DIR=stopped, **settings)
    out = signal_at(process, "epoch 1/60", signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM, out
    assert "Stopped after epoch" in out
    assert state_of(stopped)[0] == "stopped"
    assert (stopped / "generated_image.png").exists()
    assert stopped.with_name("stopped.html").exists(), "the cells below have run"
    result = execute(RESUME=stopped, TILE=64)
    assert result.returncode == 0, result.stdout + result.stderr
    assert state_of(stopped) == ("finished", 60)
    assert {p.name for p in stopped.iterdir()} == {p.name for p in whole.iterdir()}
    pictures = [np.asarray(Image.open(folder / "generated_image.png"), int) for folder in (whole, stopped)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "code", "message"),
    [
        ("— Calculate the content cost", 128 + signal.SIGINT, "Stopped"),
        ("— Look at the result", 0, "The training is over"),
    ],
)
def test_signals_outside_the_training(tmp_path, moment, code, message):
    """Before it, they end the run and leave nothing; after it, the page is finished. The start is in another folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run.html").write_text("mine")
    process = start(tmp_path / "elsewhere", EPOCHS=2, OUTPUT_DIR=tmp_path / "run")
    out = signal_at(process, moment, signal.SIGINT)
    assert process.wait(timeout=60) == code, out
    assert message in out
    assert "Traceback" not in out
    assert (tmp_path / "run.html").read_text() == "mine"
    made = {"run", "run-2.html"} if code == 0 else set()
    assert {p.name for p in tmp_path.iterdir()} == {"elsewhere", "run.html"} | made
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
def test_two_headless_runs_at_the_same_moment(tmp_path):
    started = [start(EPOCHS=2, OUTPUT_DIR=tmp_path / name) for name in ("one", "two")]
    for process in started:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    assert {p.name for p in tmp_path.iterdir()} == {"one", "one.html", "two", "two.html"}
    assert not list(ROOT.glob("kernel-ipc*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message", "left"),
    [
        ({"EPOCHS": 0}, "SettingsError: EPOCHS = 0 cannot work", None),
        ({"BETA": 1e25, "SAVE_EVERY": 1}, "RunError: In epoch", "failed"),
    ],
)
def test_failed_headless_run_ends_with_its_message_only(tmp_path, settings, message, left):
    result = execute(OUTPUT_DIR=tmp_path / "run", **settings)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    if left:
        assert state_of(tmp_path / "run")[0] == left
    else:
        assert list(tmp_path.iterdir()) == []


def test_benchmark_compares_like_with_like():
    """Both sides begin with the same picture and the same cost, and both lower it."""
    sides = benchmark.Reference(64), benchmark.Ours(64, "float32")
    costs = [[side.step() for _ in range(6)] for side in sides]
    assert np.isclose(costs[0][0], costs[1][0], rtol=1e-4)
    assert costs[0][-1] < costs[0][0]
    assert costs[1][-1] < costs[1][0]
    assert np.isclose(sides[1].score(sides[1].image), sides[1].step(), rtol=1e-4)
    assert benchmark.table([("a", "b"), ("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_formulas_are_drawn():
    text = run_notebook.draw_formulas(r"Let $\alpha$ be 5 \$: $$J = \frac{1}{2} \tag{3}$$")
    assert text.count("<img src=") == 2
    assert "(3)" in text
    assert "tag" not in text


@BOTH
@pytest.mark.slow
def test_nbval(tmp_path, path):
    """Every text output that does not depend on the machine or the settings is as stored."""
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", "-x", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, path.name]
    result = execute(command, EPOCHS=2, IMAGE_SIZE=64, OUTPUT_DIR=tmp_path / "run")
    assert result.returncode == 0, result.stdout[-3000:]
    assert "passed" in result.stdout
