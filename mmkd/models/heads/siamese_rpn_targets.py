"""Training targets of a Siamese RPN head, made on the device for a whole batch at once.

The rules are those of mmtrack's ``SiameseRPNHead`` (and so of PySOT's ``AnchorTarget``): of a
positive pair up to 16 anchors that overlap the target and up to 48 that do not, of a negative pair
16 anchors around the object that is not the target.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError


class SiamRPNTargets(NamedTuple):
    """Targets of N pairs on maps of h x w cells with A anchors each, K = h * w * A.

    Anchors are in mmtrack's flattened order: row, column, anchor. Weights are those of one pair:
    they are not divided by N, so that what a sample's loss is does not depend on its batch.

    Attributes:
        labels: (N, K) long, 1 for the target and 0 for the background.
        label_weights: (N, K) float; of a positive pair its positive and its negative anchors have
            0.5 in all, each; of a negative pair the negative ones have 0.5; 0 where not sampled.
        bbox_targets: (N, K, 4) float, (dx, dy, dw, dh) from anchor to box; 0 where not positive.
        bbox_weights: (N, K, 4) float; the positive anchors of a pair have 1 in all.
    """

    labels: Tensor
    label_weights: Tensor
    bbox_targets: Tensor
    bbox_weights: Tensor

    def index(self, idx: Any) -> SiamRPNTargets:
        """Targets of some of the pairs.

        Args:
            idx: (M,) long tensor, slice, or sequence of ints.
        """
        if isinstance(idx, slice):
            return SiamRPNTargets(*(part[idx] for part in self))
        if not isinstance(idx, Tensor):
            idx = torch.tensor(idx, dtype=torch.long)
        idx = idx.to(self.labels.device, non_blocking=True)
        return SiamRPNTargets(*(part.index_select(0, idx) for part in self))


class SamplingRule(NamedTuple):
    """Which anchors train the head; read from the configs of mmdet's assigner and sampler.

    Attributes:
        pos_iou: Least IoU of a positive anchor.
        neg_iou: IoU (from, below) of a negative anchor.
        low_quality_iou: From this IoU on, the anchor that overlaps most is positive in any case;
            None: never.
        all_best: Whether all the anchors that overlap most are, or the first.
        num: Anchors of a positive pair.
        pos_fraction: Part of them that is positive at most.
        neg_per_pos: Negative anchors per positive one at most; negative: no bound.
        num_neg: Anchors of a negative pair.
        uniform: See :class:`mmkd.SiameseRPNHead`.
    """

    pos_iou: float
    neg_iou: Tuple[float, float]
    low_quality_iou: float | None
    all_best: bool
    num: int
    pos_fraction: float
    neg_per_pos: float
    num_neg: int
    uniform: bool

    @classmethod
    def of(cls, assigner: Any, sampler: Any, num_neg: int, uniform: bool) -> SamplingRule:
        """Reads mmdet's MaxIoUAssigner and RandomSampler.

        Raises:
            MMKDError: If they are others, or with settings that make no sense for one object.
        """
        iou = getattr(assigner, 'iou_calculator', None)
        for part, name in (
            (assigner, 'MaxIoUAssigner'),
            (sampler, 'RandomSampler'),
            (iou, 'BboxOverlaps2D'),
        ):
            if type(part).__name__ != name:
                raise MMKDError(
                    f'mmkd.SiameseRPNHead samples for the whole batch at once, by the rules of '
                    f'mmdet.{name}, but train_cfg.rpn asks for {type(part).__name__}. '
                    "Use that one, or type='mmtrack.SiameseRPNHead' in type='mmtrack.SiamRPN'."
                )
        if sampler.add_gt_as_proposals:
            raise MMKDError(
                'train_cfg.rpn.sampler has add_gt_as_proposals=True, but a box has no place on '
                'the response map. Set add_gt_as_proposals=False.'
            )
        neg = assigner.neg_iou_thr
        return cls(
            pos_iou=assigner.pos_iou_thr,
            neg_iou=tuple(neg) if isinstance(neg, (tuple, list)) else (0.0, neg),
            low_quality_iou=assigner.min_pos_iou if assigner.match_low_quality else None,
            all_best=assigner.gt_max_assign_all,
            num=sampler.num,
            pos_fraction=sampler.pos_fraction,
            neg_per_pos=sampler.neg_pos_ub,
            num_neg=num_neg,
            uniform=uniform,
        )


def overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
    """IoU of (N, 4) boxes with (K, 4) anchors, xyxy: (N, K); mmdet's, which waits on a GPU."""
    low = torch.maximum(boxes[:, None, :2], anchors[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], anchors[None, :, 2:])
    size = (high - low).clamp(min=0)
    both = size[..., 0] * size[..., 1]

    def area(x: Tensor) -> Tensor:
        return (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])

    return both / (area(boxes)[:, None] + area(anchors)[None] - both).clamp(min=1e-6)


def encode(anchors: Tensor, boxes: Tensor, means: Sequence[float], stds: Sequence[float]) -> Tensor:
    """(dx, dy, dw, dh) from (K, 4) anchors to (N, 4) boxes, xyxy: (N, K, 4).

    The formula is that of mmdet's DeltaXYWHBBoxCoder, without tensors made of Python numbers.
    """
    place = (anchors[:, :2] + anchors[:, 2:]) * 0.5
    extent = anchors[:, 2:] - anchors[:, :2]
    shift = ((boxes[:, :2] + boxes[:, 2:]) * 0.5)[:, None] - place
    ratio = (boxes[:, 2:] - boxes[:, :2])[:, None] / extent
    parts = [*(shift / extent).unbind(-1), *ratio.log().unbind(-1)]
    return torch.stack([(x - m) / s for x, m, s in zip(parts, means, stds)], dim=-1)


def around(
    boxes: Tensor, map_size: Tuple[int, int], stride: Tuple[float, float], centre: int
) -> Tensor:
    """The 7 x 7 cells around boxes, where the anchors of a negative pair are taken from.

    Args:
        boxes: (N, 4) float xyxy, in pixels of the search image.
        map_size: (h, w) of the response map.
        stride: (x, y) pixels of a cell.
        centre: Pixel of the search image that the middle cell stands for.

    Returns:
        (N, h, w) bool.
    """
    sides = []
    for axis, cells in ((1, map_size[0]), (0, map_size[1])):
        place = (boxes[:, axis] + boxes[:, axis + 2]) / 2
        middle = cells // 2 + ((place - centre) / stride[axis] + 0.5).ceil()
        distance = torch.arange(cells, device=boxes.device) - middle[:, None]
        sides.append((distance >= -3) & (distance <= 3))
    return sides[0][:, :, None] & sides[1][:, None, :]


def _choose(keys: Tensor, candidates: Tensor, count: Tensor, most: int) -> Tensor:
    """Picks at random, without replacement and without asking the device how many there are.

    Args:
        keys: (N, K) float in [0, 1), random.
        candidates: (N, K) bool.
        count: (N,) or () long, how many of a row at most.
        most: The largest of the counts.

    Returns:
        (N, K) bool.
    """
    most = min(most, keys.shape[1])
    value, place = keys.masked_fill(~candidates, 2.0).topk(most, dim=1, largest=False)
    rank = torch.arange(most, device=keys.device)
    keep = (value < 2) & (rank < count.view(-1, 1))
    return torch.zeros_like(candidates).scatter(1, place, keep)


def siamrpn_targets(
    boxes: Tensor,
    positive: Tensor,
    anchors: Tensor,
    near: Tensor,
    rule: SamplingRule,
    means: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
) -> SiamRPNTargets:
    """Targets for N pairs; random numbers come from the generator of the boxes' device.

    Args:
        boxes: (N, 4) float xyxy, in pixels of the search image.
        positive: (N,) bool, whether template and search image show the same object.
        anchors: (K, 4) float xyxy, in pixels of the search image, in flattened order.
        near: (N, K) bool, anchors that a negative pair may take; see :func:`around`.
        rule: Which are sampled.
        means: Of the box coder, for dx, dy, dw, dh.
        stds: Of the box coder.

    Returns:
        The targets, on the device of the boxes.
    """
    iou = overlaps(boxes, anchors)
    background = (iou >= rule.neg_iou[0]) & (iou < rule.neg_iou[1])
    foreground = iou >= rule.pos_iou
    if rule.low_quality_iou is not None:
        best, first = iou.max(dim=1, keepdim=True)
        at_best = iou == best
        if not rule.all_best:
            at_best = torch.zeros_like(foreground).scatter(1, first, torch.ones_like(at_best))
        foreground = foreground | (at_best & (best >= rule.low_quality_iou))
    pair = positive.view(-1, 1)
    foreground = foreground & pair
    background = torch.where(pair, background & ~foreground, near)

    keys = torch.rand(iou.shape, device=iou.device)
    num_pos = int(rule.num * rule.pos_fraction)
    some = torch.full((), num_pos, device=iou.device)
    positives = _choose(keys, foreground, some, num_pos)
    n_pos = positives.sum(dim=1, keepdim=True)

    count = rule.num - n_pos
    if rule.neg_per_pos >= 0:
        count = torch.minimum(count, (rule.neg_per_pos * n_pos.clamp(min=1)).long())
    kept = int(rule.num * (1 - rule.pos_fraction))
    if rule.uniform:
        count = count.clamp(max=kept)
    count = torch.where(pair, count, rule.num_neg)
    negatives = _choose(keys, background, count, max(rule.num, rule.num_neg))
    # mmtrack draws more and keeps those that come first in the map.
    negatives = negatives & ((negatives.cumsum(dim=1) <= kept) | ~pair)
    n_neg = negatives.sum(dim=1, keepdim=True)

    dtype = boxes.dtype
    share = positives.to(dtype) / n_pos.clamp(min=1)
    deltas = encode(anchors, boxes, means, stds)
    return SiamRPNTargets(
        labels=positives.long(),
        label_weights=share * 0.5 + negatives.to(dtype) * 0.5 / n_neg.clamp(min=1),
        bbox_targets=torch.where(positives[..., None], deltas, deltas.new_zeros(())),
        bbox_weights=share[..., None].expand(-1, -1, 4).contiguous(),
    )
