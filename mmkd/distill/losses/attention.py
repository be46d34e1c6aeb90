"""Attention transfer: which places are active at all."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .common import DistillLoss, any_valid, exact, reduce
from .masked import root_weighted, unit


@MODELS.register_module()
class ATLoss(DistillLoss):
    """``||q_s / |q_s| - q_t / |q_t| || ** 2`` of each image, in [0, 2]; arXiv 1612.03928.

    ``q`` is the mean of ``|x| ** p`` over the channels, as a vector over the valid places. The
    number of channels may differ, so that no transform is needed but for the grid. The paper's
    equation 2 does not square the distance; its code does, and divides by the number of places,
    which makes the loss small on a fine grid and its weight large (1000).

    Args:
        p: The power, 1 or more.
        reduction: 'mean' over the images that have a valid place, 'sum', 'sample' or 'none': (N,).
    """

    same_channels = False

    def __init__(self, p: float = 2.0, reduction: str = 'mean'):
        super().__init__(reduction)
        self.p = self.check_positive('p', p)
        if p < 1:
            raise MMKDError(
                f'ATLoss takes a p of 1 or more, but got {p!r}: below, a feature of 0 has an '
                'infinite gradient.'
            )

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w) of more than one place, any floating type; computed in float32
                even inside autocast.
            teacher: (N, D, h, w).
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or (N,) for 'sample' and 'none'; 0 if nothing is valid.

        Raises:
            MMKDError: The grids differ, or there is one place only.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            self.check_places(s)
            attention = [
                unit(root_weighted(self._power(x).mean(1, keepdim=True), mask), (1, 2, 3))
                for x in (s, t)
            ]
            values = (attention[0] - attention[1]).square().sum((1, 2, 3))
            return reduce(values, any_valid(mask), self.check_reduction(reduction))

    def _power(self, x: Tensor) -> Tensor:
        return x.square() if self.p == 2 else x.abs().pow(self.p)

    def extra_repr(self) -> str:
        return f'p={self.p:g}, {super().extra_repr()}'
