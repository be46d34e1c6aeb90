"""Resize with the aspect ratio kept, and centred padding up to a fixed size."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmkd.errors import MMKDError
from mmkd.registry import TRANSFORMS

from .geometry import (
    PAD_VALUE,
    check_choice,
    compose_homography,
    get_boxes,
    pad_colour,
    transform_boxes,
)

MAPPINGS = ('exact', 'fairmot')


class Fitted(NamedTuple):
    """Where a picture goes within a letterbox.

    Attributes:
        size: (width, height) of the picture there, in whole pixels.
        corner: (x, y) of its top left corner.
        factors: Of x and of y.
        boxes: (3, 3), original pixels to padded ones, by which boxes move.
        image: (3, 3), by which detections are led back; the same in ``mapping='exact'``.
    """

    size: Tuple[int, int]
    corner: Tuple[int, int]
    factors: Tuple[float, float]
    boxes: np.ndarray
    image: np.ndarray


@TRANSFORMS.register_module()
class Letterbox(BaseTransform):
    """Fits the image into ``scale`` as FairMOT does and says where it went.

    The image shrinks with cv2.INTER_AREA. Its new size and the border are rounded to whole pixels,
    and there are two ways to say where a point of the image went:

    - ``mapping='exact'``: where the pixels are. Each axis has the factor of its rounded size, and
      the border is whole. An image that has to grow is resized with INTER_LINEAR, because growing
      by area repeats pixels.
    - ``mapping='fairmot'``: as the original code computes it, which the official weights and
      results rest on (``datasets/dataset/jde.py`` of ifzhang/FairMOT). Both axes have the factor
      before rounding, r. Boxes move by half of what the rounded size leaves over, ``x * r +
      (out_w - round(w * r)) / 2``. ``homography_matrix``, by which detections are led back, is
      centred instead, as the original's is when it tests (``tracker/multitracker.py``):
      ``(x - w / 2) * r + out_w / 2``. The two differ by a quarter of a pixel at most, and from
      'exact' by half a pixel of the border besides. Growing is by INTER_AREA.

    Args:
        scale: (width, height) of the output, in pixels.
        pad_val: Fill of the border. In a uint8 image 127.5 becomes 128.
        mapping: 'exact' or 'fairmot'.

    Raises:
        MMKDError: For a scale that is no size, or an unknown mapping.

    Required key: ``img``. Modified: ``img``, ``img_shape``, ``gt_bboxes``. Added: ``scale_factor``
    (factor of x, factor of y), ``homography_matrix`` (3, 3) from original to padded pixels.
    """

    def __init__(
        self, scale: Tuple[int, int], pad_val: float = PAD_VALUE, mapping: str = 'exact'
    ) -> None:
        if len(scale) != 2 or min(scale) < 1:
            raise MMKDError(f'Letterbox(scale=...) is (width, height) in pixels, not {scale!r}.')
        self.scale = (int(scale[0]), int(scale[1]))
        self.pad_val = pad_val
        self.mapping = check_choice('Letterbox', 'mapping', mapping, MAPPINGS)

    def transform(self, results: dict) -> dict:
        """Resizes and pads ``results['img']`` and moves the boxes with it."""
        img = results['img']
        height, width = img.shape[:2]
        fitted = self.geometry(width, height)
        (new_w, new_h), (left, top) = fitted.size, fitted.corner
        out_w, out_h = self.scale
        if (new_w, new_h) != (width, height):
            grows = min(out_w / width, out_h / height) >= 1 and self.mapping == 'exact'
            method = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
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
        results['scale_factor'] = fitted.factors
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = transform_boxes(get_boxes(results), fitted.boxes)
        compose_homography(results, fitted.image)
        return results

    def geometry(self, width: int, height: int) -> Fitted:
        """Where a picture of this size goes."""
        out_w, out_h = self.scale
        ratio = min(out_w / width, out_h / height)
        new_w = min(out_w, max(1, round(width * ratio)))
        new_h = min(out_h, max(1, round(height * ratio)))
        corner = (out_w - new_w) // 2, (out_h - new_h) // 2
        if self.mapping == 'exact':
            factors = new_w / width, new_h / height
            boxes_at = image_at = corner
        else:
            factors = ratio, ratio
            boxes_at = (out_w - new_w) / 2, (out_h - new_h) / 2
            image_at = (out_w - width * ratio) / 2, (out_h - height * ratio) / 2
        return Fitted(
            (new_w, new_h), corner, factors, _matrix(factors, boxes_at), _matrix(factors, image_at)
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale={self.scale}, pad_val={self.pad_val}, '
            f'mapping={self.mapping!r})'
        )


def _matrix(factors: Tuple[float, float], shift: Tuple[float, float]) -> np.ndarray:
    return np.array([[factors[0], 0, shift[0]], [0, factors[1], shift[1]], [0, 0, 1]])
