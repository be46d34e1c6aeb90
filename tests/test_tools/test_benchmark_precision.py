"""The benchmark of precision and compilation, on the shipped config made narrow."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmkd.errors import MMKDError
from tests.toy import toy_fairmot

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'benchmark_precision.py'


@pytest.fixture
def run(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('benchmark_precision', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    small = ['--size', '96', '64', '--boxes', '3', '--ids', '4', '--rounds', '2']

    def call(config, *args) -> str:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), str(config), '--device', 'cpu', *small, *args])
        tool.main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'toy.py'
    Config(dict(model=toy_fairmot())).dump(path)
    return path


def test_bfloat16_beside_float32(config, run):
    told = run(config, '--variants', 'bfloat16')
    _, float32, bfloat16 = re.split(r'^(?:float32|bfloat16)$', told, flags=re.MULTILINE)
    assert re.search(r'train: [\d.]+ ms, 1.00 of float32', float32)
    assert re.search(r'test: [\d.]+ ms, [\d.]+ of float32', bfloat16)
    shares = dict(re.findall(r'(\w+) ([\d.]+e[+-]\d+)', bfloat16))
    assert {'heatmap', 'ltrb', 'offset', 'embedding', 'loss_det', 'loss_id'} <= set(shares)
    assert all(0 <= float(value) < 0.2 for value in shares.values())
    assert float(shares['heatmap']) > 0


@pytest.mark.slow
def test_compiled_beside_float32(config, run):
    told = run(config, '--variants', 'float32-compiled', '--backend', 'aot_eager')
    if not hasattr(torch, 'compiler'):
        assert 'float32-compiled: left out, torch' in told
        return
    shares = re.findall(r' ([\d.]+e[+-]\d+)', told)
    assert len(shares) == 4 + 6
    assert all(float(value) < 1e-4 for value in shares)


OTHER = """
model = dict(
    _scope_='mmdet',
    type='CenterNet',
    backbone=dict(type='mmdet.ResNet', depth=18),
    neck=dict(
        type='mmdet.CTResNetNeck', in_channels=512, num_deconv_filters=(8, 8, 8),
        num_deconv_kernels=(4, 4, 4), use_dcn=False),
    bbox_head=dict(type='mmdet.CenterNetHead', in_channels=8, feat_channels=4, num_classes=1))
"""


def test_a_config_of_something_else(tmp_path, run):
    path = tmp_path / 'other.py'
    path.write_text(OTHER)
    with pytest.raises(MMKDError, match='is of a CenterNet; expected mmkd.FairMOT'):
        run(path)
