"""make_synthetic_sot.py as a user runs it, and the configs that read what it writes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from mmkd.datasets.attributes import load_attributes

REPO = Path(__file__).parents[3]
SMALL = ('--train', 2, '--test', 1, '--frames', 40, '--size', '160x160')


def call(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['make_synthetic_sot.py', *map(str, args)])
    path = REPO / 'tools' / 'dataset_converters' / 'make_synthetic_sot.py'
    runpy.run_path(str(path), run_name='__main__')


def test_only_and_share_choose_attributes(tmp_path, monkeypatch, capsys):
    call(monkeypatch, tmp_path / 'a', *SMALL, '--only', 'FOC,FM', '--share', 'FM=1', 'FOC=0.5')
    table = load_attributes(str(tmp_path / 'a' / 'annotations' / 'attributes.json'))
    assert all('FM' in table.of(name) for name in table.videos)
    assert {n for names in table.videos.values() for n in names} == {'FM', 'FOC', 'POC'}
    out = capsys.readouterr().out
    assert '120/120 frames' in out
    assert 'of 2 videos, 80 frames' in out
    note = json.loads((tmp_path / 'a' / 'synthetic_sot.json').read_text())
    assert note['width'] == note['height'] == 160
    assert note['shares']['FM'] == 1
    with pytest.raises(SystemExit, match='error: .*--force'):
        call(monkeypatch, tmp_path / 'a', *SMALL)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--size', 'large'), "'large' is no size"),
        (('--share', 'FM'), 'NAME=number'),
        (('--share', 'FMM=1'), "Did you mean 'FM'"),
        (('--only', 'OCC'), "no attribute 'OCC'"),
        (('--target-size', '0.3'), '0.15:0.24'),
        (('--train', '-1'), 'negative'),
        (('--train', '0', '--test', '0'), 'at least one video'),
        (('--quality', '0'), 'quality'),
        (('--frames', '5'), '5 frames are too few'),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, monkeypatch, args, message):
    with pytest.raises(SystemExit, match=message):
        call(monkeypatch, tmp_path / 'a', *args)
    assert not (tmp_path / 'a').exists()


def test_the_configs_read_it(tmp_path, monkeypatch):
    pytest.importorskip('mmtrack')
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    call(monkeypatch, tmp_path, *SMALL, '--share', 'FM=1')
    init_default_scope('mmtrack')
    for name in ('synthetic_sot', 'pets-s2l1_sot'):
        config = Config.fromfile(str(REPO / 'configs' / '_base_' / 'datasets' / f'{name}.py'))
        for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            loader = config[key]
            assert loader.dataset.data_root == config.data_root
            loader.update(num_workers=0, persistent_workers=False)
            loader.dataset.data_root = str(tmp_path)
        train = Runner.build_dataloader(config.train_dataloader, seed=0)
        batch = next(iter(train))
        assert len(batch['inputs']['img']) == 16
        assert batch['inputs']['img'][0].shape == (1, 3, 127, 127)
        assert batch['inputs']['search_img'][0].shape == (1, 3, 255, 255)
        assert all('FM' in sample.attributes for sample in batch['data_samples'])
        test = Runner.build_dataloader(config.test_dataloader, seed=0)
        assert len(test) == 40
        sample = next(iter(test))['data_samples'][0]
        assert 'fast_motion' in sample.attribute_groups
