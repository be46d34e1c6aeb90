"""Which teacher to believe on which sample: a specialist counts where it is the better one."""

from __future__ import annotations

from typing import Any, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

Trust = Tuple[Tensor, Tensor]


@MODELS.register_module()
class GateTrust(nn.Module):
    """A specialist counts where it beats the general teacher on that sample by a margin.

    ``c_k = 1 where L_general - L_k > margin, else 0``, with the task losses ``L`` of the teachers'
    own answers. It mirrors the test by which distilled Siamese networks (Shen et al., arXiv
    1907.10586) switch the hard loss off once the student has passed its teacher. The general
    teacher always counts.

    Args:
        margin: In units of the task loss. A negative one also lets in a specialist that is a
            little worse.

    Raises:
        MMKDError: ``margin`` is no number.
    """

    def __init__(self, margin: float = 0.0):
        super().__init__()
        self.margin = _number('GateTrust', 'margin', margin)

    @torch.no_grad()
    def forward(self, general: Tensor, specialists: Tensor, active: Tensor) -> Trust:
        """Args:
            general: (N,) task losses of the general teacher.
            specialists: (N, K) those of the specialists; anything, NaN included, where they are
                not active.
            active: (N, K) bool, which specialists a sample has.

        Returns:
            Coefficients (N,) of the general teacher, all 1, and (N, K) of the specialists, 0 or
            1, float32 at least and without gradient. A loss that is NaN wins no comparison.

        Raises:
            MMKDError: The shapes do not fit.
        """
        general, specialists = _check('GateTrust', general, specialists, active)
        better = (general[:, None] - specialists > self.margin) & active
        return torch.ones_like(general), better.to(general.dtype)

    def extra_repr(self) -> str:
        return f'margin={self.margin:g}'


@MODELS.register_module()
class SoftmaxTrust(nn.Module):
    """The teachers of a sample share it by how small their task losses are.

    ``c = softmax(-L / temperature)`` over the teachers that the sample has, so that their
    coefficients add up to 1.

    Args:
        temperature: In units of the task loss; with a small one the best teacher takes all.
        with_general: Whether the general teacher is one of those that share. If not, it has the
            coefficient 1 everywhere and the specialists share another 1 among them.

    Raises:
        MMKDError: The temperature is not more than 0.
    """

    def __init__(self, temperature: float = 1.0, with_general: bool = True):
        super().__init__()
        self.temperature = _number('SoftmaxTrust', 'temperature', temperature)
        if self.temperature <= 0:
            raise MMKDError(
                f'SoftmaxTrust takes a temperature that is more than 0, but got {temperature!r}.'
            )
        self.with_general = bool(with_general)

    @torch.no_grad()
    def forward(self, general: Tensor, specialists: Tensor, active: Tensor) -> Trust:
        """Args:
            general: (N,) task losses of the general teacher.
            specialists: (N, K) those of the specialists; anything, NaN included, where they are
                not active.
            active: (N, K) bool, which specialists a sample has.

        Returns:
            Coefficients (N,) of the general teacher and (N, K) of the specialists, in [0, 1],
            float32 at least and without gradient; 0 where a teacher is not active or its loss is
            not finite.

        Raises:
            MMKDError: The shapes do not fit.
        """
        general, specialists = _check('SoftmaxTrust', general, specialists, active)
        losses, present = specialists, active
        if self.with_general:
            losses = torch.cat([general[:, None], specialists], dim=1)
            everywhere = torch.ones_like(general, dtype=torch.bool)
            present = torch.cat([everywhere[:, None], active], dim=1)
        shares = _softmin(losses / self.temperature, present & losses.isfinite())
        if self.with_general:
            return shares[:, 0], shares[:, 1:]
        return torch.ones_like(general), shares

    def extra_repr(self) -> str:
        return f'temperature={self.temperature:g}, with_general={self.with_general}'


def _softmin(losses: Tensor, present: Tensor) -> Tensor:
    """softmax(-losses) over those that are present; a row without any is 0, not NaN."""
    if losses.shape[1] == 0:
        return losses
    least = losses.masked_fill(~present, torch.inf).amin(dim=1, keepdim=True)
    gaps = torch.where(present, losses - least, torch.zeros_like(losses))
    sizes = torch.exp(-gaps) * present
    # The best of a row has the size 1; without one, any divisor will do.
    return sizes / sizes.sum(dim=1, keepdim=True).clamp(min=1)


def _check(owner: str, general: Tensor, specialists: Tensor, active: Tensor) -> Trust:
    wanted = (len(general), specialists.shape[-1]) if specialists.dim() == 2 else None
    fits = general.dim() == 1 and specialists.shape == active.shape == wanted
    if not fits or active.dtype != torch.bool:
        raise MMKDError(
            f'{owner} takes the losses (N,) of a general teacher and (N, K) of specialists with '
            f'active (N, K) bool, but got {tuple(general.shape)}, {tuple(specialists.shape)} and '
            f'{tuple(active.shape)} {active.dtype}.'
        )
    dtype = torch.promote_types(torch.promote_types(general.dtype, specialists.dtype), torch.float)
    return general.to(dtype), specialists.to(dtype)


def _number(owner: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise MMKDError(f'{owner} takes {name}= as a number, but got {value!r}.')
    return float(value)
