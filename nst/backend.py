"""TensorFlow, imported quietly and set up once, and what this machine gives it to work with."""

import contextlib
import functools
import math
import os
import sys
from pathlib import Path

import psutil

from nst.errors import NSTError
from nst.files import silent_stderr


@contextlib.contextmanager
def _quiet_import():
    """Keep off the screen what TensorFlow's native code logs before it can be told not to, and choose its Keras."""
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != "tensorflow":
        raise NSTError("Keras has been imported with another backend. Restart, and import nst_utils before Keras.")
    os.environ["KERAS_BACKEND"], os.environ["TF_USE_LEGACY_KERAS"] = "tensorflow", "0"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # else TensorFlow takes a GPU's whole memory at once
    with silent_stderr():
        yield


with _quiet_import():
    import keras
    import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced anew for each size
keras.config.set_image_data_format("channels_last")  # whatever a keras.json says
keras.config.set_floatx("float32")
tf.config.experimental.enable_tensor_float_32_execution(False)  # on a GPU, "float32" means float32


@functools.cache
def device():
    """Return what TensorFlow computes on: "CPU", or the name of the first GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"


@contextlib.contextmanager
def graphs_forgotten():
    """Let go of the graphs that are made within, when nothing else holds them.

    TensorFlow registers the gradient of each tf.custom_gradient in a graph under a new name for good (Keras's
    optimizers use one), and with it the graph and all weights that it captures: 50 MB for each run of the lesson.
    """
    registered = _registered_gradients()
    before = set(registered)
    try:
        yield
    finally:
        for name in registered.keys() - before:
            if name.startswith("CustomGradient-"):
                registered.pop(name, None)  # another thread may have been faster


def _registered_gradients():
    """Return TensorFlow's registry of gradients, for which there is no public name; an empty dict if it has moved."""
    with contextlib.suppress(ImportError, AttributeError):
        from tensorflow.python.framework import ops

        return ops.gradient_registry._registry
    return {}


def free_memory():
    """Return how many bytes a CPU can still use, for the machine and for the control groups (containers) around us."""
    return min(psutil.virtual_memory().available, _free_in_control_groups())


def _free_in_control_groups(root=Path("/sys/fs/cgroup"), membership=Path("/proc/self/cgroup")):
    """Return the smallest rest of a memory limit among our control group and those above it; infinity for none."""
    free = math.inf
    with contextlib.suppress(OSError, StopIteration):  # no Linux, or an old one
        group = next(line for line in membership.read_text().splitlines() if line.startswith("0::"))[3:]
        folder = root / group.strip("/")
        for place in (folder, *folder.parents):
            if place == root.parent:
                break
            with contextlib.suppress(OSError, ValueError):  # not there, or no limit ("max")
                limit, used = (int((place / name).read_text()) for name in ("memory.max", "memory.current"))
                numbers = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                free = min(free, limit - used + int(numbers.get("inactive_file", 0)))  # kept while there is room
    return max(free, 0)
