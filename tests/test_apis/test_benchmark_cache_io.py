"""Building and reading a cache, timed: on toys, whose teacher is made slow where it must show."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmkd.apis import benchmark_cache_build, benchmark_cache_reading
from mmkd.apis.benchmark_cache_reading import ALONE, COLD, PLAIN, READING
from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache.reader import CacheReader
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..replay_toy import ColourTeacher, draw_pictures
from ..test_distill import toys

pytestmark = pytest.mark.usefixtures('progress_stays')


@MODELS.register_module(force=True)
class SteadyTeacher(ColourTeacher):
    """Takes two seconds of a test's clock for a picture."""

    clock = None

    def extract(self, x):
        if self.clock is not None:
            self.clock.now += 2 * len(x)
        return super().extract(x)


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


@pytest.fixture
def _steady(clock, monkeypatch):
    monkeypatch.setattr(SteadyTeacher, 'clock', clock)
    for module in (benchmark_cache_build, benchmark_cache_reading):
        monkeypatch.setattr(module, 'time', clock)


@pytest.mark.usefixtures('_steady')
def test_building_beside_the_bare_teacher(config, tmp_path):
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    settings = benchmark_cache_build.Settings(batch=3, workers=0, rounds=2, scratch=str(scratch))
    found = benchmark_cache_build.benchmark(config, settings)
    assert found['bare'] == pytest.approx(2, rel=0.01)
    assert found['build'] == pytest.approx(2, rel=0.01)
    assert found['throughput'] == pytest.approx(1, rel=0.01)
    assert not list(scratch.iterdir())
    assert not (tmp_path / 'cache').exists(), "the config's own cache is left alone"


def _slow_to_draw(clock, monkeypatch, seconds):
    draw = ReplayDataset.draw

    def slow(self, index, variant):
        clock.now += seconds
        return draw(self, index, variant)

    monkeypatch.setattr(ReplayDataset, 'draw', slow)


@pytest.mark.usefixtures('_steady')
def test_what_slows_building_down_shows(config, clock, monkeypatch):
    _slow_to_draw(clock, monkeypatch, 3)
    settings = benchmark_cache_build.Settings(batch=3, workers=0, rounds=1)
    found = benchmark_cache_build.benchmark(config, settings)
    assert found['throughput'] == pytest.approx(2 / (2 + 3), rel=0.01)


def test_building_with_a_worker(config):
    settings = benchmark_cache_build.Settings(batch=3, workers=1, rounds=1)
    assert benchmark_cache_build.benchmark(config, settings)['throughput'] > 0


def test_one_cache_at_a_time(config):
    teacher = config.model.teacher
    config.model.teacher = None
    config.model.teachers = {name: dict(teacher, path=f'{teacher.path}_{name}') for name in 'ab'}
    config.model.distill = [dict(student='neck[0]', teacher=f'{n}.map', name=n) for n in 'ab']
    for module in (benchmark_cache_build, benchmark_cache_reading):
        with pytest.raises(MMKDError, match='one cache, but the config has 2 .* a, b. Leave one'):
            module.benchmark(config, module.Settings())


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


@pytest.mark.usefixtures('_steady')
def test_a_loader_with_and_without_records(config, clock, monkeypatch):
    _build(config)
    read = CacheReader.read

    def slow(self, sample, variant):
        clock.now += 1
        return read(self, sample, variant)

    monkeypatch.setattr(CacheReader, 'read', slow)
    _slow_to_draw(clock, monkeypatch, 3)
    settings = benchmark_cache_reading.Settings(batch=2, workers=(0,), rounds=2, samples=8)
    (arms,) = benchmark_cache_reading.benchmark(config, settings).values()
    assert arms[PLAIN] == dict(rate=pytest.approx(1 / 3, rel=0.01), to_samples=1)
    assert arms[READING]['to_samples'] == pytest.approx(3 / 4, rel=0.01)
    assert arms[ALONE]['rate'] == pytest.approx(1, rel=0.01)
    assert arms[COLD]['to_samples'] == pytest.approx(3, rel=0.01)


def test_workers_and_a_disk_that_forgets(config, monkeypatch):
    _build(config)
    forgotten = []
    real = benchmark_cache_reading._forget
    monkeypatch.setattr(
        benchmark_cache_reading, '_forget', lambda files: (forgotten.append(files), real(files))
    )
    settings = benchmark_cache_reading.Settings(batch=2, workers=(0, 2), rounds=2, samples=8)
    found = benchmark_cache_reading.benchmark(config, settings)
    assert list(found) == [0, 2]
    for arms in found.values():
        assert list(arms) == [PLAIN, READING, ALONE, COLD]
        assert all(each['rate'] > 0 for each in arms.values())
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
