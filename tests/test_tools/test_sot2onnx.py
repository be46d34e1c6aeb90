"""The ONNX files of a toy tracker, made and checked as a user does."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from mmkd.apis import export_sot
from mmkd.apis.export_sot import export_siamese
from mmkd.apis.sot_branches import SearchBranch, TemplateBranch
from mmkd.errors import MMKDError
from tests.test_models.test_sot.toys import build, images

from .test_benchmark_sot import run_tool, write_config

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec('onnx') is None, reason='onnx is not installed'
)


@pytest.mark.parametrize('deep', [False, True], ids=['levels', 'alexnet-like'])
def test_the_branches_are_the_tracker(deep):
    model = build(deep=deep)
    inputs = images(2)
    with torch.no_grad():
        kernels = TemplateBranch(model)(inputs['img'][:, 0])
        found = SearchBranch(model)(inputs['search_img'][:, 0], *kernels)
        expected = model(inputs, mode='tensor')
    assert len(kernels) == len(TemplateBranch(model).names) == (2 if deep else 4)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)


@needs_onnx
@pytest.mark.parametrize('opset', [11, 17])
@pytest.mark.parametrize('deep', [False, True], ids=['levels', 'alexnet-like'])
def test_files_are_valid_and_give_the_same_numbers(tmp_path, deep, opset):
    model = build(deep=deep)
    found = export_siamese(model, tmp_path / 'new', opset)
    assert [file.path.name for file in found] == ['template.onnx', 'search.onnx']
    template, search = found
    names = list(template.outputs)
    assert list(search.inputs) == ['search', *names]
    assert [search.inputs[name] for name in names] == list(template.outputs.values())
    side = 17 if deep else 25
    assert search.outputs == dict(cls=(1, 10, side, side), reg=(1, 20, side, side))
    if importlib.util.find_spec('onnxruntime'):
        assert all(file.error < 1e-4 for file in found)
        assert all(file.checked == ('onnx', 'onnxruntime') for file in found)
    # torch's exporter sets modes back; it must not set them to another.
    assert not any(module.training for module in model.modules())


@needs_onnx
def test_other_numbers_are_told(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    monkeypatch.setattr(export_sot, 'TOLERANCE', -1.0)
    with pytest.raises(MMKDError, match='other numbers in onnxruntime'):
        export_siamese(build(), tmp_path)


@needs_onnx
@pytest.mark.slow
def test_the_tool(tmp_path):
    result = run_tool('model_converters/sot2onnx.py', write_config(tmp_path), tmp_path / 'out')
    assert result.returncode == 0, result.stderr
    assert 'cls (1, 10, 25, 25)' in result.stdout
    assert (tmp_path / 'out' / 'search.onnx').is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('onnx') is not None, reason='onnx is installed')
def test_without_onnx_the_package_is_named(tmp_path):
    result = run_tool('model_converters/sot2onnx.py', write_config(tmp_path), tmp_path / 'out')
    assert result.returncode == 1
    assert 'pip install onnx' in result.stderr
    assert 'Traceback' not in result.stderr


def test_mistakes_are_told(tmp_path):
    with pytest.raises(MMKDError, match='11 to 17'):
        export_siamese(build(), tmp_path, opset=9)
    with pytest.raises(MMKDError, match='mmkd.SiamRPN'):
        export_siamese(build(ours=False), tmp_path)
    with pytest.raises(MMKDError, match='Linear is no Siamese tracker'):
        export_siamese(torch.nn.Linear(1, 1), tmp_path)
