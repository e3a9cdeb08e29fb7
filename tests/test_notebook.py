"""The notebook as a whole: its stored state, a headless run with all its files, and nbval."""

import ast
import csv
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import nst_utils
from conftest import NOTEBOOK, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import benchmark
import run_notebook

SMALL = {"NST_WEIGHTS": "standin", "NST_PRECISION": "float32", "NST_IMAGE_SIZE": "96", "NST_EPOCHS": "12"}


@pytest.fixture
def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(command, **settings):
    environment = os.environ | SMALL | {f"NST_{name}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )


def start(cwd=ROOT, **settings):
    """Start a headless run and return its process; its lines come on stdout."""
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "run_notebook.py"],
        cwd=cwd,
        env=os.environ | SMALL | {f"NST_{name}": str(value) for name, value in settings.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# ---------------------------------------------------------------------------------------- the stored notebook


def test_stored_from_one_clean_run(code_cells):
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))
    for cell in code_cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", f"stderr is stored under: {cell.source}"


def test_stored_outputs_are_those_of_any_machine(code_cells):
    text = json.dumps([cell.outputs for cell in code_cells])
    assert not re.search(r" at 0x[0-9a-f]{6,}", text), "an object's address"
    assert not re.search(r"(/root|/home|/work|/tmp|/Users)/", text), "an absolute path"


def test_checked_and_shown_outputs_are_stored(code_cells):
    checked = [cell for cell in code_cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert len(checked) >= 6
    assert all(cell.outputs for cell in checked), "a checked cell without output checks nothing"
    shown = [cell for cell in code_cells if "show_" in cell.source or "plot_" in cell.source or "Run(" in cell.source]
    for cell in shown:
        assert any("image/jpeg" in output.get("data", {}) for output in cell.outputs), cell.source


def test_small_enough_for_code_hosting_pages():
    assert NOTEBOOK.stat().st_size < 1.5e6


def test_metadata_is_minimal(notebook):
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}, cell.source


def test_cells_are_short_and_have_a_sentence_above(notebook):
    for above, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert len([line for line in cell.source.splitlines() if line.strip()]) <= 20, cell.source
            if above.cell_type == "code":
                assert "def " in above.source + cell.source, f"no sentence above: {cell.source}"


def test_parameter_cell_is_plain_literals_and_valid(code_cells):
    (cell,) = [cell for cell in code_cells if "parameters" in cell.metadata.get("tags", [])]
    settings = {}
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign)
        settings[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert nst_utils.current_settings(settings) == settings, "every name in the cell is a setting"
    nst_utils.check_settings(settings)
    lines = [line for line in cell.source.splitlines() if re.match(r"[A-Z]", line)]
    assert len(lines) == len(settings)
    for other in code_cells:
        if other is not cell:
            assert not re.search(rf"^({'|'.join(settings)}) *=", other.source, re.MULTILINE), other.source


def test_readme_lists_every_setting_with_its_default(code_cells):
    (cell,) = [cell for cell in code_cells if "parameters" in cell.metadata.get("tags", [])]
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    for statement in ast.parse(cell.source).body:
        name, value = statement.targets[0].id, ast.literal_eval(statement.value)
        (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", table, re.MULTILINE)
        if name != "STYLE_LAYERS":
            assert row == f"`{json.dumps(value) if isinstance(value, str) else value}`", name


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


# ------------------------------------------------------------------------------------------------ headless runs


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """The result of scripts/run_notebook.py at small size, and the folder that it was told to fill."""
    folder = tmp_path_factory.mktemp("headless") / "trial"
    result = execute(
        ["scripts/run_notebook.py"],
        CONTENT_IMAGE="images/chelsea_the_cat.jpg",
        STYLE_IMAGE="images/great_wave.jpg",
        SAVE_EVERY=5,
        OUTPUT_DIR=folder,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result, folder


def test_headless_run_leaves_exactly_the_promised_files(headless):
    result, folder = headless
    snapshots = {f"image_{epoch:05d}.jpg" for epoch in (0, 5, 10, 12)}
    assert {p.name for p in folder.iterdir()} == snapshots | {"generated_image.png", "history.csv", "settings.json"}
    assert {p.name for p in folder.parent.iterdir()} == {"trial", "trial.html"}
    assert result.stdout.splitlines()[-2:] == [str(folder), f"{folder}.html"]


def test_headless_run_prints_progress_and_no_noise(headless):
    result, _ = headless
    assert result.stderr == ""
    assert "— Train" in result.stdout
    assert "epoch 12/12" in result.stdout
    assert "EPOCHS = 12 (from NST_EPOCHS)" in result.stdout


def test_headless_run_lowers_the_cost_and_changes_the_picture(headless):
    _, folder = headless
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(12))
    assert float(rows[-1]["J"]) < 0.5 * float(rows[0]["J"])
    assert float(rows[0]["J_content"]) < 1e-4, "the picture starts as the content image"
    with Image.open(folder / "generated_image.png") as picture:
        assert picture.size == (96, 64)
        generated = np.asarray(picture, np.float32)
    content = nst_utils.to_uint8(nst_utils.load_image("images/chelsea_the_cat.jpg", 96)).astype(np.float32)
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


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
def test_stopped_and_resumed_is_the_same_as_in_one_go(tmp_path):
    """Also that two runs with the same settings give the same picture, up to the epoch of the stop and after it."""
    command, whole, stopped = ["scripts/run_notebook.py"], tmp_path / "whole", tmp_path / "stopped"
    assert execute(command, EPOCHS=60, OUTPUT_DIR=whole).returncode == 0
    process = start(EPOCHS=60, OUTPUT_DIR=stopped)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 1/60"):
            process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM, "".join(lines)
    assert any("Stopped after epoch" in line for line in lines), "".join(lines)
    assert (stopped / "checkpoint.npz").exists()
    assert (stopped / "generated_image.png").exists()
    assert stopped.with_name("stopped.html").exists(), "the cells below have run"
    result = execute(command, RESUME=stopped)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {p.name for p in stopped.iterdir()} == {p.name for p in whole.iterdir()}
    pictures = [np.asarray(Image.open(folder / "generated_image.png"), int) for folder in (whole, stopped)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
@pytest.mark.parametrize(
    ("moment", "code", "message"),
    [("— Calculate the content cost", 1, "Stopped"), ("— Look at the result", 0, "The training is over")],
)
def test_signals_outside_the_training(tmp_path, moment, code, message):
    """Before it, they end the run and leave nothing; after it, the page is finished. The start is in another folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run.html").write_text("mine")
    process = start(tmp_path / "elsewhere", EPOCHS=2, OUTPUT_DIR=tmp_path / "run")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(moment):
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == code, "".join(lines)
    assert message in "".join(lines)
    assert "Traceback" not in "".join(lines)
    assert (tmp_path / "run.html").read_text() == "mine"
    made = {"run", "run-2.html"} if code == 0 else set()
    assert {p.name for p in tmp_path.iterdir()} == {"elsewhere", "run.html"} | made
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_headless_runs_at_the_same_moment(tmp_path):
    started = [start(EPOCHS=2, OUTPUT_DIR=tmp_path / name) for name in ("one", "two")]
    for process in started:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    assert {p.name for p in tmp_path.iterdir()} == {"one", "one.html", "two", "two.html"}
    assert not list(ROOT.glob("kernel-ipc*"))


def test_wrong_setting_ends_a_headless_run_with_its_message_only(tmp_path):
    result = execute(["scripts/run_notebook.py"], EPOCHS=0, OUTPUT_DIR=tmp_path / "run")
    assert result.returncode == 1
    assert "SettingsError: EPOCHS = 0 cannot work" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_sizes_and_tiles_through_the_whole_notebook(tmp_path):
    result = execute(
        ["scripts/run_notebook.py"], SIZES="[64, 128]", TILE=64, EPOCHS=5, SAVE_EVERY=100, OUTPUT_DIR=tmp_path / "run"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert "64 pixels: 5 epochs\n128 pixels: 2 epochs\n" in result.stdout
    assert re.search(r"about \d+ s and \d+\.\d GB for 7 epochs up to 128×86", result.stdout), result.stdout
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "run").glob("*.[jp][pn]g")}
    assert sizes == {
        "image_00000.jpg": (64, 43),
        "image_00005.jpg": (64, 43),
        "image_00007.jpg": (128, 86),
        "generated_image.png": (128, 86),
    }
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        J = [float(row["J"]) for row in csv.DictReader(file)]
    assert J[4] < J[0]
    assert J[6] < J[5]


def test_benchmark_compares_like_with_like():
    """Both sides begin with the same picture and the same cost, and both lower it."""
    sides = benchmark.Reference(64), benchmark.Ours(64, "float32")
    assert not [name for name in os.environ if name.startswith("NST_")]
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


@pytest.mark.parametrize("mode", ["--nbval", "--nbval-lax"])
def test_nbval(mode, tmp_path):
    command = [
        "-m",
        "pytest",
        mode,
        "--nbval-current-env",
        "--nbval-cell-timeout=300",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    result = execute([*command, "-p", "no:cacheprovider", NOTEBOOK.name], EPOCHS=2, OUTPUT_DIR=tmp_path / "run")
    assert result.returncode == 0, result.stdout[-3000:]
    assert "passed" in result.stdout
