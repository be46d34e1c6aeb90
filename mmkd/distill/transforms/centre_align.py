"""Maps of two networks without padding, brought together at the centre of the image."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .resize import Cover, as_given, as_map, is_whole

OUTSIDE = ('error', 'border')

# Positions this close to a cell's centre are at it; sizes and strides are small numbers.
_EPS = 1e-6


class _Line(NamedTuple):
    """Where the wanted cells of one axis lie, in cells of the given map; numbers of the host."""

    start: float
    step: float
    wanted: int
    length: int

    @property
    def crops(self) -> bool:
        """Whether every wanted cell is one of the given ones."""
        return _is_whole(self.start) and _is_whole(self.step) and all(self.inside())

    def inside(self) -> List[bool]:
        reach = self.length - 1 + _EPS
        return [-_EPS <= self.start + self.step * i <= reach for i in range(self.wanted)]


def centre_align(
    teacher_map: Tensor,
    size: Tuple[int, int],
    stride_teacher: float = 8,
    stride_student: float = 8,
) -> Tuple[Tensor, Optional[Tensor]]:
    """Reads a map where another network's cells are.

    A Siamese tracker's networks have no padding, or have it cropped away: their maps lie
    symmetrically around the centre of the image, cells a stride apart, and do not reach its edges.
    How many cells there are depends on the receptive field (25 x 25 of a ResNet, 17 x 17 of an
    AlexNet, from one search region), so that stretching one map over the other would compare
    places that are not the same. The cell ``i`` of ``n`` looks at ``(i - (n - 1) / 2) * stride``
    pixels from the centre; there the teacher's map is read: a crop where those are centres of its
    own cells (25 to 17), linear between its cells elsewhere (31 to 22 reads half-way).

    Args:
        teacher_map: (N, C, H, W), any floating type.
        size: The student's grid (h, w).
        stride_teacher: Pixels per cell of the teacher's map.
        stride_student: Pixels per cell of the student's.

    Returns:
        (N, C, h, w) of the same type, a view where it is a crop; and a (1, 1, h, w) bool mask,
        False where the student sees what the teacher's map does not reach and its border is
        repeated, or None if there is no such place.

    Raises:
        MMKDError: It is no map, or a size or stride is not positive.
    """
    if teacher_map.dim() != 4:
        raise MMKDError(
            f'centre_align takes a map (N, C, H, W), but got {tuple(teacher_map.shape)}.'
        )
    if not (min(size) > 0 and stride_teacher > 0 and stride_student > 0):
        raise MMKDError(
            f'centre_align takes a grid and strides that are more than 0, but got {tuple(size)}, '
            f'stride_teacher={stride_teacher!r} and stride_student={stride_student!r}.'
        )
    lines = [
        _line(length, wanted, stride_student / stride_teacher)
        for length, wanted in zip(teacher_map.shape[2:], size)
    ]
    out = teacher_map
    if not all(line.crops for line in lines):
        # Once for both axes: half precision between them would round twice.
        out = out.to(torch.promote_types(out.dtype, torch.float32))
    out = _read(_read(out, lines[0], 2), lines[1], 3).to(teacher_map.dtype)
    inside = [line.inside() for line in lines]
    if all(inside[0]) and all(inside[1]):
        return out, None
    rows, columns = (_range(flags, out.device) for flags in inside)
    return out, (rows[:, None] & columns)[None, None]


def _line(length: int, wanted: int, step: float) -> _Line:
    return _Line((length - 1) / 2 - step * (wanted - 1) / 2, step, wanted, length)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _EPS


def _range(flags: List[bool], device: torch.device) -> Tensor:
    """(len(flags),) bool, made on the device: what is inside is one run of cells."""
    count = torch.arange(len(flags), device=device)
    first = flags.index(True) if True in flags else len(flags)
    return (count >= first) & (count < first + sum(flags))


def _read(x: Tensor, line: _Line, dim: int) -> Tensor:
    """One axis of the map at the line's positions."""
    if line.crops:
        start, step = round(line.start), round(line.step)
        stop = start + step * (line.wanted - 1) + 1
        return x[(slice(None),) * dim + (slice(start, stop, step),)]
    # In float64: a third of a cell times 24 must not fall on the wrong side of a cell.
    at = torch.arange(line.wanted, device=x.device, dtype=_precise(x.device)) * line.step
    at = (at + line.start).clamp(0, line.length - 1)
    low = (at + _EPS).floor()
    share = (at - low).clamp(min=0)
    share = torch.where(share < 2 * _EPS, torch.zeros_like(share), share)
    # A cell that is hit needs no neighbour, whose NaN would come along as 0 * NaN.
    high = torch.where(share > 0, low + 1, low).clamp(max=line.length - 1)
    share = share.to(x.dtype).reshape((-1,) + (1,) * (3 - dim))
    one, two = (x.index_select(dim, index.long()) for index in (low, high))
    return one * (1 - share) + two * share


def _precise(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == 'mps' else torch.float64


@MODELS.register_module()
class CentreAlign(BaseModule):
    """:func:`centre_align` as a transform; nothing is trained and channels stay as they are.

    For the search and template maps of Siamese trackers whose networks have other receptive
    fields. Align the larger map with the smaller (``direction='teacher_to_student'`` where the
    teacher's is larger), whose every cell the larger one has seen.

    Args:
        in_channels: Channels that come in; the distiller fills them in.
        out_channels: Channels wanted; the distiller fills them in.
        in_stride: Pixels per cell of the map that comes in.
        out_stride: Pixels per cell of the wanted grid.
        outside: 'error' if a wanted cell lies beyond the map that comes in, or 'border', which
            repeats its border there.
        same_channels: Whether both numbers must be equal; False for a loss that does not compare
            channels.
        init_cfg: mmengine's initialisation config; there is nothing to initialise.

    Raises:
        MMKDError: The channels differ, a stride is not positive, or there is no such ``outside``.
    """

    def __init__(
        self,
        in_channels: Optional[int] = None,
        out_channels: Optional[int] = None,
        in_stride: float = 8,
        out_stride: float = 8,
        outside: str = 'error',
        same_channels: bool = True,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg)
        if outside not in OUTSIDE:
            raise MMKDError(f'CentreAlign has no outside={outside!r}. {nearest(outside, OUTSIDE)}')
        if not (in_stride > 0 and out_stride > 0):
            raise MMKDError(
                f'CentreAlign takes strides that are more than 0, but got {in_stride!r} and '
                f'{out_stride!r}.'
            )
        known = None not in (in_channels, out_channels)
        if same_channels and known and in_channels != out_channels:
            raise MMKDError(
                f'CentreAlign leaves channels alone, but {in_channels} shall become '
                f'{out_channels}. mmkd.FeatureTransform projects them; for a loss that does not '
                'compare channels, say same_channels=False.'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.in_stride = in_stride
        self.out_stride = out_stride
        self.outside = outside

    def forward(self, x: Tensor, size: Tuple[int, int], cover: Cover = (1.0, 1.0)) -> Tensor:
        """Args:
            x: (N, C, H, W), or (N, C) for a grid of (1, 1).
            size: The grid (h, w) that is wanted.
            cover: Must be (1, 1): a picture that one side pads has no common centre.

        Returns:
            (N, C, h, w), or (N, C).

        Raises:
            MMKDError: A wanted cell lies beyond ``x``, or the teacher pads its input.
        """
        if not is_whole(cover):
            raise MMKDError(
                'CentreAlign brings maps together at the centre of the image, but the teacher pads '
                f'its input, so that the other map covers {cover} of it.'
            )
        out, valid = centre_align(
            as_map(x, size, 'CentreAlign'), size, self.in_stride, self.out_stride
        )
        if valid is not None and self.outside == 'error':
            raise MMKDError(
                f'CentreAlign: a map of {tuple(x.shape[2:])} cells of stride {self.in_stride:g} '
                f'does not reach all of {tuple(size)} cells of stride {self.out_stride:g}. Align '
                "the larger map with the smaller (direction='teacher_to_student' where the "
                "teacher's is larger), or say outside='border'."
            )
        return as_given(out, x)

    def extra_repr(self) -> str:
        return (
            f'in_stride={self.in_stride:g}, out_stride={self.out_stride:g}, '
            f'outside={self.outside!r}'
        )
