from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from mmkd.models.trackers import kalman, matching

from .reference import iou

shapes = st.tuples(st.integers(0, 7), st.integers(0, 7))
costs = shapes.flatmap(lambda s: arrays(np.float64, s, elements=st.floats(0, 2, width=16)))


@settings(deadline=None, max_examples=300)
@given(costs, st.floats(0.1, 2.5))
def test_assignment_is_optimal_with_a_limit(cost, limit):
    cost[cost > 1.9] = np.inf
    rows, columns = matching.assign(cost, limit)
    assert len(set(rows)) == len(rows) == len(columns) == len(set(columns))
    assert (cost[rows, columns] <= limit).all()
    assert (np.diff(rows) > 0).all()
    gain = (limit - cost[rows, columns]).sum()
    full = np.maximum(limit - cost, 0)
    best = full[linear_sum_assignment(full, maximize=True)].sum()
    assert gain == pytest.approx(best)


def test_iou_cost_counts_whole_pixels():
    """The first box has 3 x 3 pixels; the second one beside it shares 2 x 3 of them."""
    boxes = np.array([[0.0, 0, 2, 2], [10, 10, 11, 11], [5, 5, 5, 5], [9, 9, 8, 3]])
    cost = matching.iou_cost(boxes, np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 5, 5]]))
    np.testing.assert_allclose(cost, [[0, 0.5, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]])
    nothing = np.array([[9.0, 9, 8, 3]])
    with np.errstate(all='raise'):
        assert matching.iou_cost(nothing, nothing) == 1


coordinates = st.floats(-50, 50, width=16)


@settings(deadline=None)
@given(*[st.lists(st.tuples(*[coordinates] * 4), max_size=4) for _ in range(2)])
def test_iou_cost_of_any_boxes(left, right):
    """Also of boxes turned inside out."""
    left, right = (np.array(boxes, dtype=np.float64).reshape(-1, 4) for boxes in (left, right))
    with np.errstate(all='raise'):
        cost = matching.iou_cost(left, right)
    expected = [[1 - iou(a, b) for b in right] for a in left]
    np.testing.assert_allclose(cost, np.reshape(expected, cost.shape), atol=1e-12)


def test_cosine_cost_is_never_negative():
    v = np.array([[0.6, 0.8], [1, 0]]) * (1 + 1e-9)
    np.testing.assert_allclose(matching.cosine_cost(v, v), [[0, 0.4], [0.4, 0]], atol=1e-8)
    assert (matching.cosine_cost(v, v) >= 0).all()


def test_fuse_motion_gates_and_weighs():
    mean, covariance = kalman.initiate(np.array([[50.0, 50, 0.5, 100]]))
    # Variance of x: (2 * 5)^2 of the track + 5^2 of the measurement = 125.
    near, far = 50 + np.sqrt(125), 50 + np.sqrt(125 * 9.5)
    measurements = np.array([[near, 50, 0.5, 100], [far, 50, 0.5, 100]])
    fused = matching.fuse_motion(np.array([[0.5, 0.0]]), mean, covariance, measurements)
    np.testing.assert_allclose(fused, [[0.98 * 0.5 + 0.02 * 1, np.inf]])
