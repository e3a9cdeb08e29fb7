"""The lesson as a program: the notebook's cells with the tag `lesson`, run in this process with other settings."""

import ast
import hashlib
import inspect
import json
import linecache
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parent.parent / "neural_style_transfer.ipynb"
ENVIRON, WATCH = "__environ__", "__watch__"  # in the namespace of a lesson that a program runs: see run_lesson


def lesson_cells():
    """Return the code cells of the saved notebook that carry the tag lesson, as (source, set of tags), in order."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    cells = [("".join(cell["source"]), set(cell["metadata"].get("tags", []))) for cell in cells]
    return [(source, tags) for source, tags in cells if "lesson" in tags]


def run_lesson(settings=None, train=True, environ=None, watch=None):
    """Run the lesson: the imports, the settings, the definitions and the training.

    Args:
        settings: dict of settings that differ from those in the notebook.
        train: False stops before the training.
        environ: dict of NST_ variables that win over the settings; os.environ when None. A caller that has read them
            already passes {}.
        watch: function that is called with the Run when it begins and returns its view, which has the methods update
            and say of plots.LiveView and stands in for it.

    Returns:
        dict of all names that the cells have defined, such as compute_content_cost, or run.
    """
    namespace = {"__name__": "__main__", ENVIRON: environ, WATCH: watch}
    for source, tags in lesson_cells():
        if "training" in tags and not train:
            break
        run_cell(source, namespace)
        if "settings" in tags:
            namespace.update(settings or {})
    return namespace


def saved_settings():
    """Return the names that the saved notebook's cells of settings define, a dict of name to value."""
    namespace = {}
    for source, tags in lesson_cells():
        if "settings" in tags:
            exec(source, namespace)
    return namespace


def run_cell(source, namespace):
    """Execute a cell as Jupyter does: its source stays readable, which tf.function and inspect want."""
    name = f"<cell {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), namespace)


def describe_lesson(namespace):
    """Return what a record says of the lesson that is run: which cells, and whether they are run as they were saved.

    Args:
        namespace: dict that holds the lesson's functions.

    Returns:
        dict of sha256 (of the sources of the lesson's cells, as saved) and as_saved (whether every function that they
        define is in the namespace with the same source).
    """
    sources = [source for source, _ in lesson_cells()]
    same = True
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                same = same and _source_of(namespace.get(node.name)) == _segment(source, node)
    return {"sha256": hashlib.sha256("\n\n".join(sources).encode()).hexdigest(), "as_saved": same}


def _segment(source, node):
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _source_of(function):
    try:
        return inspect.getsource(getattr(function, "python_function", function)).rstrip()
    except (OSError, TypeError):  # defined nowhere, or not a function any more
        return None
