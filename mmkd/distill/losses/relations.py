"""What losses between similarities share."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.errors import MMKDError

DISTANCES = ('kl', 'mse')

# Vectors, and differences of vectors, up to this length count as 0: they are rounding.
SHORTEST = 1e-6


def masked_log_softmax(x: Tensor, chosen: Tensor) -> Tensor:
    """The logarithm of the softmax over the chosen entries of each row; elsewhere far below 0."""
    return x.masked_fill(~chosen, torch.finfo(x.dtype).min / 2).log_softmax(1)


def compare_rows(
    student: Tensor, teacher: Tensor, chosen: Tensor, distance: str, temperature: float
) -> Tensor:
    """How far rows of similarities are from the teacher's.

    Args:
        student: (M, K).
        teacher: (M, K).
        chosen: (M, K) bool, the entries that count.
        distance: 'kl', of the softmax over a row's entries divided by the temperature, times its
            square; or 'mse', over the entries.
        temperature: Above 0.

    Returns:
        (M,), 0 for a row without entries.
    """
    if distance == 'mse':
        squares = (student - teacher).square() * chosen
        return squares.sum(1) / chosen.sum(1).clamp(min=1)
    logs = [masked_log_softmax(x / temperature, chosen) for x in (student, teacher)]
    values = logs[1].exp() * (logs[1] - logs[0])
    return torch.where(chosen, values, values.new_zeros(())).sum(1) * temperature**2


def check_temperature(temperature: float, owner: str) -> float:
    """Returns it as a float, or says that it must be above 0."""
    if isinstance(temperature, bool) or not temperature > 0:
        raise MMKDError(f'{owner}: a temperature is a number above 0, but got {temperature!r}.')
    return float(temperature)
