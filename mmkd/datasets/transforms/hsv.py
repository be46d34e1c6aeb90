"""Jitter of colour saturation and brightness."""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class HSVJitter(BaseTransform):
    """Scales saturation and value by random factors, as FairMOT does in training.

    Args:
        fraction: Each factor is uniform in [1 - fraction, 1 + fraction].

    Required and modified key: ``img`` (H, W, 3) uint8 BGR.
    """

    def __init__(self, fraction: float = 0.5) -> None:
        self.fraction = fraction

    @cache_randomness
    def _random_gains(self) -> Tuple[float, float]:
        low, high = 1 - self.fraction, 1 + self.fraction
        return np.random.uniform(low, high), np.random.uniform(low, high)

    def transform(self, results: dict) -> dict:
        """Changes the colours of ``results['img']``; geometry and boxes stay."""
        results['img'] = self.apply(results['img'], self._random_gains())
        return results

    @staticmethod
    def apply(img: np.ndarray, gains: Tuple[float, float]) -> np.ndarray:
        """Args:
            img: (H, W, 3) uint8 BGR.
            gains: Of saturation and value.

        Returns:
            Another picture.
        """
        hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
        levels = np.arange(256, dtype=np.float32)
        # 256 products instead of one per pixel, and one look for all channels.
        table = np.empty((1, 256, 3), np.uint8)
        table[0, :, 0] = np.arange(256)
        for channel, gain in zip((1, 2), gains):
            table[0, :, channel] = np.clip(levels * gain, 0, 255)
        return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2BGR)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(fraction={self.fraction})'
