"""Teachers that read a tracker's whole input, and specialists on parts of a batch, from caches."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseDataPreprocessor
from torch.utils.data import Dataset

from mmkd.datasets.replay import ReplayDataset
from mmkd.errors import MMKDError
from tests.test_distill import siamese_toy as toy

NAMES = ((), ('POC',), ('FM',), ('POC', 'FM'), ('FM',), ())


class Stack(BaseDataPreprocessor):
    """Makes batches of what the data set gives."""

    def forward(self, data, training=False):
        inputs = {key: torch.stack(value) for key, value in data['inputs'].items()}
        return dict(inputs=inputs, data_samples=data['data_samples'])


class Pairs(Dataset):
    """Pairs of pictures that differ in every draw."""

    def __len__(self):
        return len(NAMES)

    def get_data_info(self, index):
        return dict(attributes=NAMES[index])

    def __getitem__(self, index):
        inputs = {
            'img': torch.randint(0, 256, (1, 3, 16, 16)).float(),
            'search_img': torch.randint(0, 256, (1, 3, 32, 32)).float(),
        }
        return dict(inputs=inputs, data_samples=toy.sample(NAMES[index], place=index % 4))


def cached(tmp_path, number, **options):
    return dict(
        type='mmkd.CachedTeacher',
        teacher=toy.teacher(number),
        path=str(tmp_path / str(number)),
        storage='fp32',
        variants=2,
        missing='build',
        **options,
    )


def distiller(tmp_path, **options):
    return toy.build(
        student=dict(type='ToyPair', data_preprocessor=Stack()),
        general=cached(tmp_path, 1),
        specialists=dict(
            occlusion=dict(teacher=cached(tmp_path, 2, **options), attributes=('POC', 'FOC')),
            fast_motion=dict(teacher=toy.teacher(3), attributes='FM'),
        ),
    )


def batch(dataset):
    drawn = [dataset[index] for index in range(len(dataset))]
    inputs = {key: [each['inputs'][key] for each in drawn] for key in ('img', 'search_img')}
    data = Stack()(dict(inputs=inputs, data_samples=[each['data_samples'] for each in drawn]))
    return data['inputs'], data['data_samples']


def test_losses_are_those_of_live_teachers(tmp_path):
    ours, live = distiller(tmp_path), toy.build()
    needs = ours.data_needs()
    assert needs == dict(mode='exact', variants=2, seed=0, cache=[])
    dataset = ReplayDataset(Pairs(), **needs)
    ours.prepare_data(dataset)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        inputs, samples = batch(dataset)
        found = ours(inputs, samples, mode='loss')
        expected = live(inputs, samples, mode='loss')
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert torch.allclose(found[name], value, atol=1e-6, rtol=1e-5), name
    general = ours.teachers['general']
    assert not general.inner.loaded, 'it has been compared with and let go'
    assert general.loaded


def test_teachers_that_want_other_samples_are_refused(tmp_path):
    with pytest.raises(MMKDError, match='need other training samples.*same mode=, variants='):
        distiller(tmp_path, seed=5).data_needs()
