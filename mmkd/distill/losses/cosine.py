"""One minus the cosine of two features."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from mmkd.registry import MODELS

from .common import check_reduction, prepare, reduce

# Squared norms below this count as zero vectors, whose cosine is 0.
_EPS = 1e-12


@MODELS.register_module()
class CosineDistillLoss(nn.Module):
    """``1 - cos(student, teacher)``, in [0, 2].

    Per location, every place of the map counts alike. Flattened, as the code published with
    arXiv 2407.18288 has it, a map is one vector of C * h * w numbers: places with large features
    dominate, and a student whose directions are all right still pays for their norms.

    Args:
        flatten: One cosine per image instead of one per location.
        reduction: 'mean' over the valid locations (or images), 'sum', or 'none': (N, h, w) per
            location, (N,) flattened.
    """

    def __init__(self, flatten: bool = False, reduction: str = 'mean'):
        super().__init__()
        self.flatten = flatten
        self.reduction = check_reduction(reduction, type(self).__name__)

    def forward(self, student: Tensor, teacher: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Args:
            student: (N, C, h, w), any floating type; computed in float32 even inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w) bool, True where the loss counts. Flattened, the other places are
                left out of the vectors, and images with none are left out of the mean.

        Returns:
            A scalar, or what ``reduction='none'`` gives; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ.
        """
        with torch.autocast(student.device.type, enabled=False):
            s, t, mask = prepare(student, teacher, mask, type(self).__name__)
            dims = (1, 2, 3) if self.flatten else 1
            if self.flatten and mask is not None:
                s, t = s * mask, t * mask
            dot = (s * t).sum(dims)
            norms = s.square().sum(dims).clamp(min=_EPS) * t.square().sum(dims).clamp(min=_EPS)
            values = 1 - dot * norms.rsqrt()
            if mask is None:
                valid = None
            else:
                valid = mask.flatten(1).any(1) if self.flatten else mask[:, 0]
            return reduce(values, valid, self.reduction)

    def extra_repr(self) -> str:
        return f'flatten={self.flatten}, reduction={self.reduction!r}'
