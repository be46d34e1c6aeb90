"""FairMOT's augmentation in one step: a picture is decoded small and moved once."""

from __future__ import annotations

from functools import lru_cache
from typing import Optional, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio

from mmkd.errors import MMKDError
from mmkd.registry import TRANSFORMS

from .affine import _TO_CENTRES, _TO_EDGES, IdAwareRandomAffine
from .flip import IdAwareRandomFlip
from .geometry import PAD_VALUE, get_boxes, keep_instances, pad_colour, transform_boxes
from .hsv import HSVJitter
from .letterbox import Letterbox

# What a JPEG decoder can leave out on its way, to the flag that asks for it.
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# How its files begin; decoders of other formats make the whole and then reduce it.
_JPEG = b'\xff\xd8'


@TRANSFORMS.register_module()
class FusedAugment(BaseTransform):
    """LoadImageFromFile, HSVJitter, Letterbox, IdAwareRandomAffine and IdAwareRandomFlip in one.

    It draws what they draw, in their order, so that one seed gives the same boxes, ids and
    ``homography_matrix``; pixels differ by interpolation, as the picture is warped once (bilinear)
    and not resized (by area), warped and mirrored. Where the whole is so small in the end that
    half, a quarter or an eighth of the pixels will do, the decoder makes no more of them, which
    also is what keeps a strongly reduced picture from aliasing. Colours change after the warp, on
    fewer pixels; the fill keeps its grey.

    Everything is exact in the sense of ``mapping='exact'`` and ``style='exact'``; for the
    original's own roundings use the separate transforms.

    Args:
        scale: (width, height) of the output, in pixels.
        hsv: See :class:`.hsv.HSVJitter`; 0 leaves colours alone.
        degrees: See :class:`.affine.IdAwareRandomAffine`, as the following.
        translate: Shift.
        scale_range: Its ``scale``.
        shear: Shear angle.
        min_size: Of a box.
        min_area_ratio: Of a box.
        max_aspect_ratio: Of a box.
        clip_border: Whether boxes are cut off at the border.
        flip_prob: See :class:`.flip.IdAwareRandomFlip`.
        pad_val: Fill.
        reduce: Whether the decoder of JPEG files may reduce.
        backend_args: Of ``mmengine.fileio``.

    Required key: ``img_path``. With ``width`` and ``height``, the picture's, the decoder can
    reduce. Modified: ``gt_*``. Added: ``img``, ``img_shape``, ``ori_shape``, ``scale_factor``,
    ``flip``, ``flip_direction``, ``homography_matrix``.
    """

    def __init__(
        self,
        scale: Tuple[int, int],
        hsv: float = 0.5,
        degrees: float = 5.0,
        translate: float = 0.1,
        scale_range: Tuple[float, float] = (0.5, 1.2),
        shear: float = 2.0,
        min_size: float = 4.0,
        min_area_ratio: float = 0.1,
        max_aspect_ratio: float = 10.0,
        clip_border: bool = False,
        flip_prob: float = 0.5,
        pad_val: float = PAD_VALUE,
        reduce: bool = True,
        backend_args: Optional[dict] = None,
    ) -> None:
        self.letterbox = Letterbox(scale, pad_val)
        self.jitter = HSVJitter(hsv)
        self.affine = IdAwareRandomAffine(
            degrees,
            translate,
            scale_range,
            shear,
            min_size,
            min_area_ratio,
            max_aspect_ratio,
            pad_val,
            clip_border=clip_border,
        )
        self.mirror = IdAwareRandomFlip(flip_prob)
        self.pad_val, self.reduce, self.backend_args = pad_val, reduce, backend_args

    def transform(self, results: dict) -> dict:
        """Makes ``results['img']`` and moves, or drops, the instances on it."""
        data = np.frombuffer(fileio.get(results['img_path'], self.backend_args), np.uint8)
        size = (results.get('width'), results.get('height'))
        picture = None
        if not all(size) or not self.reduce:
            picture = self._decode(data, 1, results)
            size = picture.shape[1::-1]
        gains = self.jitter._random_gains()
        width, height = self.letterbox.scale
        fitted = self.letterbox.geometry(*size)
        matrix, _ = self.affine._matrix(width, height)
        flip = self.mirror._random_flip()
        mirrored = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
        whole = mirrored @ matrix @ fitted.image
        factor = 1
        if picture is None:
            factor = reduction(whole) if data[:2].tobytes() == _JPEG else 1
            picture = self._decode(data, factor, results)
            if not _is_of(picture, size, factor):
                # Turned by its EXIF, or the annotation is wrong of it: what is there counts.
                picture, factor = self._decode(data, 1, results), 1
                size = picture.shape[1::-1]
                fitted = self.letterbox.geometry(*size)
                whole = mirrored @ matrix @ fitted.image
        results['img'] = self._paint(picture, whole, factor, gains)
        results['ori_shape'] = size[1], size[0]
        results['img_shape'] = height, width
        results['scale_factor'] = fitted.factors
        results['flip'] = flip
        results['flip_direction'] = 'horizontal' if flip else None
        results['homography_matrix'] = whole.astype(np.float32)
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = transform_boxes(get_boxes(results), fitted.boxes)
            after, keep = self.affine.move_boxes(get_boxes(results), matrix, width, height)
            results['gt_bboxes'] = transform_boxes(after, mirrored)
            keep_instances(results, keep)
        return results

    def _decode(self, data: np.ndarray, factor: int, results: dict) -> np.ndarray:
        picture = cv2.imdecode(data, _REDUCED[factor])
        if picture is None:
            raise MMKDError(f"'{results['img_path']}' is no picture that can be decoded.")
        return picture

    def _paint(
        self, picture: np.ndarray, whole: np.ndarray, factor: int, gains: Tuple[float, float]
    ) -> np.ndarray:
        size = self.letterbox.scale
        fill = pad_colour(self.pad_val, picture)
        from_picture = whole @ np.diag([factor, factor, 1.0])
        img = cv2.warpAffine(
            picture,
            (_TO_CENTRES @ from_picture @ _TO_EDGES)[:2],
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )
        if self.jitter.fraction == 0:
            return img
        img = self.jitter.apply(img, gains)
        h, w = picture.shape[:2]
        corners = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]]) @ from_picture.T
        return _keep_fill(img, corners[:, :2], fill)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({self.jitter}, {self.letterbox}, {self.affine}, '
            f'{self.mirror}, reduce={self.reduce})'
        )


def reduction(matrix: np.ndarray) -> int:
    """How much smaller a picture may be decoded without a pixel being magnified for it.

    Args:
        matrix: (3, 3), pixels of the picture to pixels of the output.

    Returns:
        1, 2, 4 or 8.
    """
    largest = np.linalg.norm(matrix[:2, :2], 2)
    return max(factor for factor in _REDUCED if factor == 1 or factor * largest <= 1)


def _is_of(picture: np.ndarray, size: Tuple[int, int], factor: int) -> bool:
    return picture.shape[1::-1] == tuple(-(-side // factor) for side in size)


def _keep_fill(img: np.ndarray, corners: np.ndarray, fill: tuple) -> np.ndarray:
    """Paints everything outside of the picture in the fill again.

    Args:
        img: (H, W, 3) uint8, which is changed.
        corners: (4, 2), the picture's, in pixels of ``img``.
        fill: A value for each channel.
    """
    mask = np.full(img.shape[:2], 255, np.uint8)
    # In sixteenths of a pixel, between centres.
    cv2.fillConvexPoly(mask, np.round((corners - 0.5) * 16).astype(np.int32), 0, shift=4)
    # Only what is outside is written, from a picture that is made once.
    return cv2.copyTo(_filled(img.shape, tuple(fill)), mask, img)


@lru_cache(maxsize=4)
def _filled(shape: Tuple[int, int, int], fill: tuple) -> np.ndarray:
    picture = np.empty(shape, np.uint8)
    picture[:] = fill
    return picture
