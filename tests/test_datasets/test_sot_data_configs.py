"""Every config of single-object data, on small folders in the layouts of docs/sot_data.md."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmtrack')
from mmengine.config import Config
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import init_default_scope

from mmkd.datasets.attributes import GROUPS
from mmkd.datasets.attributes.text_files import LAYOUTS

from .sot_folder import boxes_of, make_lasot, write_frames, write_lines

REPO = Path(__file__).parents[2]
CONFIGS = REPO / 'configs' / '_base_' / 'datasets'
DOCS = (REPO / 'docs' / 'sot_data.md').read_text()
COMMANDS = re.findall(r'^python tools/\S+\.py .*$', DOCS, flags=re.MULTILINE)
# config -> (training videos or None, frames to test, attributes of the first of them)
WHAT_IS_IN_THEM = {
    'lasot_attributes': (2, 6, ('POC',)),
    'got10k_attributes': (1, 3, ()),
    'trackingnet_attributes': (1, 3, ()),
    'otb100_attributes': (None, 4, ('OCC',)),
    'uav123_attributes': (None, 4, ('FM',)),
}


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A folder with data/ in the layouts of docs/sot_data.md, converted with its commands."""
    root = tmp_path_factory.mktemp('workspace')
    data = root / 'data'
    make_lasot(data / 'LaSOT_full', {'cat-1': ['POC'], 'cat-2': ['FM'], 'cat-3': []})
    toolkit = data / 'LaSOT_Evaluation_Toolkit'
    write_lines(toolkit / 'sequence_evaluation_config' / 'testing_set.txt', ['cat-1'])
    (toolkit / 'annos').mkdir()
    (data / 'LaSOT_full' / 'att').rename(toolkit / 'annos' / 'att')
    shutil.rmtree(data / 'LaSOT_full' / 'annotations')
    for split, title in (('train', 'Train'), ('val', 'Val'), ('test', 'Test')):
        name = f'GOT-10k_{title}_000001'
        folder = data / 'GOT10k' / split / name
        write_lines(folder.parent / 'list.txt', [name])
        write_frames(folder, range(1, 4))
        write_lines(folder / 'groundtruth.txt', boxes_of(1 if split == 'test' else 3))
        write_lines(folder / 'absence.label', [0, 0, 0])
        write_lines(folder / 'cover.label', [8, 8, 8])
    for part in (*(f'TRAIN_{i}' for i in range(12)), 'TEST'):
        folder = data / 'TrackingNet' / part
        (folder / 'frames').mkdir(parents=True)
        if part in ('TRAIN_2', 'TRAIN_9', 'TEST'):
            write_frames(folder / 'frames' / 'v_0', range(3), '%d.jpg')
            write_lines(folder / 'anno' / 'v_0.txt', boxes_of(1 if part == 'TEST' else 3))
    otb = data / 'OTB100'
    write_frames(otb / 'data' / 'Jogging' / 'img', (1, 2), '%04d.jpg')
    for number in (1, 2):
        write_lines(otb / 'data' / 'Jogging' / f'groundtruth_rect.{number}.txt', boxes_of(2))
        values = [int(name == 'OCC') for name in LAYOUTS['otb'].names]
        write_lines(otb / 'anno' / 'att' / f'jogging-{number}.txt', ['\t'.join(map(str, values))])
    uav = data / 'UAV123'
    write_frames(uav / 'data_seq' / 'UAV123' / 'car1', range(1, 4), '%06d.jpg')
    for number in (1, 2):
        write_lines(uav / 'anno' / 'UAV123' / f'car1_{number}.txt', boxes_of(2))
        values = [int(name == 'FM') for name in LAYOUTS['uav123'].names]
        path = uav / 'anno' / 'UAV123' / 'att' / f'car1_{number}.txt'
        write_lines(path, [','.join(map(str, values))])
    for command in COMMANDS:
        _, tool, *args = command.split()
        before = os.getcwd(), sys.argv
        os.chdir(root)
        sys.argv = [tool, *args]
        try:
            runpy.run_path(str(REPO / tool), run_name='__main__')
        finally:
            os.chdir(before[0])
            sys.argv = before[1]
    return root


def test_every_config_is_tested_and_in_the_documents():
    assert {path.stem for path in CONFIGS.glob('*_attributes.py')} == set(WHAT_IS_IN_THEM)
    for name in WHAT_IS_IN_THEM:
        assert f'`{name}.py`' in DOCS
    assert len(COMMANDS) == 8


@pytest.mark.parametrize('name', WHAT_IS_IN_THEM)
def test_what_a_config_gives(workspace, monkeypatch, name):
    monkeypatch.chdir(workspace)
    init_default_scope('mmtrack')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    videos, frames, attributes = WHAT_IS_IN_THEM[name]
    assert ('train_dataloader' in config) == (videos is not None)
    if videos:
        data = ROOT_DATASETS.build(config.train_dataloader.dataset)
        assert len(data) == videos
        sample = data[0]
        assert sample['inputs']['img'].shape == (1, 3, 127, 127)
        assert sample['inputs']['search_img'].shape == (1, 3, 255, 255)
        assert 'attributes' in sample['data_samples'].metainfo
    for part in ('val', 'test'):
        data = ROOT_DATASETS.build(config[f'{part}_dataloader'].dataset)
        assert len(data) == frames
        meta = data[0, 1]['data_samples'].metainfo
        assert meta['attributes'] == attributes
        evaluator = config[f'{part}_evaluator']
        # TrackingNet's server has the ground truth.
        if not evaluator.get('format_only'):
            assert evaluator.type == 'mmkd.AttributeSOTMetric'
            metric = ROOT_METRICS.build(evaluator)
            assert metric.only_eval_visible == ('lasot' in name)


def test_the_documents_tell_the_code():
    for kind, layout in LAYOUTS.items():
        row = re.search(rf'^\| `{kind}` \|.*\| (.*) \|$', DOCS, flags=re.MULTILINE).group(1)
        if kind != 'vl-sot500':
            assert tuple(row.split()) == layout.names
    rows = dict(re.findall(r'^\| `(\w+)` \| ([A-Z ]+) \|$', DOCS, flags=re.MULTILINE))
    assert {group: tuple(names.split()) for group, names in rows.items()} == {
        group: tuple(name for name in names if name.isupper()) for group, names in GROUPS.items()
    }


def test_converters_and_data_sets_call_frames_alike():
    from mmkd.datasets import sot
    from mmkd.datasets.converters import got10k, lasot, otb100, trackingnet, uav123
    from mmkd.datasets.sot import otb100 as otb100_data

    for converter, data in (
        (got10k, sot.GOT10kDataset),
        (lasot, sot.LaSOTDataset),
        (otb100, sot.OTB100Dataset),
        (trackingnet, sot.TrackingNetDataset),
        (uav123, sot.UAV123Dataset),
    ):
        assert data.framename_template == converter.FRAMES
    assert dict.fromkeys(otb100_data.FIVE_DIGITS, '%05d.jpg') == otb100.FRAMES_OF
    assert otb100.SKIPPED_BOXES == otb100_data.SKIPPED_BOXES
