"""Similarity-preserving distillation: which images of a batch are alike."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, any_valid, exact, reduce
from .masked import root_weighted, unit


@MODELS.register_module()
class SPLoss(DistillLoss):
    """The squared difference of two batches' similarities, arXiv 1907.09682.

    A map is one vector. The dot products of all pairs of images are an (N, N) matrix, whose rows
    get length 1; the mean squared difference of the student's and the teacher's is the loss. The
    number of channels may differ. It needs two images at least (one alone is like itself, and
    the loss is 0), and depends on which images share a batch.

    Args:
        reduction: 'mean' over all pairs of images that have a valid place, 'sum', 'sample': (N,),
            the mean of an image's row, or 'none': (N, N).
    """

    same_channels = False

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
            teacher: (N, D, h, w) or (N, D).
            mask: (N, 1, h, w), True where the loss counts, or weights. Two images are compared at
                the places that are valid in both.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The grids differ.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            rows = [root_weighted(x, mask).flatten(1) for x in (s, t)]
            similar = [unit(x @ x.transpose(0, 1), 1) for x in rows]
            values = (similar[0] - similar[1]).square()
            valid = any_valid(mask)
            pairs = None if valid is None else valid[:, None] & valid
            return reduce(values, pairs, self.check_reduction(reduction))
