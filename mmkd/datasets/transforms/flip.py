"""Random horizontal flip."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmkd.registry import TRANSFORMS

from .geometry import compose_homography, get_boxes, transform_boxes


@TRANSFORMS.register_module()
class IdAwareRandomFlip(BaseTransform):
    """Mirrors the image left to right with a probability; boxes keep their ids and order.

    Args:
        prob: Probability of the flip.

    Required key: ``img``. Modified: ``img``, ``gt_bboxes``, ``homography_matrix``. Added: ``flip``
    (bool), ``flip_direction`` ('horizontal' or None).
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    @cache_randomness
    def _random_flip(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: dict) -> dict:
        """Mirrors ``results['img']`` and its boxes, or leaves both alone."""
        flip = self._random_flip()
        results['flip'] = flip
        results['flip_direction'] = 'horizontal' if flip else None
        width = results['img'].shape[1]
        matrix = np.eye(3)
        if flip:
            matrix[0] = -1, 0, width
            results['img'] = cv2.flip(results['img'], 1)
            if 'gt_bboxes' in results:
                results['gt_bboxes'] = transform_boxes(get_boxes(results), matrix)
        compose_homography(results, matrix)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
