"""What the geometric transforms share: boxes, homographies, per-instance arrays.

Coordinates are continuous: pixel i covers [i, i + 1), so a box that covers a whole image of width
w ends at w. In these coordinates a resize is a pure scaling and a flip is ``x -> w - x``.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

from mmkd.errors import MMKDError, nearest

# FairMOT fills with 127.5, half of the range. An image of bytes cannot hold it: OpenCV rounds it
# to 128, and so do we, in so many words.
PAD_VALUE = 127.5


def pad_colour(pad_val: float, img: np.ndarray) -> tuple:
    """The fill for three channels, rounded half to even where the image holds integers."""
    value = float(np.rint(pad_val)) if np.issubdtype(img.dtype, np.integer) else float(pad_val)
    return (value,) * 3


def enclose_corners(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Encloses each box's four corners after the transform.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        matrix: (3, 3) affine, in the same coordinates.

    Returns:
        (n, 4) float64, not clipped.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = corners @ np.asarray(matrix, np.float64)[:2, :2].T + np.asarray(matrix)[:2, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def transform_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """:func:`enclose_corners`, as (n, 4) float32."""
    return enclose_corners(boxes, matrix).astype(np.float32)


def check_choice(owner: str, name: str, value: str, choices: Tuple[str, ...]) -> str:
    """The value, if it is one of the choices.

    Raises:
        MMKDError: If it is not; the message names the nearest one.
    """
    if value not in choices:
        raise MMKDError(f'{owner}: unknown {name} {value!r}. {nearest(value, choices)}')
    return value


def compose_homography(results: dict, matrix: np.ndarray) -> None:
    """Records that the image went through ``matrix`` after all that it went through before."""
    before = results.get('homography_matrix', np.eye(3))
    after = np.asarray(matrix, np.float64) @ np.asarray(before, np.float64)
    results['homography_matrix'] = after.astype(np.float32)


def get_boxes(results: dict) -> np.ndarray:
    """The boxes as (n, 4) float32; a frame without annotations has none."""
    boxes = results.get('gt_bboxes')
    if boxes is None:
        return np.zeros((0, 4), np.float32)
    if not isinstance(boxes, np.ndarray):
        raise MMKDError(
            f'The id-aware transforms take gt_bboxes as an array of numpy, not as '
            f'{type(boxes).__name__}. Load annotations with mmtrack.LoadTrackAnnotations.'
        )
    return boxes.reshape(-1, 4).astype(np.float32)


def keep_instances(results: dict, keep: np.ndarray) -> None:
    """Leaves out instances from every array that runs parallel to the boxes.

    Args:
        results: Pipeline dict. Touched are ``gt_bboxes`` and each ``gt_*`` with as many entries.
        keep: (n,) bool.
    """
    count = len(keep)
    for key, value in results.items():
        if not key.startswith('gt_'):
            continue
        if isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == count:
            results[key] = value[keep]
        elif isinstance(value, (list, tuple)) and len(value) == count:
            results[key] = type(value)(item for item, kept in zip(value, keep) if kept)
