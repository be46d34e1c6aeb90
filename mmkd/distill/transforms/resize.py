"""Maps on another grid, which may reach further than the picture."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest

KERNELS = ('bilinear', 'antialias', 'area')

Cover = Tuple[float, float]


def resize_to_grid(
    x: Tensor, size: Tuple[int, int], cover: Cover = (1.0, 1.0), antialias: bool = False
) -> Tensor:
    """Reads a map at the centres of another grid's cells, linearly between its own.

    The map covers a picture of (H, W) pixels, the wanted grid (cover[0] * H, cover[1] * W) pixels
    from the same top left corner: a teacher that pads its input to whole patches on the right and
    at the bottom has cells beyond the picture. With a cover of (1, 1) this is
    ``torch.nn.functional.interpolate``, half-pixel centres, bit for bit.

    Args:
        x: (N, C, H', W'), any floating type.
        size: The wanted grid (h, w).
        cover: How much it covers of what ``x`` covers, along height and width; host numbers.
        antialias: Whether shrinking averages over what it skips.

    Returns:
        (N, C, h, w) in ``x``'s type. Centres beyond the picture read its border.
    """
    if is_whole(cover):
        if tuple(x.shape[2:]) == tuple(size):
            return x
        return F.interpolate(
            x, size=size, mode='bilinear', align_corners=False, antialias=antialias
        )
    return resample(x, size, cover, 'antialias' if antialias else 'bilinear')


def is_whole(cover: Cover) -> bool:
    """Whether the wanted grid covers just the picture."""
    return cover[0] == 1 and cover[1] == 1


def resample(x: Tensor, size: Tuple[int, int], cover: Cover, kernel: str) -> Tensor:
    """Resamples a map with one of three kernels.

    Args:
        x: (N, C, H', W').
        size: (h, w).
        cover: See :func:`resize_to_grid`.
        kernel: 'bilinear'; 'antialias', the triangle of torch's ``antialias=True``, which reaches
            one wanted cell to either side; 'area', the mean over exactly the wanted cell. The last
            two average over what lies within the picture; a cell beyond it reads the border.

    Returns:
        (N, C, h, w) in ``x``'s type; computed in float32 at least.

    Raises:
        MMKDError: There is no such kernel.
    """
    if kernel not in KERNELS:
        raise MMKDError(f'There is no kernel {kernel!r}. {nearest(kernel, KERNELS)}')
    if is_whole(cover) and tuple(x.shape[2:]) == tuple(size):
        return x
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):
        # On CUDA the backward pass of grid_sample has no deterministic form; a product has.
        if kernel == 'bilinear' and not torch.are_deterministic_algorithms_enabled():
            return _sample(exact, size, cover).to(x.dtype)
        rows, columns = (
            _weights(exact, dim, wanted, share, kernel)
            for dim, wanted, share in ((2, size[0], cover[0]), (3, size[1], cover[1]))
        )
        return (rows @ exact @ columns.t()).to(x.dtype)


def _sample(x: Tensor, size: Tuple[int, int], cover: Cover) -> Tensor:
    """Bilinear, with ``grid_sample``, whose -1 and 1 are the edges of the picture."""
    at = [
        (torch.arange(wanted, device=x.device, dtype=x.dtype) + 0.5) * (2 * share / wanted) - 1
        for wanted, share in zip(size, cover)
    ]
    h, w = size
    grid = torch.stack([at[1].expand(h, w), at[0][:, None].expand(h, w)], dim=-1)
    grid = grid.expand(len(x), h, w, 2)
    return F.grid_sample(x, grid, mode='bilinear', padding_mode='border', align_corners=False)


def _weights(x: Tensor, dim: int, wanted: int, share: float, kernel: str) -> Tensor:
    """How much of each cell of the map is in each wanted cell: (wanted, x.shape[dim])."""
    length = x.shape[dim]
    step = share * length / wanted
    cell = torch.arange(length, device=x.device, dtype=x.dtype)
    target = torch.arange(wanted, device=x.device, dtype=x.dtype)[:, None]
    if kernel == 'area':
        low = (target * step).clamp(max=length - 0.5)
        high = ((target + 1) * step).clamp(max=length)
        weights = torch.minimum(cell + 1, high) - torch.maximum(cell, low)
    else:
        reach = max(step, 1.0) if kernel == 'antialias' else 1.0
        # Beyond the outermost centres the border goes on.
        centre = ((target + 0.5) * step).clamp(0.5, length - 0.5)
        weights = 1 - (cell + 0.5 - centre).abs() / reach
    weights = weights.clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def as_map(x: Tensor, size: Tuple[int, int], owner: str) -> Tensor:
    """A vector (N, C) as a map of one place; a map as it is.

    Raises:
        MMKDError: A vector shall become a map of several places.
    """
    if x.dim() == 4:
        return x
    if x.dim() != 2 or tuple(size) != (1, 1):
        raise MMKDError(
            f'{owner} takes a map (N, C, H, W), or a vector (N, C) for a map of one place, but got '
            f'{tuple(x.shape)} for a grid of {tuple(size)}.'
        )
    return x[:, :, None, None]


def as_given(out: Tensor, x: Tensor) -> Tensor:
    """Undoes :func:`as_map`: (N, C) again if ``x`` came so."""
    return out.flatten(1) if x.dim() == 2 else out


def check_channels(owner: str, in_channels: Optional[int], out_channels: Optional[int]) -> None:
    """Raises:
    MMKDError: One of them is missing.
    """
    if in_channels is None or out_channels is None:
        raise MMKDError(
            f'{owner} needs in_channels and out_channels. Inside a distiller both are found from '
            'the modules; on its own they must be given.'
        )
