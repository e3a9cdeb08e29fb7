"""Operations whose gradient is not taken as TensorFlow would: values and gradients are TensorFlow's."""

import numpy as np
import pytest

from nst.backend import tf
from nst.gradients import product_with_transpose


def value_and_gradient(function, x, in_graph, weights=3.0):
    """Return a function's value, and the gradient of its weighted sum."""

    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
            weighed = tf.reduce_sum(weights * value)
        return value, tape.gradient(weighed, x)

    return (tf.function(both) if in_graph else both)(x)


def matrix(rows, columns):
    return tf.constant(np.random.default_rng(3).normal(1, 2, (rows, columns)).astype(np.float32))


UPSTREAM = {
    "symmetric": tf.eye(3) + 0.5,
    "unsymmetric": tf.constant([[0.0, 1.0, 2.0], [3.0, 0.0, 4.0], [5.0, 6.0, 7.0]]),
}


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("upstream", UPSTREAM)
def test_product_with_transpose_is_that_of_tensorflow(upstream, in_graph):
    A = matrix(3, 8)
    value, gradient = value_and_gradient(product_with_transpose, A, in_graph, UPSTREAM[upstream])
    expected = value_and_gradient(lambda A: tf.matmul(A, A, transpose_b=True), A, in_graph, UPSTREAM[upstream])
    assert np.allclose(value, expected[0], rtol=1e-5)
    assert np.allclose(gradient, expected[1], rtol=1e-5, atol=1e-5)


def test_product_with_transpose_is_float32_in_low_precision():
    A = tf.cast(matrix(3, 500), tf.bfloat16)
    value, gradient = value_and_gradient(product_with_transpose, A, True)
    exact, exact_gradient = value_and_gradient(product_with_transpose, tf.cast(A, tf.float32), True)
    assert value.dtype == tf.float32
    assert np.allclose(value, exact, rtol=1e-6), "computed in float32: rounding would show in the cost"
    assert gradient.dtype == tf.bfloat16
    assert tf.norm(tf.cast(gradient, tf.float32) - exact_gradient) < 0.01 * tf.norm(exact_gradient)
