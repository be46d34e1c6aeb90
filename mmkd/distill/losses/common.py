"""What every distillation loss shares: checks, precision and the masked reduction."""

from __future__ import annotations

from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

REDUCTIONS = ('mean', 'sum', 'sample', 'none')


class DistillLoss(nn.Module):
    """Base of the losses: a function of (student, teacher, mask).

    A subclass writes ``forward(student, teacher, mask=None, reduction=None)``. What else it asks
    for, it names; a distiller fills it in.

    Args:
        reduction: 'mean' over what is valid in the batch, 'sum', 'sample' (one mean per image:
            (N,)), or 'none'. The ``reduction`` of a call goes before it.

    Attributes:
        reductions: Those that this loss has.
        build_needs: Arguments of ``__init__`` that the distiller knows: 'channels', those of both
            maps when they meet.
        needs: Keyword arguments of ``forward``: 'instances', an
            :class:`mmkd.distill.instances.Instances`; 'labels', (N,) long, of whole images.
        same_channels: Whether both maps must have as many channels. Relational losses do not care.
    """

    reductions: Tuple[str, ...] = REDUCTIONS
    build_needs: Tuple[str, ...] = ()
    needs: Tuple[str, ...] = ()
    same_channels = True

    def __init__(self, reduction: str = 'mean'):
        super().__init__()
        self.reduction = self.check_reduction(reduction)

    def check_reduction(self, reduction: Optional[str] = None) -> str:
        """Returns ``reduction``, this loss's own if None, or says which ones there are."""
        if reduction is None:
            return self.reduction
        if reduction not in self.reductions:
            raise MMKDError(
                f'{type(self).__name__} has no reduction {reduction!r}. '
                f'{nearest(reduction, self.reductions)}'
            )
        return reduction

    def prepare(
        self, student: Tensor, teacher: Tensor, mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Checks the shapes and leaves half precision behind.

        Args:
            student: (N, C, h, w), any floating type; or (N, C), which is taken for a map of one
                place.
            teacher: The same shape (the number of channels may differ if ``same_channels`` is
                False).
            mask: (N, 1, h, w), True where the loss counts, or a weight per place, 0 or more; None
                counts everything.

        Returns:
            Both as maps in float32, or in float64 if they came so, and the mask.

        Raises:
            MMKDError: The shapes differ.
        """
        owner = type(self).__name__
        start = 1 if self.same_channels else 2
        shapes = [(x.dim(), x.shape[0], tuple(x.shape[start:])) for x in (student, teacher)]
        if shapes[0] != shapes[1] or student.dim() not in (2, 4):
            raise MMKDError(
                f'{owner} compares two maps of one shape (N, C, h, w), or two vectors (N, C), but '
                f'the student gives {tuple(student.shape)} and the teacher '
                f'{tuple(teacher.shape)}. A transform makes channels and grid meet: '
                "transform=dict(type='mmkd.FeatureTransform')."
            )
        if student.dim() == 2:
            student, teacher = student[:, :, None, None], teacher[:, :, None, None]
        wanted = (student.shape[0], 1, *student.shape[2:])
        if mask is not None and tuple(mask.shape) != wanted:
            raise MMKDError(
                f'{owner} takes a mask of shape {wanted}, but got {tuple(mask.shape)} of '
                f'{mask.dtype}.'
            )
        return at_least_float32(student), at_least_float32(teacher), mask

    def extra_repr(self) -> str:
        return f'reduction={self.reduction!r}'


def at_least_float32(x: Tensor) -> Tensor:
    """Float32, or float64 if it is already."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def exact(x: Tensor):
    """A context without autocast on ``x``'s device: losses compute in float32 at least."""
    return torch.autocast(x.device.type, enabled=False)


def reduce(values: Tensor, weights: Optional[Tensor], reduction: str) -> Tensor:
    """Reduces over what is valid; with nothing valid the result is an exact 0 with a gradient.

    Args:
        values: Losses of any shape, images first.
        weights: Bool, or a weight of 0 or more, expandable to that shape; None if everything is
            valid. A place of weight 0 may hold NaN.
        reduction: 'mean', weighted; 'sum'; 'sample', the weighted mean of each image, (N,); or
            'none', with 0 where nothing is valid.
    """
    size: Union[int, Tensor] = max(values.numel(), 1)
    each: Union[int, Tensor] = values[0].numel() if len(values) else 1
    if weights is not None:
        # Counted before it is expanded: a map of weights is C times smaller than its features.
        counted = weights.to(values.dtype)
        times = values.numel() / max(weights.numel(), 1)
        size, each = counted.sum() * times, counted.reshape(len(values), -1).sum(1) * times
        weights = weights.expand_as(values)
        valid = weights if weights.dtype == torch.bool else weights > 0
        values = torch.where(valid, values, values.new_zeros(()))
        if weights.dtype != torch.bool:
            values = values * weights
    if reduction == 'none':
        return values
    if reduction == 'sum':
        return values.sum()
    if reduction == 'sample':
        return _divide(values.reshape(len(values), -1).sum(1), each)
    return _divide(values.sum(), size)


def _divide(total: Tensor, count: Union[int, Tensor]) -> Tensor:
    if not isinstance(count, Tensor):
        return total / count
    # Asking for the count itself would make the host wait.
    return total / torch.where(count > 0, count, torch.ones_like(count))
