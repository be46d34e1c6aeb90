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
    """1 - IoU (n, m) of boxes (n, 4) and (m, 4) given by their corners, in 0..1.

    Sizes are counted in whole pixels (from 0 to 9 is 10 wide), as by ``bbox_overlaps`` of the
    package cython_bbox (https://github.com/samson-wang/cython_bbox), which FairMOT uses.
    """
    width, height = (
        np.minimum(boxes_a[:, k + 2, None], boxes_b[:, k + 2])
        - np.maximum(boxes_a[:, k, None], boxes_b[:, k])
        + 1
        for k in (0, 1)
    )
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    area_a, area_b = (
        (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
        for boxes in (boxes_a, boxes_b)
    )
    union = area_a[:, None] + area_b - overlap
    # Boxes turned inside out may have a union of 0, but then they do not overlap.
    return 1 - overlap / np.where(overlap > 0, union, 1)


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
    other = track_labels[:, None] != detection_labels
    if other.any():
        cost[other] = np.inf
    return cost


def assign(cost: np.ndarray, limit: float) -> Tuple[np.ndarray, np.ndarray]:
    """The cheapest one-to-one assignment when staying alone costs ``limit`` per pair.

    Minimises the sum over the pairs made plus ``limit`` for each pair not made.

    Args:
        cost: (n, m); ``inf`` forbids a pair.
        limit: Pairs that cost more are not made.

    Returns:
        Row indices, ascending, and the column index assigned to each.
    """
    if not (cost <= limit).any():
        nobody = np.zeros(0, dtype=np.intp)
        return nobody, nobody
    # The same call as FairMOT's, so that equally good assignments are told apart as there.
    _, column_of_row, _ = lap.lapjv(cost, extend_cost=True, cost_limit=limit)
    rows = np.flatnonzero(column_of_row >= 0)
    return rows, column_of_row[rows]
