"""Predictions that MOTChallenge forgives: those on what looks like a person but is not tracked."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from .sequences import iou

# The benchmark's, whatever threshold the scores use.
_MATCH_IOU = 0.5


def forgiven(boxes: np.ndarray, is_distractor: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Finds the predictions on distractors in one frame, as the MOT16, 17 and 20 benchmarks do.

    All predictions are matched with all annotated boxes, whatever their class and mark, so that
    their overlaps sum up to the most; pairs below an IoU of 0.5 do not count. (TrackEval,
    ``trackeval/datasets/mot_challenge_2d_box.py``, ``get_preprocessed_seq_data``.)

    Args:
        boxes: Corners (n, 4) of every annotated box, in pixels.
        is_distractor: (n,) bool.
        predicted: Corners (m, 4).

    Returns:
        (m,) bool: matched with a distractor, so neither true nor false.
    """
    found = np.zeros(len(predicted), dtype=bool)
    if not np.any(is_distractor) or not len(predicted):
        return found
    overlap = iou(boxes, predicted)
    overlap[overlap < _MATCH_IOU - np.finfo(float).eps] = 0
    rows, columns = linear_sum_assignment(-overlap)
    matched = overlap[rows, columns] > np.finfo(float).eps
    found[columns[matched]] = is_distractor[rows[matched]]
    return found
