"""In which type a teacher keeps its weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Optional

import torch

from mmkd.errors import MMKDError, nearest

DTYPES = {
    'fp32': torch.float32,
    'float32': torch.float32,
    'fp16': torch.float16,
    'float16': torch.float16,
    'bf16': torch.bfloat16,
    'bfloat16': torch.bfloat16,
}
AUTO = 'auto'
# NVIDIA's first with bfloat16 in hardware; older ones emulate it, slowly.
_AMPERE = 8


def check_dtype(dtype: Optional[str], owner: str) -> None:
    """Raises:
    MMKDError: There is no such type.
    """
    if dtype is not None and dtype not in DTYPES and dtype != AUTO:
        raise MMKDError(f'{owner} has no dtype={dtype!r}. {nearest(dtype, (*DTYPES, AUTO))}')


def resolve_dtype(dtype: Optional[str], device: Optional[torch.device]) -> Optional[torch.dtype]:
    """The type that a config's ``dtype`` means on a device.

    Args:
        dtype: A name of :data:`DTYPES`; 'auto': bfloat16 on GPUs that have it and float16 on
            others, on processors bfloat16 where matrix units make it fast and else float32; None.
        device: Where the weights will be; None is the processor.

    Returns:
        The type; None for None.
    """
    if dtype != AUTO:
        return None if dtype is None else DTYPES[dtype]
    kind = 'cpu' if device is None else device.type
    if kind == 'cuda':
        has_bf16 = torch.version.hip is not None or (
            torch.cuda.get_device_capability(device)[0] >= _AMPERE
        )
        return torch.bfloat16 if has_bf16 else torch.float16
    if kind == 'cpu':
        return torch.bfloat16 if cpu_has_fast_bfloat16() else torch.float32
    return {'xpu': torch.bfloat16, 'mps': torch.float16, 'npu': torch.float16}.get(
        kind, torch.float32
    )


@functools.lru_cache(maxsize=None)
def cpu_has_fast_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 in hardware (Intel's AMX).

    There a ViT-S of float32 takes 3.2 times as long. AVX-512's bfloat16 does not count: without
    AMX the rest of a network loses what its dot products gain.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        return 'amx_bf16' in Path('/proc/cpuinfo').read_text()
    except OSError:
        # Not a Linux: such a processor is either older or of another maker.
        return False
