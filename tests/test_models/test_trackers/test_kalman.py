from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.models.trackers import kalman

from .reference import DenseKalman


def dense(covariance):
    """(3, 4) of the four small filters to the 8x8 matrix they stand for."""
    position, cross, velocity = (np.diag(row) for row in covariance)
    return np.block([[position, cross], [cross, velocity]])


measurement = st.tuples(
    st.floats(-500, 2000), st.floats(-500, 2000), st.floats(0.1, 4), st.floats(2, 800)
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(measurement, min_size=4, max_size=4), min_size=1, max_size=5))
def test_four_small_filters_are_the_dense_one(histories):
    """Each history is four measurements of one track; all tracks run at once."""
    z = np.array(histories, dtype=np.float64)
    filter_ = DenseKalman()
    mean, covariance = kalman.initiate(z[:, 0])
    wanted = [filter_.start(track[0]) for track in z]
    for step in range(1, 4):
        mean, covariance = kalman.predict(mean, covariance)
        wanted = [filter_.predict(*state) for state in wanted]
        distance = kalman.gating_distance(mean, covariance, z[:, step])
        expected = [[filter_.distance(*state, other) for other in z[:, step]] for state in wanted]
        np.testing.assert_allclose(distance, expected, rtol=1e-6, atol=1e-9)
        mean, covariance = kalman.update(mean, covariance, z[:, step])
        wanted = [filter_.update(*state, track[step]) for state, track in zip(wanted, z)]
        for i, (m, c) in enumerate(wanted):
            np.testing.assert_allclose(mean[i], m, rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(dense(covariance[i]), c, rtol=1e-6, atol=1e-7)


def test_boxes_there_and_back():
    boxes = np.array([[0.0, 0, 10, 20], [-5, 3, 7.5, 4]])
    measured = kalman.measure(boxes[:, :2], boxes[:, 2:] - boxes[:, :2])
    np.testing.assert_allclose(measured, [[5, 10, 0.5, 20], [1.25, 3.5, 12.5, 1]])
    np.testing.assert_allclose(kalman.xyah_to_xyxy(measured), boxes)


def test_no_tracks():
    mean, covariance = kalman.initiate(np.zeros((0, 4)))
    mean, covariance = kalman.predict(mean, covariance)
    assert kalman.gating_distance(mean, covariance, np.ones((3, 4))).shape == (0, 3)
    assert kalman.update(mean, covariance, np.zeros((0, 4)))[0].shape == (0, 8)
