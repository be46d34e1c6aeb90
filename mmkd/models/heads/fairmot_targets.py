"""Training targets of FairMOT's head, made on the device for a whole batch at once.

The constants and formulas are those of `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_
(``datasets/dataset/jde.py`` and ``utils/image.py``): the centre of a box is clipped to the map,
the distances to its sides are taken to the *unclipped* box, and the Gaussian's radius comes from
CornerNet's three cases with their original denominators.
"""

from __future__ import annotations

import functools
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

# Objects whose dense maps are held at once on an accelerator; bounds the memory, not the result.
_DENSE_CHUNK = 128

# On the processor windows are widened to these radii, so that a crowd needs few of them. The first
# entry stands for what draws nothing.
_WINDOWS = torch.tensor([-1, 3, 6, 10, 16, 24, 40, 64, 128])
_LARGEST = int(_WINDOWS[-1])


class FairMOTTargets(NamedTuple):
    """Targets of a batch with K objects in all, on maps of (H, W) cells.

    Attributes:
        heatmap: (N, num_classes, H, W) float in [0, 1]; exactly 1 at the centres.
        batch_index: (K,) long, the image of each object.
        y: (K,) long, row of the centre's cell.
        x: (K,) long, column of the centre's cell.
        ltrb: (K, 4) float, centre to left, top, right and bottom side, in cells.
        offset: (K, 2) float in [0, 1), the part of the centre's (x, y) that the cell loses.
        ids: (K,) long, label for the identity classifier; -1 where unknown.
        valid: (K,) float, 0 for a box without area, which trains nothing.
    """

    heatmap: Tensor
    batch_index: Tensor
    y: Tensor
    x: Tensor
    ltrb: Tensor
    offset: Tensor
    ids: Tensor
    valid: Tensor

    def index(self, rows: Tensor) -> FairMOTTargets:
        """Targets of a part of the images, in that order.

        Args:
            rows: (n,) long, images, each once, on the targets' device.

        Returns:
            The same K objects, of which those of other images train nothing (``valid`` 0, ``ids``
            -1): leaving them out would make the host wait for their number.
        """
        # What a tuple calls index() is the place of a value, which nobody asks of tensors.
        numbers = torch.arange(len(rows), device=rows.device)
        place = torch.full((len(self.heatmap),), -1, device=rows.device)
        image = place.index_copy_(0, rows, numbers).index_select(0, self.batch_index)
        kept = image >= 0
        return self._replace(
            heatmap=self.heatmap.index_select(0, rows),
            batch_index=image.clamp(min=0),
            ids=self.ids.masked_fill(~kept, -1),
            valid=self.valid * kept,
        )


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Radius within which a shifted box still overlaps the true one by ``min_overlap``.

    These are CornerNet's three cases as FairMOT computes them, that is with every root divided by
    2 and not by twice its leading coefficient; the published models were trained so.

    Args:
        height: (K,) float, box heights in cells.
        width: (K,) float, box widths in cells.
        min_overlap: IoU in (0, 1).

    Returns:
        (K,) of the input's dtype, in cells.
    """
    total, area = height + width, height * width

    c1 = area * (1 - min_overlap) / (1 + min_overlap)
    r1 = (total + (total**2 - 4 * c1).sqrt()) / 2

    b2, c2 = 2 * total, (1 - min_overlap) * area
    r2 = (b2 + (b2**2 - 16 * c2).sqrt()) / 2

    a3, b3, c3 = 4 * min_overlap, -2 * min_overlap * total, (min_overlap - 1) * area
    r3 = (b3 + (b3**2 - 4 * a3 * c3).sqrt()) / 2
    return torch.minimum(torch.minimum(r1, r2), r3)


def draw_gaussians(
    shape: Tuple[int, int, int], plane: Tensor, y: Tensor, x: Tensor, radius: Tensor
) -> Tensor:
    """Draws each object's Gaussian, cut off at its radius, and keeps the maximum where they meet.

    Args:
        shape: (P, H, W): planes (image times class) and cells.
        plane: (K,) long in [0, P).
        y: (K,) long in [0, H).
        x: (K,) long in [0, W).
        radius: (K,) long, >= 0; a negative one draws nothing. sigma is (2 * radius + 1) / 6.

    Returns:
        (P, H, W) float in [0, 1].
    """
    if plane.device.type == 'cpu':
        return _draw_windows(shape, plane, y, x, radius)
    return _draw_dense(shape, plane, y, x, radius)


def _bell(distance: Tensor, radius: Tensor) -> Tensor:
    """One axis of the Gaussian: sigma is a sixth of the window, which ends at the radius."""
    sigma = (2 * radius + 1).float() / 6
    return torch.exp(-((distance / sigma) ** 2) / 2) * (distance.abs() <= radius)


@functools.lru_cache(maxsize=None)
def _bell_table() -> Tensor:
    """The axis of every radius up to the windows' largest: (_LARGEST + 1, 2 * _LARGEST + 1)."""
    return _bell(torch.arange(-_LARGEST, _LARGEST + 1), torch.arange(_LARGEST + 1)[:, None])


def _draw_windows(shape, plane, y, x, radius) -> Tensor:
    """Touches only the cells near each object; boxes of about one size are drawn at once.

    The margin takes what falls outside of the map, so that no cell needs a test of its own.
    """
    planes, height, width = shape
    radius, order = radius.sort()
    counts = torch.bucketize(radius, _WINDOWS).bincount(minlength=len(_WINDOWS) + 1).tolist()
    if sum(counts[1:]) == 0:
        return torch.zeros(shape)
    # No window needs more than the map's size on either side of a centre on the map.
    widest = min(int(radius[-1]), max(height, width) - 1)
    pad_y, pad_x = min(widest, height - 1), min(widest, width - 1)
    row = width + 2 * pad_x
    canvas = torch.zeros(planes * (height + 2 * pad_y) * row)
    centre = ((plane * (height + 2 * pad_y) + y + pad_y) * row + x + pad_x)[order]
    begin = counts[0]
    for edge, count in zip(_WINDOWS.tolist()[1:] + [widest], counts[1:]):
        part = slice(begin, begin + count)
        begin += count
        if count == 0:
            continue
        reach = min(edge, widest)
        distance = torch.arange(-reach, reach + 1)
        if edge <= _LARGEST:
            bell = _bell_table()[:, _LARGEST - reach : _LARGEST + reach + 1][radius[part]]
        else:
            bell = _bell(distance, radius[part, None])
        in_y, in_x = (slice(max(0, reach - pad), reach + pad + 1) for pad in (pad_y, pad_x))
        value = bell[:, in_y, None] * bell[:, None, in_x]
        index = centre[part, None, None] + (distance[in_y, None] * row + distance[in_x])
        canvas.scatter_reduce_(0, index.view(-1), value.view(-1), reduce='amax')
    canvas = canvas.view(planes, -1, row)
    return canvas[:, pad_y : pad_y + height, pad_x : pad_x + width].contiguous()


def _draw_dense(shape, plane, y, x, radius) -> Tensor:
    """Separable Gaussians over whole maps: more arithmetic, but the host never waits for a size."""
    planes, height, width = shape
    heatmap = torch.zeros(shape, device=plane.device)
    rows = torch.arange(height, device=plane.device)
    columns = torch.arange(width, device=plane.device)
    for begin in range(0, len(radius), _DENSE_CHUNK):
        part = slice(begin, begin + _DENSE_CHUNK)
        gy = _bell(rows[None] - y[part, None], radius[part, None])
        gx = _bell(columns[None] - x[part, None], radius[part, None])
        heatmap.index_reduce_(0, plane[part], gy[:, :, None] * gx[:, None, :], reduce='amax')
    return heatmap


def fairmot_targets(
    bboxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    ids: Sequence[Tensor],
    num_classes: int,
    map_size: Tuple[int, int],
    stride: float,
    min_overlap: float = 0.7,
    max_objects: int = 500,
) -> FairMOTTargets:
    """Targets for a batch of N images.

    Args:
        bboxes: N tensors (k_i, 4) float, xyxy in input pixels; they may leave the image.
        labels: N tensors (k_i,) long in [0, num_classes).
        ids: N tensors (k_i,) long, identity labels; -1 where unknown.
        num_classes: Planes of the heatmap.
        map_size: (H, W) of the head's output.
        stride: Input pixels per cell.
        min_overlap: IoU that fixes the Gaussian's radius.
        max_objects: Objects of one image that are trained on; the rest is ignored.

    Returns:
        The targets, on the device of the boxes.
    """
    height, width = map_size
    counts: List[int] = [min(len(boxes), max_objects) for boxes in bboxes]
    boxes = torch.cat([b[:max_objects] for b in bboxes]).float() / stride
    label = torch.cat([x[:max_objects] for x in labels]).long()
    identity = torch.cat([x[:max_objects] for x in ids]).long()
    device = boxes.device
    # Built on the host from sizes that the host knows: repeat_interleave on the device would wait.
    batch_index = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    batch_index = batch_index.to(device, non_blocking=True)

    low, high = boxes[:, :2], boxes[:, 2:]
    size = high - low
    valid = (size > 0).all(dim=1)
    centre = (low + high) / 2
    centre = torch.stack(
        [centre[:, 0].clamp(0, width - 1), centre[:, 1].clamp(0, height - 1)], dim=1
    )
    cell = centre.long()
    x, y = cell.unbind(1)

    # Sizes such as 70 x 15 have a whole radius, 7, which rounding must not push below itself: every
    # other size is more than 1e-5 away from a whole one.
    precise = torch.float32 if device.type == 'mps' else torch.float64
    whole = size.to(precise).ceil().clamp(min=0)
    radius = (gaussian_radius(whole[:, 1], whole[:, 0], min_overlap) + 1e-9).long()
    heatmap = draw_gaussians(
        (len(counts) * num_classes, height, width),
        batch_index * num_classes + label,
        y,
        x,
        radius.masked_fill(~valid, -1),
    ).view(len(counts), num_classes, height, width)

    return FairMOTTargets(
        heatmap=heatmap,
        batch_index=batch_index,
        y=y,
        x=x,
        ltrb=torch.cat([centre - low, high - centre], dim=1),
        offset=centre - cell,
        ids=identity.masked_fill(~valid, -1),
        valid=valid.float(),
    )
