"""The style costs that going_further.ipynb compares."""

import nbformat
import numpy as np
import pytest

from conftest import ROOT
from nst.backend import tf
from nst.lesson import run_cell

COSTS = ("gram_cost", "deviation_cost", "gaussian_cost")


@pytest.fixture(scope="module")
def costs():
    """What the cells of costs define."""
    cells = nbformat.read(ROOT / "going_further.ipynb", as_version=4).cells
    names = {}
    for cell in cells:
        if cell.cell_type == "code" and "_cost(m_S, a_G):" in cell.source:
            run_cell(cell.source, names)
    return names


def activations(*shape, seed=0, scale=1.0):
    random = np.random.default_rng([seed, *shape])
    return tf.constant(scale * random.gamma(2.0, 0.5, shape), tf.float32)


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_zero_at_its_target_and_more_elsewhere(name, costs):
    a, other = activations(1, 9, 12, 4), activations(1, 11, 8, 4, seed=1, scale=1.5)
    m = costs["moments"](a)
    assert m.shape == (4, 5)
    assert costs["moments"](m) is m
    assert float(costs[name](m, a)) == pytest.approx(0.0, abs=1e-5)
    assert costs[name](m, other) > 0.01


def test_the_first_is_the_lessons_own(costs, lesson):
    a_S, a_G = activations(1, 5, 6, 3), activations(1, 4, 7, 3, seed=1)
    cost = costs["gram_cost"](costs["moments"](a_S), a_G)
    assert float(cost) == pytest.approx(float(lesson["compute_layer_style_cost"](a_S, a_G)), rel=1e-5)


def test_gaussians_whose_covariances_commute_differ_by_means_and_roots(costs):
    """Of two clouds, one the other times a number and shifted, W2 is known: |shift|^2 + (number - 1)^2 tr(cov)."""
    a = activations(1, 20, 25, 3)
    centred = a - tf.reduce_mean(a, (0, 1, 2))
    shift = np.array([0.5, -0.25, 1.0], np.float32)
    variances = np.var(centred.numpy(), axis=(0, 1, 2)).sum()
    cost = costs["gaussian_cost"](costs["moments"](centred), 2.0 * centred + shift)
    assert float(cost) == pytest.approx(((shift**2).sum() + variances) / (4 * 3), rel=1e-3)


@pytest.mark.parametrize("name", COSTS)
def test_gradients_are_those_of_finite_differences(name, costs):
    m, a = costs["moments"](activations(1, 9, 12, 4)), activations(1, 6, 5, 4, seed=1, scale=1.5)
    direction = tf.constant(np.random.default_rng(2).normal(size=a.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(a)
        cost = costs[name](m, a)
    slope = tf.reduce_sum(tape.gradient(cost, a) * direction)
    step = 1e-2
    difference = (costs[name](m, a + step * direction) - costs[name](m, a - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(difference), rel=2e-2)
