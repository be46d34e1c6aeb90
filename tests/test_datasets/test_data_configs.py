"""Every config of training data, on small folders in the layouts that docs/datasets.md shows."""

from __future__ import annotations

import json
import os
import random
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('mmtrack')
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, DefaultSampler
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.datasets.converters import convert
from mmkd.engine.identities import assign_id_offsets

from .mot_folder import make_crowdhuman, make_jde_image, make_sequence

REPO = Path(__file__).parents[2]
CONFIGS = REPO / 'configs' / '_base_' / 'datasets'
DOCS = (REPO / 'docs' / 'datasets.md').read_text()
COMMANDS = re.findall(r'^python tools/\S+\.py .*$', DOCS, flags=re.MULTILINE)
JDE = {  # list of FairMOT -> images of the form that is in it
    'caltech.all': ['Caltech/data/images/set04_V010_879.png'],
    'citypersons.train': ['Cityscapes/images/train/jena/jena_000078_000019_leftImg8bit.png'],
    'cuhksysu.train': ['CUHKSYSU/images/s10000.jpg', 'CUHKSYSU/images/s10001.jpg'],
    'prw.train': ['PRW/images/c1s1_000151.jpg', 'PRW/images/c1s1_000376.jpg'],
    'eth.train': ['ETHZ/eth01/images/image_00000001_0.png'],
}
# Persons 1 and 2 in all four frames; a car and an ignored box that no training may show.
ROWS = [
    *(f'{frame},{track},{10 * track},10,20,30,1,1,1' for track in (2, 1) for frame in range(1, 5)),
    '1,3,1,1,20,20,1,3,1',
    '1,4,1,1,20,20,0,1,1',
]
MOT15_ROWS = [f'{frame},1,10,10,20,30,1,-1,-1,-1' for frame in range(1, 5)]
DANCE_ROWS = [f'{frame},1,10,10,20,30,1,1,1' for frame in range(1, 5)]


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A folder with data/ in the layouts of docs/datasets.md, converted with its commands."""
    root = tmp_path_factory.mktemp('workspace')
    data = root / 'data'
    sets = {
        'MOT17/train': (['MOT17-02-FRCNN', 'MOT17-04-FRCNN', 'MOT17-02-SDP'], ROWS),
        'MOT17/test': (['MOT17-01-FRCNN'], None),
        'MOT15/train': (['ADL-Rundle-6', 'PETS09-S2L1'], MOT15_ROWS),
        'MOT20/train': (['MOT20-01'], ROWS),
        'DanceTrack/train': (['dancetrack0001'], DANCE_ROWS),
        'DanceTrack/val': (['dancetrack0004'], DANCE_ROWS),
    }
    for folder, (sequences, rows) in sets.items():
        for sequence in sequences:
            make_sequence(data / folder, sequence, rows)
    (data / 'JDE' / 'lists').mkdir(parents=True)
    for file, images in JDE.items():
        for index, image in enumerate(images):
            unknown = file.startswith(('caltech', 'citypersons'))
            make_jde_image(
                data / 'JDE',
                image,
                [f'0 {-1 if unknown else index} 0.5 0.5 0.4 0.7', '0 -1 0.1 0.5 0.3 0.7'],
            )
        (data / 'JDE' / 'lists' / file).write_text('\n'.join(images))
    for split, boxes in (('train', {'a,1': 3, 'b,2': 0}), ('val', {'c,3': 2})):
        people = {i: [[9 * k, 5, 20, 40] for k in range(n)] for i, n in boxes.items()}
        make_crowdhuman(data / 'CrowdHuman', split, people)
    for command in COMMANDS:
        run_tool(root, command)
    return root


def run_tool(folder, command):
    """Runs 'python tools/x.py args' in a folder, in this process."""
    _, tool, *args = command.split()
    before = os.getcwd(), sys.argv
    os.chdir(folder)
    sys.argv = [tool, *args]
    try:
        runpy.run_path(str(REPO / tool), run_name='__main__')
    finally:
        os.chdir(before[0])
        sys.argv = before[1]


def train_set(name):
    """The training data of a config as a runner builds it."""
    init_default_scope('mmtrack')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    return ROOT_DATASETS.build(small(config.train_dataloader.dataset))


def small(dataset):
    """Frames of the network's full size only cost time here."""
    for leaf in dataset.get('datasets', [dataset]):
        for step in leaf.pipeline:
            if 'scale' in step and step['type'] == 'mmkd.Letterbox':
                step['scale'] = (96, 64)
    return dataset


def samples(dataset, tries=3):
    """Every item through the pipeline, several times: an augmentation may drop a box."""
    random.seed(0)
    np.random.seed(0)
    for index in range(len(dataset)):
        for _ in range(tries):
            yield index, dataset[index]


# config -> (images, identities, datasets)
WHAT_IS_IN_THEM = {
    'mot17_half': (6, 4, 1),
    'mot17': (8, 4, 1),
    'mot15': (8, 2, 1),
    'mot20': (4, 2, 1),
    'dancetrack': (4, 1, 1),
    'crowdhuman': (3, 5, 2),
    'crowdhuman_mot17-half': (9, 9, 3),
    'mix': (15, 9, 6),
    'mix_mot17-half': (13, 9, 6),
}


def test_the_documents_name_every_config_and_command(workspace):
    assert len(COMMANDS) == 9
    written = {str(path.relative_to(workspace / 'data')) for path in workspace.rglob('*.json')}
    halves = {f'{n}/annotations/{f}.json' for n in ('MOT15', 'MOT17', 'MOT20')
              for f in ('train', 'half-train', 'half-val')}  # fmt: skip
    splits = {f'{n}/annotations/{f}.json' for n in ('DanceTrack', 'CrowdHuman')
              for f in ('train', 'val')}  # fmt: skip
    jde = {f'JDE/annotations/{name.replace(".", "_")}.json' for name in [*JDE, 'PRW']}
    assert written == halves | splits | jde | {'MOT17/annotations/test.json'}
    for name in WHAT_IS_IN_THEM:
        assert f'`{name}.py`' in DOCS


def test_every_config_of_benchmarks_is_tested_here():
    there = {path.stem for path in CONFIGS.glob('*.py')}
    assert set(WHAT_IS_IN_THEM) == {
        name
        for name in there
        # those of single objects are tested in test_sot_data_configs.py
        if not name.startswith(('pets', 'synthetic', 'sot_')) and not name.endswith('_attributes')
    }


@pytest.mark.parametrize('name', WHAT_IS_IN_THEM)
def test_every_item_comes_out_of_the_training_pipeline(workspace, monkeypatch, name):
    monkeypatch.chdir(workspace)
    dataset = train_set(name)
    leaves = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
    images, ids, sets = WHAT_IS_IN_THEM[name]
    assert (len(dataset), assign_id_offsets(dataset), len(leaves)) == (images, ids, sets)
    seen = set()
    for index, item in samples(dataset):
        sample = item['data_samples']
        assert item['inputs']['img'].shape == (1, 3, 64, 96)
        labels = sample.gt_instances.instances_id.tolist()
        assert len(sample.gt_instances.bboxes) == len(labels) == len(sample.gt_instances.labels)
        assert set(sample.gt_instances.labels.tolist()) <= {0}
        # An id belongs to the dataset that the sample is from.
        leaf = leaves[0] if len(leaves) == 1 else leaves[dataset._get_ori_dataset_idx(index)[0]]
        known = {label for label in labels if label >= 0}
        assert all(0 <= label - leaf.id_offset < leaf.num_ids for label in known)
        assert min(labels, default=-1) >= -1
        seen |= known
    assert seen == set(range(ids))


@pytest.mark.parametrize('name', WHAT_IS_IN_THEM)
def test_what_is_scored_has_ground_truth_and_order(workspace, monkeypatch, name):
    monkeypatch.chdir(workspace)
    init_default_scope('mmtrack')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    for loader in (config.val_dataloader, config.test_dataloader):
        dataset = ROOT_DATASETS.build(small(loader.dataset))
        assert dataset.test_mode
        assert sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))) > 0
        assert 'fps' in dataset[0]['data_samples'].metainfo
    assert config.val_evaluator.type == 'mmkd.MOTMetric'


def test_a_runner_makes_batches_of_the_mix(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    init_default_scope('mmtrack')
    loader = Config.fromfile(CONFIGS / 'mix.py').train_dataloader
    loader.update(batch_size=15, num_workers=0, persistent_workers=False)
    small(loader.dataset)
    (batch,) = Runner.build_dataloader(loader, seed=0)
    assert len(batch['inputs']['img']) == 15
    files = {Path(sample.img_path).parts[1] for sample in batch['data_samples']}
    assert files == {'MOT17', 'JDE'}


def test_a_dataset_of_unknown_people_has_no_ids(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    dataset = train_set('mix')
    assign_id_offsets(dataset)
    found = {leaf.ann_file.split('/')[-1]: (leaf.num_ids, leaf.id_offset)
             for leaf in dataset.datasets}  # fmt: skip
    assert found == {
        'train.json': (4, 0),
        'caltech_all.json': (0, 4),
        'citypersons_train.json': (0, 4),
        'cuhksysu_train.json': (2, 4),
        'prw_train.json': (2, 6),
        'eth_train.json': (1, 8),
    }


def test_wrappers_of_wrappers_keep_ids_apart(workspace, monkeypatch):
    """Repeated, nested, and one file twice: each person has one label, no label two persons."""
    monkeypatch.chdir(workspace)
    init_default_scope('mmtrack')
    mot17, crowd = (
        small(Config.fromfile(CONFIGS / f'{name}.py').train_dataloader.dataset)
        for name in ('mot17', 'crowdhuman')
    )
    dataset = ROOT_DATASETS.build(
        dict(
            type='ConcatDataset',
            datasets=[
                dict(type='RepeatDataset', times=2, dataset=crowd),
                mot17,
                dict(type='ConcatDataset', datasets=[mot17, crowd.datasets[1]]),
            ],
        )
    )
    assert assign_id_offsets(dataset) == 5 + 4
    people = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for instance in info['instances']:
            key = (info['scene'], info['file_name'] * (not info['scene']))
            key += (instance['mot_instance_id'],)
            assert people.setdefault(instance['instance_id'], key) == key
    assert sorted(people) == list(range(9))
    assert len(set(people.values())) == 9
    assert sorted(DefaultSampler(dataset, shuffle=True)) == list(range(2 * 3 + 8 + 8 + 1))


def test_the_three_copies_of_mot17_in_three_files_are_the_same_people(workspace, tmp_path):
    train, leaves = workspace / 'data' / 'MOT17' / 'train', []
    for copy in ('FRCNN', 'SDP'):
        folder = tmp_path / copy
        folder.mkdir()
        (folder / f'MOT17-02-{copy}').symlink_to(train / f'MOT17-02-{copy}')
        convert(str(folder), str(tmp_path / f'{copy}.json'), detector=copy)
        leaves.append(
            dict(
                type='mmkd.MOTDataset',
                ann_file=str(tmp_path / f'{copy}.json'),
                data_prefix=dict(img_path=str(folder)),
            )
        )
    dataset = ROOT_DATASETS.build(dict(type='ConcatDataset', datasets=leaves))
    assert assign_id_offsets(dataset) == 2
    first, second = dataset.get_data_info(0), dataset.get_data_info(4)
    assert first['img_path'] != second['img_path']
    assert [i['instance_id'] for i in first['instances']] == [0, 1]
    assert [i['instance_id'] for i in second['instances']] == [0, 1]


def test_training_shows_the_boxes_that_fairmot_writes(workspace, monkeypatch):
    """The original keeps rows with mark != 0 and label == 1 (src/gen_labels_16.py)."""
    monkeypatch.chdir(workspace)
    for name, has_class in (('mot17', True), ('mot20', True), ('mot15', False)):
        dataset = train_set(name)
        found, wanted = set(), set()
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            sequence = info['file_name'].split('/')[0]
            found |= {
                (sequence, info['mot_frame_id'], i['mot_instance_id'], *i['bbox'])
                for i in info['instances']
            }
        root = workspace / 'data' / name.upper() / 'train'
        for sequence in {key[0] for key in found}:
            for line in (root / sequence / 'gt' / 'gt.txt').read_text().splitlines():
                frame, track, x, y, w, h, mark, label = map(float, line.split(',')[:8])
                if mark != 0 and (label == 1 or not has_class):
                    wanted.add((sequence, frame, track, x, y, x + w, y + h))
        assert found == wanted
        assert found


def test_annotation_files_of_single_images_have_no_videos(workspace):
    for path in sorted((workspace / 'data' / 'JDE' / 'annotations').iterdir()):
        assert 'videos' not in json.loads(path.read_text())
