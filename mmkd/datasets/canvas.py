"""Whole pictures of a training set, as a cache in warp mode keeps their features."""

from __future__ import annotations

from typing import Any, Tuple

import cv2
import mmcv
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmkd.distill.cache.warp import MIRRORED, canvas_scale
from mmkd.errors import MMKDError

# What augmentation fills with too.
_FILL = 128


class CanvasPictures(Dataset):
    """Items, (sample, 0 or 1), to a picture or its mirror image, fitted into a canvas.

    Args:
        dataset: Its ``get_data_info(i)`` has ``img_path``: one picture.
        canvas: (h, w) in pixels. The picture keeps its shape, at the top left.
    """

    def __init__(self, dataset: Any, canvas: Tuple[int, int]):
        self.dataset, self.canvas = dataset, canvas

    def __getitem__(self, item: Tuple[int, int]) -> Tuple[Tuple[int, int], Tensor]:
        """The item and (3, h, w) uint8 RGB."""
        sample, variant = item
        path = self.dataset.get_data_info(sample).get('img_path')
        if not isinstance(path, str):
            raise MMKDError(
                "mode='warp' keeps the features of one picture for each sample, but a sample of "
                f"{type(self.dataset).__name__} has no img_path. Use mode='exact'."
            )
        return item, torch.from_numpy(
            fit_canvas(mmcv.imread(path, channel_order='rgb'), self.canvas, variant == MIRRORED)
        )


def fit_canvas(picture: np.ndarray, canvas: Tuple[int, int], mirrored: bool) -> np.ndarray:
    """Args:
        picture: (h, w, 3) uint8.
        canvas: (H, W).
        mirrored: Whether it is turned over first.

    Returns:
        (3, H, W) uint8.
    """
    scale = canvas_scale(picture.shape[:2], canvas)
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(picture, size, interpolation=method)
    if mirrored:
        small = cv2.flip(small, 1)
    whole = np.full((*canvas, 3), _FILL, np.uint8)
    whole[: size[1], : size[0]] = small[: canvas[0], : canvas[1]]
    return np.ascontiguousarray(whole.transpose(2, 0, 1))
