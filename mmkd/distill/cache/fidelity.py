"""How near stored features are to the teacher's."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Sequence

import torch
from torch import Tensor


class Fidelity(NamedTuple):
    """Attributes:
    cosine: Mean over places of the cosine of their vectors.
    lowest: The smallest mean cosine of one sample.
    error: Root mean square of the difference, over that of the teacher's values.
    """

    cosine: float
    lowest: float
    error: float

    def __str__(self) -> str:
        return f'cosine {self.cosine:.4f} (lowest {self.lowest:.4f}), error {self.error:.2%}'


def compare(stored: Tensor, live: Tensor, mask: Optional[Tensor] = None) -> Dict[str, Tensor]:
    """Per sample, so that batches can be put together.

    Args:
        stored: (N, C, h, w) or (N, C).
        live: The same of the teacher.
        mask: (N, 1, h, w) bool: the places that count.

    Returns:
        ``cosine`` (N,), ``square`` and ``norm`` (N,): sums of squares of the difference and of
        the teacher's values; ``places`` (N,): how many count.
    """
    a, b = stored.float(), live.float()
    if a.dim() == 2:
        a, b = a[..., None], b[..., None]
    a, b = a.flatten(2), b.flatten(2)
    weight = torch.ones_like(a[:, 0])
    if mask is not None and live.dim() == 4:
        weight = mask.flatten(1).to(a.dtype)
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    # Two zero vectors are alike, which a cosine does not know.
    cosine = torch.where((a == 0).all(1) & (b == 0).all(1), torch.ones_like(cosine), cosine)
    return {
        'places': weight.sum(1),
        'cosine': (cosine * weight).sum(1) / weight.sum(1).clamp_min(1e-12),
        'square': ((a - b).square().sum(1) * weight).sum(1),
        'norm': (b.square().sum(1) * weight).sum(1),
    }


def put_together(batches: Sequence[Dict[str, Tensor]]) -> Fidelity:
    """Args:
    batches: Of :func:`compare`, one or more.
    """
    return summarise({key: torch.cat([part[key] for part in batches]) for key in batches[0]})


def summarise(parts: Dict[str, Tensor]) -> Fidelity:
    """Args:
    parts: Of :func:`compare`, of all samples.
    """
    seen = parts['places'] > 0
    cosine = parts['cosine'][seen]
    if not len(cosine):
        return Fidelity(1.0, 1.0, 0.0)
    norm = float(parts['norm'][seen].sum())
    square = float(parts['square'][seen].sum())
    if norm > 0:
        error = (square / norm) ** 0.5
    else:
        error = 0.0 if square == 0 else float('inf')
    return Fidelity(float(cosine.mean()), float(cosine.min()), error)
