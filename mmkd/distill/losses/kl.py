"""The divergence of two classifiers' softened outputs."""

from __future__ import annotations

from typing import Optional

import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce

MODES = ('softmax', 'sigmoid')


@MODELS.register_module()
class KLDistillLoss(DistillLoss):
    """``T ** 2 * KL(p(teacher / T) || p(student / T))`` at each place, arXiv 1503.02531.

    With the factor the gradient stays as large at any temperature.

    Args:
        temperature: T; a higher one shows more of the classes that are unlikely.
        mode: What the logits are: 'softmax', of classes that exclude each other, or 'sigmoid',
            each channel a question of its own (focal heads, heatmaps).
        reduction: 'mean' over valid locations (and channels, of 'sigmoid'), 'sum', 'sample':
            (N,), or 'none': (N, h, w), of 'sigmoid' (N, C, h, w).
    """

    def __init__(self, temperature: float = 1.0, mode: str = 'softmax', reduction: str = 'mean'):
        super().__init__(reduction)
        self.temperature = self.check_positive('temperature', temperature)
        if mode not in MODES:
            raise MMKDError(f'KLDistillLoss has no mode {mode!r}. {nearest(mode, MODES)}')
        self.mode = mode

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: Logits (N, C, h, w) or (N, C), any floating type; computed in float32 even
                inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ, or the softmax has one class only.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            s, t = s / self.temperature, t / self.temperature
            if self.mode == 'softmax':
                self.check_classes(s, "mode='sigmoid' compares single channels")
                values = _divergence(s.log_softmax(1), t.log_softmax(1)).sum(1)
                mask = None if mask is None else mask[:, 0]
            else:
                # Yes and no, both as logarithms: 1 - p loses its digits where p is near 1.
                values = _divergence(F.logsigmoid(s), F.logsigmoid(t))
                values = values + _divergence(F.logsigmoid(-s), F.logsigmoid(-t))
            values = values * self.temperature**2
            return reduce(values, mask, self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return f'temperature={self.temperature:g}, mode={self.mode!r}, {super().extra_repr()}'


def _divergence(log_s: Tensor, log_t: Tensor) -> Tensor:
    return log_t.exp() * (log_t - log_s)
