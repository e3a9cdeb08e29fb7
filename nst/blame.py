"""Where in a reader's own functions an error came up, in a few lines instead of TensorFlow's forty."""

import contextlib
import linecache
import re
import traceback
from pathlib import Path

import numpy as np

from nst.backend import device, tf
from nst.errors import NSTError, RunError

HOUSE = Path(__file__).parent
MODULE = "<module>"  # the name of what stands in a cell outside of all functions
OF_AUTOGRAPH = "tf__"  # how tf.function names what it makes of a function
PAIRS = "apply_gradients takes a list of pairs. Each pair is (gradient, variable). apply takes two lists."
HINTS = {  # what is read in an error's first line, or in this and the reader's: what it is likely to mean
    "(?<!DataType )bfloat16": "Activations come in 16 bits where that is faster: tf.cast(…, tf.float32) first.",
    "(match type|be an?) (float64|double|half|int32|int64)|is a (float64|double|half|int32|int64) tensor|"
    "same dtype.*(float64|int32|int64)": "Costs are float32: tf.cast(…, tf.float32). Lengths from a.shape are numbers.",
    "'list' object has no attribute": "There is a list of layers here: take one of them, such as the last, [-1].",
    r"too many values to unpack.*\n.*shape": "Activations have four lengths: _, n_H, n_W, n_C = a.shape.",
    "equal, but are": "A cost must be one number, a Gram matrix (n_C, n_C), and a picture be looked at by run.look.",
    "Unknown variable": "An optimizer is for the variables of one size: make a new one at each.",
    "None": "None comes from a function that returns nothing, or is the gradient of what does not depend on it.",
    "No gradients": "The cost must depend on the picture, and be computed within the tape. tape.gradient takes the "
    "cost first, then the picture.",
    "iterate over a scalar": "One number is there where several are wanted: a step returns all costs of run.record.",
    "tuple.index": "There is no such layer in this network: run.network.layer_names are its names.",
    "terating over a symbolic": "Take lengths from a.shape, not from tf.shape(a).",
    "ymbolic": "A step becomes a graph: compute with TensorFlow alone, without float(), NumPy or .numpy().",
}


def explain(error, settings, shape):
    """Return an error that has ended a run in a reader's words, or None if it is in such words, or is none of his.

    Args:
        error: the exception, or None.
        settings: Settings of the run.
        shape: (H, W) of its picture.
    """
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return RunError(
            f"The memory of {device()} does not hold a picture of {shape[1]}×{shape[0]} pixels. Set TILE = 512, or "
            f"IMAGE_SIZE = {settings.IMAGE_SIZE * 7 // 10} or less."
        )
    if isinstance(error, NSTError):
        metadata = getattr(error, "ag_error_metadata", None)  # in a graph, its sentence comes wrapped in many lines
        return metadata and type(error)(metadata.cause_message.partition(": ")[2])
    return own_error(error) if isinstance(error, Exception) else None


@contextlib.contextmanager
def explaining(settings, shape):
    """Raise an error in a function of the lesson in a reader's words: see explain."""
    try:
        yield
    except Exception as error:
        if told := explain(error, settings, shape):
            raise told from error
        raise


def own_error(error):
    """Return a RunError that says at which line of a cell an error came up, and what was at hand there.

    Args:
        error: the exception as it was caught.

    Returns:
        RunError, or None if none of the cells' functions was in it.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    metadata = getattr(error, "ag_error_metadata", None)  # of an error in a graph
    kind, message = type(error).__name__, str(error)
    if message.startswith("Graph execution error"):
        place, message = _in_running_graph(message)
    else:
        place = _in_graph(metadata) if metadata else _in_eager(error)
    if place is None:
        return None
    file, function, number, line = place
    if metadata:
        kind, _, message = metadata.cause_message.partition(": ")
    if isinstance(error, NotImplementedError) and message.startswith("write "):  # as the exercise says it
        return RunError(message)
    inside = [f.f_locals for f in frames if f.f_code.co_name in (function, OF_AUTOGRAPH + function)]
    values = inside[-1] if inside else {}  # TensorFlow has raised some errors anew
    names = dict.fromkeys(re.findall(r"\w+", re.sub(r"^[\w, ]+ = ", "", line)))  # without what gets a value
    at_hand = [f"{name} {brief}" for name in names if name in values and (brief := _brief(values[name]))]
    where = f"line {number} of the cell" if function == MODULE else f"{function}, line {number} of its cell"
    where = f"{function}, line {number} of {Path(file).name}" if Path(file).is_file() else where
    lines = [f"In {where}:\n    {line}\n{kind}: {_shortened(message)}"]
    lines += [f"At hand: {', '.join(at_hand)}."] if at_hand else []
    pairs = "optimizer.apply" in line and re.search("unpack|terat|_unique_id|len is not|with shape|equal rank", message)
    told = f"{message.partition(chr(10))[0]}\n{line}"
    lines += [PAIRS] if pairs else [hint for word, hint in HINTS.items() if re.match(f".*?({word})", told)]
    return RunError("\n".join(lines))


def _in_eager(error):
    """Return the file of the innermost function of a cell, its name, the number of its line, and the line."""
    walked = list(traceback.walk_tb(error.__traceback__))
    entries = [entry for entry in walked if entry[0].f_globals.get("__name__") == "__main__"]
    if not entries:
        return None
    within = walked[walked.index(entries[-1]) + 1 :]
    of_libraries = all("site-packages" in frame.f_code.co_filename for frame, _ in within)
    if entries[-1][0].f_code.co_name == MODULE and not of_libraries:
        return None  # it came up in the helpers
    (summary,) = traceback.StackSummary.extract(entries[-1:])
    return summary.filename, summary.name.replace("<lambda>", "a lambda"), summary.lineno, summary.line


def _in_graph(metadata):
    """The same of an error in a graph, whose functions tf.function has rewritten."""
    for info in metadata.translated_stack:  # the innermost first
        if info.is_converted and not Path(info.filename).is_relative_to(HOUSE):
            return info.filename, info.function_name or "a lambda", info.lineno, info.code.strip()
    return None


def _in_running_graph(text):
    """The same of an error that came up when a graph ran, which TensorFlow tells in a text, and what is said of it."""
    place = None
    for told in text.splitlines()[3:]:  # frames from the outermost to the innermost, then what is wrong
        if frame := re.match(r'  File "(.+)", line (\d+), in (.+)', told):
            file, number, function = frame[1], int(frame[2]), frame[3]
            if not Path(file).is_relative_to(HOUSE) and "site-packages" not in file:
                place = file, function, number, linecache.getline(file, number).strip()
        elif told.strip():
            return place, told
    return place, text


def _shortened(message):
    """Return the first sentence or so of an error of TensorFlow, without the names of its nodes."""
    message = re.sub(r"\{\{.*?\}\}( = \S+\[.*?\])?", "", message.strip().splitlines()[0] if message else "")
    message = re.sub(r"(\w+\.<locals>\.)+(tf__)?", "", message)
    return re.sub(r" \[Op:.*", "", message).strip()[:300]


def _brief(value):
    """Return a value in a word: its shape or what it is; None for what a word does not say."""
    if isinstance(value, (tf.Tensor, tf.Variable, np.ndarray)):  # what a graph has not assigned has any attribute
        shape = tf.TensorShape(value.shape)
        return str(tuple(shape)) if shape.rank else "(a number)" if shape.rank == 0 else None
    if isinstance(value, (list, tuple)):
        return f"({type(value).__name__} of {len(value)})"
    return repr(value) if value is None or isinstance(value, (int, float, str)) else None
