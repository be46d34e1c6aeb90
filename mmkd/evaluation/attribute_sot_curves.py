"""What a video's boxes score at every threshold, in memory that grows with its frames only."""

from __future__ import annotations

from typing import Dict

import numpy as np

# mmtrack's thresholds, to the last bit: an IoU; a distance of centres as a share of the object's
# size; a distance of centres in pixels.
THRESHOLDS: Dict[str, np.ndarray] = {
    'success': np.arange(0, 1.05, 0.05),
    'norm_precision': np.arange(0, 51, 1) / 100.0,
    'precision': np.arange(0, 51, 1),
}
METRICS = tuple(THRESHOLDS)
# Precisions are told at one threshold, 20 pixels and 0.2; success is the mean over all of them.
_AT = 20


def paired_iou(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Overlap of each true box with the predicted box of the same frame.

    Args:
        truth: Corners (n, 4) in pixels.
        predicted: The same.

    Returns:
        (n,) float32, the diagonal of what mmdet's ``bbox_overlaps`` says of all pairs, in the same
        arithmetic; NaN where a box has one.
    """
    a, b = truth.astype(np.float32), predicted.astype(np.float32)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    return overlap / np.maximum(area_a + area_b - overlap, np.float32(1e-6))


def count_hits(
    truth: np.ndarray, predicted: np.ndarray, visible: np.ndarray | None = None
) -> Dict[str, np.ndarray]:
    """In how many frames of a video the prediction is good enough, for every threshold.

    The rules are those of mmtrack's ``eval_sot_ope`` (``mmtrack/evaluation/functional``), odd ones
    included, so that scores can be compared: an IoU must be **above** its threshold, a distance at
    most its own; a true box without width or height has the IoU -1, which is never a hit; a true
    box whose centre is not right of and below the image's corner (as of an absent object annotated
    with zeros, or with NaN) has the distance -1, which always is.

    Args:
        truth: Corners (n, 4) in pixels; float32 as mmtrack has them.
        predicted: Corners (n, 4) in pixels.
        visible: (n,) bool; frames without are no hits. None counts all.

    Returns:
        ``{metric: (thresholds,) int64}``, see :data:`THRESHOLDS`; divide by all frames of the
        video, visible or not.
    """
    if visible is not None:
        truth, predicted = truth[visible], predicted[visible]
    # What is not finite ends as NaN or infinity and is no hit.
    with np.errstate(over='ignore', invalid='ignore'):
        size = truth[:, 2:] - truth[:, :2]
        overlap = np.where((size > 0).all(axis=1), paired_iou(truth, predicted), -1.0)
        centre = 0.5 * (truth[:, 2:] + truth[:, :2])
        found = 0.5 * (predicted[:, 2:] + predicted[:, :2])
        scale = size + 1e-16
        errors = {
            'norm_precision': _distance(centre / scale, found / scale),
            'precision': _distance(centre, found),
        }
        hits = {'success': (overlap[:, None] > THRESHOLDS['success']).sum(axis=0)}
        for metric, error in errors.items():
            hits[metric] = (error[:, None] <= THRESHOLDS[metric]).sum(axis=0)
    return hits


def score(metric: str, curve: np.ndarray) -> np.ndarray:
    """The one number that stands for a curve.

    Args:
        metric: One of :data:`METRICS`.
        curve: (..., thresholds).

    Returns:
        (...,): The mean (area under the curve) for success, the value at 20 pixels or 0.2 for the
        precisions.
    """
    return curve.mean(axis=-1) if metric == 'success' else curve[..., _AT]


def _distance(centre: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances (n,) of centres (n, 2); -1 where the true one is not above 0 in x and y."""
    distance = np.sqrt(((centre - found) ** 2).sum(axis=1))
    return np.where((centre > 0).all(axis=1), distance, -1.0)
