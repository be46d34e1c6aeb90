"""Weights of places from ground-truth boxes: what the loss looks at."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .instances import Instances

FORMS = ('box', 'gaussian')
NORMALISE = (None, 'area')

# Numbers held at once while boxes are drawn; bounds the memory (64 MiB), not the result.
_CHUNK = 2**24


@MODELS.register_module()
class ForegroundWeight(nn.Module):
    """A weight for each place: ``foreground`` within the boxes, ``background`` elsewhere.

    A place belongs to a box if its centre does; a box between all centres has the place that its
    own centre is in. Where boxes overlap the largest value holds.

    With ``normalise='area'`` the values are those of FGD (Yang et al., CVPR 2022, arXiv
    2111.11837, eq. 4): a place in a box weighs ``foreground / area``, of the smallest box if there
    are several, and a place outside ``background / (places outside)``, so that a small object
    counts as much as a large one, and as all of the background. (Areas are counted in places; the
    `published code <https://github.com/yzd-v/FGD>`_ widens each box by up to two.)

    Several maps of different strides can share the objects out by size: give each entry of
    ``distill`` its own ``scale_range``.

    Args:
        foreground: Weight in a box, 0 or more.
        background: Weight elsewhere, 0 or more.
        normalise: None, or 'area'.
        scale_range: (low, high): boxes count whose ``sqrt(width * height)`` in input pixels is at
            least ``low`` and below ``high``; None for no end. The others are background.
        form: 'box', or 'gaussian': from ``foreground`` in the centre down to ``background`` at
            the sides, cut off there. With 'area' it is a Gaussian with the sum ``foreground``.
        sigma: Of the Gaussian, as a part of the box's sides. At least half a place.

    Raises:
        MMKDError: For a value that an option does not have.
    """

    def __init__(
        self,
        foreground: float = 1.0,
        background: float = 0.1,
        normalise: Optional[str] = None,
        scale_range: Optional[Sequence[Optional[float]]] = None,
        form: str = 'box',
        sigma: float = 0.25,
    ):
        super().__init__()
        owner = type(self).__name__
        for name, value in (('foreground', foreground), ('background', background)):
            if not value >= 0:
                raise MMKDError(f'{owner}: {name} is a weight, 0 or more, but got {value!r}.')
        if foreground == background == 0:
            raise MMKDError(f'{owner}: foreground=0 and background=0 leave nothing to distil.')
        if normalise not in NORMALISE:
            raise MMKDError(
                f"{owner} has no normalise={normalise!r}. It is None, or 'area' as in FGD."
            )
        if form not in FORMS:
            raise MMKDError(f'{owner} has no form={form!r}. {nearest(form, FORMS)}')
        if not sigma > 0:
            raise MMKDError(f'{owner}: sigma is a part of the sides, above 0, but got {sigma!r}.')
        self.foreground = float(foreground)
        self.background = float(background)
        self.by_area = normalise == 'area'
        self.scale_range = _check_range(scale_range, owner)
        self.gaussian = form == 'gaussian'
        self.sigma = float(sigma)

    @torch.no_grad()
    def forward(
        self, instances: Instances, grid: Tuple[int, int], mask: Optional[Tensor] = None
    ) -> Tensor:
        """Args:
            instances: The boxes of N images.
            grid: (h, w) of the map, which covers ``instances.size``.
            mask: (N, 1, h, w) bool, True where the map is real.

        Returns:
            (N, 1, h, w) float32; 0 where the mask is False.
        """
        device = instances.boxes.device
        best = torch.zeros((instances.num_images, *grid), device=device)
        if instances.most:
            rows, columns, height = self._axes(instances, grid)
            table = instances.table(torch.cat([rows, columns, height[:, None]], dim=1))
            step = max(_CHUNK // best.numel(), 1)
            for part in table.split(step, dim=1):
                y, x = part[:, :, : grid[0]], part[:, :, grid[0] : -1]
                x = x * part[:, :, -1:]
                best = torch.maximum(best, (y[..., :, None] * x[..., None, :]).amax(1))
        outside = best == 0
        if mask is not None:
            outside &= mask[:, 0]
        if self.by_area:
            places = outside.sum((1, 2), keepdim=True).clamp(min=1)
            weights = self.foreground * best + self.background * outside / places
        else:
            weights = self.background + (self.foreground - self.background) * best
        weights = weights[:, None]
        return weights if mask is None else weights * mask

    def _axes(self, instances: Instances, grid: Tuple[int, int]) -> Tuple[Tensor, Tensor, Tensor]:
        """What each box draws, (M, h) times (M, w) times (M,)."""
        x1, y1, x2, y2 = instances.boxes.unbind(1)
        low, high = self.scale_range
        scale = ((x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)).sqrt()
        counts = instances.inside() & (scale >= low) & (scale < high)
        rows = self._axis(y1, y2, grid[0], grid[0] / instances.size[0])
        columns = self._axis(x1, x2, grid[1], grid[1] / instances.size[1])
        height = counts.float()
        if self.by_area:
            height = height / (rows.sum(1) * columns.sum(1)).clamp(min=1e-30)
        return rows, columns, height

    def _axis(self, low: Tensor, high: Tensor, cells: int, scale: float) -> Tensor:
        """(M, cells) along one axis, 0 outside of the box and above 0 somewhere."""
        low, high = low * scale, high * scale
        # Cut to the map first: also a box that reaches in by a sliver owns a place.
        start, end = low.clamp(0, cells), high.clamp(0, cells)
        own = ((start + end) / 2).clamp(0, cells - 1).long()[:, None]
        place = torch.arange(cells, device=low.device)
        centre = place + 0.5
        within = (centre >= start[:, None]) & (centre < end[:, None])
        within = within | ((place == own) & ~within.any(1, keepdim=True))
        if not self.gaussian:
            return within.float()
        sigma = ((high - low) * self.sigma).clamp(min=0.5)[:, None]
        distance = (centre - ((low + high) / 2)[:, None]) / sigma
        return torch.exp(-distance.square() / 2) * within

    def extra_repr(self) -> str:
        return (
            f'foreground={self.foreground:g}, background={self.background:g}, '
            f'normalise={"area" if self.by_area else None}, scale_range={self.scale_range}, '
            f'form={"gaussian" if self.gaussian else "box"}'
        )


def _check_range(
    scale_range: Optional[Sequence[Optional[float]]], owner: str
) -> Tuple[float, float]:
    if scale_range is None:
        return 0.0, float('inf')
    if not isinstance(scale_range, (tuple, list)) or len(scale_range) != 2:
        raise MMKDError(
            f'{owner}: scale_range is (low, high) in pixels, None for no end, but got '
            f'{scale_range!r}.'
        )
    low, high = scale_range
    low = 0.0 if low is None else float(low)
    high = float('inf') if high is None else float(high)
    if not 0 <= low < high:
        raise MMKDError(f'{owner}: no box has a scale in the range {scale_range!r}.')
    return low, high
