"""The squared difference of two features."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from mmkd.registry import MODELS

from .common import check_reduction, prepare, reduce


@MODELS.register_module()
class MSEDistillLoss(nn.Module):
    """``(student - teacher) ** 2``, as in FitNets (Romero et al., arXiv 1412.6550).

    Args:
        reduction: 'mean' over channels and valid locations, 'sum', or 'none': (N, C, h, w).
    """

    def __init__(self, reduction: str = 'mean'):
        super().__init__()
        self.reduction = check_reduction(reduction, type(self).__name__)

    def forward(self, student: Tensor, teacher: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Args:
            student: (N, C, h, w), any floating type; computed in float32 even inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w) bool, True where the loss counts.

        Returns:
            A scalar, or what ``reduction='none'`` gives; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ.
        """
        with torch.autocast(student.device.type, enabled=False):
            s, t, mask = prepare(student, teacher, mask, type(self).__name__)
            return reduce((s - t).square(), mask, self.reduction)

    def extra_repr(self) -> str:
        return f'reduction={self.reduction!r}'
