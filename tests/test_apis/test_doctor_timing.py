import pytest
import torch
from mmengine.logging import MessageHub

from mmkd.apis import doctor_stopwatch, doctor_taps, doctor_timing
from mmkd.apis.doctor_case import LeftOut, teachers_of
from mmkd.apis.doctor_progress import at_work, run_length
from mmkd.apis.doctor_stopwatch import Stopwatch, state_bytes
from tests.test_apis.doctor_toy import ToyTracks, case, look, told
from tests.test_distill import toys


def measured(examined, steps=2):
    return doctor_timing.measure(
        examined.model,
        examined.loader,
        examined.cfg.optim_wrapper,
        examined.device,
        steps,
    )


class Clock:
    """A clock that only moves where a test says so."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def slow(self, owner, method, seconds, monkeypatch):
        """Makes every call of a method take so long."""
        original = getattr(owner, method)

        def slowly(*args, **kwargs):
            self.now += seconds
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, slowly)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(doctor_stopwatch, 'time', made)
    monkeypatch.setattr(doctor_timing, 'time', made)
    return made


def test_time_goes_to_the_part_that_spends_it(tmp_path, clock, monkeypatch):
    examined = case(tmp_path)
    model = examined.model
    for owner, method, seconds in (
        (teachers_of(model)['teacher'], 'preprocess', 1),
        (model.student.neck, 'forward', 2),
        (model.distill['neck_0'].transform, 'forward', 4),
        (model.student.data_preprocessor, 'forward', 8),
        (model, 'parse_losses', 16),
        (torch.optim.SGD, 'zero_grad', 32),
    ):
        clock.slow(owner, method, seconds, monkeypatch)
    found = measured(examined)
    wanted = dict(teacher=1, student=2, kd=4, preprocess=8, other=16, update=32)
    assert found.parts == wanted
    assert found.step == found.measured_apart == 63


def test_of_a_plain_model_the_student_is_all_there_is(tmp_path):
    found = measured(case(tmp_path, plain=True))
    assert set(found.parts) == {'preprocess', 'student', 'update', 'other'}
    assert found.losses['loss'] > 0


def test_loading_is_measured_apart(tmp_path, clock, monkeypatch):
    clock.slow(ToyTracks, '__getitem__', 5, monkeypatch)
    found = measured(case(tmp_path, plain=True))
    assert (found.batch, found.step) == (10, 0)


def test_nothing_of_the_instruments_stays(tmp_path):
    examined = case(tmp_path)
    measured(examined)
    model = examined.model
    for owner in (model, model.student, teachers_of(model)['teacher'], model.data_preprocessor):
        assert not {'forward', 'launch'} & set(owner.__dict__)
    assert not model.student.neck._forward_hooks


def test_weights_stay_where_they_start(tmp_path):
    """The full learning rate without its warm-up would change what is measured."""
    examined = case(tmp_path)
    examined.model.init_weights()
    before = {name: p.clone() for name, p in examined.model.named_parameters()}
    torch.manual_seed(0)
    measured(examined)
    after = dict(examined.model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_memory_is_counted(tmp_path):
    examined = case(tmp_path, plain=True)
    found = measured(examined)
    trained = sum(p.numel() * 4 for p in examined.model.parameters())
    # SGD's momentum.
    assert trained <= found.optimiser < trained + 100
    # At least the backbone's map after BatchNorm, 2 x 6 x 14 x 21, which ReLU and Dropout keep.
    assert found.saved >= 2 * 6 * 14 * 21 * 4
    assert found.peak > 0


def test_shapes_are_those_of_the_step(tmp_path):
    examined = case(tmp_path)
    examined.measured = measured(examined)
    assert examined.measured.shapes['neck[0]'] == ((2, 10, 14, 21), 'float32')
    assert examined.measured.shapes['teacher.last'] == ((2, 24, 4, 6), 'float32')
    section = look(doctor_taps.look, examined)
    assert '10 x 14 x 21' in told(section)
    assert '24 x 4 x 6' in told(section)
    assert section.data['pairs'][0]['teacher_shape'] == [2, 24, 4, 6]


def test_a_dry_run_foretells_the_shapes_of_the_step(tmp_path):
    examined = case(tmp_path)
    found = {name: shape[1:] for name, (shape, _) in doctor_taps.predict(examined).items()}
    seen = measured(examined).shapes
    assert found == {name: seen[name][0][1:] for name in found}
    assert set(found) == {'neck[0]', 'teacher.last'}


def test_the_page_of_a_step(tmp_path):
    examined = case(tmp_path)
    section = look(doctor_timing.look, examined)
    text = told(section)
    assert 'student forward and task loss' in text
    assert 'loss_kd_neck_0' in text
    assert '2 samples, median of 1 step' in text
    assert section.data['step'] == examined.measured.step


@pytest.mark.parametrize(('workers', 'wait'), [(0, 10), (1, 7), (4, 2)])
def test_waiting_for_data_is_a_warning(tmp_path, clock, monkeypatch, workers, wait):
    """Workers load while the step before is computed; here 2 cores share 10 s a batch."""
    clock.slow(ToyTracks, '__getitem__', 5, monkeypatch)
    clock.slow(toys.ToyNeck, 'forward', 3, monkeypatch)
    monkeypatch.setattr(doctor_timing, 'cores', lambda: 2)
    examined = case(tmp_path, plain=True)
    examined.cfg.train_dataloader.num_workers = workers
    section = look(doctor_timing.look, examined)
    (problem,) = section.problems
    assert not problem.stops
    assert f'num_workers ({workers} now; 2 cores here)' in problem.remedy
    assert examined.measured.wait == wait


def test_a_loss_that_is_not_finite_stops(tmp_path, monkeypatch):
    examined = case(tmp_path, plain=True)
    original = toys.ToyStudent.forward

    def broken(self, inputs, data_samples=None, mode='tensor'):
        losses = original(self, inputs, data_samples, mode)
        return dict(losses, loss_bad=losses['loss_heat'] / 0)

    monkeypatch.setattr(toys.ToyStudent, 'forward', broken)
    section = look(doctor_timing.look, examined)
    assert any(p.stops and 'loss_bad' in p.text for p in section.problems)


def test_without_teacher_the_student_is_timed_alone(tmp_path):
    examined = case(tmp_path)
    examined.teachers_ready = False
    section = look(doctor_timing.look, examined)
    assert 'timed alone' in told(section)
    assert 'teacher' not in examined.measured.parts


def test_left_out(tmp_path):
    examined = case(tmp_path)
    examined.steps = 0
    with pytest.raises(LeftOut, match='no-time'):
        look(doctor_timing.look, examined)


def test_a_stopwatch_counts_what_is_nested_once(clock):
    watch = Stopwatch(torch.device('cpu'))
    with watch.measure('a'), watch.measure('a'), watch.measure('b'):
        clock.now += 3
    assert watch.take() == dict(a=3, b=3)
    assert watch.take() == {}


def test_bytes_of_nested_states():
    assert state_bytes({'a': [torch.zeros(3)], 'b': (torch.zeros(2).half(), 'x', 1)}) == 16


@pytest.mark.parametrize(
    ('train_cfg', 'per_epoch', 'expected'),
    [
        (dict(by_epoch=True, max_epochs=3), 10, (3, 30)),
        (dict(type='IterBasedTrainLoop', max_iters=50), 10, (5, 50)),
        (dict(max_epochs=3), None, (3, None)),
        (None, 10, (None, None)),
    ],
)
def test_the_length_of_a_run(train_cfg, per_epoch, expected):
    assert run_length(dict(train_cfg=train_cfg), per_epoch) == expected


def test_schedules_are_timed_where_all_are_on(tmp_path):
    late = dict(value=1.0, begin_epoch=40)
    early = dict(value=1.0, stop_epoch=60)
    model = toys.config(
        alpha=dict(value=0.5, warmup_epochs=1),
        distill=[
            dict(student='neck[0]', teacher='last', name='late', weight=late),
            dict(student='neck[0]', teacher='last', name='early', weight=early),
        ],
    )
    examined = case(tmp_path, model=model)
    hub = MessageHub.get_current_instance()
    before = dict(hub.runtime_info)
    with at_work(examined.model, 100, 1000) as iteration:
        assert 400 <= iteration < 600
        assert hub.runtime_info['max_epochs'] == 100
    assert dict(hub.runtime_info) == before
