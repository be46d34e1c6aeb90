"""Decoupled distillation of a classifier: the right class apart from the others."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce


@MODELS.register_module()
class DKDLoss(DistillLoss):
    """``T ** 2 * (alpha * TCKD + beta * NCKD)``, arXiv 2203.08679.

    The divergence of :class:`.KLDistillLoss` is TCKD, that of (right class, all others), plus
    NCKD, that among the others, times the teacher's doubt. A teacher that is sure thus hides what
    it knows of the others; here NCKD has a weight of its own.

    Args:
        alpha: Weight of the right class against all others.
        beta: Weight of the others among themselves: 8 in the paper's CIFAR runs, 0.5 to 2 for
            ImageNet and detection. The more sure the teacher, the larger.
        temperature: T: 4 for CIFAR, 1 for ImageNet.
        reduction: 'mean' over valid locations, 'sum', 'sample': (N,), or 'none': (N, h, w).
    """

    needs = ('labels',)

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        self.alpha = alpha
        self.beta = beta
        self.temperature = self.check_positive('temperature', temperature)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
        labels: Optional[Tensor] = None,
    ) -> Tensor:
        """Args:
            student: Logits (N, C) or (N, C, h, w), any floating type; computed in float32 even
                inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.
            labels: (N,) long, the right class of each image, or (N, h, w) of each place. Those
                outside [0, C) are unknown (-1, 255) and left out.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ, labels are missing, or there is one class only.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            self.check_classes(s, 'there are no others to tell apart')
            labels = _expand(labels, s)
            known = (labels >= 0) & (labels < s.shape[1])
            right = labels == torch.arange(s.shape[1], device=s.device)[:, None, None]
            pairs = [_decouple(x / self.temperature, right) for x in (s, t)]
            (two_s, others_s), (two_t, others_t) = pairs
            target = (two_t.exp() * (two_t - two_s)).sum(1)
            others = (others_t.exp() * (others_t - others_s)).masked_fill(right, 0.0).sum(1)
            values = (self.alpha * target + self.beta * others) * self.temperature**2
            weights = known if mask is None else known * mask
            return reduce(values, weights[:, 0], self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return (
            f'alpha={self.alpha:g}, beta={self.beta:g}, temperature={self.temperature:g}, '
            f'{super().extra_repr()}'
        )


def _expand(labels: Optional[Tensor], logits: Tensor) -> Tensor:
    """(N, 1, h, w)."""
    n, _, h, w = logits.shape
    if labels is None:
        raise MMKDError('DKDLoss needs labels=, the right class of each image.')
    if tuple(labels.shape) == (n,):
        return labels[:, None, None, None].expand(n, 1, h, w)
    if tuple(labels.shape) != (n, h, w):
        raise MMKDError(
            f'DKDLoss takes labels of shape ({n},) or ({n}, {h}, {w}), but got '
            f'{tuple(labels.shape)}.'
        )
    return labels[:, None]


def _decouple(logits: Tensor, right: Tensor):
    """Log probabilities of (right, others), (N, 2, h, w), and of each among the others."""
    # Finite, as a place without a right class has to stay free of NaN.
    low = torch.finfo(logits.dtype).min / 4
    sum_of_others = logits.masked_fill(right, low).logsumexp(1, keepdim=True)
    sum_of_right = logits.masked_fill(~right, low).logsumexp(1, keepdim=True)
    two = torch.cat([sum_of_right, sum_of_others], 1).log_softmax(1)
    return two, logits.masked_fill(right, 0.0) - sum_of_others
