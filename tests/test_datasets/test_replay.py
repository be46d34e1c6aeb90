import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmkd.datasets.replay import ReplayDataset
from mmkd.datasets.replay_random import replayed
from mmkd.errors import MMKDError

from ..replay_toy import PIPELINE, ToyPictures, draw_pictures


@pytest.fixture
def pictures(tmp_path):
    return draw_pictures(tmp_path / 'pictures')


def _numbers():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def _fail_with(numbers):
    numbers.append(_numbers())
    raise RuntimeError


def test_one_seed_decides_and_nothing_is_left_behind():
    with replayed(1, 2):
        first = _numbers()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = _numbers()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    again = []
    with pytest.raises(RuntimeError), replayed(1, 2):
        _fail_with(again)
    assert again == [first]
    assert _numbers() == expected
    with replayed(2, 1):
        others = _numbers()
    assert not set(others) & set(first)


def _all(loader):
    return {
        sample.metainfo['replay']: inputs
        for batch in loader
        for inputs, sample in zip(batch['inputs'], batch['data_samples'])
    }


def _collate(batch):
    return {key: [each[key] for each in batch] for key in batch[0]}


@pytest.mark.parametrize(('workers', 'context'), [(0, None), (2, 'fork'), (2, 'spawn')])
def test_a_variant_is_the_same_tensor_in_every_process(pictures, workers, context):
    dataset = ReplayDataset(ToyPictures(pictures), variants=3, seed=4)
    dataset.full_init()
    expected = {(n, v): dataset.draw(n, v)['inputs'] for n in range(6) for v in range(3)}
    assert len({value.numpy().tobytes() for value in expected.values()}) == 18
    loader = DataLoader(
        dataset,
        batch_size=2,
        shuffle=True,
        num_workers=workers,
        collate_fn=_collate,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
    )
    seen = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        found = _all(loader)
        for key, value in found.items():
            assert torch.equal(value, expected[key])
        seen += list(found)
    assert sorted(seen) == sorted(expected), 'each variant once, in workers that lived on too'


def test_where_nobody_tells_the_epoch_variants_are_drawn(pictures):
    dataset = ReplayDataset(ToyPictures(pictures), variants=4)
    variants = {dataset[0]['data_samples'].metainfo['replay'][1] for _ in range(60)}
    assert variants == {0, 1, 2, 3}


def test_another_seed_is_another_augmentation(pictures):
    one, other = (ReplayDataset(ToyPictures(pictures), seed=seed) for seed in (0, 1))
    assert not torch.equal(one.draw(0, 0)['inputs'], other.draw(0, 0)['inputs'])


def test_warp_mode_replays_nothing(pictures):
    dataset = ReplayDataset(ToyPictures(pictures), mode='warp')
    assert not torch.equal(dataset[0]['inputs'], dataset[0]['inputs'])


def test_it_is_the_data_set_to_everybody_else(pictures):
    dataset = ReplayDataset(dict(type='mmkd.ToyPictures', root=pictures), variants=2)
    assert len(dataset) == 6
    assert dataset.metainfo == dict(classes=('thing',))
    assert dataset.get_data_info(2)['img_id'] == 2
    assert dataset.paths == dataset.dataset.paths
    dataset.full_init()
    dataset.full_init()
    assert dataset.initialised == 1
    with pytest.raises(AttributeError):
        getattr(dataset, 'nothing')  # noqa: B009
    assert copy.deepcopy(dataset)[0]['inputs'].shape == (3, 64, 96)


def test_a_generator_of_its_own_is_found(pictures):
    pipeline = [*PIPELINE[:1], dict(type='mmkd.OwnGenerator'), *PIPELINE[1:]]
    dataset = ReplayDataset(ToyPictures(pictures, pipeline))
    with pytest.raises(MMKDError, match='cannot be replayed.*random generator of its own'):
        dataset.full_init()
    ReplayDataset(ToyPictures(pictures, pipeline), mode='warp').full_init()


def test_wrong_options_are_named(pictures):
    with pytest.raises(MMKDError, match='variants is a whole number, 1 or more'):
        ReplayDataset(ToyPictures(pictures), variants=0)
    with pytest.raises(MMKDError, match="no mode='exakt'. Did you mean 'exact'"):
        ReplayDataset(ToyPictures(pictures), mode='exakt')
    with pytest.raises(MMKDError, match='within another'):
        ReplayDataset(ReplayDataset(ToyPictures(pictures)))
    unpacked = ReplayDataset(ToyPictures(pictures, PIPELINE[:-1]), mode='warp')
    with pytest.raises(MMKDError, match='must end with a Pack'):
        unpacked[0]


def test_building_ends_when_others_are_done_too(pictures, monkeypatch):
    dataset = ReplayDataset(ToyPictures(pictures))
    log = []
    # After its own shard, one is missing that another process builds.
    missing = iter([[1], [1], []])

    class Reader:
        def __init__(self, path):
            pass

        def missing(self):
            log.append('look')
            return next(missing)

    module = 'mmkd.datasets.replay'
    monkeypatch.setattr(f'{module}.plan', lambda *_: None)
    monkeypatch.setattr(f'{module}.build', lambda *_: log.append('build'))
    monkeypatch.setattr(f'{module}.CacheReader', Reader)
    monkeypatch.setattr(f'{module}.time.sleep', lambda _: log.append('wait'))
    monkeypatch.setattr(dataset, 'open', lambda _: log.append('open'))
    dataset.build_cache(SimpleNamespace(path='x'), None)
    assert log == ['build', 'look', *['wait', 'build', 'look'] * 2, 'open']
