"""Hits at every threshold against mmtrack's own count, odd rules included."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation.functional import bbox_overlaps
from mmtrack.evaluation.functional import eval_sot_ope

from mmkd.evaluation.attribute_sot_curves import METRICS, THRESHOLDS, count_hits, paired_iou, score


def random_boxes(rng, frames, spread=6.0):
    """Truth and tracks (frames, 4) that follow it more or less."""
    corner, size = rng.uniform(20, 200, (frames, 2)), rng.uniform(5, 60, (frames, 2))
    truth = np.hstack([corner, corner + size]).astype(np.float32)
    return truth, (truth + rng.normal(0, spread, truth.shape)).astype(np.float32)


def mmtracks(truth, predicted, visible=None):
    """``{metric: (thresholds,) percent}`` of one video, from mmtrack."""
    with np.errstate(all='ignore'):
        found = eval_sot_ope([list(predicted)], [truth], None if visible is None else [visible])
    return {metric: found[f'ori_{metric}'][0] for metric in METRICS}


def ours(truth, predicted, visible=None):
    hits = count_hits(truth, predicted, visible)
    return {metric: hits[metric] / len(truth) * 100 for metric in METRICS}


def assert_equal(a, b):
    for metric in METRICS:
        np.testing.assert_allclose(a[metric], b[metric], rtol=0, atol=1e-9, err_msg=metric)


@pytest.mark.parametrize('only_visible', [False, True])
def test_curves_are_mmtracks(only_visible):
    rng = np.random.default_rng(0)
    for frames in (1, 2, 50, 301):
        truth, predicted = random_boxes(rng, frames)
        visible = rng.random(frames) < 0.7 if only_visible else None
        assert_equal(ours(truth, predicted, visible), mmtracks(truth, predicted, visible))


def test_a_video_without_a_visible_frame_has_no_hits():
    truth, predicted = random_boxes(np.random.default_rng(0), 5)
    visible = np.zeros(5, dtype=bool)
    assert_equal(ours(truth, predicted, visible), mmtracks(truth, predicted, visible))
    assert not any(hits.any() for hits in count_hits(truth, predicted, visible).values())


ODD = {
    'absent, all zeros': ([0, 0, 0, 0], [10, 10, 20, 20]),
    'absent, not a number': ([np.nan] * 4, [10, 10, 20, 20]),
    'no width': ([10, 10, 10, 30], [5, 10, 15, 30]),
    'centre left of the image': ([-20, 5, 10, 25], [-20, 5, 10, 25]),
    'centre on the edge': ([-10, 5, 10, 25], [-9, 5, 11, 25]),
    'upside down': ([30, 30, 10, 10], [10, 10, 30, 30]),
    'prediction without area': ([10, 10, 20, 20], [15, 15, 15, 15]),
    'prediction upside down': ([10, 10, 20, 20], [20, 20, 10, 10]),
    'prediction not a number': ([10, 10, 20, 20], [np.nan, 10, 20, 20]),
    'prediction infinite': ([10, 10, 20, 20], [10, 10, np.inf, 20]),
    'far too large': ([1e18, 1e18, 1e18, 2e18], [10, 10, 20, 20]),
}


@pytest.mark.parametrize('name', ODD)
def test_odd_boxes_count_as_in_mmtrack(name):
    truth, predicted = (np.array([box], dtype=np.float32) for box in ODD[name])
    assert_equal(ours(truth, predicted), mmtracks(truth, predicted))


def test_the_odd_rules_are_the_documented_ones():
    zero = np.zeros((1, 4), dtype=np.float32)
    hits = count_hits(zero, np.array([[10, 10, 20, 20]], dtype=np.float32))
    assert hits['success'].tolist() == [0] * 21
    assert hits['precision'].tolist() == hits['norm_precision'].tolist() == [1] * 51


@pytest.mark.parametrize('step', range(21))
def test_an_overlap_equal_to_its_threshold_is_no_hit(step):
    # 20 x 10 pixels of which step/20 are covered: the IoU is step/20, rounded to float32.
    truth = np.array([[100, 100, 120, 110]], dtype=np.float32)
    predicted = np.array([[100, 100, 100 + step, 110]], dtype=np.float32)
    assert_equal(ours(truth, predicted), mmtracks(truth, predicted))
    if step in (0, 5, 10, 15, 20):  # exact in binary
        assert count_hits(truth, predicted)['success'].sum() == step


@pytest.mark.parametrize('pixels', [0, 1, 20, 50, 51])
def test_a_distance_equal_to_its_threshold_is_a_hit(pixels):
    truth = np.array([[100, 100, 200, 200]], dtype=np.float32)
    predicted = truth + np.array([pixels, 0, pixels, 0], dtype=np.float32)
    assert count_hits(truth, predicted)['precision'].sum() == 51 - pixels
    assert_equal(ours(truth, predicted), mmtracks(truth, predicted))


corner = st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, -1.0, float('nan'), 1e20])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(corner, min_size=8, max_size=8), st.booleans()), min_size=1, max_size=6
    )
)
def test_any_boxes_count_as_in_mmtrack(frames):
    boxes = np.array([box for box, _ in frames], dtype=np.float32)
    visible = np.array([shown for _, shown in frames])
    truth, predicted = boxes[:, :4], boxes[:, 4:]
    for mask in (None, visible):
        assert_equal(ours(truth, predicted, mask), mmtracks(truth, predicted, mask))


def test_predictions_in_double_precision_are_not_rounded_first():
    truth, predicted = random_boxes(np.random.default_rng(3), 40)
    predicted = predicted + np.random.default_rng(4).normal(0, 1e-3, predicted.shape)
    assert predicted.dtype == np.float64
    assert_equal(ours(truth, predicted), mmtracks(truth, predicted))


def test_paired_overlap_is_the_diagonal_of_all_pairs():
    truth, predicted = random_boxes(np.random.default_rng(1), 200, spread=20.0)
    expected = np.diagonal(bbox_overlaps(truth, predicted))
    assert (paired_iou(truth, predicted) == expected).all()


def test_ten_thousand_frames_need_memory_by_the_frame():
    peaks = []
    for frames in (10_000, 40_000):
        truth, predicted = random_boxes(np.random.default_rng(0), frames)
        tracemalloc.start()
        count_hits(truth, predicted)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Overlaps of all pairs would be 400 MB.
    assert peaks[0] < 4e6
    assert peaks[1] < 4.5 * peaks[0]


def test_scores_are_read_off_the_curves():
    curves = np.stack([np.arange(51.0), 2 * np.arange(51.0)])
    assert score('precision', curves).tolist() == score('norm_precision', curves).tolist()
    assert score('precision', curves).tolist() == [20, 40]
    assert THRESHOLDS['precision'][20] == 20
    assert THRESHOLDS['norm_precision'][20] == 0.2
    assert score('success', np.array([100.0] * 20 + [0])) == pytest.approx(100 * 20 / 21)
