"""Make exercise.ipynb: the first lesson with the bodies of its functions taken out, a hint and a check under each.

python scripts/authors/make_exercise.py
"""

import ast
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from nst.files import write_file

LESSON, EXERCISE = ROOT / "neural_style_transfer.ipynb", ROOT / "exercise.ipynb"
HOW = "**How to use it.**"  # begins the paragraph of the lesson that does not hold here
TITLE = "\n\n".join(
    [
        "# Neural style transfer: the exercise",
        "This is the [first lesson](neural_style_transfer.ipynb) with seven functions left to you: the content cost, "
        "the Gram matrix and the reshaping before it, the style cost of a layer and of all layers, the total cost, and "
        "the training step. At the end your own code paints.",
        "**How to work.** Run the cells from the top, one after the other (*Shift + Enter*). At `# YOUR CODE HERE` "
        "write the body of the function in place of that line and the next. The text and the formula above say what it "
        "computes, the docstring what comes in and what goes out. The check below says that it is right, or what is "
        "wrong. After every change run the cell again, and then the check. Each hint unfolds. An error that says "
        "`write … first` means a function that is still empty. Compute with TensorFlow (`tf.…`) "
        "alone, not with NumPy or `float()`: gradients have to flow back through it.",
        "**Where to look.** The lesson is the same notebook with all answers: look there after you have tried.",
    ]
)
KEPT = {"mean_gram_matrix": 1}  # how many statements are given
HINTS = {
    "compute_content_cost": "TensorFlow's operators work on whole tensors: `-`, `**`, `/`, and `tf.reduce_sum` adds up "
    "all entries. The last entry of a list is `[-1]`. Activations may come in 16 bits: `tf.cast(a, tf.float32)` first, "
    "since long sums need more.",
    "gram_matrix": "`tf.matmul` multiplies two matrices and can transpose either: see its arguments `transpose_a` and "
    "`transpose_b`. Cast to `float32` first.",
    "mean_gram_matrix": "`tf.reshape` keeps the order of the entries, and the channels are the last axis: which of "
    "$(n_C, n_H n_W)$ and $(n_H n_W, n_C)$ can it make without mixing them? `tf.transpose` does the rest.",
    "compute_layer_style_cost": "What of equation (3) has `mean_gram_matrix` done already? What is left of the divisor "
    "is a number of channels, which both pictures share.",
    "compute_style_cost": "Loop over three lists at once with `zip`. A list without its last entry is `[:-1]`.",
    "total_cost": "One line. `alpha` and `beta` are arguments here; the settings come in with the training step.",
    "train_step": "Within `with tf.GradientTape() as tape:` compute what `run.look` sees in `generated_image`, the "
    "costs, and the objective, equation (8); `nst_utils.colour` is equation (7). After it: `tape.gradient`, "
    "`optimizer.apply_gradients` with a list of one pair (gradient, variable), and "
    "`generated_image.assign` with `tf.clip_by_value`.",
}


def without_body(source, name):
    """Return the source of a function with its docstring and nothing of its body but what is given."""
    (function,) = [node for node in ast.parse(source).body if getattr(node, "name", "") == name]
    lines, last = source.splitlines(), function.body[KEPT.get(name, 0)].end_lineno
    blank = ["    # YOUR CODE HERE", f'    raise NotImplementedError("write {name} first")']
    return "\n".join([*lines[:last], *blank, *lines[function.end_lineno :]])


def make():
    """Return the exercise, a notebook."""
    notebook, cells = nbformat.read(LESSON, as_version=4), []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
        for name, hint in HINTS.items():
            if cell.cell_type == "code" and f"def {name}(" in cell.source:
                cell.source = without_body(cell.source, name)
                unfold = f"<details>\n<summary>A hint</summary>\n\n{hint}\n\n</details>"
                cells.append(nbformat.v4.new_markdown_cell(unfold, id=f"hint-{name}"[:64]))
                check = f"nst_utils.check({name})"
                tags = {"tags": ["shows", "nbval-ignore-output"]}
                cells.append(nbformat.v4.new_code_cell(check, id=f"check-{name}"[:64], metadata=tags))
    cells[0].source = "\n\n".join(p for p in cells[0].source.split("\n\n")[1:] if not p.startswith(HOW))
    notebook.cells = [nbformat.v4.new_markdown_cell(TITLE, id="exercise"), *cells]
    return notebook


if __name__ == "__main__":
    write_file(EXERCISE, f"{nbformat.writes(make())}\n".encode())
