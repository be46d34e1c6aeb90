"""The runner gives a cached teacher the samples that it needs."""

import pytest

from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache.reader import CacheReader
from mmkd.engine import TrackRunner

from ..replay_toy import ToyPictures, draw_pictures
from ..test_distill import toys


def _runner(tmp_path, teacher, train_cfg, **loader):
    pictures = tmp_path / 'pictures'
    if not pictures.exists():
        draw_pictures(pictures, count=4)
    model = toys.config(
        teacher=teacher, distill=[dict(student='neck[0]', teacher='map')], mask=False
    )
    return TrackRunner(
        model=model,
        work_dir=str(tmp_path / 'work'),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(type='mmkd.ToyPictures', root=pictures),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
            **loader,
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_scope='mmkd',
        log_level='ERROR',
        experiment_name=tmp_path.name,
    )


def _cached(tmp_path, **options):
    return dict(
        type='mmkd.CachedTeacher',
        teacher=dict(type='mmkd.ColourTeacher'),
        path=str(tmp_path / 'cache'),
        storage='fp32',
        **{'variants': 2, 'missing': 'build', **options},
    )


@pytest.fixture
def seen(monkeypatch):
    found = []
    real = ReplayDataset.draw

    def draw(self, index, variant):
        if self._ready:
            found.append((index, variant))
        return real(self, index, variant)

    monkeypatch.setattr(ReplayDataset, 'draw', draw)
    return found


def test_the_cache_is_built_and_variants_take_turns(tmp_path, seen):
    runner = _runner(tmp_path, _cached(tmp_path), dict(by_epoch=True, max_epochs=3))
    model = runner.train()
    teacher = model.teacher
    assert teacher.loaded
    assert not teacher.inner.loaded, 'everything came from the cache'
    assert CacheReader(teacher.path).missing() == []
    for epoch in range(3):
        found = sorted(seen[4 * epoch - 12 :][:4])
        assert found == [(n, (epoch + n) % 2) for n in range(4)]


def test_to_a_loop_of_iterations_there_are_no_epochs(tmp_path, seen):
    train_cfg = dict(by_epoch=False, max_iters=60, val_interval=100)
    runner = _runner(tmp_path, _cached(tmp_path, missing='live'), train_cfg)
    runner.train()
    assert {variant for index, variant in seen if index == 0} == {0, 1}


def test_a_plain_teacher_leaves_the_data_alone(tmp_path):
    train_cfg = dict(by_epoch=True, max_epochs=1)
    runner = _runner(tmp_path, dict(type='mmkd.ColourTeacher'), train_cfg)
    runner.train()
    assert type(runner.train_dataloader.dataset) is ToyPictures


def test_what_a_config_wraps_itself_is_not_wrapped_again(tmp_path):
    pictures = draw_pictures(tmp_path / 'pictures', count=4)
    runner = _runner(tmp_path, _cached(tmp_path), dict(by_epoch=True, max_epochs=1))
    inner = dict(type='mmkd.ToyPictures', root=pictures)
    runner._train_dataloader['dataset'] = dict(type='mmkd.ReplayDataset', dataset=inner, variants=2)
    runner.train()
    assert isinstance(runner.train_dataloader.dataset.dataset, ToyPictures)
