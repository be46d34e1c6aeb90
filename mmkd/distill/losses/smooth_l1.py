"""The absolute difference of two features, round at its tip."""

from __future__ import annotations

from typing import Optional

import torch.nn.functional as F
from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce


@MODELS.register_module()
class SmoothL1DistillLoss(DistillLoss):
    """``d ** 2 / (2 * beta)`` for ``d = |student - teacher|`` below beta, then ``d - beta / 2``.

    The loss of Fast R-CNN (arXiv 1504.08083), with a width. A few channels in which a foundation
    model is far out, as they all have, pull less than with a squared difference.

    Args:
        beta: Where the parabola becomes a line, in units of the features.
        reduction: 'mean' over channels and valid locations, 'sum', 'sample': (N,), or 'none':
            (N, C, h, w).
    """

    def __init__(self, beta: float = 1.0, reduction: str = 'mean'):
        super().__init__(reduction)
        self.beta = self.check_positive('beta', beta)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w) or (N, C), any floating type; computed in float32 even inside
                autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            values = F.smooth_l1_loss(s, t, reduction='none', beta=self.beta)
            return reduce(values, mask, self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return f'beta={self.beta:g}, {super().extra_repr()}'
