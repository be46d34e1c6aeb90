"""What losses over anchors share: their layout, and which of them count."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError, nearest

from ..response import Response
from .common import DistillLoss


class AnchorLoss(DistillLoss):
    """Base of losses that compare what two heads say of the anchors of a cell.

    A map (N, values * A, h, w) is read as (N, values, A, h, w): first the first value of every
    anchor, then the second of every anchor, as SiamRPN's heads have it.

    Args:
        values: Numbers per anchor.
        places: Which anchors count, one of ``all_places``.
        reduction: 'mean' over the anchors that count in the batch, 'sum', 'sample': the mean of
            each sample (N,), or 'none'.

    Attributes:
        all_places: What ``places`` may be.
    """

    needs = ('response',)
    all_places: Tuple[str, ...] = ()

    def __init__(self, values: int, places: str, reduction: str):
        super().__init__(reduction)
        if places not in self.all_places:
            raise MMKDError(
                f'{type(self).__name__} has no places={places!r}. '
                f'{nearest(places, self.all_places)}'
            )
        self.values = values
        self.places = places

    def anchors(self, maps: Tensor, values: Optional[int] = None) -> Tensor:
        """Reads (N, values * A, h, w) as (N, values, A, h, w).

        Raises:
            MMKDError: The channels are no multiple.
        """
        values = values or self.values
        if maps.shape[1] % values:
            raise MMKDError(
                f'{type(self).__name__} reads maps (N, {values} * anchors, h, w), but got '
                f'{tuple(maps.shape)}, whose channels are no multiple of {values}.'
            )
        return maps.unflatten(1, (values, maps.shape[1] // values))

    def given(self, response: Optional[Response], name: str, like: Tensor) -> Tensor:
        """A mask of the response.

        Args:
            response: What the distiller knows.
            name: 'matched' or 'positive'.
            like: (N, values, A, h, w).

        Raises:
            MMKDError: There is none, or it is of another shape.
        """
        mask = None if response is None else getattr(response, name)
        owner = type(self).__name__
        wanted = (like.shape[0], *like.shape[2:])
        if mask is None:
            raise MMKDError(
                f'{owner} with places={self.places!r} looks at the anchors that are {name} for the '
                f"student's task, but its response has no {name!r}. In a "
                "SpecializedTeacherDistiller a model gives it by response_masks; places='all' does "
                'without.'
            )
        if tuple(mask.shape) != wanted:
            raise MMKDError(
                f'{owner}: the response says {name} for {tuple(mask.shape)} (samples, anchors, h, '
                f'w), but the maps have {wanted}.'
            )
        return mask

    def extra_repr(self) -> str:
        return f'places={self.places!r}, {super().extra_repr()}'


def combine(counted: Optional[Tensor], mask: Optional[Tensor]) -> Optional[Tensor]:
    """Weights of anchors (N, A, h, w) within a mask of places (N, 1, h, w), bool or weights."""
    if counted is None or mask is None:
        return mask if counted is None else counted
    both = counted.dtype == torch.bool and mask.dtype == torch.bool
    return counted & mask if both else counted * mask


def clear(maps: Tensor, weights: Optional[Tensor]) -> Tensor:
    """Zeros (N, values, A, h, w) where the weights (N, A or 1, h, w) are not above 0.

    Zeroing a loss alone is too late; see :meth:`DistillLoss.prepare`.
    """
    return maps if weights is None else torch.where(weights[:, None] > 0, maps, maps.new_zeros(()))
