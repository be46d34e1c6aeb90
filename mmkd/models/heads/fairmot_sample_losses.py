"""FairMOT's detection loss of each image for itself, to tell whose answer is the better one."""

from __future__ import annotations

from typing import Callable, Dict

import torch
from torch import Tensor

from mmkd.errors import MMKDError

from .fairmot_targets import FairMOTTargets


def fairmot_sample_losses(
    outputs: Dict[str, Tensor],
    targets: FairMOTTargets,
    loss_heatmap: Callable[..., Tensor],
    loss_ltrb: Callable[..., Tensor],
    loss_offset: Callable[..., Tensor],
) -> Tensor:
    """``heatmap + ltrb + offset`` of each image, with the criteria and weights of the head.

    The batch's loss divides by the objects of all images, so that a crowd counts more than an
    empty street; here each image is divided by its own, or its loss would depend on what else is
    in the batch. Where all images have equally many objects, the mean of these losses is the
    batch's ``det_heatmap + det_ltrb + det_offset`` (to 1e-4 of a term, which is what FairMOT adds
    to its number of coordinates).

    Two things of the head's loss are left out, as they are no property of an answer: the learned
    ``s_det`` and ``s_id``, which are the student's own, and the identity term, whose classifier
    is, too: it knows nothing of another model's embedding.

    Args:
        outputs: ``heatmap`` (N, classes, H, W) logits, ``ltrb`` (N, 4, H, W) and ``offset``
            (N, 2, H, W), the student's or a teacher's, any floating type.
        targets: Of these N images.
        loss_heatmap: As mmdet's losses are called, with ``reduction_override``.
        loss_ltrb: The same.
        loss_offset: The same.

    Returns:
        (N,) float32, with a gradient; an image without objects has a heatmap's loss only.

    Raises:
        MMKDError: The maps and the targets are of different grids or batches.
    """
    shape = outputs['heatmap'].shape
    if shape != targets.heatmap.shape:
        raise MMKDError(
            f'FairMOT: the heatmap is {tuple(shape)}, but its targets are '
            f'{tuple(targets.heatmap.shape)} (images, classes, H, W). A grid that differs by a '
            'cell comes from pictures that are no multiple of 32: pad_size_divisor=32 in the data '
            'preprocessor; other classes come from a teacher of another task.'
        )
    n = len(targets.heatmap)
    score = outputs['heatmap'].float().sigmoid().clamp(1e-4, 1 - 1e-4)
    positives = targets.heatmap.eq(1).flatten(1).sum(1).clamp(min=1)
    cells = loss_heatmap(score, targets.heatmap, reduction_override='none')
    total = cells.flatten(1).sum(1) / positives

    present = targets.valid[:, None] > 0
    objects = _per_image(targets.valid, targets.batch_index, n)
    for name, criterion in (('ltrb', loss_ltrb), ('offset', loss_offset)):
        target = getattr(targets, name)
        found = outputs[name][targets.batch_index, :, targets.y, targets.x].float()
        # Chosen before the criterion: a NaN at an object that does not count stays there.
        found, target = (torch.where(present, x, x.new_zeros(())) for x in (found, target))
        values = criterion(found, target, reduction_override='none').sum(1)
        total = total + _per_image(values, targets.batch_index, n) / (
            objects * target.shape[1] + 1e-4
        )
    return total


def _per_image(values: Tensor, image: Tensor, count: int) -> Tensor:
    """(K,) values of objects summed by their image: (count,)."""
    return values.new_zeros(count).index_add(0, image, values)
