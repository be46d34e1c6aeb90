"""The memory of one arm of a benchmark, in a process where nothing else was."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import torch

from mmkd.errors import MMKDError

if TYPE_CHECKING:
    from .benchmark_kd import Settings

# Linux: writing 5 there sets a process's peak of resident memory to what it has now.
_RESET = Path('/proc/self/clear_refs')
_STATUS = Path('/proc/self/status')


def peak_in_child(settings: Settings, name: str) -> Optional[int]:
    """See :func:`.benchmark_kd.peak_of`.

    Raises:
        MMKDError: The process died; out of memory, it says nothing else.
    """
    # Forked, a child would inherit the memory, and threads that do not run there.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_measure, settings, name, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            raise MMKDError(
                f'The process that measured the memory of {name!r} was killed, which a system '
                'does that has none left. Try a smaller --batch or --size, or --no-memory.'
            ) from error


def _measure(settings: Settings, name: str, threads: int) -> Optional[int]:
    from .benchmark_kd import peak_of

    torch.set_num_threads(threads)
    return peak_of(settings, name)


def reset_peak(device: str) -> int:
    """Forgets the peak so far; returns the bytes held now (on CUDA: 0, all of them count)."""
    if torch.device(device).type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    gc.collect()
    # Freed memory goes back to the system, or it would hide what is taken next.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    # Where that is not allowed, the peak includes the building of the model.
    with suppress(OSError):
        _RESET.write_text('5')
    return _status('VmRSS') or 0


def peak(device: str, before: int = 0) -> Optional[int]:
    """The peak since :func:`reset_peak`, less ``before``; None where nobody counts."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    most = _status('VmHWM')
    return None if most is None else most - before


def _status(key: str) -> Optional[int]:
    try:
        found = re.search(rf'^{key}:\s+(\d+) kB', _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
