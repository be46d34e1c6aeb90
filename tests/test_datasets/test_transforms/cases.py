"""Hypothesis strategies and pipeline dicts for the geometric transforms."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

sizes = st.tuples(st.integers(8, 200), st.integers(8, 200))


@st.composite
def boxes(draw, max_count: int = 8) -> np.ndarray:
    """(n, 4) x1, y1, x2, y2, also outside of any image; n may be 0."""
    count = draw(st.integers(0, max_count))
    numbers = st.floats(-100, 300, width=32)
    corner = draw(hnp.arrays(np.float32, (count, 2), elements=numbers))
    extent = draw(hnp.arrays(np.float32, (count, 2), elements=st.floats(0.5, 150, width=32)))
    return np.concatenate([corner, corner + extent], axis=1).astype(np.float32)


def make_results(gt_bboxes: np.ndarray, size=(64, 48)) -> dict:
    """A pipeline dict as mmtrack's loading leaves it; ids are 100, 101, ..."""
    count = len(gt_bboxes)
    rng = np.random.default_rng(0)
    return {
        'img': rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8),
        'img_shape': (size[1], size[0]),
        'ori_shape': (size[1], size[0]),
        'gt_bboxes': gt_bboxes.copy(),
        'gt_bboxes_labels': np.arange(count) % 2,
        'gt_instances_id': np.arange(100, 100 + count, dtype=np.int32),
        'gt_ignore_flags': np.arange(count) % 3 == 0,
        'gt_names': [f'name {i}' for i in range(count)],
        'instances': [{}] * count,
    }


def enclose(gt_bboxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes around the corners that went through a homography: an independent reference."""
    result = []
    for x1, y1, x2, y2 in gt_bboxes.astype(np.float64):
        corners = [matrix @ (x, y, 1) for x in (x1, x2) for y in (y1, y2)]
        xs, ys = zip(*[(c[0] / c[2], c[1] / c[2]) for c in corners])
        result.append([min(xs), min(ys), max(xs), max(ys)])
    return np.array(result).reshape(-1, 4)
