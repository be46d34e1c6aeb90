"""Measures parts of a training step, and counts its tensors."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator

import torch
from torch import Tensor


class Stopwatch:
    """Sums up what is spent under a name; a device is waited for at both ends."""

    def __init__(self, device: torch.device):
        self._device = device
        self._spent: Dict[str, float] = {}
        self._open: set = set()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Adds to ``name`` the time until it is left; within itself it is counted once."""
        if name in self._open:
            yield
            return
        self._open.add(name)
        self._wait()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self._spent[name] = self._spent.get(name, 0.0) + time.perf_counter() - start
            self._open.discard(name)

    def take(self) -> Dict[str, float]:
        """What was spent since the last call."""
        spent, self._spent = self._spent, {}
        return spent

    def around(self, owner: Any, method: str, name: str) -> Callable[[], None]:
        """Measures every call of a method of one object; returns what undoes it."""
        original = getattr(owner, method)

        def timed(*args, **kwargs):
            with self.measure(name):
                return original(*args, **kwargs)

        had, before = method in owner.__dict__, owner.__dict__.get(method)
        owner.__dict__[method] = timed

        def undo() -> None:
            if had:
                owner.__dict__[method] = before
            else:
                del owner.__dict__[method]

        return undo

    def _wait(self) -> None:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)


def state_bytes(value: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(state_bytes(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(state_bytes(item) for item in value)
    return 0
