"""The well-known mistakes in the functions of the exercise, each as the numbers that it gives."""

from typing import NamedTuple

import numpy as np

from nst.backend import tf

ROOT = "There is a root in it, whose slope at 0 is not finite: equation ({}) adds up squares alone."
SQUARES = "The differences are not squared."
OF_SQUARES = "It is a difference of squares. What is squared is the difference."
SQUARED_SUM = "It squares the sum. Each difference is squared, and then they are added up."
BRACKETS = "a / b * c divides by b alone: the whole divisor needs brackets."


class Trial(NamedTuple):
    """Arguments to try a function with, and what its answers say.

    mistakes: dict of message to the list of answers that a mistake gives. fails: what an error of shapes says.
    """

    arguments: tuple
    mistakes: dict = {}
    fails: str = ""


def random_tensor(*shape, seed=0):
    """Return a float32 tensor of a shape, values in [0.2, 2): the same ones for the same seed."""
    return tf.constant(np.random.default_rng([seed, *shape]).uniform(0.2, 2.0, shape), tf.float32)


def _total(values):
    return tf.reduce_sum(values)


def _unsquared(d):
    """Return what sums of differences give that are not squared, also with * 2 for ** 2."""
    return [_total(d), -_total(d), 2 * _total(d), _total(abs(d))]


def content_cost(right):
    """Yield the trials of compute_content_cost; right is a dict of the lesson's functions."""
    J = right["compute_content_cost"]
    C = [random_tensor(1, 4, 6, 2), random_tensor(1, 2, 3, 3), random_tensor(1, 2, 3, 5)]
    G = [random_tensor(*c.shape, seed=1) for c in C]
    d, n, n_C = C[-1] - G[-1], 30, 5
    yield Trial(
        (C, G),
        {
            "It adds up all layers. The content layer is one of them: the last.": [
                sum(J([c], [g]) for c, g in zip(C, G, strict=True)),
                sum(J([c], [g]) for c, g in zip(C, G, strict=True)) / 3,
            ],
            "It compares the first layer. The content layer is the last.": [J(C[:1], G[:1])],
            "The divisor is missing: the sum of the squares is not yet the cost. See equation (1).": [_total(d**2)],
            "It is the mean of the squares. The divisor of equation (1) has one more factor.": [_total(d**2) / n],
            "The number of channels is missing from the divisor, see equation (1).": [_total(d**2) / (4 * n / n_C)],
            "The divisor is that of the style cost. See equation (1).": [_total(d**2) / (4 * n**2)],
            SQUARES: [one / k for one in _unsquared(d) for k in (4 * n, n)],
            OF_SQUARES: [k * (_total(C[-1] ** 2) - _total(G[-1] ** 2)) / (4 * n) for k in (1, -1)],
            SQUARED_SUM: [_total(d) ** 2 / (4 * n), _total(d) ** 2],
            BRACKETS: [_total(d**2) / 4 * n],
            ROOT.format(1): [_total(d**2) ** 0.5, J(C, G) ** 0.5, _total(d**2) ** 0.5 / (4 * n)],
        },
        "Only the last layer counts, and there both have the same shape.",
    )
    yield Trial((C, C))
    yield Trial(([random_tensor(1, 5, 3, 2)], [random_tensor(1, 5, 3, 2, seed=1)]))
    yield Trial(([tf.cast(C[-1], tf.bfloat16)], [tf.cast(G[-1], tf.bfloat16)]))


def gram(right):
    """Yield the trials of gram_matrix."""
    A = random_tensor(3, 5)
    yield Trial(
        (A,),
        {
            "It compares positions with positions: the first factor is transposed in place of the second.": [
                tf.matmul(A, A, transpose_a=True)
            ],
            "It multiplies entry by entry. Equation (2) is a product of matrices.": [A * A],
            "It divides as well. Equation (2) is the product alone; mean_gram_matrix divides.": [
                right["gram_matrix"](A) / k for k in (3, 5, 15)
            ],
        },
        "A product of matrices needs shapes that fit. In equation (2) one of the two factors is transposed.",
    )
    square = random_tensor(4, 4)
    yield Trial((square,), {"Neither factor is transposed, see equation (2).": [tf.matmul(square, square)]})
    coarse = tf.cast(A, tf.bfloat16)
    late = tf.cast(tf.matmul(coarse, coarse, transpose_b=True), tf.float32)
    yield Trial((coarse,), {"It is cast too late: the product is a long sum, for which 16 bits are too few.": [late]})


def mean_gram(right):
    """Yield the trials of mean_gram_matrix."""
    a = random_tensor(1, 2, 3, 5)
    product = right["gram_matrix"]
    by_position = tf.reshape(a, (6, 5))
    mixed, G = tf.reshape(a, (5, 6)), product(tf.transpose(by_position))
    yield Trial(
        (a,),
        {
            "The shape is right and the numbers are not: reshaping to (n_C, n_H · n_W) at once mixes channels and "
            "positions, since the channels are the last axis. Reshape so that they stay the last, then transpose.": [
                product(mixed) / k for k in (1, 6)
            ],
            "It is the Gram matrix, not yet per position: divide by their number.": [G],
            "Rows and columns are exchanged: gram_matrix wants one row per channel.": [
                product(by_position) / k for k in (1, 5, 6)
            ],
            "It divides by the number of all entries. A mean over positions divides by n_H · n_W.": [G / 30],
            BRACKETS: [G / 2 * 3],
        },
        "gram_matrix wants a matrix of shape (n_C, n_H · n_W).",
    )
    yield Trial((random_tensor(1, 3, 5, 2),))
    yield Trial((G,), fails="What has less than four dimensions is a Gram matrix already: hand it back as it is.")


def layer_cost(right):
    """Yield the trials of compute_layer_style_cost."""
    S, G, other = random_tensor(1, 2, 3, 5), random_tensor(1, 2, 3, 5, seed=1), random_tensor(1, 4, 5, 5, seed=1)
    mean = right["mean_gram_matrix"]
    d, n, n_C = mean(S) - mean(G), 6, 5
    squares = _total(d**2)
    of_activations = _total((S - G) ** 2)
    yield Trial(
        (S, G),
        {
            "The divisor is missing, see equation (3).": [squares],
            "The number of positions is in the divisor twice: mean_gram_matrix has divided by it already.": [
                squares / (4 * n_C**2 * n**2),
                squares / (4 * n_C**2 * n),
            ],
            "The divisor is that of the content cost. See equation (3).": [squares / (4 * n * n_C)],
            "It is a mean where equation (3) has a sum, so the number of entries is in the divisor twice.": [
                squares / (4 * n_C**4)
            ],
            "It is the mean of the squares. The divisor of equation (3) has one more factor.": [squares / n_C**2],
            "The number of channels is not squared in the divisor, see equation (3).": [squares / (4 * n_C)],
            "The Gram matrices are not divided by their number of positions: mean_gram_matrix does it.": [
                squares * n**2 / (4 * n_C**2),
                squares * n**2,
            ],
            "It compares activations, place by place, which is what content is. Style is in their Gram matrices.": [
                of_activations / k for k in (1, 4 * n_C**2, 4 * n_C**2 * n**2, 4 * n * n_C, n * n_C)
            ],
            "gram_matrix wants a matrix with a row for each channel: mean_gram_matrix makes it of activations.": [
                _total((right["gram_matrix"](S) - right["gram_matrix"](G)) ** 2) / k
                for k in (1, 4, 4 * n_C**2, 4 * n_C**2 * n**2)
            ],
            SQUARED_SUM: [_total(d) ** 2 / (4 * n_C**2), _total(d) ** 2],
            BRACKETS: [squares / 4 * n_C**2],
            SQUARES: [one / (4 * n_C**2) for one in _unsquared(d)],
            OF_SQUARES: [k * (_total(mean(S) ** 2) - _total(mean(G) ** 2)) / (4 * n_C**2) for k in (1, -1)],
            ROOT.format(3): [squares**0.5, (squares / (4 * n_C**2)) ** 0.5, squares**0.5 / (4 * n_C**2)],
        },
        "Both Gram matrices have the shape (n_C, n_C).",
    )
    yield Trial((S, S))
    yield Trial(
        (S, other),
        {
            "It is right for pictures of one size alone. Each Gram matrix has a number of positions of its own, by "
            "which mean_gram_matrix divides it.": [
                _total((mean(S) * 6 - mean(other) * 20) ** 2) / (4 * n_C**2 * k**2) for k in (6, 20)
            ]
        },
        "The pictures may differ in size, so their activations do; their Gram matrices do not.",
    )
    yield Trial(
        (mean(S), other),
        fails="The training hands over Gram matrices of the style image in place of a_S. mean_gram_matrix takes both.",
    )


def style_cost(right):
    """Yield the trials of compute_style_cost."""
    J = right["compute_layer_style_cost"]
    S = [random_tensor(1, 4, 6, 2), random_tensor(1, 2, 3, 3), random_tensor(1, 2, 3, 4), random_tensor(1, 2, 3, 5)]
    G = [random_tensor(*s.shape, seed=1) for s in S]
    weights = [0.5, 0.3, 0.1]
    costs = [J(s, g) for s, g in zip(S, G, strict=True)]
    terms = [weight * cost for weight, cost in zip(weights, costs, strict=False)]
    layers = [(f"block{i + 1}_conv1", weight) for i, weight in enumerate(weights)]
    yield Trial(
        (S, G, layers),
        {
            "The content layer is among those that count. It is the last of the list, and has no weight.": [
                sum(costs),
                sum(w * c for w, c in zip(weights, costs[1:], strict=True)),
                sum(terms) + costs[-1],
                sum(terms) + weights[-1] * costs[-1],
            ],
            "The weights of STYLE_LAYERS are missing.": [sum(costs[:-1])],
            "It is divided by the number of layers. The weights do that already, see equation (4).": [
                sum(terms) / 3,
                sum(terms) / 4,
                sum(costs[:-1]) / 3,
                sum(costs) / 4,
            ],
            "It is the cost of the last layer alone: add each to those before.": [terms[-1], costs[2]],
            "It is the cost of the first layer alone: return after the loop, not within.": [terms[0], costs[0]],
        },
        "There are as many weights as layers without the last, which is the content layer, and each weight comes in a "
        "pair with a name. Go through all side by side.",
    )


def total(right):
    """Yield the trials of total_cost."""
    J_content, J_style = tf.constant(0.3), tf.constant(0.7)
    yield Trial(
        (J_content, J_style, 2.0, 5.0),
        {
            "alpha and beta are exchanged, see equation (5).": [5 * J_content + 2 * J_style],
            "It does not use its arguments alpha and beta.": [
                J_content + J_style,
                10 * J_content + 40 * J_style,
                right["total_cost"](J_content, J_style),
            ],
            "alpha is missing, see equation (5).": [J_content + 5 * J_style],
            "beta is missing, see equation (5).": [2 * J_content + J_style],
        },
    )
    yield Trial((J_content, J_style))


COSTS = {
    "compute_content_cost": content_cost,
    "gram_matrix": gram,
    "mean_gram_matrix": mean_gram,
    "compute_layer_style_cost": layer_cost,
    "compute_style_cost": style_cost,
    "total_cost": total,
}
