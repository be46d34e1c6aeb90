"""What a map says about each annotated box."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError, nearest

from .instances import Instances

POOLINGS = ('box', 'centre')


def pool(
    x: Tensor, instances: Instances, mask: Optional[Tensor] = None, pooling: str = 'box'
) -> Tuple[Tensor, Tensor]:
    """One vector for each box.

    Args:
        x: (N, C, h, w), covering ``instances.size``.
        instances: M boxes in these N images.
        mask: (N, 1, h, w), True where ``x`` is real, or a weight of 0 or more; ``x`` may be NaN
            where it is 0.
        pooling: 'box', see :func:`pool_boxes`, or 'centre', see :func:`pool_centres`.

    Returns:
        (M, C), and (M,) the weight of each: 0 for a box without area, outside the picture or
        where the mask is 0, whose vector is 0. 'box': the mask's mean in the box. 'centre': the
        mask at the centre.

    Raises:
        MMKDError: Map, boxes and mask do not belong together.
    """
    if len(x) != instances.num_images:
        raise MMKDError(
            f'The boxes belong to {instances.num_images} images, but the map is '
            f'{tuple(x.shape)}. A tap that sees other images than the samples describe '
            'cannot be pooled in boxes.'
        )
    if mask is not None and tuple(mask.shape) != (len(x), 1, *x.shape[2:]):
        raise MMKDError(
            f'A map {tuple(x.shape)} takes a mask of shape {(len(x), 1, *x.shape[2:])}, but got '
            f'{tuple(mask.shape)}.'
        )
    return (pool_boxes if pooling == 'box' else pool_centres)(x, instances, mask)


def pool_boxes(
    x: Tensor, instances: Instances, mask: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """The mean over each box, in which a cell counts by the part of it that the box covers.

    So a box smaller than a cell has a value, too, and the mean moves smoothly with the box. It is
    a product of matrices per image: exact in float32, which the differences of an integral image
    are not, and its (N, K, h * w) weights are smaller than the map as long as an image has fewer
    than C boxes.

    Args and returns: see :func:`pool`.
    """
    height, width = instances.size
    h, w = x.shape[2:]
    x1, y1, x2, y2 = instances.boxes.to(x.dtype).unbind(1)
    rows = _overlap(y1 * (h / height), y2 * (h / height), h)  # (M, h)
    columns = _overlap(x1 * (w / width), x2 * (w / width), w)  # (M, w)
    if mask is not None:
        # A product with 0 would keep a NaN.
        x = torch.where(mask > 0, x, x.new_zeros(()))
    cover = instances.table(torch.cat([rows, columns], dim=1))  # (N, K, h + w)
    cover = cover[:, :, :h, None] * cover[:, :, None, h:]
    area = cover.sum((2, 3))
    if mask is not None:
        cover = cover * mask.to(x.dtype)
    total = cover.sum((2, 3))
    # In this order the gradient comes out in the map's own layout.
    sums = torch.bmm(x.flatten(2), cover.flatten(2).transpose(1, 2)).transpose(1, 2)
    means = sums / torch.where(total > 0, total, torch.ones_like(total))[:, :, None]
    weights = total / torch.where(area > 0, area, torch.ones_like(area))
    slots = instances.slots()
    return means.flatten(0, 1)[slots], weights.flatten()[slots]


def pool_centres(
    x: Tensor, instances: Instances, mask: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """The cell with each box's centre, where FairMOT reads its embeddings.

    A centre that has left the picture is moved to its border, as FairMOT does.

    Args and returns: see :func:`pool`.
    """
    height, width = instances.size
    h, w = x.shape[2:]
    x1, y1, x2, y2 = instances.boxes.unbind(1)
    column = ((x1 + x2) * (w / width / 2)).clamp(0, w - 1).long()
    row = ((y1 + y2) * (h / height / 2)).clamp(0, h - 1).long()
    weights = instances.inside().to(x.dtype)
    if mask is not None:
        weights = weights * mask[instances.image, 0, row, column].to(x.dtype)
    vectors = x[instances.image, :, row, column]
    return torch.where(weights[:, None] > 0, vectors, vectors.new_zeros(())), weights


def check_pooling(pooling: str, owner: str) -> str:
    """Returns ``pooling``, or says which ones there are."""
    if pooling not in POOLINGS:
        raise MMKDError(f'{owner} has no pooling={pooling!r}. {nearest(pooling, POOLINGS)}')
    return pooling


def per_box(values: Tensor, weights: Tensor, instances: Instances, reduction: str) -> Tensor:
    """Reduces losses of boxes, as :func:`.losses.common.reduce` does those of places.

    Args:
        values: (M,); NaN is allowed where the weight is 0.
        weights: (M,), bool or 0 or more.
        instances: Whose images 'sample' looks at.
        reduction: 'mean', weighted; 'sum'; 'sample', the weighted mean of each image, (N,), 0
            for one without boxes; or 'none'.
    """
    values = torch.where(weights > 0, values, values.new_zeros(()))
    weights = weights.to(values.dtype)
    values = values * weights
    if reduction == 'none':
        return values
    if reduction == 'sum':
        return values.sum()
    if reduction == 'mean':
        total, weight = values.sum(), weights.sum()
    else:
        # A product rather than a scatter: the same sum in every run.
        images = torch.arange(instances.num_images, device=values.device)
        member = (instances.image == images[:, None]).to(values.dtype)
        total, weight = member @ values, member @ weights
    return total / torch.where(weight > 0, weight, torch.ones_like(weight))


def _overlap(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """(M, cells): the part of each unit cell between ``low`` and ``high``, (M,)."""
    start = torch.arange(cells, device=low.device, dtype=low.dtype)
    inner = torch.minimum(high[:, None], start + 1) - torch.maximum(low[:, None], start)
    return inner.clamp(min=0)
