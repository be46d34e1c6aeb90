"""The squared difference of two features."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce


@MODELS.register_module()
class MSEDistillLoss(DistillLoss):
    """``(student - teacher) ** 2``.

    Args:
        reduction: 'mean' over channels and valid locations, 'sum', 'sample': (N,), or 'none':
            (N, C, h, w).
    """

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
            return reduce((s - t).square(), mask, self.check_reduction(reduction))
