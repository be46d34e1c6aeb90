"""Building and reading a cache, timed: on toys, whose teacher is made slow where it must show."""

import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmkd.apis import benchmark_cache_build, benchmark_cache_reading
from mmkd.apis.benchmark_cache_reading import ALONE, COLD, PLAIN, READING
from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache.reader import CacheReader
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..replay_toy import ColourTeacher, draw_pictures
from ..test_distill import toys


@MODELS.register_module(force=True)
class SteadyTeacher(ColourTeacher):
    """Takes 20 ms for a picture, however fast the machine is."""

    def extract(self, x):
        time.sleep(0.02 * len(x))
        return super().extract(x)


@pytest.fixture(autouse=True)
def _hub_stays():
    info = MessageHub.get_current_instance().runtime_info
    before = dict(info)
    yield
    info.clear()
    info.update(before)


@pytest.fixture
def config(tmp_path):
    root = str(draw_pictures(tmp_path / 'pictures'))
    teacher = dict(
        type='mmkd.CachedTeacher',
        teacher=dict(type='mmkd.SteadyTeacher'),
        path=str(tmp_path / 'cache'),
        variants=2,
    )
    model = toys.config(
        teacher=teacher, distill=[dict(student='neck[0]', teacher='map')], mask=False
    )
    loader = dict(dataset=dict(type='mmkd.ToyPictures', root=root))
    return Config(dict(model=model, train_dataloader=loader, default_scope='mmkd'))


def test_building_beside_the_bare_teacher(config, tmp_path):
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    settings = benchmark_cache_build.Settings(batch=3, workers=0, rounds=2, scratch=str(scratch))
    found = benchmark_cache_build.benchmark(config, settings)
    assert 0.02 < found['bare'] < 0.2
    assert found['build'] > 0.02
    assert 0.05 < found['throughput'] < 1.3
    assert not list(scratch.iterdir())
    assert not (tmp_path / 'cache').exists(), "the config's own cache is left alone"


def test_what_slows_building_down_shows(config, monkeypatch):
    draw = ReplayDataset.draw

    def slow(self, index, variant):
        time.sleep(0.04)
        return draw(self, index, variant)

    monkeypatch.setattr(ReplayDataset, 'draw', slow)
    settings = benchmark_cache_build.Settings(batch=3, workers=0, rounds=1)
    found = benchmark_cache_build.benchmark(config, settings)
    assert found['throughput'] < 0.45, '20 of 60 ms or more'


def test_too_little_to_build(config):
    with pytest.raises(MMKDError, match='12 records to build, which make no two batches of 7'):
        benchmark_cache_build.benchmark(config, benchmark_cache_build.Settings(batch=7))
    with pytest.raises(MMKDError, match='1 or more rounds'):
        benchmark_cache_build.benchmark(config, benchmark_cache_build.Settings(rounds=0))


def _build(config):
    model = MODELS.build(config.model.to_dict())
    dataset = ReplayDataset(config.train_dataloader.dataset.to_dict(), **model.data_needs())
    model.teacher.missing = 'build'
    model.prepare_data(dataset)


def test_a_loader_with_and_without_records(config, monkeypatch):
    _build(config)
    read = CacheReader.read
    forgotten = []
    real = benchmark_cache_reading._forget

    def slow(self, sample, variant):
        time.sleep(0.01)
        return read(self, sample, variant)

    monkeypatch.setattr(CacheReader, 'read', slow)
    monkeypatch.setattr(
        benchmark_cache_reading, '_forget', lambda files: (forgotten.append(files), real(files))
    )
    settings = benchmark_cache_reading.Settings(batch=2, workers=(0, 2), rounds=2, samples=8)
    found = benchmark_cache_reading.benchmark(config, settings)
    assert list(found) == [0, 2]
    for arms in found.values():
        assert list(arms) == [PLAIN, READING, ALONE, COLD]
        assert arms[PLAIN]['to_samples'] == 1
        assert all(each['rate'] > 0 for each in arms.values())
    # 10 ms beside the few of a toy picture.
    assert found[0][READING]['to_samples'] < 0.8
    assert 5 < found[0][ALONE]['rate'] < 100
    assert len(forgotten) == 2 * 3
    assert all(Path(file).is_file() for files in forgotten for file in files)


def test_reading_needs_a_whole_cache(config):
    with pytest.raises(MMKDError, match='cache'):
        benchmark_cache_reading.benchmark(config, benchmark_cache_reading.Settings())
    _build(config)
    (seal,) = Path(config.model.teacher.path).glob('shards/*.json')
    seal.unlink()
    with pytest.raises(MMKDError, match='not complete; tools/cache_teacher.py CONFIG'):
        benchmark_cache_reading.benchmark(config, benchmark_cache_reading.Settings())
    with pytest.raises(MMKDError, match='1 or more rounds'):
        benchmark_cache_reading.benchmark(config, benchmark_cache_reading.Settings(rounds=0))
