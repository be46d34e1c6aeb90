"""Several teachers: each image learns from those it resembles least."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS


@MODELS.register_module()
class TeacherDrop(nn.Module):
    """Teacher dropping of UNIC (arXiv 2408.05088).

    For each image the teacher whose loss is largest always stays, and every other one is dropped
    with probability ``p``, so that easy teachers do not take over. The published code
    (naver/unic, modeling/teacher_dropping.py) walks over images and teachers one by one and drops
    in validation, too; here it is a handful of operations on the device, in training only.

    It then takes ``(coefficients * losses).sum() / coefficients.sum()``, over the whole batch:
    without the division, dropping would also weaken the distillation.

    Args:
        p: The probability, in [0, 1]. With 1 only the worst teacher of an image stays.

    Raises:
        MMKDError: ``p`` is no probability.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        _check_probability(p)
        self.p = p

    @torch.no_grad()
    def forward(self, losses: Tensor, active: Optional[Tensor] = None) -> Tensor:
        """Args:
            losses: (N, T), of each image with each teacher.
            active: (N, T) bool, which teachers an image has at all; None: all. One that it does
                not have is neither the worst nor kept, and its loss may be NaN.

        Returns:
            (N, T) of the losses' type, 0 or 1, without gradient; in eval mode 1 for every active
            teacher. Random numbers are those of torch's default generator.

        Raises:
            MMKDError: The shapes are wrong.
        """
        if losses.dim() != 2 or (active is not None and active.shape != losses.shape):
            other = '' if active is None else f' with active {tuple(active.shape)}'
            raise MMKDError(
                'TeacherDrop takes losses (N, T), one per image and teacher, but got '
                f'{tuple(losses.shape)}{other}.'
            )
        keep = torch.ones_like(losses, dtype=torch.bool)
        if self.training:
            rated = losses if active is None else losses.masked_fill(~active, -torch.inf)
            teachers = torch.arange(losses.shape[1], device=losses.device)
            worst = rated.argmax(dim=1, keepdim=True) == teachers
            luck = torch.rand(losses.shape, device=losses.device)
            keep = worst | (luck >= self.p)
        if active is not None:
            keep = keep & active
        return keep.to(losses.dtype)

    def extra_repr(self) -> str:
        return f'p={self.p:g}'


def _check_probability(p: Any) -> None:
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise MMKDError(f'TeacherDrop takes p= as a probability, but got {p!r}.')
