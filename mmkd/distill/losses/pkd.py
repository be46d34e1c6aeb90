"""Distillation by Pearson correlation."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce
from .masked import standardise


@MODELS.register_module()
class PKDLoss(DistillLoss):
    """One minus the Pearson correlation of each channel, in [0, 2] (arXiv 2207.02039).

    Both maps are standardised per channel, over the valid places of the whole batch, and half
    their squared difference is taken; its mean is one minus the correlation. Scale and offset of
    a channel do not matter, so that no transform is needed between like models. The published
    code divides by the sample's standard deviation plus 1e-6 instead of the population's: the
    same to a share of 1 / (N * h * w).

    Args:
        per_image: Standardise over each image alone. Then the loss does not depend on who shares
            the batch: one process and two with half the batch each agree.
        reduction: 'mean' over channels and valid locations, 'sum', 'sample': (N,), or 'none':
            (N, C, h, w).
    """

    def __init__(self, per_image: bool = False, reduction: str = 'mean'):
        super().__init__(reduction)
        self.per_image = per_image

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w), or (N, C) unless ``per_image``, any floating type; computed in
                float32 even inside autocast. A channel that is constant counts as 0 and gets no
                gradient.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights, of the means and spreads,
                too.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ, or ``per_image`` there is one place only.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            if self.per_image:
                self.check_places(s)
            dims = (2, 3) if self.per_image else (0, 2, 3)
            values = (standardise(s, dims, mask) - standardise(t, dims, mask)).square() / 2
            return reduce(values, mask, self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return f'per_image={self.per_image}, {super().extra_repr()}'
