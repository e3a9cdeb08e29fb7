"""TensorFlow set up as the tutorial needs it, whatever the machine is set up for, and the memory that is free."""

import gc
import json
import math
import weakref

import pytest

from conftest import run_python
from nst import backend
from nst.backend import graphs_forgotten, tf

# ---- a new process


def test_keras_is_set_up_whatever_its_file_and_the_environment_say(tmp_path):
    strange = {"image_data_format": "channels_first", "floatx": "float16", "backend": "jax", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(strange))
    program = """
        import os, sys

        import nst_utils

        vgg = nst_utils.load_vgg19("standin", normalise=False)
        network = nst_utils.get_layer_outputs(vgg, ["block1_conv1", "block2_conv1"])
        found = network(nst_utils.preprocess_image(nst_utils.load_image("images/great_wave.jpg", 64)))
        print("from Python", file=sys.stderr, flush=True)
        os.write(2, b"from native code")
        print([a.dtype.name for a in found], [list(a.shape) for a in found])
    """
    result = run_python(program, KERAS_HOME=str(tmp_path), KERAS_BACKEND="jax")
    channels_last = [[1, 43, 64, 64], [1, 21, 32, 128]]
    assert result.stdout.splitlines()[-1] == f"['float32', 'float32'] {channels_last}"
    assert result.stderr == "from Python\nfrom native code", "nothing else, and TensorFlow is quiet"


def test_keras_with_another_backend_is_refused_in_one_sentence():
    program = """
        import sys, types

        sys.modules["keras"] = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "jax"))
        try:
            import nst_utils
        except ValueError as error:
            print(f"{type(error).__name__}: {error}")
    """
    said = "NSTError: Keras has been imported with another backend. Restart, and import nst_utils before Keras.\n"
    assert run_python(program).stdout == said


# ---- this process


def test_float32_means_float32_on_a_gpu_too():
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def trace():
    """Trace a function with a gradient of its own; return a weak reference to its graph."""

    @tf.custom_gradient
    def double(x):
        return 2.0 * x, lambda upstream: 2.0 * upstream

    return weakref.ref(tf.function(double).get_concrete_function(tf.constant(1.0)).graph)


def test_graphs_are_forgotten():
    with graphs_forgotten():
        graph = trace()
    gc.collect()
    assert graph() is None, "TensorFlow still holds it"


def test_without_tensorflows_private_registry_all_goes_on(monkeypatch):
    from tensorflow.python.framework import ops

    monkeypatch.delattr(ops, "gradient_registry")
    with graphs_forgotten():
        assert tf.square(2.0) == 4.0
    assert backend._registered_gradients() == {}


# ---- free memory


@pytest.mark.parametrize(
    ("membership", "groups", "free"),
    [
        ("0::/app", {"app": (1000, 600, 150)}, 550),  # files that can be dropped
        ("0::/user/app", {"user": (1000, 700, 0), "user/app": ("max", 600, 0)}, 300),
        ("4:cpu,memory:/x\n0::/", {"": (1000, 600, 0)}, 400),
        ("0::/app", {"app": (1000, 1200, 0)}, 0),
        (None, {}, math.inf),
    ],
)
def test_limits_of_control_groups_are_seen(tmp_path, membership, groups, free):
    root = tmp_path / "cgroup"
    for group, (limit, used, cache) in groups.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        files = {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 7\ninactive_file {cache}"}
        for name, text in files.items():
            (root / group / name).write_text(f"{text}\n")
    if membership:
        (tmp_path / "membership").write_text(membership + "\n")
    assert backend._free_in_control_groups(root, tmp_path / "membership") == free


def test_free_memory_is_the_smaller_of_machine_and_control_group(monkeypatch):
    of_the_machine = backend.free_memory()
    assert 0 < of_the_machine <= backend.psutil.virtual_memory().total
    monkeypatch.setattr(backend, "_free_in_control_groups", lambda: 4000)
    assert backend.free_memory() == 4000
