"""Heatmaps of centres, as CenterNet and FairMOT make them."""

from __future__ import annotations

from typing import Optional

import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce

MODES = ('focal', 'probability', 'logit')

# What a score is kept away from 0 and 1 before its logit is taken, as in CenterNet.
_MARGIN = 1e-4


@MODELS.register_module()
class HeatmapDistillLoss(DistillLoss):
    """The teacher's scores as soft targets of the student's heatmap.

    With scores ``p`` and ``q`` of the student and the teacher, each place and class costs:

    - 'focal': ``|q - p| ** gamma * (CE(q, p) - CE(q, q))``, the focal loss for soft targets
      (Li et al., Generalized Focal Loss, arXiv 2006.04388, eq. 5) less the cross entropy that
      nobody can avoid.
    - 'probability': ``(p - q) ** 2``.
    - 'logit': the squared difference of the logits, which also tells background apart that both
      score 0.

    Nearly all of a heatmap is background (CenterNet, arXiv 1904.07850, divides by the number of
    objects for that reason). Here a place and class counts by ``background + q ** power``, and
    the mean is over these weights: what is around the teacher's peaks, objects that nobody has
    annotated included, is about as much as all of the rest.

    Args:
        mode: 'focal', 'probability' or 'logit'.
        gamma: Of 'focal'.
        power: A larger one draws the weight together on the peaks; 0 with ``background=0`` weighs
            all places alike.
        background: Weight of a place where the teacher sees nothing.
        temperature: Divides the logits of both; 'probability' and 'focal'.
        logits: Whether the maps are logits (FairMOT's ``head.heatmap`` gives them) or scores.
        reduction: 'mean' over the weights, 'sum', 'sample': (N,), or 'none': (N, C, h, w).

    Raises:
        MMKDError: For a value that an option does not have.
    """

    trains_teacher_side = False

    def __init__(
        self,
        mode: str = 'focal',
        gamma: float = 2.0,
        power: float = 1.0,
        background: float = 0.01,
        temperature: float = 1.0,
        logits: bool = True,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        if mode not in MODES:
            raise MMKDError(f'HeatmapDistillLoss has no mode={mode!r}. {nearest(mode, MODES)}')
        for name, value in (('gamma', gamma), ('power', power), ('background', background)):
            if not value >= 0:
                raise MMKDError(f'HeatmapDistillLoss: {name} is 0 or more, but got {value!r}.')
        if not temperature > 0:
            raise MMKDError(f'HeatmapDistillLoss: temperature is above 0, but got {temperature!r}.')
        self.mode = mode
        self.gamma = float(gamma)
        self.power = float(power)
        self.background = float(background)
        self.temperature = float(temperature)
        self.logits = logits

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, classes, h, w), any floating type; computed in float32 even inside
                autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ.
        """
        reduction = self.check_reduction(reduction)
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            t = t.detach()
            if not self.logits:
                s, t = (x.clamp(_MARGIN, 1 - _MARGIN).logit() for x in (s, t))
            weights = self.background + t.sigmoid() ** self.power
            if mask is not None:
                weights = weights * mask
            return reduce(self._values(s, t), weights, reduction)

    def _values(self, s: Tensor, t: Tensor) -> Tensor:
        if self.mode == 'logit':
            return (s - t).square()
        s, t = s / self.temperature, t / self.temperature
        p, q = s.sigmoid(), t.sigmoid()
        if self.mode == 'probability':
            return (p - q).square()
        ce = F.binary_cross_entropy_with_logits(s, q, reduction='none')
        least = F.binary_cross_entropy_with_logits(t, q, reduction='none')
        if self.gamma == 0:
            return ce - least
        # Between two equal scores |x| ** gamma has no slope below gamma 1.
        gap = (q - p).square().clamp(min=1e-24)
        return gap ** (self.gamma / 2) * (ce - least)

    def extra_repr(self) -> str:
        return (
            f'mode={self.mode!r}, gamma={self.gamma:g}, power={self.power:g}, '
            f'background={self.background:g}, {super().extra_repr()}'
        )
