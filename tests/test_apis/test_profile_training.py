import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.visualization import Visualizer

from mmkd.apis import profile_training
from mmkd.apis.profile_training import LOADING, Parts, profile
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..replay_toy import draw_pictures
from ..test_distill import toys

pytestmark = pytest.mark.usefixtures('progress_stays')


class Told:
    """A clock that goes on when it is told."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_part_does_not_count_what_it_calls():
    clock = Told()
    parts = Parts(clock)
    with parts.part('outer'):
        clock.now += 1
        with parts.part('inner'):
            clock.now += 10
            with parts.part('outer'):
                clock.now += 100
        clock.now += 2
    assert parts.spent == {'inner': 10, 'outer': 103}
    parts.clear()
    assert parts.spent == {'inner': 0, 'outer': 0}


def test_a_part_that_fails_is_closed():
    clock = Told()
    parts = Parts(clock)

    def fail():
        with parts.part('inner'):
            clock.now += 1
            raise KeyError

    with pytest.raises(KeyError), parts.part('outer'):
        fail()
    with parts.part('after'):
        clock.now += 1
    assert parts.spent == {'inner': 1, 'outer': 0, 'after': 1}


def test_methods_of_one_object_are_counted():
    class Thing:
        def work(self, seconds):
            clock.now += seconds
            return seconds

    clock = Told()
    parts, mine, other = Parts(clock), Thing(), Thing()
    parts.around(mine, 'work', 'mine')
    assert mine.work(3) == 3
    other.work(4)
    assert parts.spent == {'mine': 3}


@pytest.fixture
def config(tmp_path):
    root = str(draw_pictures(tmp_path / 'pictures'))
    dataset = dict(type='mmkd.ToyPictures', root=root)
    model = toys.config(
        teacher=dict(type='mmkd.ColourTeacher'),
        distill=[dict(student='neck[0]', teacher='map')],
        mask=False,
    )
    return Config(
        dict(
            model=model,
            train_dataloader=dict(
                batch_size=1,
                num_workers=1,
                persistent_workers=True,
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='pseudo_collate'),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=50, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.001)),
            default_scope='mmkd',
            runner_type='mmkd.TrackRunner',
            work_dir=str(tmp_path / 'never'),
            log_level='ERROR',
        )
    )


def test_an_iteration_in_parts(config, tmp_path, clock, monkeypatch):
    def slow(self, x):
        clock.now += 5
        return extract(self, x)

    monkeypatch.setitem(profile_training.CLOCKS, 'wall', clock)

    teacher = MODELS.get('mmkd.ColourTeacher')
    extract = teacher.extract
    monkeypatch.setattr(teacher, 'extract', slow)
    found = profile(config, iterations=3, warmup=1)
    assert found.iterations == 3
    assert sum(found.shares.values()) == pytest.approx(1)
    for part in (
        *('data: ToyLoad', 'data: HSVJitter', 'data: IdAwareRandomAffine', 'data: collate'),
        *(LOADING, 'data: to the device, normalise', 'teacher', 'student: backbone'),
        *('student: neck', 'distillation: transform and loss', 'backward', 'optimiser: step'),
        *('sum of the losses', 'hook: LoggerHook', 'hook: DeferredRuntimeInfoHook'),
    ):
        assert found.shares[part] > 0, part
    # A few looks at the clock beside.
    assert found.seconds == pytest.approx(5, abs=0.2)
    assert found.shares['teacher'] * found.seconds == pytest.approx(5, abs=0.01)
    assert found.shares['backward'] * found.seconds < 0.1
    assert not (tmp_path / 'never').exists()
    # Nobody gets a logger whose file is gone, nor a hub of a training that was none.
    for manager in (MMLogger, MessageHub, Visualizer):
        assert not any(name.startswith('profile_') for name in manager._instance_dict)
    assert not any(
        getattr(handler, 'stream', '') is None
        for handler in MMLogger.get_current_instance().handlers
    )
    print_log('still there', logger='current')


def test_a_student_without_a_teacher_and_workers(config):
    config.model = config.model.student
    found = profile(config, iterations=2, warmup=1, workers=1)
    assert 'data: ToyLoad' not in found.shares, 'that is in the worker'
    assert found.shares[LOADING] > 0
    assert found.shares['student: backbone'] > 0
    assert 'teacher' not in found.shares


def test_iterations_without_epochs(config):
    config.train_cfg = dict(by_epoch=False, max_iters=50)
    assert profile(config, iterations=2, warmup=2).iterations == 2


def test_what_cannot_be_profiled(config):
    with pytest.raises(MMKDError, match='1 or more iterations'):
        profile(config, iterations=0)
    with pytest.raises(MMKDError, match='no more than 6 batches, which are the warm-up'):
        profile(config, warmup=6)
    config.train_dataloader = None
    with pytest.raises(MMKDError, match='no train_dataloader'):
        profile(config)


def test_parts_on_a_device_wait_for_it():
    waits = []
    parts = Parts(Told(), lambda: waits.append(1))
    with parts.part('x'):
        torch.ones(1)
    assert len(waits) == 2
