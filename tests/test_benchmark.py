"""What `make bench` measures is the same on both sides."""

import numpy as np

from scripts.authors.benchmark import make_step


def test_benchmark_compares_like_with_like():
    """The plain loop and ours begin with the same cost, and both lower it."""
    costs = [[step() for _ in range(6)] for step in (make_step(64, "reference"), make_step(64, "float32"))]
    assert np.isclose(costs[0][0], costs[1][0], rtol=1e-4)
    assert costs[0][-1] < costs[0][0]
    assert costs[1][-1] < costs[1][0]
