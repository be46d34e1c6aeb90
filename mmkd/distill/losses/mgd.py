"""Masked generative distillation: the whole of the teacher from a part of the student."""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .common import DistillLoss, exact, known_channels, reduce

HIDDEN = ('places', 'channels')


@MODELS.register_module()
class MGDLoss(DistillLoss):
    """Hides a part of the student's map and generates the teacher's from the rest.

    arXiv 2205.01529: random places (or, for classification, channels) are set to 0, two 3x3
    convolutions that are trained along generate a map from what is left, and the loss is its
    squared difference from the teacher's. Published is the sum over a map; the mean here makes a
    published weight ``alpha`` into ``alpha * C * h * w``. The published settings (yzd-v/MGD,
    configs/distillers):

    ======================  ===============  =======
    students                ratio            weight
    ======================  ===============  =======
    one-stage detectors     0.65             2e-5
    two-stage detectors     0.45             5e-7
    segmentation            0.75             2e-5
    classification          0.15 (channels)  7e-5
    ======================  ===============  =======

    What is hidden is a function of the seed, the number of the step (a buffer, saved with the
    loss) and the sample's number in the batch of all processes: a resumed run hides what the
    uninterrupted one would have hidden, and nobody else's random numbers move.

    Args:
        channels: Of both maps; the distiller fills them in.
        ratio: The share that is hidden, in [0, 1).
        hidden: 'places' or 'channels'.
        seed: Chooses the sequence.
        reduction: 'mean' over channels and valid locations, 'sum', 'sample': (N,), or 'none':
            (N, C, h, w).
    """

    build_needs = ('channels',)

    def __init__(
        self,
        channels: Optional[int] = None,
        ratio: float = 0.65,
        hidden: str = 'places',
        seed: int = 0,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        self.channels = known_channels(channels, 'MGDLoss')
        if not 0 <= ratio < 1:
            raise MMKDError(f'MGDLoss hides a ratio in [0, 1), but got {ratio!r}.')
        if hidden not in HIDDEN:
            raise MMKDError(f'MGDLoss has no hidden={hidden!r}. {nearest(hidden, HIDDEN)}')
        self.ratio = ratio
        self.hidden = hidden
        self.seed = seed
        self.generation = nn.ModuleList(
            [nn.Conv2d(self.channels, self.channels, 3, padding=1) for _ in range(2)]
        )
        self.register_buffer('step', torch.zeros((), dtype=torch.long))

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
            mask: (N, 1, h, w), True where the loss counts, or weights. Places without weight are
                generated from as the border of the map is, from zeros.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid. In training mode
            the step goes on.

        Raises:
            MMKDError: The shapes differ, from each other or from ``channels``.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            self.check_channels(s)
            s = torch.where(self._shown(s), s, s.new_zeros(()))
            s = F.relu(self.generation[0](s))
            if mask is not None:
                s = torch.where(mask > 0, s, s.new_zeros(()))
            if self.training:
                self.step += 1
            values = (self.generation[1](s) - t).square()
            return reduce(values, mask, self.check_reduction(reduction))

    def _shown(self, maps: Tensor) -> Tensor:
        """(N, 1, h, w), or (N, C, 1, 1): what is not hidden."""
        n, c, h, w = maps.shape
        sizes = (n, 1, h, w) if self.hidden == 'places' else (n, c, 1, 1)
        state = _scramble(self.step + self.seed)
        for dim, size in enumerate(sizes):
            numbers = torch.arange(size, device=maps.device)
            if dim == 0:
                numbers = numbers + _rank() * n
            shape = [1] * 4
            shape[dim] = size
            state = _scramble(state ^ numbers.view(shape))
        return state >= int(self.ratio * 2**32)

    def extra_repr(self) -> str:
        return (
            f'channels={self.channels}, ratio={self.ratio:g}, hidden={self.hidden!r}, '
            f'seed={self.seed}, {super().extra_repr()}'
        )


def _rank() -> int:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return 0


def _scramble(x: Tensor) -> Tensor:
    """A hash of 32 bits, held in int64: C. Wellons' lowbias32 ('Prospecting for hash functions').

    Products may pass 63 bits; the 32 that are kept are right all the same.
    """
    x = (x + 0x9E3779B9) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)
