"""Operations whose gradient TensorFlow would compute more slowly."""

from nst.backend import tf


def product_with_transpose(A):
    """Return A Aᵀ, the Gram matrix of the rows of A: equation (2) of the lesson.

    This is tf.matmul(A, A, transpose_b=True) with a gradient that takes one product instead of two, in the precision of
    A; the product itself is computed in float32, since its rounding errors would show in the cost. The gradient comes
    from a product of which only one side is followed, plus its transpose. All start from Aᵀ, which is how the network
    returns its activations, so that nothing is copied. (tf.custom_gradient would do the same, but TensorFlow keeps what
    it is given for good, and with it the graph and the weights: 50 MB a run.)

    Args:
        A: tensor of shape (n_C, n), float32 or bfloat16.

    Returns:
        float32 tensor of shape (n_C, n_C).
    """
    A_T = tf.transpose(A)
    constant = tf.stop_gradient(A_T)
    one_side = tf.matmul(A_T, constant, transpose_a=True)
    both = tf.cast(one_side + tf.transpose(one_side), tf.float32)
    exact = tf.stop_gradient(one_side)
    if A.dtype != tf.float32:
        constant = tf.cast(constant, tf.float32)
        exact = tf.matmul(constant, constant, transpose_a=True)
    return exact + (both - tf.stop_gradient(both))
