"""Relational distillation: distances and angles between examples."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .common import DistillLoss, exact
from .masked import unit
from .relations import SHORTEST

OVER = ('images', 'grid')


@MODELS.register_module()
class RKDLoss(DistillLoss):
    """Distances between pairs and angles within triples agree, whatever the coordinates.

    Park et al., Relational Knowledge Distillation, CVPR 2019 (arXiv 1904.05068, eq. 5 to 8)::

        distance = mean over pairs of huber(|s_i - s_j| / mean |s - s|, |t_i - t_j| / mean |t - t|)
        angle    = mean over triples of huber(cos of the angle at s_j, cos of the angle at t_j)
        loss     = distance_weight * distance + angle_weight * angle

    The examples are the images of the batch (of one process), a map being their masked mean, or,
    with ``over='grid'``, the parts of each image's own map. The means are over pairs and triples
    of different examples; the `published code <https://github.com/lenscloth/RKD>`_
    (``metric/loss.py``) counts the pairs of an example with itself as zeros along.

    It needs three examples: the distance of two is its own mean, so that the loss is 0 whatever
    the student does. With one or two images per process, take ``over='grid'``.

    Args:
        distance_weight: 25 in the paper's classification, with 50 for the angles.
        angle_weight: 0 leaves the angles out, which need memory for the examples' third power.
        over: 'images' or 'grid'.
        grid: (rows, columns) that a map is averaged to with ``over='grid'``; a map that is smaller
            is taken as it is.
        reduction: 'mean' over pairs and triples; 'sample': (N,), the mean over those that begin
            with that image or, for angles, have it as their corner ('grid': over those of that
            image); 'sum' of these.

    Raises:
        MMKDError: For a value that an option does not have.
    """

    reductions = ('mean', 'sum', 'sample')
    same_channels = False
    trains_teacher_side = False

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        over: str = 'images',
        grid: Tuple[int, int] = (6, 8),
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        if over not in OVER:
            raise MMKDError(f'RKDLoss has no over={over!r}. {nearest(over, OVER)}')
        if not (distance_weight >= 0 and angle_weight >= 0 and distance_weight + angle_weight > 0):
            raise MMKDError(
                'RKDLoss: distance_weight and angle_weight are 0 or more, and one of them is above '
                f'0, but got {distance_weight!r} and {angle_weight!r}.'
            )
        self.distance_weight = float(distance_weight)
        self.angle_weight = float(angle_weight)
        self.over_images = over == 'images'
        self.grid = tuple(grid)

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
            teacher: (N, D, h, w) or (N, D).
            mask: (N, 1, h, w), True where the means look, or weights. An example without such a
                place is in no pair.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or (N,) for 'sample'; 0 if there are no three examples.

        Raises:
            MMKDError: The shapes differ.
        """
        reduction = self.check_reduction(reduction)
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            s, valid = self._examples(s, mask)
            t, _ = self._examples(t, mask)
            zero = s.sum() * 0
            terms = []
            if self.distance_weight > 0:
                value, count = _distance(s, t.detach(), valid)
                terms.append((self.distance_weight, value, count))
            if self.angle_weight > 0:
                value, count = _angle(s, t.detach(), valid)
                terms.append((self.angle_weight, value, count))
            if reduction == 'mean':
                return zero + sum(w * _ratio(v.sum(), n.sum()) for w, v, n in terms)
            if not self.over_images:
                terms = [(w, v.sum(1), n.sum(1)) for w, v, n in terms]
            values = zero + sum(w * _ratio(v, n) for w, v, n in terms).flatten()
            return values.sum() if reduction == 'sum' else values

    def _examples(self, x: Tensor, mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """(B, P, C): B sets of P examples, and which of them are there, (B, P)."""
        weights = x.new_ones(len(x), 1, *x.shape[2:]) if mask is None else mask.to(x.dtype)
        if mask is not None and mask.dtype != torch.bool:
            x = x * mask
        if self.over_images:
            total, weight = x.sum((2, 3)), weights.sum((2, 3))  # (N, C), (N, 1)
            total, weight = total[None], weight[None]
        else:
            size = [min(a, b) for a, b in zip(self.grid, x.shape[2:])]
            total = F.adaptive_avg_pool2d(x, size).flatten(2).transpose(1, 2)
            weight = F.adaptive_avg_pool2d(weights, size).flatten(2).transpose(1, 2)
        found = weight > 0
        return total / torch.where(found, weight, torch.ones_like(weight)), found[..., 0]

    def extra_repr(self) -> str:
        return (
            f'distance_weight={self.distance_weight:g}, angle_weight={self.angle_weight:g}, '
            f'over={"images" if self.over_images else self.grid}, {super().extra_repr()}'
        )


def _pairs(valid: Tensor) -> Tensor:
    """(B, P, P): pairs of two different examples that are there."""
    return valid[:, :, None] & valid[:, None, :] & _different(valid)


def _different(valid: Tensor) -> Tensor:
    return ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)


def _distance(student: Tensor, teacher: Tensor, valid: Tensor) -> Tuple[Tensor, Tensor]:
    """(B, P): the sum over the pairs that begin with an example, and their number."""
    pairs = _pairs(valid)

    def relative(x: Tensor) -> Tensor:
        square = (x[:, :, None] - x[:, None, :]).square().sum(-1)
        # The root of 0 has no gradient.
        distance = square.clamp(min=SHORTEST**2).sqrt() * pairs
        mean = _ratio(distance.sum((1, 2), keepdim=True), pairs.sum((1, 2), keepdim=True))
        return _ratio(distance, mean)

    values = F.smooth_l1_loss(relative(student), relative(teacher), reduction='none') * pairs
    return values.sum(2), pairs.sum(2)


def _angle(student: Tensor, teacher: Tensor, valid: Tensor) -> Tuple[Tensor, Tensor]:
    """(B, P): the sum over the triples whose corner an example is, and their number."""
    pairs = _pairs(valid)

    def cosines(x: Tensor) -> Tensor:
        # Row i of the corner j: where i lies as seen from j.
        direction = unit(x[:, None, :] - x[:, :, None], -1, SHORTEST)
        return direction @ direction.transpose(-1, -2)  # (B, P, P, P)

    triples = pairs[:, :, :, None] & pairs[:, :, None, :] & _different(valid)
    values = F.smooth_l1_loss(cosines(student), cosines(teacher), reduction='none')
    values = (values * triples).sum((2, 3))
    return values, triples.sum((2, 3))


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, 0 where nothing was counted."""
    return total / torch.where(count > 0, count, torch.ones_like(count))
