"""The directions in which features vary most."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError


class Basis(NamedTuple):
    """Attributes:
    mean: (C,) float32.
    directions: (n, C) float32, orthonormal, largest variance first.
    explained: Their share of the variance, in [0, 1].
    """

    mean: Tensor
    directions: Tensor
    explained: float


def fit_basis(values: Tensor, dims: int) -> Basis:
    """Principal components, from the covariance: C is hundreds where places are millions.

    Each direction's sign is the one that makes its largest entry positive, so that machines agree.

    Args:
        values: (n, C).
        dims: How many directions, C at most.

    Raises:
        MMKDError: There are fewer values than directions, or some are not finite.
    """
    if len(values) <= dims:
        raise MMKDError(
            f'{dims} directions cannot be found from {len(values)} places of a feature: fit on '
            'more samples, or store fewer dimensions.'
        )
    x = values.double()
    mean = x.mean(0)
    x = x - mean
    covariance = x.T @ x / (len(x) - 1)
    if not torch.isfinite(covariance).all():
        raise MMKDError('The teacher gives NaN or Inf, of which no directions can be found.')
    variances, vectors = torch.linalg.eigh(covariance)
    directions = vectors.flip(1)[:, :dims].T
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    variances = variances.clamp_min(0).flip(0)
    total = float(variances.sum())
    explained = float(variances[:dims].sum()) / total if total > 0 else 1.0
    return Basis(mean.float(), directions.float().contiguous(), explained)
