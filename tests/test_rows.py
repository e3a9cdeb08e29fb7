"""A mean over rows, some at a time: the same cost and gradient, in little memory."""

import sys

import numpy as np
import pytest

import nst.rows
import nst_utils
from conftest import run_python
from nst.backend import tf


def mean_of_squares(x, y):
    return tf.reduce_mean(tf.reduce_sum((x - y) ** 2, axis=1))


@pytest.mark.parametrize("as_graph", [False, True])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_cost_and_gradient_are_those_of_all_rows_at_once(monkeypatch, count, as_graph):
    monkeypatch.setattr(nst.rows, "ROWS", 7)
    random = np.random.default_rng(0)
    x, y = (tf.constant(random.normal(size=(count, 3)), tf.float32) for _ in range(2))

    def costs(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            whole, by_rows = mean_of_squares(x, y), 2.0 * nst_utils.mean_over_rows(mean_of_squares, x, y)
        return whole, by_rows, tape.gradient(whole, x), tape.gradient(by_rows, x)

    whole, by_rows, gradient, gradient_by_rows = (tf.function(costs) if as_graph else costs)(x)
    assert float(by_rows) == pytest.approx(2 * float(whole), rel=1e-5)
    assert np.allclose(gradient_by_rows, 2 * gradient, rtol=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is read as on Linux")
def test_nothing_but_the_gradient_is_kept_of_the_rows():
    """Within a tape, which would keep 14 copies."""
    program = """
        import re
        import nst_utils
        from nst.backend import tf

        def most():
            return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

        def cost(x, y):
            x, y = (tf.math.l2_normalize(m - 0.5, axis=1) for m in (x, y))
            return tf.reduce_mean(1.0 - tf.reduce_sum(x * y, axis=1))

        x, y = tf.random.uniform((2, 100_000, 512))
        before = most()
        with tf.GradientTape() as tape:
            tape.watch(x)
            J = nst_utils.mean_over_rows(cost, x, y)
        tape.gradient(J, x)
        print((most() - before) / (100_000 * 512 * 4))
    """
    copies = float(run_python(program).stdout)
    assert 1 < copies < 5, f"{copies:.1f} copies of the rows"


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda x, y: None, "^The cost of some places must be one number, and is None: see its function.$"),
        (lambda x, y: 0.5, "must be one number, and is 0.5"),
        (lambda x, y: x - y, r"must be one number, and is \(4, 3\)"),
    ],
)
def test_a_cost_that_is_no_number_is_said(cost, message):
    with pytest.raises(nst_utils.RunError, match=message):
        nst_utils.mean_over_rows(cost, tf.ones((4, 3)), tf.zeros((4, 3)))
