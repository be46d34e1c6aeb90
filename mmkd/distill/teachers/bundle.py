"""A batch whose samples are several pictures each, to be cut and moved as one tensor is."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError


class Bundle:
    """Named tensors of the same N samples; what a teacher's runtime asks of a batch.

    Args:
        entries: Name to (N, T, 3, H, W) or (N, 3, H, W), colour images, all on one device.

    Raises:
        MMKDError: There is none, one is something else, or they differ in N.
    """

    def __init__(self, entries: Dict[str, Tensor]):
        for name, value in entries.items():
            if not isinstance(value, Tensor) or value.dim() not in (4, 5) or value.shape[-3] != 3:
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise MMKDError(
                    'A teacher needs colour images (N, 3, H, W) or (N, T, 3, H, W) in every entry '
                    f'of the inputs, but {name!r} is {found}.'
                )
        if len({(len(value), value.device) for value in entries.values()}) != 1:
            told = ', '.join(f'{name}: {tuple(x.shape)}' for name, x in entries.items())
            raise MMKDError(
                'The entries of a batch belong to the same samples, on one device, but a teacher '
                f'got {{{told}}}.'
            )
        self.entries = entries

    def __len__(self) -> int:
        return len(self._first)

    @property
    def _first(self) -> Tensor:
        return next(iter(self.entries.values()))

    @property
    def device(self) -> torch.device:
        return self._first.device

    @property
    def dtype(self) -> Tuple[torch.dtype, ...]:
        """The type of each entry."""
        return tuple(value.dtype for value in self.entries.values())

    @property
    def shape(self) -> Tuple[Any, ...]:
        """N, the names, and the shape of a sample in each entry."""
        sizes = tuple(tuple(value.shape[1:]) for value in self.entries.values())
        return (len(self), tuple(self.entries), *sizes)

    def map(self, fn: Callable[[Tensor], Tensor]) -> Bundle:
        """``fn`` of each entry."""
        return Bundle({name: fn(value) for name, value in self.entries.items()})

    def __getitem__(self, index: slice) -> Bundle:
        return self.map(lambda value: value[index])

    def tensor_split(self, parts: int) -> Tuple[Bundle, ...]:
        """As ``torch.tensor_split``, along the samples."""
        pieces = [value.tensor_split(parts) for value in self.entries.values()]
        return tuple(Bundle(dict(zip(self.entries, piece))) for piece in zip(*pieces))

    def record_stream(self, stream: Any) -> None:
        """As a tensor's, of each entry."""
        for value in self.entries.values():
            value.record_stream(stream)
