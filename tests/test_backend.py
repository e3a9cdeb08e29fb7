"""TensorFlow set up as the tutorial needs it, whatever the machine is set up for, and the memory that is free."""

import json
import math
from collections import namedtuple

import pytest

from conftest import run_python
from nst import backend

# ---- a new process


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What the tutorial does in a process that is set up for another Keras: its findings, and its stderr."""
    home = tmp_path_factory.mktemp("keras")
    strange = {"image_data_format": "channels_first", "floatx": "float16", "backend": "jax", "epsilon": 1e-7}
    (home / "keras.json").write_text(json.dumps(strange))
    program = """
        import json, os, sys, threading

        import nst_utils
        from nst.backend import keras

        def load():
            for _ in range(10):
                images.append(nst_utils.load_image("images/great_wave.jpg", 64))

        images = []
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        vgg = nst_utils.load_vgg19("standin", normalise=False)
        network = nst_utils.get_layer_outputs(vgg, ["block1_conv1", "block2_conv1"])
        found = network(nst_utils.preprocess_image(images[0]))
        print("from Python", file=sys.stderr, flush=True)
        os.write(2, b"from native code")
        print(json.dumps({
            "backend": keras.backend.backend(),
            "pictures": len(images),
            "dtypes": [a.dtype.name for a in found],
            "shapes": [list(a.shape) for a in found],
        }))
    """
    result = run_python(program, KERAS_HOME=str(home), KERAS_BACKEND="jax")
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


def test_keras_is_set_up_whatever_its_file_and_the_environment_say(elsewhere):
    found, _ = elsewhere
    assert found["backend"] == "tensorflow"
    assert found["dtypes"] == ["float32", "float32"]
    assert found["shapes"] == [[1, 43, 64, 64], [1, 21, 32, 128]], "channels last"


def test_threads_that_load_pictures_leave_stderr_as_it_was(elsewhere):
    found, stderr = elsewhere
    assert found["pictures"] == 40
    assert stderr == "from Python\nfrom native code", "nothing else, and TensorFlow is quiet"


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
    assert not backend.tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize(
    ("gpus", "details", "name"),
    [([], {}, "CPU"), (["GPU:0"], {"device_name": "NVIDIA H200"}, "NVIDIA H200"), (["GPU:0"], {}, "GPU")],
)
def test_device_is_named(monkeypatch, gpus, details, name):
    monkeypatch.setattr(backend.tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(backend.tf.config.experimental, "get_device_details", lambda gpu: details)
    assert backend.device.__wrapped__() == name  # without its cache


# ---- free memory


def group_files(limit, used, cache, version):
    """Return the files of a control group's memory, of which `cache` bytes are files that can be dropped."""
    if version == 2:
        return {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 7\ninactive_file {cache}"}
    stat = f"inactive_file 3\ntotal_inactive_file {cache}"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}


NO_LIMIT = 9223372036854771712  # as version 1 writes it


@pytest.mark.parametrize(
    ("membership", "version", "groups", "free"),
    [
        ("0::/app", 2, {"app": (1000, 600, 0)}, 400),
        ("0::/app", 2, {"app": (1000, 600, 150)}, 550),
        ("0::/app", 2, {"app": ("max", 600, 0)}, math.inf),
        ("0::/user/app", 2, {"user": (1000, 700, 0), "user/app": ("max", 600, 0)}, 300),
        ("0::/user/app", 2, {"user": (1000, 700, 0), "user/app": (900, 800, 0)}, 100),
        ("0::/", 2, {"": (1000, 600, 0)}, 400),
        ("0::/app", 2, {"app": (1000, 1200, 0)}, 0),
        ("0::/app", 2, {"another": (1000, 600, 0)}, math.inf),
        ("5:cpu:/x\n4:memory:/app", 1, {"memory/app": (2000, 1500, 200), "memory": (NO_LIMIT, 1500, 0)}, 700),
        ("4:cpu,memory:/user/app", 1, {"memory/user": (2000, 500, 0)}, 1500),
        ("4:memory:/docker/0123", 1, {"memory": (2000, 500, 0)}, 1500),  # as seen from within a container
        ("5:cpu:/app", 1, {"cpu/app": (2000, 500, 0)}, math.inf),
        ("4:memory:/app\n0::/app", 1, {"memory/app": (2000, 500, 0)}, 1500),  # both versions at once
    ],
)
def test_limits_of_control_groups_are_seen(tmp_path, membership, version, groups, free):
    root = tmp_path / "cgroup"
    for group, numbers in groups.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        for name, text in group_files(*numbers, version).items():
            (root / group / name).write_text(f"{text}\n")
    (tmp_path / "membership").write_text(membership + "\n")
    assert backend._free_in_control_groups(root, tmp_path / "membership") == free


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert backend._free_in_control_groups(tmp_path, tmp_path / "nothing") == math.inf


@pytest.mark.parametrize(("groups", "free"), [(math.inf, 5000), (9000, 5000), (4000, 4000)])
def test_free_memory_is_the_smaller_of_machine_and_control_group(monkeypatch, groups, free):
    monkeypatch.setattr(backend.psutil, "virtual_memory", lambda: namedtuple("Memory", "available")(5000))
    monkeypatch.setattr(backend, "_free_in_control_groups", lambda: groups)
    assert backend.free_memory() == free
