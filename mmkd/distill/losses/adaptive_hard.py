"""The task's own loss, for as long as the student has not passed its teacher."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..response import Response
from .common import DistillLoss, at_least_float32, exact, reduce


@MODELS.register_module()
class AdaptiveHardLoss(DistillLoss):
    """``L_student`` of a sample where ``L_teacher - L_student < margin``, else 0.

    The adaptive hard term of distilled Siamese networks (Shen et al., arXiv 1907.10586; the
    margin is that of danier97/CFKD, which follows it): the ground truth teaches until the student
    is better than its teacher by the margin, from then on the teacher's answer alone. The decision
    is made for each sample, and no gradient goes through it.

    Args:
        margin: In units of the task loss.
        reduction: 'mean' over all samples, those that are switched off included, 'sum', or
            'sample' or 'none': (N,).

    Raises:
        MMKDError: ``margin`` is no number.
    """

    needs = ('response',)
    same_channels = False
    trains_teacher_side = False
    # It may well be 0 for all samples of a batch.
    gated = True

    def __init__(self, margin: float = 0.005, reduction: str = 'mean'):
        super().__init__(reduction)
        if isinstance(margin, bool) or not isinstance(margin, (int, float)) or margin != margin:
            raise MMKDError(f'AdaptiveHardLoss takes margin= as a number, but got {margin!r}.')
        self.margin = float(margin)

    def forward(
        self,
        student: Any = None,
        teacher: Any = None,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
        response: Optional[Response] = None,
    ) -> Tensor:
        """Args:
            student: Not read.
            teacher: Not read.
            mask: Not read: the task has its own.
            reduction: Instead of the loss's own.
            response: ``student_loss`` and ``teacher_loss``, both (N,), any floating type. A
                teacher whose loss is NaN has not been passed.

        Returns:
            A scalar, or (N,), in float32 at least.

        Raises:
            MMKDError: The response lacks one of them.
        """
        reduction = self.check_reduction(reduction)
        losses = [getattr(response, name, None) for name in ('student_loss', 'teacher_loss')]
        found = ['none' if x is None else tuple(x.shape) for x in losses]
        if 'none' in found or found[0] != found[1] or len(found[0]) != 1:
            raise MMKDError(
                'AdaptiveHardLoss compares the task losses (N,) of the student and the teacher, '
                f'which a SpecializedTeacherDistiller gives in response=, but found {found[0]} and '
                f'{found[1]}.'
            )
        with exact(losses[0]):
            own, theirs = (at_least_float32(x) for x in losses)
            passed = theirs.detach() - own.detach() >= self.margin
            values = torch.where(passed, own.new_zeros(()), own)
            return reduce(values, None, reduction)

    def extra_repr(self) -> str:
        return f'margin={self.margin:g}, {super().extra_repr()}'
