"""Teachers' features on one scale."""

from __future__ import annotations

from typing import Any, Optional

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS


@MODELS.register_module()
class EMAStandardize(nn.Module):
    """Subtracts the mean of each channel and divides by its deviation, as seen in training so far.

    Some channels of a foundation model are a hundred times larger than the rest, and one teacher's
    larger than another's; in a loss of values they drown the others. The statistics are those of
    UNIC (arXiv 2408.05088; naver/unic, utils.py, ``standard_normalize``), with three differences:
    they are set by the first batch instead of drifting there from (0, 1), and updated before they
    are used; what is masked does not count; and the variance is that of all places seen, with the
    weights that the momentum gives them, not a mean of the batches' own deviations, which for a
    few images of a video leaves out how much images differ.

    All processes hold the same numbers: sums are added up over them.

    Args:
        channels: The feature's.
        momentum: The share of a new batch, in (0, 1].
        eps: Added to the variance.

    Attributes:
        mean: (channels,), a buffer, as is ``var``.
        seen: How many batches counted.

    Raises:
        MMKDError: The momentum is out of its range.
    """

    mean: Tensor
    var: Tensor
    seen: Tensor

    def __init__(self, channels: int, momentum: float = 0.01, eps: float = 1e-6):
        super().__init__()
        _check_momentum(momentum)
        self.channels = channels
        self.momentum = momentum
        self.eps = eps
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('var', torch.ones(channels))
        # Not bool: torch 2.0's gloo cannot broadcast that, and DDP broadcasts buffers.
        self.register_buffer('seen', torch.tensor(0))

    def forward(self, feature: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Args:
            feature: (N, channels, h, w) or (N, channels), any floating type.
            mask: (N, 1, h, w), True where the statistics count, or weights; None counts all. A
                place of weight 0 may hold NaN.

        Returns:
            The same shape, standardised, in float32 (float64 stays); places that are masked, too.
        """
        if feature.dim() not in (2, 4) or feature.shape[1] != self.channels:
            raise MMKDError(
                f'EMAStandardize takes (N, {self.channels}, h, w) or (N, {self.channels}), but got '
                f'{tuple(feature.shape)}.'
            )
        x = feature.to(torch.promote_types(feature.dtype, torch.float32))
        if self.training:
            self._update(x.detach(), mask)
        shape = (1, -1) + (1,) * (x.dim() - 2)
        # Copies: the next batch changes the buffers, perhaps before this one's backward pass.
        mean, scale = self.mean.clone(), (self.var + self.eps).rsqrt()
        return (x - mean.reshape(shape).to(x.dtype)) * scale.reshape(shape).to(x.dtype)

    @torch.no_grad()
    def _update(self, x: Tensor, mask: Optional[Tensor]) -> None:
        x = x.float()
        if x.dim() == 2:
            x = x[:, :, None, None]
        n, _, h, w = x.shape
        if mask is None:
            weights = x.new_ones(())
            count = x.new_full((1,), float(n * h * w))
        else:
            weights = mask.to(x.dtype)
            x = torch.where(weights > 0, x, x.new_zeros(()))
            count = weights.sum().reshape(1)
        sums = _over_processes(torch.cat([count, (x * weights).sum((0, 2, 3))]))
        count, total = sums[:1], sums[1:]
        usable = (count > 0) & sums.isfinite().all()
        count = torch.where(count > 0, count, torch.ones_like(count))
        mean = total / count
        # Around the mean, in a second pass: differences of large squares would be noise.
        centred = (x - mean.reshape(1, -1, 1, 1)).square() * weights
        var = _over_processes(centred.sum((0, 2, 3))) / count
        usable = usable & var.isfinite().all()
        # A mixture of the old distribution and the batch's; where their means differ is variance.
        one = torch.ones_like(count)
        share = torch.where(self.seen > 0, one * self.momentum, one)
        shift = mean - self.mean
        mixed = (1 - share) * self.var + share * var + share * (1 - share) * shift.square()
        self.mean.copy_(torch.where(usable, self.mean + share * shift, self.mean))
        self.var.copy_(torch.where(usable, mixed, self.var))
        self.seen.add_(usable.reshape(()))

    def extra_repr(self) -> str:
        return f'{self.channels}, momentum={self.momentum:g}, eps={self.eps:g}'


def _over_processes(sums: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
    return sums


def _check_momentum(momentum: Any) -> None:
    real = isinstance(momentum, (int, float)) and not isinstance(momentum, bool)
    if not real or not 0 < momentum <= 1:
        raise MMKDError(
            'EMAStandardize takes momentum=, the share of a new batch, above 0 and at most 1, but '
            f'got {momentum!r}.'
        )
