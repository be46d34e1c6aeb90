"""Training targets of FairMOT's head, made on the device for a whole batch at once.

The constants and formulas are those of `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_
(``datasets/dataset/jde.py`` and ``utils/image.py``): the centre of a box is clipped to the map,
the distances to its sides are taken to the *unclipped* box, and the Gaussian's radius comes from
CornerNet's three cases with their original denominators.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

# Objects whose dense maps are held at once on an accelerator; bounds the memory, not the result.
_DENSE_CHUNK = 128


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


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Radius within which a shifted box still overlaps the true one by ``min_overlap``.

    These are CornerNet's three cases as FairMOT computes them, that is with every root divided by
    2 and not by twice its leading coefficient; the published models were trained so.

    Args:
        height: (K,) float, box heights in cells.
        width: (K,) float, box widths in cells.
        min_overlap: IoU in (0, 1).

    Returns:
        (K,) float, in cells.
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


def _draw_windows(shape, plane, y, x, radius) -> Tensor:
    """Visits only the cells inside each object's window; their number is known on the host."""
    planes, height, width = shape
    side = 2 * radius + 1
    counts = (side * side).clamp(min=0) * (radius >= 0)
    owner = torch.repeat_interleave(torch.arange(len(radius)), counts)
    start = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(owner)) - start[owner]
    dy = torch.div(rank, side[owner], rounding_mode='floor') - radius[owner]
    dx = rank % side[owner] - radius[owner]
    cy, cx = y[owner] + dy, x[owner] + dx
    inside = (cy >= 0) & (cy < height) & (cx >= 0) & (cx < width)
    owner, dy, dx, cy, cx = (t[inside] for t in (owner, dy, dx, cy, cx))
    sigma = side[owner].float() / 6
    value = torch.exp(-(dx.float() ** 2 + dy.float() ** 2) / (2 * sigma**2))
    flat = torch.zeros(planes * height * width)
    index = (plane[owner] * height + cy) * width + cx
    return flat.scatter_reduce_(0, index, value, reduce='amax').view(shape)


def _draw_dense(shape, plane, y, x, radius) -> Tensor:
    """Separable Gaussians over whole maps: more arithmetic, but the host never waits for a size."""
    planes, height, width = shape
    heatmap = torch.zeros(shape, device=plane.device)
    rows = torch.arange(height, device=plane.device)
    columns = torch.arange(width, device=plane.device)
    for begin in range(0, len(radius), _DENSE_CHUNK):
        part = slice(begin, begin + _DENSE_CHUNK)
        r = radius[part, None]
        sigma = (2 * r + 1).float() / 6
        dy, dx = rows[None] - y[part, None], columns[None] - x[part, None]
        gy = torch.exp(-(dy.float() ** 2) / (2 * sigma**2)) * (dy.abs() <= r)
        gx = torch.exp(-(dx.float() ** 2) / (2 * sigma**2)) * (dx.abs() <= r)
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
    batch_index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(
        device, non_blocking=True
    )

    x1, y1, x2, y2 = boxes.unbind(1)
    box_w, box_h = x2 - x1, y2 - y1
    valid = (box_w > 0) & (box_h > 0)
    cx = ((x1 + x2) / 2).clamp(0, width - 1)
    cy = ((y1 + y2) / 2).clamp(0, height - 1)
    x, y = cx.long(), cy.long()

    radius = gaussian_radius(
        box_h.ceil().clamp(min=0), box_w.ceil().clamp(min=0), min_overlap
    ).long()
    radius = torch.where(valid, radius.clamp(min=0), torch.full_like(radius, -1))
    heatmap = draw_gaussians(
        (len(counts) * num_classes, height, width), batch_index * num_classes + label, y, x, radius
    ).view(len(counts), num_classes, height, width)

    return FairMOTTargets(
        heatmap=heatmap,
        batch_index=batch_index,
        y=y,
        x=x,
        ltrb=torch.stack([cx - x1, cy - y1, x2 - cx, y2 - cy], dim=1),
        offset=torch.stack([cx - x, cy - y], dim=1),
        ids=torch.where(valid, identity, torch.full_like(identity, -1)),
        valid=valid.float(),
    )
