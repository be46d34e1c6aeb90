"""Focal and global distillation of detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..foreground import ForegroundWeight
from .common import DistillLoss, any_valid, exact, known_channels, reduce
from .masked import log_softmax_over_places, weighted_mean

if TYPE_CHECKING:
    from ..instances import Instances


@MODELS.register_module()
class FGDLoss(DistillLoss):
    """``alpha * foreground + beta * background + gamma * attention + lambda_ * relation``.

    arXiv 2111.11837, with the sums of its published code (yzd-v/FGD) and the weights that are the
    defaults there. Its configs halve gamma (5e-4) for RetinaNet; for two-stage detectors they have
    alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7. Of each image:

    - foreground and background: the squared difference, times the teacher's spatial and channel
      attention (``count * softmax(mean |x| / T)``). Each cell of a box weighs one over the box's
      cells, in overlaps the smallest box counts; cells outside all boxes share a weight of 1.
    - attention: the absolute difference of the student's and the teacher's attention.
    - relation: the squared difference after a global context block (GcBlock) for each, which are
      trained along.

    Which cells a box has is :class:`mmkd.ForegroundWeight`'s to say. (The published code
    widens boxes by up to two cells, and its first version swapped rows and columns.)

    Args:
        channels: Of both maps; the distiller fills them in.
        temperature: T of the attention.
        alpha: Weight of the foreground.
        beta: Weight of the background.
        gamma: Weight of the attention.
        lambda_: Weight of the relation; with 0 its blocks are not built.
        reduction: 'mean' over the images that have a valid place, 'sum', 'sample' or 'none': (N,).
    """

    build_needs = ('channels',)
    needs = ('instances',)

    def __init__(
        self,
        channels: Optional[int] = None,
        temperature: float = 0.5,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 1e-3,
        lambda_: float = 5e-6,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        self.channels = known_channels(channels, 'FGDLoss')
        self.temperature = self.check_positive('temperature', temperature)
        self.alpha, self.beta, self.gamma, self.lambda_ = alpha, beta, gamma, lambda_
        self._foreground = ForegroundWeight(1.0, 0.0, normalise='area')
        self.context_student = GlobalContext(self.channels) if lambda_ else None
        self.context_teacher = GlobalContext(self.channels) if lambda_ else None

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
        instances: Optional[Instances] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w) of more than one place, any floating type; computed in float32
                even inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights: the others get no
                attention and are of no context.
            reduction: Instead of the loss's own.
            instances: The boxes; its ``size`` is what the map covers.

        Returns:
            A scalar, or (N,) for 'sample' and 'none'; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ, from each other or from ``channels``; there is one place
                only; the instances are missing or those of another batch.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            self.check_channels(s)
            self.check_places(s)
            if instances is None or instances.num_images != len(s):
                found = 'none' if instances is None else f'those of {instances.num_images}'
                raise MMKDError(
                    f'FGDLoss needs the instances of its {len(s)} images, but got {found}.'
                )
            weights = torch.ones_like(s[:, :1]) if mask is None else mask.to(s.dtype)
            spatial_s, channel_s = self._attention(s, mask)
            spatial_t, channel_t = self._attention(t, mask)
            squared = ((s - t).square() * channel_t).sum(1, keepdim=True) * spatial_t
            inside = self._foreground(instances, tuple(s.shape[2:])).to(s.dtype)
            foreground = (squared * inside * weights).sum((1, 2, 3))
            background = weighted_mean(squared, (inside == 0) * weights, (2, 3)).flatten()
            attention = ((spatial_s - spatial_t).abs() * weights).sum((1, 2, 3))
            attention = attention + (channel_s - channel_t).abs().sum((1, 2, 3))
            values = self.alpha * foreground + self.beta * background + self.gamma * attention
            if self.lambda_:
                relation = self.context_student(s, mask) - self.context_teacher(t, mask)
                relation = (relation.square() * weights).sum((1, 2, 3))
                values = values + self.lambda_ * relation
            return reduce(values, any_valid(mask), self.check_reduction(reduction))

    def _attention(self, x: Tensor, mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Of places, (N, 1, h, w), and of channels, (N, C, 1, 1); both with the mean 1."""
        size = x.abs()
        spatial = size.mean(1, keepdim=True) / self.temperature
        spatial = (spatial - spatial.detach().amax((2, 3), keepdim=True)).exp()
        mean = weighted_mean(spatial, mask, (2, 3))
        spatial = spatial / torch.where(mean > 0, mean, torch.ones_like(mean))
        channel = weighted_mean(size, mask, (2, 3)) / self.temperature
        return spatial, channel.softmax(1) * self.channels

    def extra_repr(self) -> str:
        return (
            f'channels={self.channels}, temperature={self.temperature:g}, alpha={self.alpha:g}, '
            f'beta={self.beta:g}, gamma={self.gamma:g}, lambda_={self.lambda_:g}, '
            f'{super().extra_repr()}'
        )


class GlobalContext(nn.Module):
    """Adds to each place what a map says as a whole: GcBlock, arXiv 1904.11492.

    Args:
        channels: Of the map.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = max(channels // 2, 1)
        # A softmax follows, which would not see a bias.
        self.attend = nn.Conv2d(channels, 1, 1, bias=False)
        self.add = nn.Sequential(
            nn.Linear(channels, inner), nn.LayerNorm(inner), nn.ReLU(), nn.Linear(inner, channels)
        )
        nn.init.kaiming_normal_(self.attend.weight, mode='fan_in', nonlinearity='relu')
        # It starts as the identity.
        nn.init.zeros_(self.add[-1].weight)
        nn.init.zeros_(self.add[-1].bias)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Args:
            x: (N, C, h, w), 0 where the mask is 0.
            mask: (N, 1, h, w) bool or weights, or None.

        Returns:
            (N, C, h, w).
        """
        shares = log_softmax_over_places(self.attend(x), mask).exp()
        context = (x.flatten(2) * shares).sum(2)
        return x + self.add(context)[:, :, None, None]
