"""The notebooks as they are stored, and the house behind them."""

import ast
import graphlib
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest

import nst_utils
from conftest import NOTEBOOK, ROOT, SETTINGS
from nst.layers import LAYER_NAMES
from nst.lesson import Lesson, run_cell
from nst.settings import check_settings
from nst.table import SETTINGS as TABLE

EXPERIMENTS, NEIGHBOURS = ROOT / "going_further.ipynb", ROOT / "nearest_neighbours.ipynb"
ALL = pytest.mark.parametrize("path", [NOTEBOOK, NEIGHBOURS, EXPERIMENTS], ids=lambda path: path.stem)
LESSONS = pytest.mark.parametrize("path", [NOTEBOOK, NEIGHBOURS], ids=lambda path: path.stem)


def tags(cell):
    return set(cell.metadata.get("tags", []))


def code_of(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def shows_pictures(cell):
    return any("<img " in output.get("data", {}).get("text/html", "") for output in cell.outputs)


# ---- what is stored


@ALL
def test_stored_from_one_clean_run(path):
    cells = code_of(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", f"stderr is stored under: {cell.source}"
        if "nbval-check-output" in tags(cell):
            assert cell.outputs, f"a checked cell without output checks nothing: {cell.source}"
        if re.search(r"nst_utils\.(show_|plot_|Run\()", cell.source):
            assert shows_pictures(cell), cell.source
    assert path.stat().st_size < (3e6 if path == EXPERIMENTS else 1.5e6), "too large for code hosting pages"


@ALL
def test_stored_as_from_any_machine(path):
    notebook = nbformat.read(path, as_version=4)
    text = re.sub(r"base64,[A-Za-z0-9+/=]*", "", json.dumps([cell.outputs for cell in code_of(path)]))
    assert not re.search(r" at 0x[0-9a-f]{6,}|(/root|/home|/work|/tmp|/Users)/", text), "an address or absolute path"
    assert "jupyter.widget-view" not in text, "a widget without its program shows nothing"
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    text = "\n".join(cell.source for cell in notebook.cells)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith(("http", "attachment:"))]
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert [name for name in re.findall(r"nst_utils\.([A-Za-z]\w*)\(", text) if not hasattr(nst_utils, name)] == []


@ALL
def test_every_picture_is_described(path):
    """JupyterLab shows outputs of image/… without a description."""
    cells = nbformat.read(path, as_version=4).cells
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        data = output.get("data", {})
        assert not [kind for kind in data if kind.startswith("image/")]
        images = re.findall("<img [^>]*>", data.get("text/html", ""))
        assert all(re.search('alt="[^"]{8,}"', image) for image in images), images
    written = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert all(len(words) > 20 for words in re.findall(r"!\[(.*?)\]\(", written))


# ---- lessons


@LESSONS
def test_settings_stand_once_as_plain_values_and_are_valid(path):
    cells, names = code_of(path), []
    for cell in cells:
        if "settings" in tags(cell):
            for statement in ast.parse(cell.source).body:
                ast.literal_eval(statement.value)
                names.append(statement.targets[0].id)
        else:
            assert not re.search(rf"^({'|'.join(TABLE)}) *=", cell.source, re.M), cell.source
    settings = Lesson(path).settings()
    assert sorted(names) == sorted(settings), "each once, and none that is unknown"
    assert check_settings(settings) == settings
    assert settings["OUTPUT_DIR"] == settings["RESUME"] == ""


def test_toys_answer_the_same_after_the_training(folder, capsys):
    """As they are stored; what the training calls its own must not be what they call theirs."""
    names = Lesson().run(SETTINGS | {"EPOCHS": 1})
    checked = [cell for cell in code_of(NOTEBOOK) if "nbval-check-output" in tags(cell)]
    assert len(checked) >= 8
    for _ in range(2):
        for cell in checked:
            capsys.readouterr()
            run_cell(cell.source, names)
            assert capsys.readouterr().out == "".join(output.text for output in cell.outputs), cell.source


def test_layers_have_the_names_and_numbers_that_others_give_them():
    """As the architecture has it: a convolution and its ReLU have a number each, a pooling between blocks has one."""
    rows = re.findall(r"\| `(block(.)_conv(.))` \| (\S+) \| (\d+) \| (\d+)\D", NOTEBOOK.read_text(encoding="utf-8"))
    assert len(rows) == 6
    for name, block, number, paper, index, counted in rows:
        before = LAYER_NAMES.index(name)
        assert paper == f"conv{block}_{number}"
        assert (int(index), int(counted)) == (2 * before + int(block) - 1, before + 1)


def test_experiments_are_calls_with_their_pictures():
    """Each is a question, a call, its picture and what to see in it; what is defined is a cost that is compared."""
    first, *experiments = code_of(EXPERIMENTS)
    costs = [cell for cell in experiments if "training" not in tags(cell)]
    assert re.findall(r"def (\w+_cost)\(", "".join(c.source for c in costs)) == [
        "gram_cost",
        "deviation_cost",
        "gaussian_cost",
    ]
    assert len(costs) == 3
    experiments = [cell for cell in experiments if cell not in costs]
    assert first.source.startswith("import nst_utils\n")
    assert len(experiments) >= 10
    for cell in experiments:
        assert "training" in tags(cell) and shows_pictures(cell), cell.source
        named = re.findall(r"\b([A-Z_]+)=", cell.source)
        assert [name for name in named if name not in TABLE] == [], "a setting that has been renamed"
        assert not re.search(r"\b(def|class|import|tf\.|from)\b", cell.source), cell.source


# ---- the house


def test_imports_go_one_way_and_through_no_wall():
    graph = {}
    for path in (ROOT / "nst").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        graph[path.stem] = set(re.findall(r"^ *(?:from|import) nst\.(\w+)", text, re.M))
        assert "nst_utils import" not in text, f"nst/{path.name} is a room behind that door"
        private = re.findall(r"^ *from nst.*import.*\W(_\w+)", text, re.M)
        assert not private, f"nst/{path.name} takes {private} through a wall"
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")
    assert set(order) == set(graph)


@LESSONS
@pytest.mark.slow
def test_nbval(tmp_path, path):
    """Every text output that does not depend on the machine or the settings is as stored; the experiments have none."""
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", "-x", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, path.name]
    small = {"NST_WEIGHTS": "standin", "NST_PRECISION": "float32", "NST_IMAGE_SIZE": "64", "NST_EPOCHS": "2"}
    environ = os.environ | small | {"NST_OUTPUT_DIR": str(tmp_path / "run")}
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, encoding="utf-8", timeout=600)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "passed" in result.stdout
