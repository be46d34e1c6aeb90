"""One minus the cosine of two features."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, any_valid, exact, reduce
from .masked import root_weighted

# Squared norms below this count as zero vectors, whose cosine is 0.
_EPS = 1e-12


@MODELS.register_module()
class CosineDistillLoss(DistillLoss):
    """``1 - cos(student, teacher)``, in [0, 2].

    Per location, every place of the map counts alike. Flattened, as the code published with
    arXiv 2407.18288 has it, a map is one vector of C * h * w numbers: places with large features
    dominate, and a student whose directions are all right still pays for their norms.

    Args:
        flatten: One cosine per image instead of one per location.
        reduction: 'mean' over the valid locations (or images), 'sum', 'sample': (N,), or 'none':
            (N, h, w) per location, (N,) flattened.
    """

    def __init__(self, flatten: bool = False, reduction: str = 'mean'):
        super().__init__(reduction)
        self.flatten = flatten

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w) or (N, C), any floating type; computed in float32 even inside
                autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights. Flattened, they weigh the
                places within the vectors, and images with none are left out of the mean.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            dims = (1, 2, 3) if self.flatten else 1
            if self.flatten:
                s, t = root_weighted(s, mask), root_weighted(t, mask)
            dot = (s * t).sum(dims)
            norms = [x.square().sum(dims).clamp(min=_EPS) for x in (s, t)]
            # One after the other: the product of two squares overflows float32 much sooner.
            values = 1 - dot * norms[0].rsqrt() * norms[1].rsqrt()
            weights = any_valid(mask) if self.flatten else None if mask is None else mask[:, 0]
            return reduce(values, weights, self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return f'flatten={self.flatten}, {super().extra_repr()}'
