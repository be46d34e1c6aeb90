"""What is known of one batch, worked out once however many losses ask."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError

from ..images import to_rgb, valid_mask, valid_quads
from ..instances import Instances, collect_instances

Extent = Tuple[float, float]


class Step:
    """One batch as teachers and losses see it.

    Args:
        inputs: What the student reads.
        data_samples: Its samples.
        preprocessor: The student's, which made ``inputs``.
        image_key: Which images the teacher sees if ``inputs`` is a dict.
        mask: Whether padding is left out of the losses.
        images: What ``images`` is to be, if it is known already.

    Attributes:
        images: (N, 3, H, W) float, RGB, 0..255.
        size: (H, W).
    """

    def __init__(
        self,
        inputs: Any,
        data_samples: Optional[Sequence],
        preprocessor: nn.Module,
        image_key: str = 'img',
        mask: bool = True,
        images: Optional[Tensor] = None,
    ):
        self.images = to_rgb(inputs, preprocessor, image_key) if images is None else images
        self.size: Tuple[int, int] = tuple(self.images.shape[2:])
        self.device = self.images.device
        self.data_samples = data_samples
        # mmtrack names what belongs to 'search_img' search_*.
        self._prefix = image_key[: -len('img')] if image_key.endswith('img') else ''
        self._quads: Optional[np.ndarray] = None
        if mask:
            self._quads = valid_quads(data_samples, len(self.images), self.size, self._prefix)
        self._masks: Dict[Tuple[Tuple[int, int], Extent], Tensor] = {}
        self._instances: Optional[Instances] = None
        self._labels: Optional[Tensor] = None

    def mask(self, grid: Tuple[int, int], extent: Extent) -> Optional[Tensor]:
        """Which cells have their centre within the real picture.

        Args:
            grid: (h, w) of the map.
            extent: Height and width of what it covers, in pixels of the input, from its top left
                corner on. A teacher that pads covers more than the input.

        Returns:
            (N, 1, h, w) bool, or None if everything counts.
        """
        if self._quads is None:
            return None
        key = (tuple(grid), tuple(extent))
        if key not in self._masks:
            self._masks[key] = valid_mask(self._quads, extent, grid, self.device)
        return self._masks[key]

    def instances(self, extent: Extent) -> Instances:
        """The ground-truth boxes of the batch, for maps that cover ``extent``."""
        if self._instances is None:
            self._instances = collect_instances(
                self.data_samples, len(self.images), self.size, self.device, self._prefix
            )
        return self._instances._replace(size=tuple(extent))

    def take(self, numbers: Sequence[int], rows: Tensor) -> Step:
        """The step of a part of the samples.

        Args:
            numbers: Those of the samples.
            rows: The same, (n,) long, on the device.
        """
        samples, count = self.data_samples, len(self.images)
        frames = 1 if not samples else count // len(samples)
        part = copy.copy(self)
        part.data_samples = None if samples is None else [samples[n] for n in numbers]
        each = torch.arange(frames, device=rows.device)
        part.images = self.images.index_select(0, (rows[:, None] * frames + each).flatten())
        if self._quads is not None:
            part._quads = self._quads[[n * frames + f for n in numbers for f in range(frames)]]
        part._masks, part._instances, part._labels = {}, None, None
        return part

    def labels(self) -> Tensor:
        """The class of each image, (N,) long, as mmpretrain's samples carry it.

        Raises:
            MMKDError: The samples have none.
        """
        if self._labels is None:
            found = [_label(sample) for sample in self.data_samples or ()]
            if not found or any(label is None for label in found):
                raise MMKDError(
                    'A loss asks for the class of each image, but the data samples have no '
                    'gt_label with one class each.'
                )
            self._labels = torch.cat(found).to(self.device, non_blocking=True)
        return self._labels


def step_samples(data_samples: Any) -> Optional[Sequence]:
    """A batch's samples, None if they are none: some models read a tensor of labels there."""
    return data_samples if isinstance(data_samples, (list, tuple)) else None


def _label(sample: Any) -> Optional[Tensor]:
    label = getattr(sample, 'gt_label', None)
    label = getattr(label, 'label', label)
    if not isinstance(label, Tensor) or label.numel() != 1:
        return None
    return label.reshape(1).long()
