"""From the maps of a Siamese RPN head to the box of this frame, without leaving the device.

The formulas are those of SiamRPN (Li et al., CVPR 2018, section 4.3) as mmtrack and PySOT compute
them: a penalty for changes of scale and shape, a window that prefers small displacements, and
smoothing of the size. They equal mmtrack's to the last bits of a float.
"""

from __future__ import annotations

import math
from typing import Any, Sequence, Tuple

import torch
from torch import Tensor

# mmdet's bound for how much wider or higher than its anchor a box may be.
_LARGEST_RATIO = abs(math.log(16 / 1000))


def decode(
    anchors: Tensor, deltas: Tensor, means: Sequence[float], stds: Sequence[float]
) -> Tuple[Tensor, Tensor]:
    """Boxes that the head means; mmdet's DeltaXYWHBBoxCoder, which waits on a GPU.

    Args:
        anchors: (K, 4) float xyxy.
        deltas: (4, K) float: dx, dy, dw, dh.
        means: Of the box coder.
        stds: Of the box coder.

    Returns:
        Centres (K, 2) and sizes (K, 2), in pixels around the search image's centre.
    """
    if tuple(means) != (0, 0, 0, 0) or tuple(stds) != (1, 1, 1, 1):
        deltas = torch.stack([d * s + m for d, s, m in zip(deltas, stds, means)])
    deltas = deltas.t()
    place = (anchors[:, :2] + anchors[:, 2:]) * 0.5
    extent = anchors[:, 2:] - anchors[:, :2]
    centre = place + extent * deltas[:, :2]
    size = extent * deltas[:, 2:].clamp(-_LARGEST_RATIO, _LARGEST_RATIO).exp()
    return centre, size


def _change(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1.0 / ratio)


def _padded_side(w: Tensor, h: Tensor) -> Tensor:
    pad = (w + h) * 0.5
    return ((w + pad) * (h + pad)).sqrt()


def pick(
    scores: Tensor,
    centre: Tensor,
    size: Tensor,
    prev_bbox: Tensor,
    scale: Tensor,
    window: Tensor,
    cfg: Any,
    image_size: Tuple[int, int],
) -> Tuple[Tensor, Tensor]:
    """The best box, in pixels of the image.

    Args:
        scores: (K,) float in [0, 1], of the foreground.
        centre: (K, 2) of :func:`decode`.
        size: (K, 2) of :func:`decode`.
        prev_bbox: (4,) float (cx, cy, w, h), pixels of the image.
        scale: () float, pixels of the search image per pixel of the image.
        window: (K,) float in [0, 1].
        cfg: With ``penalty_k``, ``window_influence`` and ``lr``.
        image_size: (height, width) that the box is clipped to.

    Returns:
        (1, 4) xyxy and its score (1,), before penalties.
    """
    w, h = size.unbind(1)
    last = prev_bbox[2:] * scale
    by_scale = _change(_padded_side(w, h) / _padded_side(last[0], last[1]))
    by_shape = _change((prev_bbox[2] / prev_bbox[3]) / (w / h))
    penalty = torch.exp(-(by_shape * by_scale - 1) * cfg.penalty_k)
    ranking = penalty * scores * (1 - cfg.window_influence) + window * cfg.window_influence
    # index_select: picking with [best] would ask the device for the number.
    best = ranking.argmax().view(1)
    score = scores.index_select(0, best)
    # One after the other, as mmtrack does, lest the last bit should differ.
    lr = penalty.index_select(0, best) * score * cfg.lr
    moved = centre.index_select(0, best) / scale + prev_bbox[:2]
    grown = prev_bbox[2:] * (1 - lr) + size.index_select(0, best) / scale * lr
    height, width = image_size
    cx, cy = moved[:, 0].clamp(0.0, width), moved[:, 1].clamp(0.0, height)
    w, h = grown[:, 0].clamp(10.0, width), grown[:, 1].clamp(10.0, height)
    box = torch.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], dim=-1)
    return box, score
