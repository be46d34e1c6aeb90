"""What every distillation loss shares: checks, precision and the masked reduction."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError, nearest

REDUCTIONS = ('mean', 'sum', 'none')


def check_reduction(reduction: str, owner: str) -> str:
    """Returns ``reduction`` or says which ones there are."""
    if reduction not in REDUCTIONS:
        raise MMKDError(f'{owner} has no reduction {reduction!r}. {nearest(reduction, REDUCTIONS)}')
    return reduction


def prepare(
    student: Tensor, teacher: Tensor, mask: Optional[Tensor], owner: str
) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
    """Checks the shapes and leaves half precision behind.

    Args:
        student: (N, C, h, w), any floating type.
        teacher: The same shape.
        mask: (N, 1, h, w) bool, True where the loss counts; None counts everything.
        owner: The loss's name, for the message.

    Returns:
        Both maps in float32, or in float64 if they came so, and the mask.

    Raises:
        MMKDError: The shapes differ.
    """
    if student.shape != teacher.shape or student.dim() != 4:
        raise MMKDError(
            f'{owner} compares two maps of one shape (N, C, h, w), but the student gives '
            f'{tuple(student.shape)} and the teacher {tuple(teacher.shape)}. A transform makes '
            "channels and grid meet: transform=dict(type='mmkd.FeatureTransform')."
        )
    wanted = (student.shape[0], 1, *student.shape[2:])
    if mask is not None and (mask.shape != wanted or mask.dtype != torch.bool):
        raise MMKDError(
            f'{owner} takes a bool mask of shape {wanted}, but got {tuple(mask.shape)} of '
            f'{mask.dtype}.'
        )
    return _at_least_float32(student), _at_least_float32(teacher), mask


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def reduce(values: Tensor, valid: Optional[Tensor], reduction: str) -> Tensor:
    """Reduces over what is valid; with nothing valid the result is an exact 0 with a gradient.

    Args:
        values: Losses of any shape.
        valid: Bool, expandable to that shape; None if everything is valid.
        reduction: 'mean' over the valid ones, 'sum' of them, or 'none', with 0 at the others.
    """
    if valid is None:
        count = values.numel()
    else:
        valid = valid.expand_as(values)
        values = torch.where(valid, values, values.new_zeros(()))
        count = valid.sum()
    if reduction == 'none':
        return values
    total = values.sum()
    if reduction == 'sum':
        return total
    # The clamp is a tensor operation: asking for the count would make the host wait.
    return total / (count if valid is None else count.clamp(min=1))
