from pathlib import Path

import pytest
import torch

from mmkd.distill.teachers import precision
from mmkd.errors import MMKDError

CUDA = torch.device('cuda')


@pytest.fixture
def processor(monkeypatch):
    """Sets what the processor says of itself; None: it is not asked."""

    def be(flags):
        def read(path):
            if flags is None:
                raise FileNotFoundError(path)
            return flags

        precision.cpu_has_fast_bfloat16.cache_clear()
        monkeypatch.setattr(Path, 'read_text', read)

    yield be
    precision.cpu_has_fast_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ('capability', 'hip', 'expected'),
    [
        ((9, 0), None, torch.bfloat16),
        ((8, 0), None, torch.bfloat16),
        ((7, 5), None, torch.float16),
        ((7, 5), '6.0', torch.bfloat16),
    ],
)
def test_auto_on_gpus(monkeypatch, capability, hip, expected):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(torch.version, 'hip', hip)
    assert precision.resolve_dtype('auto', CUDA) is expected


@pytest.mark.parametrize(
    ('flags', 'expected'),
    [
        ('flags: avx512_bf16 amx_bf16 amx_tile', torch.bfloat16),
        ('flags: avx512_bf16', torch.float32),
        (None, torch.float32),
    ],
)
def test_auto_on_processors(processor, flags, expected):
    processor(flags)
    assert precision.resolve_dtype('auto', None) is expected
    assert precision.resolve_dtype('auto', torch.device('cpu')) is expected


def test_auto_elsewhere():
    assert precision.resolve_dtype('auto', torch.device('meta')) is torch.float32
    assert precision.resolve_dtype('auto', torch.device('mps')) is torch.float16


def test_names():
    assert precision.resolve_dtype(None, CUDA) is None
    assert precision.resolve_dtype('bf16', CUDA) is torch.bfloat16
    precision.check_dtype('auto', 'T')
    with pytest.raises(MMKDError, match="T has no dtype='bf61'.*'bf16'"):
        precision.check_dtype('bf61', 'T')
