"""From FairMOT's output maps to boxes and embeddings."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Peaks(NamedTuple):
    """The K best peaks of every image of a batch, best first.

    Attributes:
        scores: (N, K) float in [0, 1].
        labels: (N, K) long, class of the peak's plane.
        bboxes: (N, K, 4) float, xyxy in cells of the map.
        embeddings: (N, K, D) float, L2-normalised, read at the peaks.
    """

    scores: Tensor
    labels: Tensor
    bboxes: Tensor
    embeddings: Tensor

    def table(self) -> Tensor:
        """Everything in one (N, K, 6 + D) float32 tensor: score, label, box, embedding."""
        columns = [self.scores[..., None], self.labels[..., None], self.bboxes, self.embeddings]
        return torch.cat([column.float() for column in columns], dim=-1)


def split_table(table: Tensor) -> Peaks:
    """Undoes :meth:`Peaks.table`, for any leading dimensions."""
    return Peaks(table[..., 0], table[..., 1].long(), table[..., 2:6], table[..., 6:])


def gather_cells(feature: Tensor, cells: Tensor) -> Tensor:
    """Reads a map at some cells of each image.

    Args:
        feature: (N, C, H, W).
        cells: (N, K) long, y * W + x.

    Returns:
        (N, K, C).
    """
    index = cells[:, None, :].expand(-1, feature.shape[1], -1)
    return feature.flatten(2).gather(2, index).transpose(1, 2)


def decode_peaks(
    heatmap: Tensor, ltrb: Tensor, offset: Tensor, embedding: Tensor, topk: int, kernel: int = 3
) -> Peaks:
    """CenterNet's decoding with FairMOT's four distances: a cell that is not the maximum of its
    neighbourhood is no object. Runs on the device without waiting for a value.

    The original (``models/decode.py`` of ifzhang/FairMOT) takes the best K of each class and of
    those the best K; a peak among the best K of all classes is among the best K of its own, so the
    best K of the whole stack are the same. Only among equal scores the order is nobody's promise.

    Args:
        heatmap: (N, num_classes, H, W) logits.
        ltrb: (N, 4, H, W), distances to the sides in cells.
        offset: (N, 2, H, W), (x, y) inside the cell.
        embedding: (N, D, H, W), not normalised.
        topk: Peaks to keep; fewer if the map has fewer cells.
        kernel: Neighbourhood of the maximum, odd.
    """
    scores = heatmap.float().sigmoid()
    highest = F.max_pool2d(scores, kernel, stride=1, padding=kernel // 2)
    scores = scores * (highest == scores)

    _, num_classes, height, width = scores.shape
    topk = min(topk, num_classes * height * width)
    best, index = scores.flatten(1).topk(topk)
    labels = torch.div(index, height * width, rounding_mode='floor')
    cells = index % (height * width)
    y = torch.div(cells, width, rounding_mode='floor').float()
    x = (cells % width).float()

    shift = gather_cells(offset.float(), cells)
    sides = gather_cells(ltrb.float(), cells)
    x, y = x + shift[..., 0], y + shift[..., 1]
    bboxes = torch.stack(
        [x - sides[..., 0], y - sides[..., 1], x + sides[..., 2], y + sides[..., 3]], dim=-1
    )
    embeddings = F.normalize(gather_cells(embedding.float(), cells), dim=-1)
    return Peaks(best, labels, bboxes, embeddings)


def to_original(bboxes: Tensor, homography: Tensor) -> Tensor:
    """Maps boxes of the network's input back to the original image.

    Args:
        bboxes: (..., 4) float, xyxy in input pixels.
        homography: (3, 3) of the same dtype, original to input; without rotation or shear, as at
            test time.

    Returns:
        (..., 4) float, xyxy in original pixels, not clipped to the image.
    """
    scale = torch.stack([homography[0, 0], homography[1, 1]] * 2)
    shift = torch.stack([homography[0, 2], homography[1, 2]] * 2)
    return (bboxes - shift) / scale
