"""All random numbers of a piece of code from one seed, whoever calls it."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Iterator

import numpy as np
import torch


@contextmanager
def replayed(*words: int) -> Iterator[None]:
    """Within it Python's, NumPy's and torch's global generators (CPU) start from these words.

    Afterwards they go on as if nothing had happened.

    Args:
        words: Non-negative integers; other words give unrelated numbers.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first, second, third = np.random.SeedSequence(words).generate_state(3, np.uint32)
    try:
        random.seed(int(first))
        np.random.seed(second)
        # Not torch.manual_seed: in a worker it would look for GPUs.
        torch.default_generator.manual_seed(int(third))
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
