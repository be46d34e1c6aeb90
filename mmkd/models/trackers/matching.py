"""Costs between tracks and detections, and the assignment that minimises them."""

from __future__ import annotations

from typing import Tuple

import lap
import numpy as np

from . import kalman

# 95 % quantile of the chi-square distribution with four degrees of freedom (x, y, a, h).
GATING_THRESHOLD = 9.4877


def cosine_cost(tracks: np.ndarray, detections: np.ndarray) -> np.ndarray:
    """1 - cosine similarity (n, m) of L2-normalised embeddings (n, D) and (m, D), in 0..2."""
    return np.maximum(0, 1 - tracks @ detections.T)


def iou_cost(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """1 - IoU (n, m) of boxes (n, 4) and (m, 4) given by their corners, in 0..1."""
    top_left = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    overlap = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    area_a = np.prod(boxes_a[:, 2:] - boxes_a[:, :2], axis=1)
    area_b = np.prod(boxes_b[:, 2:] - boxes_b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None] - overlap
    return 1 - overlap / np.maximum(union, np.finfo(union.dtype).tiny)


def fuse_motion(
    cost: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    measurements: np.ndarray,
    weight: float = 0.98,
) -> np.ndarray:
    """Weighs appearance with motion and forbids what motion makes implausible.

    Args:
        cost: (n, m) appearance cost.
        mean: (n, 8) predicted states.
        covariance: (n, 3, 4) of :mod:`kalman`.
        measurements: (m, 4) detections as centre, aspect ratio, height.
        weight: Share of the appearance cost; the rest is the squared Mahalanobis distance's.

    Returns:
        (n, m); infinite where the distance is beyond the gate.
    """
    distance = kalman.gating_distance(mean, covariance, measurements)
    fused = weight * cost + (1 - weight) * distance
    fused[distance > GATING_THRESHOLD] = np.inf
    return fused


def forbid_other_class(
    cost: np.ndarray, track_labels: np.ndarray, detection_labels: np.ndarray
) -> np.ndarray:
    """Makes every pair of two classes infinitely expensive, in place; returns ``cost``."""
    cost[track_labels[:, None] != detection_labels[None]] = np.inf
    return cost


def assign(cost: np.ndarray, limit: float) -> Tuple[np.ndarray, np.ndarray]:
    """The cheapest one-to-one assignment when staying alone costs ``limit`` per pair.

    Minimising the sum over matched pairs plus ``limit`` for each pair not made is the same as
    minimising the sum of ``min(cost, limit)`` over a full assignment and dropping the pairs that
    reached the limit. The second form needs a matrix of max(n, m) instead of n + m rows, and
    rows and columns without any affordable partner can be left out beforehand.

    Args:
        cost: (n, m); ``inf`` forbids a pair.
        limit: Pairs that cost this much or more are not made.

    Returns:
        Row indices, ascending, and the column index assigned to each.
    """
    affordable = cost < limit
    rows = np.flatnonzero(affordable.any(axis=1))
    columns = np.flatnonzero(affordable.any(axis=0))
    if not len(rows):
        return rows, columns
    part = np.minimum(cost[np.ix_(rows, columns)], limit)
    _, column_of_row, _ = lap.lapjv(part, extend_cost=True)
    made = column_of_row >= 0
    made[made] = part[np.flatnonzero(made), column_of_row[made]] < limit
    return rows[made], columns[column_of_row[made]]
