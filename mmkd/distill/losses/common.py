"""What every distillation loss shares: checks, precision and the masked reduction."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ContextManager, Optional, Tuple

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
        trains_teacher_side: Whether a gradient goes to the second map as well, which a transform
            of the teacher's side (``direction='teacher_to_student'``) needs.
    """

    reductions: Tuple[str, ...] = REDUCTIONS
    build_needs: Tuple[str, ...] = ()
    needs: Tuple[str, ...] = ()
    same_channels = True
    trains_teacher_side = True

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

    def check_positive(self, name: str, value: float) -> float:
        """Returns ``value``, an argument called ``name``, or says that it must be more than 0."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise MMKDError(
                f'{type(self).__name__} takes a {name} that is more than 0, but got {value!r}.'
            )
        return float(value)

    def check_channels(self, maps: Tensor) -> None:
        """Stops if maps are not as wide as the trained parts, ``self.channels``."""
        if maps.shape[1] != self.channels:
            raise MMKDError(
                f'{type(self).__name__} was built for channels={self.channels}, but compares maps '
                f'of shape {tuple(maps.shape)}. Leave channels= out: a distiller fills it in.'
            )

    def check_places(self, maps: Tensor) -> None:
        """Stops if there is one place only, for a loss that compares the places of an image."""
        if maps.shape[2] * maps.shape[3] == 1:
            raise MMKDError(
                f'{type(self).__name__} compares the places of a map with each other, but '
                f'{tuple(maps.shape)} has one only, so that it would always be 0. Tap a map that '
                'has not been pooled, or take CosineDistillLoss.'
            )

    def check_classes(self, logits: Tensor, hint: str) -> None:
        """Stops if there is one channel only, for a loss that compares channels."""
        if logits.shape[1] == 1:
            raise MMKDError(
                f'{type(self).__name__} compares channels (classes) with each other, but '
                f'{tuple(logits.shape)} has one only: {hint}.'
            )

    def prepare(
        self, student: Tensor, teacher: Tensor, mask: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Checks the shapes, leaves half precision behind and clears what does not count.

        Args:
            student: (N, C, h, w), any floating type; or (N, C), which is taken for a map of one
                place.
            teacher: The same shape (the number of channels may differ if ``same_channels`` is
                False).
            mask: (N, 1, h, w), True where the loss counts, or a weight per place, 0 or more; None
                counts everything.

        Returns:
            Both as maps in float32, or in float64 if they came so, with zeros at the places of
            weight 0, and the mask: bool, or weights of the student's type.

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
        if mask is None:
            return at_least_float32(student), at_least_float32(teacher), None
        if tuple(mask.shape) != wanted:
            raise MMKDError(
                f'{owner} takes a mask of shape {wanted}, bool or weights, but got '
                f'{tuple(mask.shape)} of {mask.dtype}.'
            )
        # Zeroing the loss alone is too late: a NaN there would still reach the gradient, as the
        # product of zero and the NaN slope of what comes before. Half maps are cheaper to clear.
        valid = mask > 0
        student, teacher = (torch.where(valid, x, x.new_zeros(())) for x in (student, teacher))
        student, teacher = at_least_float32(student), at_least_float32(teacher)
        return student, teacher, mask if mask.dtype == torch.bool else mask.to(student.dtype)

    def extra_repr(self) -> str:
        return f'reduction={self.reduction!r}'


def known_channels(channels: Optional[int], owner: str) -> int:
    """Returns ``channels``, of a loss with trained parts, or says that they are missing."""
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise MMKDError(
            f'{owner} needs channels=, the number that both maps have when they meet, but got '
            f'{channels!r}. Inside a distiller it is found; on its own it must be given.'
        )
    return channels


def at_least_float32(x: Tensor) -> Tensor:
    """Float32, or float64 if it is already."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def exact(x: Tensor) -> ContextManager:
    """A context without autocast on ``x``'s device: losses compute in float32 at least."""
    # Torch knows no autocast of shapes without numbers, not even to switch it off.
    if x.device.type == 'meta':
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def any_valid(mask: Optional[Tensor]) -> Optional[Tensor]:
    """(N,) bool: which images have a place that counts; None if all places do."""
    return None if mask is None else (mask > 0).flatten(1).any(1)


def reduce(values: Tensor, weights: Optional[Tensor], reduction: str) -> Tensor:
    """Reduces over what is valid; with nothing valid the result is an exact 0 with a gradient.

    Args:
        values: Losses of any shape, images first.
        weights: Bool, or a weight of 0 or more, as many dimensions as ``values`` and expandable
            to its shape; None if everything is valid. A place of weight 0 may hold NaN.
        reduction: 'mean', weighted; 'sum', weighted; 'sample', the weighted mean of each image,
            (N,); or 'none', each value times its weight, with 0 where nothing is valid.
    """
    if weights is not None:
        # A bool mask is applied by the choice alone, without a product.
        valid, counted = weights > 0, weights.to(values.dtype)
        if weights.dtype != torch.bool:
            values = values * counted
        values = torch.where(valid, values, values.new_zeros(()))
    if reduction == 'none':
        return values
    if reduction == 'sum':
        return values.sum()
    per_image = values[0].numel() if len(values) else 1
    if reduction == 'sample':
        totals = values.reshape(len(values), per_image).sum(1)
        if weights is None:
            return totals / max(per_image, 1)
        # Counted before it is expanded: a map of weights is C times smaller than its features.
        each = counted.flatten(1).sum(1) if counted.dim() > 1 else counted
        return _divide(totals, each * (per_image / max(counted[:1].numel(), 1)))
    if weights is None:
        return values.sum() / max(values.numel(), 1)
    return _divide(values.sum(), counted.sum() * (values.numel() / max(counted.numel(), 1)))


def _divide(total: Tensor, count: Tensor) -> Tensor:
    # Asking for the count itself would make the host wait.
    return total / torch.where(count > 0, count, torch.ones_like(count))
