"""Encoded features of a batch on their way to the host."""

from __future__ import annotations

from typing import Dict, List, Optional

import torch
from torch import Tensor

from .shards import Record


class Encoded:
    """Starts to copy a batch over; a GPU goes on with other work meanwhile.

    Args:
        tensors: Feature to (N * T, ...) of ``count`` samples.
        count: N.
    """

    def __init__(self, tensors: Dict[str, Tensor], count: int):
        self._count = count
        self._event: Optional[torch.cuda.Event] = None
        self._host: Dict[str, Tensor] = {}
        for name, value in tensors.items():
            value = value.unflatten(0, (count, len(value) // count))
            if value.is_cuda:
                host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
                host.copy_(value, non_blocking=True)
                self._event = torch.cuda.Event()
                self._event.record()
                value = host
            self._host[name] = value

    @property
    def is_under_way(self) -> bool:
        """Whether :meth:`records` may have to wait."""
        return self._event is not None

    def records(self) -> List[Record]:
        """One for each sample; waits until they are there."""
        if self._event is not None:
            self._event.synchronize()
            # Pinned memory is scarce, and records wait here for their shard to be full.
            self._host = {name: value.clone() for name, value in self._host.items()}
            self._event = None
        return [
            {name: value[number] for name, value in self._host.items()}
            for number in range(self._count)
        ]
