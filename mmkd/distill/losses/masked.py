"""Means, spreads, softmax and length over those places of a map that count.

A weight is how often a place is there: weight 2 equals the place written twice.
"""

from __future__ import annotations

from typing import Optional, Tuple, Union

import torch
from torch import Tensor

Dims = Union[int, Tuple[int, ...]]

# What varies less than this share of its mean square is rounding: float32 has 24 bits.
_CONSTANT = 1e-10


def weighted_mean(x: Tensor, weights: Optional[Tensor], dims: Dims) -> Tensor:
    """The mean over ``dims``, which stay as 1; 0 where nothing counts.

    Args:
        x: Of any shape.
        weights: Bool or floating, as many dimensions as ``x``, as long in each of ``dims``.
        dims: Over which to average.
    """
    if weights is None:
        return x.mean(dims, keepdim=True)
    weights = weights.to(x.dtype)
    total, count = (x * weights).sum(dims, keepdim=True), weights.sum(dims, keepdim=True)
    return total / torch.where(count > 0, count, torch.ones_like(count))


def standardise(x: Tensor, dims: Dims, weights: Optional[Tensor] = None) -> Tensor:
    """Mean 0 and variance 1 (of the population) over ``dims``.

    Half the mean squared difference of two such is one minus their Pearson correlation. What is
    constant becomes 0 and gets no gradient: it would be as large as its spread is small.

    Args:
        x: Of any shape; no NaN, not even where the weight is 0.
        dims: Over which it is standardised.
        weights: See :func:`weighted_mean`.
    """
    centred = x - weighted_mean(x, weights, dims)
    variance = weighted_mean(centred.square(), weights, dims)
    floor = weighted_mean(x.detach().square(), weights, dims) * _CONSTANT
    varies = variance > floor
    scale = torch.where(varies, variance, torch.ones_like(variance)).rsqrt()
    return centred * torch.where(varies, scale, torch.zeros_like(scale))


def unit(x: Tensor, dims: Dims, shortest: float = 1e-12) -> Tensor:
    """``x`` with length 1 over ``dims``; what is shorter becomes 0 and gets no gradient.

    Args:
        x: Of any shape.
        dims: Over which the length is taken.
        shortest: Vectors up to this length count as 0. Their gradient, which is as large as they
            are short, would leave float32.
    """
    square = x.square().sum(dims, keepdim=True)
    longer = square > shortest**2
    scale = torch.where(longer, square, torch.ones_like(square)).rsqrt()
    return x * torch.where(longer, scale, torch.zeros_like(scale))


def root_weighted(x: Tensor, mask: Optional[Tensor]) -> Tensor:
    """``x`` times the roots of the weights: products of two such are weighted once.

    Args:
        x: (N, C, h, w), already 0 where the mask is False, as ``DistillLoss.prepare`` gives it.
        mask: (N, 1, h, w) bool or weights, or None.
    """
    return x if mask is None or mask.dtype == torch.bool else x * mask.to(x.dtype).sqrt()


def log_softmax_over_places(x: Tensor, mask: Optional[Tensor]) -> Tensor:
    """The log of a softmax over the places of each channel.

    Args:
        x: (N, C, h, w); no NaN.
        mask: (N, 1, h, w) bool or weights, or None.

    Returns:
        (N, C, h * w), log probabilities of a place with all its weight; 0, to be left out by the
        caller, where the mask has none. An image without any valid place counts whole.
    """
    x = x.flatten(2)
    if mask is None:
        return x.log_softmax(2)
    weights = mask.flatten(2)
    valid = weights > 0
    valid = valid | ~valid.any(2, keepdim=True)
    if weights.dtype != torch.bool:
        x = x + torch.where(weights > 0, weights, torch.ones_like(weights)).log()
    x = torch.where(valid, x, x.new_full((), float('-inf')))
    return torch.where(valid, x.log_softmax(2), x.new_zeros(()))
