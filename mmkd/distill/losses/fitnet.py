"""The hint of FitNets: half the squared distance of two maps."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, any_valid, exact, reduce


@MODELS.register_module()
class FitNetLoss(DistillLoss):
    """``||student - teacher|| ** 2 / 2`` of each image, as arXiv 1412.6550, equation 3, has it.

    It points where :class:`.MSEDistillLoss` points, but is a sum over channels and places and not
    their mean: it is ``C * h * w / 2`` times as large, so maps of more channels or a finer grid
    weigh more, and its weight in a config is smaller by as much (about 1e-6). The paper's
    regressor is the transform.

    Args:
        reduction: 'mean' over the images that have a valid place, 'sum', 'sample': (N,), one sum
            per image, or 'none': (N, C, h, w).
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
            values = reduce((s - t).square() / 2, mask, 'none')
            reduction = self.check_reduction(reduction)
            if reduction == 'none':
                return values
            return reduce(values.flatten(1).sum(1), any_valid(mask), reduction)
