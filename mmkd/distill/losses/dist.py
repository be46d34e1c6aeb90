"""DIST: the correlations that a stronger teacher leaves within reach."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, exact, reduce
from .masked import standardise


@MODELS.register_module()
class DISTLoss(DistillLoss):
    """One minus the Pearson correlation, across classes and across samples, arXiv 2205.10536.

    ``T ** 2 * (beta * inter + gamma * intra)``: inter compares the classes of one sample, intra
    the samples in one class. The samples of a map are its valid places, all those of the batch
    together, so intra depends on who shares the batch. What is constant (one sample alone)
    counts as 0; a student that is constant where the teacher is not costs a half there, not the
    1 of the published code.

    Args:
        beta: Weight of inter.
        gamma: Weight of intra.
        temperature: T, which divides the logits.
        softmax: Whether the correlations are those of probabilities; False compares the numbers
            themselves, for features that are no logits.
        reduction: 'mean' over valid locations, 'sum', 'sample': (N,), or 'none': (N, h, w).
    """

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 1.0,
        softmax: bool = True,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        self.beta = beta
        self.gamma = gamma
        self.temperature = self.check_positive('temperature', temperature)
        self.softmax = softmax

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
            MMKDError: The shapes differ, or there is one class only.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            self.check_classes(s, 'PKDLoss compares each channel alone')
            s, t = s / self.temperature, t / self.temperature
            if self.softmax:
                s, t = s.softmax(1), t.softmax(1)
            inter = (standardise(s, 1) - standardise(t, 1)).square().mean(1) / 2
            dims = (0, 2, 3)
            intra = standardise(s, dims, mask) - standardise(t, dims, mask)
            intra = intra.square().mean(1) / 2
            values = (self.beta * inter + self.gamma * intra) * self.temperature**2
            weights = None if mask is None else mask[:, 0]
            return reduce(values, weights, self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return (
            f'beta={self.beta:g}, gamma={self.gamma:g}, temperature={self.temperature:g}, '
            f'softmax={self.softmax}, {super().extra_repr()}'
        )
