import pytest
from mmengine.config import Config

from mmkd.apis.benchmark_cache import Settings, benchmark
from mmkd.datasets.replay import ReplayDataset
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..replay_toy import draw_pictures
from ..test_distill import toys

pytestmark = pytest.mark.usefixtures('progress_stays')


@pytest.fixture
def config(tmp_path):
    dataset = dict(type='mmkd.ToyPictures', root=draw_pictures(tmp_path / 'pictures'))
    teacher = dict(
        type='mmkd.CachedTeacher',
        teacher=dict(type='mmkd.ColourTeacher'),
        path=str(tmp_path / 'cache'),
        storage='pca-3-int8',
        variants=2,
    )
    model = toys.config(
        teacher=teacher, distill=[dict(student='neck[0]', teacher='map')], mask=False
    )
    return Config(dict(model=model, train_dataloader=dict(dataset=dataset), default_scope='mmkd'))


def test_three_steps_and_two_ways_to_load(config):
    with pytest.raises(MMKDError, match='no cache in .*cache.*tools/cache_teacher.py'):
        benchmark(config, Settings(rounds=1))
    distiller = MODELS.build(config.model.to_dict())
    needs = distiller.data_needs()
    dataset = ReplayDataset(config.train_dataloader.dataset.to_dict(), **needs)
    distiller.teacher.missing = 'build'
    distiller.prepare_data(dataset)
    found = benchmark(config, Settings(rounds=3))
    assert set(found['steps']) == {'student', 'live', 'cached'}
    assert found['steps']['student']['ratio'] == 1
    assert found['loading']['load']['ratio'] == 1
    assert all(
        each['seconds'] > 0 for part in ('steps', 'loading') for each in found[part].values()
    )
    # Three directions of a 16 x 24 grid, a byte each.
    assert found['bytes'] == 3 * 16 * 24


def test_another_teacher_is_refused(config):
    config.model.teacher = dict(type='mmkd.ColourTeacher')
    with pytest.raises(MMKDError, match='only teacher is a dict.type=.mmkd.CachedTeacher'):
        benchmark(config, Settings())
