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
    check_choice,
    compose_homography,
    enclose_corners,
    get_boxes,
    keep_instances,
    pad_colour,
)

STYLES = ('exact', 'fairmot')

# Coordinates of pixel centres (OpenCV's) to continuous ones (ours), see geometry.py.
_TO_EDGES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
_TO_CENTRES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])


@TRANSFORMS.register_module()
class IdAwareRandomAffine(BaseTransform):
    """FairMOT's random affine transform, in place, with its filter of boxes.

    The matrix is shear @ translation @ (rotation and scale about the image's centre). The
    original code (``random_affine`` in ``datasets/dataset/jde.py`` of ifzhang/FairMOT) has three
    ways of its own, which ``style='fairmot'`` repeats to the pixel and ``style='exact'`` does not:

    - the shift in x is a fraction of the image's height and the shift in y one of its width;
      'exact' measures each axis by its own side.
    - the pixels' centres take whole coordinates when the image is warped, while boxes are measured
      from pixels' edges, so that boxes are off by up to half a pixel times (1 - scale); 'exact'
      warps both in the same coordinates.
    - a box shrinks about its centre by ``max(|sin a|, |cos a|) ** 0.5``, 0.998 at 5 degrees;
      'exact' encloses all of the four moved corners.

    A transformed box is not clipped, unless ``clip_border`` says so. It is dropped with its label
    and id when it is at most ``min_size`` wide or high, when it has kept at most
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
        style: 'exact' or 'fairmot'.
        clip_border: Cut boxes off at the image's border before they are judged. FairMOT does so for
            MOT20 only (its README); on MOT17 boxes that leave the image score better.

    Raises:
        MMKDError: For an unknown style.

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
        style: str = 'exact',
        clip_border: bool = False,
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = tuple(scale)
        self.shear = shear
        self.min_size = min_size
        self.min_area_ratio = min_area_ratio
        self.max_aspect_ratio = max_aspect_ratio
        self.pad_val = pad_val
        self.style = check_choice('IdAwareRandomAffine', 'style', style, STYLES)
        self.clip_border = clip_border

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

    def _matrix(self, width: int, height: int) -> Tuple[np.ndarray, float]:
        """A random transform, (3, 3) float64, and its angle in degrees."""
        angle, scale, shift_x, shift_y, shear_x, shear_y = self._random_params()
        rotation = np.eye(3)
        rotation[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        translation = np.eye(3)
        sides = (height, width) if self.style == 'fairmot' else (width, height)
        translation[:2, 2] = shift_x * sides[0], shift_y * sides[1]
        shear = np.eye(3)
        shear[0, 1] = math.tan(math.radians(shear_x))
        shear[1, 0] = math.tan(math.radians(shear_y))
        return shear @ translation @ rotation, angle

    def _warp(self, img: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        size = img.shape[1::-1]
        fill = dict(
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=pad_colour(self.pad_val, img),
        )
        if self.style == 'fairmot':
            # The same points as warpAffine's, but rounded in another place.
            return cv2.warpPerspective(img, matrix, size, **fill)
        return cv2.warpAffine(img, (_TO_CENTRES @ matrix @ _TO_EDGES)[:2], size, **fill)

    def transform(self, results: dict) -> dict:
        """Warps ``results['img']`` and moves or drops the instances on it."""
        img = results['img']
        height, width = img.shape[:2]
        matrix, angle = self._matrix(width, height)
        results['img'] = self._warp(img, matrix)
        results['img_shape'] = (height, width)
        compose_homography(results, matrix)
        if 'gt_bboxes' in results:
            results['gt_bboxes'], keep = self.move_boxes(
                get_boxes(results), matrix, width, height, angle
            )
            keep_instances(results, keep)
        return results

    def move_boxes(
        self,
        before: np.ndarray,
        matrix: np.ndarray,
        width: int,
        height: int,
        angle: float = 0.0,
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Args:
            before: (n, 4) x1, y1, x2, y2.
            matrix: (3, 3) that moves them.
            width: Of the picture.
            height: Of the picture.
            angle: That the matrix turns by, in degrees; for ``style='fairmot'``.

        Returns:
            (n, 4) float32, and (n,) bool: which still show enough of their object.
        """
        after = enclose_corners(before, matrix)
        if self.style == 'fairmot':
            after = _shrink(after, angle)
        if self.clip_border:
            after = np.clip(after, 0, [width, height, width, height])
        return after.astype(np.float32), self._is_usable(before, after, width, height)

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
            f'scale={self.scale}, shear={self.shear}, pad_val={self.pad_val}, '
            f'style={self.style!r}, clip_border={self.clip_border})'
        )


def _shrink(boxes: np.ndarray, angle: float) -> np.ndarray:
    """Takes back, about each box's centre, some of what the turned corners added."""
    radians = math.radians(angle)
    factor = max(abs(math.sin(radians)), abs(math.cos(radians))) ** 0.5
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) * factor / 2
    return np.concatenate([centre - half, centre + half], axis=1)
