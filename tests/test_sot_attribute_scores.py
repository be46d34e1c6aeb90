"""configs/sot/siamese_rpn/README.md says how a test config scores each attribute."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmkd  # noqa: F401
from mmkd.datasets.attributes import load_attributes
from mmkd.registry import DATASETS, METRICS, MODELS

from .test_datasets.sot_folder import make_lasot

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs' / 'sot' / 'siamese_rpn'
README = (FOLDER / 'README.md').read_text()
VIDEOS = {'cat-1': ['POC'], 'cat-2': ['FM', 'POC'], 'cat-3': []}
NARROW = {'backbone.width_mult': '0.0625', 'head.in_channels': '[16]'}


def command() -> list:
    """The words behind 'python' of the command that scores each attribute."""
    lines = README.replace('\\\n', ' ')
    (found,) = re.findall(r'^python (tools/test.py .*AttributeSOTMetric.*)$', lines, re.M)
    return shlex.split(found)


def settings() -> dict:
    words = command()
    return dict(word.split('=') for word in words[words.index('--cfg-options') + 1 :])


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A working folder with LaSOT as docs/sot_data.md leaves it."""
    data = make_lasot(tmp_path / 'data' / 'LaSOT_full', VIDEOS, frames=3)
    lists = data / 'annotations'
    (lists / 'lasot_train_infos.txt').rename(lists / 'lasot_test_infos.txt')
    load_attributes(str(data / 'att')).save(str(lists / 'attributes.json'))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*_test-*.py')), ids=lambda path: path.stem)
def test_every_test_config_takes_the_settings(workspace, path):
    """LaSOT's as they are written, OTB100's and UAV123's with their names."""
    cfg = Config.fromfile(path)
    name = path.stem.rpartition('-')[2]
    if name == 'trackingnet':
        assert cfg.test_evaluator.format_only  # its server has the truth
        return
    changes = settings()
    if name != 'lasot':
        kind, table = re.search(rf'`(mmkd\.{name}Dataset)` and\s+`(\S+)`', README, re.I).groups()
        changes['test_dataloader.dataset.type'] = kind
        changes['test_dataloader.dataset.attributes'] = table
        docs = (ROOT / 'docs' / 'sot_data.md').read_text()
        assert f'--save data/{table}' in docs
    cfg.merge_from_dict(changes)
    with DefaultScope.overwrite_default_scope('mmtrack'):
        metric = METRICS.build(cfg.test_evaluator)
        assert metric.only_eval_visible == (name == 'lasot')
        if name == 'lasot':
            data = DATASETS.build(cfg.test_dataloader.dataset)
            meta = data[1, 2]['data_samples'].metainfo
            assert meta['attributes'] == ('POC', 'FM')
            assert set(meta['attribute_groups']) == {'occlusion', 'fast_motion'}
        else:
            assert DATASETS.get(cfg.test_dataloader.dataset.type) is not None


def test_the_command_scores_each_attribute(workspace, monkeypatch):
    tool, config, checkpoint, *rest = command()
    cfg = Config.fromfile(ROOT / config)
    cfg.merge_from_dict({f'model.{key}': ast.literal_eval(value) for key, value in NARROW.items()})
    with DefaultScope.overwrite_default_scope('mmtrack'):
        state = MODELS.build(cfg.model).state_dict()
    (workspace / checkpoint).parent.mkdir()
    torch.save(dict(state_dict=state), workspace / checkpoint)
    faster = ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
    faster += [f'model.{key}={value}' for key, value in NARROW.items()]
    words = [tool, str(ROOT / config), checkpoint, *rest, *faster]
    monkeypatch.setattr(sys, 'argv', words)
    try:
        runpy.run_path(str(ROOT / tool), run_name='__main__')
    finally:
        # The config's randomness says so, to the whole process.
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    prefix = rest[rest.index('--scores') + 1]
    found = json.loads((workspace / f'{prefix}.json').read_text())
    assert sorted(found['videos']) == sorted(VIDEOS)
    assert {name: row['videos'] for name, row in found['attributes'].items()} == {'POC': 2, 'FM': 1}
    assert {'occlusion', 'fast_motion'} <= set(found['groups'])
    assert found['settings'] == {'only_eval_visible': True}
