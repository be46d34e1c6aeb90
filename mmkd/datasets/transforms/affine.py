"""Random rotation, scale, translation and shear that keeps ids beside their boxes."""

from __future__ import annotations

import math
from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmkd.registry import TRANSFORMS

from .geometry import (
    PAD_VALUE,
    compose_homography,
    get_boxes,
    keep_instances,
    pad_colour,
    transform_boxes,
)

# Coordinates of pixel centres (OpenCV's) to continuous ones (ours), see geometry.py.
_TO_EDGES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
_TO_CENTRES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])


@TRANSFORMS.register_module()
class IdAwareRandomAffine(BaseTransform):
    """FairMOT's random affine transform, in place, with its filter of boxes.

    The matrix is shear @ translation @ (rotation and scale about the image's centre). One thing
    differs from the published code, which took the image's height as the measure of the shift in
    x and its width in y: here each axis is measured by its own side.

    A transformed box encloses the four moved corners and is not clipped. It is dropped with
    its label and id when it is at most ``min_size`` wide or high, when it has kept at most
    ``min_area_ratio`` of its area, when its sides differ by ``max_aspect_ratio`` or more, or when
    it no longer meets the image.

    Args:
        degrees: Rotation is uniform in [-degrees, degrees].
        translate: Shift of each axis, as a fraction of the image's side, at most.
        scale: (smallest, largest) factor.
        shear: Shear angle of each axis, in degrees, at most.
        min_size: In pixels.
        min_area_ratio: Of the area before.
        max_aspect_ratio: Longer side over shorter one.
        pad_val: Fill of what comes from outside of the image.

    Required key: ``img``. Modified: ``img``, ``gt_*``, ``homography_matrix``.
    """

    def __init__(
        self,
        degrees: float = 5.0,
        translate: float = 0.1,
        scale: Tuple[float, float] = (0.5, 1.2),
        shear: float = 2.0,
        min_size: float = 4.0,
        min_area_ratio: float = 0.1,
        max_aspect_ratio: float = 10.0,
        pad_val: float = PAD_VALUE,
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = tuple(scale)
        self.shear = shear
        self.min_size = min_size
        self.min_area_ratio = min_area_ratio
        self.max_aspect_ratio = max_aspect_ratio
        self.pad_val = pad_val

    @cache_randomness
    def _random_params(self) -> Tuple[float, float, float, float, float, float]:
        """Angle and scale, shift as a fraction of (width, height), shear in degrees."""
        uniform = np.random.uniform
        return (
            uniform(-self.degrees, self.degrees),
            uniform(*self.scale),
            uniform(-self.translate, self.translate),
            uniform(-self.translate, self.translate),
            uniform(-self.shear, self.shear),
            uniform(-self.shear, self.shear),
        )

    def _matrix(self, width: int, height: int) -> np.ndarray:
        """A random transform of continuous pixel coordinates, (3, 3) float64."""
        angle, scale, shift_x, shift_y, shear_x, shear_y = self._random_params()
        rotation = np.eye(3)
        rotation[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        translation = np.eye(3)
        translation[:2, 2] = shift_x * width, shift_y * height
        shear = np.eye(3)
        shear[0, 1] = math.tan(math.radians(shear_x))
        shear[1, 0] = math.tan(math.radians(shear_y))
        return shear @ translation @ rotation

    def transform(self, results: dict) -> dict:
        """Warps ``results['img']`` and moves or drops the instances on it."""
        img = results['img']
        height, width = img.shape[:2]
        matrix = self._matrix(width, height)
        results['img'] = cv2.warpAffine(
            img,
            (_TO_CENTRES @ matrix @ _TO_EDGES)[:2],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=pad_colour(self.pad_val, img),
        )
        results['img_shape'] = (height, width)
        compose_homography(results, matrix)
        if 'gt_bboxes' in results:
            before = get_boxes(results)
            after = transform_boxes(before, matrix)
            results['gt_bboxes'] = after
            keep_instances(results, self._is_usable(before, after, width, height))
        return results

    def _is_usable(
        self, before: np.ndarray, after: np.ndarray, width: int, height: int
    ) -> np.ndarray:
        """(n,) bool: which boxes still show enough of their object."""
        x1, y1, x2, y2 = after.T
        w, h = x2 - x1, y2 - y1
        area = (before[:, 2] - before[:, 0]) * (before[:, 3] - before[:, 1])
        tiny = 1e-16
        aspect = np.maximum(w / (h + tiny), h / (w + tiny))
        large = (w > self.min_size) & (h > self.min_size)
        inside = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0)
        kept_area = w * h / (area + tiny) > self.min_area_ratio
        return large & inside & kept_area & (aspect < self.max_aspect_ratio)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(degrees={self.degrees}, translate={self.translate}, '
            f'scale={self.scale}, shear={self.shear}, pad_val={self.pad_val})'
        )
