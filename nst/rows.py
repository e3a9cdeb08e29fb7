"""A mean over the rows of a matrix, some at a time."""

from nst.backend import tf
from nst.errors import RunError

ROWS = 4096  # at a time: of hypercolumns some 50 MB, and as fast as all at once


def mean_over_rows(cost, x, *others):
    """Return what a cost that is a mean over rows is for all rows, in the memory that some thousand of them take.

    The gradient of x is computed together with the cost, some rows at a time, so that nothing else has to be kept of
    them.

    Args:
        cost: function of some rows of x and of the others, a scalar: the mean of something over these rows.
        x: float32 tensor of shape (n, d), which gets a gradient.
        others: tensors whose first length is n, which get none.

    Returns:
        float32 scalar.

    Raises:
        RunError: the cost is no scalar.
    """
    others = [tf.convert_to_tensor(other) for other in others]

    @tf.custom_gradient
    def by_rows(x):
        costs, slopes = [], []
        x = x.numpy() if tf.executing_eagerly() else x  # of which no other tape keeps anything
        for start in range(0, x.shape[0], ROWS):
            with tf.control_dependencies(slopes[-1:]), tf.GradientTape() as tape:  # in a graph, too, one by one
                rows, *of_others = (tf.convert_to_tensor(m[start : start + ROWS]) for m in (x, *others))
                tape.watch(rows)
                mean = cost(rows, *of_others)
                if not tf.is_tensor(mean) or mean.shape != ():
                    found = tuple(mean.shape) if tf.is_tensor(mean) else mean
                    raise RunError(f"The cost of some places must be one number, and is {found}: see its function.")
                costs.append(mean * (rows.shape[0] / x.shape[0]))
            slopes.append(tape.gradient(costs[-1], rows, unconnected_gradients="zero"))
        slope = tf.concat(slopes, axis=0)
        return tf.add_n(costs), lambda upstream: upstream * slope

    return by_rows(x)
