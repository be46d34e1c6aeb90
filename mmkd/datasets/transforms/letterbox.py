"""Resize with the aspect ratio kept, and centred padding up to a fixed size."""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmkd.errors import MMKDError
from mmkd.registry import TRANSFORMS

from .geometry import PAD_VALUE, compose_homography, get_boxes, pad_colour, transform_boxes


@TRANSFORMS.register_module()
class Letterbox(BaseTransform):
    """Fits the image into ``scale`` as FairMOT does and says where it went.

    The image shrinks with cv2.INTER_AREA, as in FairMOT; where it has to grow, INTER_LINEAR is
    used, because growing by area repeats pixels. Sizes are rounded to whole pixels, so the two
    axes' factors may differ by a fraction of a pixel; boxes and homography use the true ones.

    Args:
        scale: (width, height) of the output, in pixels.
        pad_val: Fill of the border. In a uint8 image 127.5 becomes 128.

    Required key: ``img``. Modified: ``img``, ``img_shape``, ``gt_bboxes``. Added: ``scale_factor``
    (factor of x, factor of y), ``homography_matrix`` (3, 3) from original to padded pixels.
    """

    def __init__(self, scale: Tuple[int, int], pad_val: float = PAD_VALUE) -> None:
        if len(scale) != 2 or min(scale) < 1:
            raise MMKDError(f'Letterbox(scale=...) is (width, height) in pixels, not {scale!r}.')
        self.scale = (int(scale[0]), int(scale[1]))
        self.pad_val = pad_val

    def transform(self, results: dict) -> dict:
        """Resizes and pads ``results['img']`` and moves the boxes with it."""
        img = results['img']
        height, width = img.shape[:2]
        out_w, out_h = self.scale
        ratio = min(out_w / width, out_h / height)
        new_w = min(out_w, max(1, round(width * ratio)))
        new_h = min(out_h, max(1, round(height * ratio)))
        left, top = (out_w - new_w) // 2, (out_h - new_h) // 2

        if (new_w, new_h) != (width, height):
            method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
            img = cv2.resize(img, (new_w, new_h), interpolation=method)
        results['img'] = cv2.copyMakeBorder(
            img,
            top,
            out_h - new_h - top,
            left,
            out_w - new_w - left,
            cv2.BORDER_CONSTANT,
            value=pad_colour(self.pad_val, img),
        )
        results['img_shape'] = (out_h, out_w)
        results['scale_factor'] = (new_w / width, new_h / height)
        matrix = np.array([[new_w / width, 0, left], [0, new_h / height, top], [0, 0, 1]])
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = transform_boxes(get_boxes(results), matrix)
        compose_homography(results, matrix)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scale={self.scale}, pad_val={self.pad_val})'
