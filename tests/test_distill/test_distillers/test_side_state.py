"""Who taught: in the checkpoint, and compared when a run goes on."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage

from mmkd.distill.distillers import side_state
from mmkd.distill.teachers.fingerprint import Fingerprint
from mmkd.errors import MMKDError

from ..toys import TINY, ToyStudent, batch, build

KEY = 'distill.teachers.teacher.fingerprint'
OTHER = {'type': 'mmkd.DINOv2Teacher', 'arch': dict(TINY), 'weights': 'random', 'input_size': 0.5}


@pytest.fixture
def iteration():
    """Sets what a runner would announce, for this test alone."""
    hub = MessageHub.get_current_instance()
    before = dict(hub.runtime_info)

    def say(value):
        hub.update_info('iter', value)

    yield say
    hub.runtime_info.clear()
    hub.runtime_info.update(before)


def _identity(letter):
    return Fingerprint(letter * 64, {'weight': letter * 16}, {'patch': 14})


def _trained():
    distiller = build().train()
    return distiller, distiller.state_dict()


def test_the_fingerprint_is_32_bytes_in_the_checkpoint():
    distiller, state = _trained()
    assert state[KEY].dtype == torch.uint8
    assert bytes(state[KEY].tolist()).hex() == distiller.teacher.fingerprint()
    assert list(state)[-2:] == [KEY, KEY.replace('fingerprint', 'identity')]
    assert KEY not in build().state_dict()


@pytest.mark.parametrize('strict', [True, False])
def test_it_is_no_unexpected_key(strict):
    _, state = _trained()
    result = build().load_state_dict(state, strict=strict)
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert KEY in state


def test_going_on_with_another_teacher_is_refused(iteration):
    first, state = _trained()
    other = build(teacher=OTHER)
    other.load_state_dict(state)
    iteration(12)
    with pytest.raises(MMKDError) as error:
        other.train()(*batch(), mode='loss')
    for distiller in (first, other):
        assert distiller.teacher.fingerprint()[:16] in str(error.value)
    assert 'input_size was None and is 0.5' in str(error.value)
    assert "on_other_teacher='warn'" in str(error.value)


def test_unless_it_is_meant(iteration):
    _, state = _trained()
    other = build(teacher=OTHER, on_other_teacher='warn')
    other.load_state_dict(state)
    iteration(12)
    other.train()(*batch(), mode='loss')
    assert bytes(other.state_dict()[KEY].tolist()).hex() == other.teacher.fingerprint()


def test_going_on_with_the_same_one_is_fine(iteration):
    _, state = _trained()
    again = build()
    again.load_state_dict(state)
    iteration(12)
    again.train()(*batch(), mode='loss')


def test_starting_from_such_weights_is_a_choice(iteration):
    _, state = _trained()
    other = build(teacher=OTHER)
    other.load_state_dict(state)
    iteration(0)
    other.train()(*batch(), mode='loss')
    iteration(1)
    other(*batch(), mode='loss')


def test_a_plain_checkpoint_says_nothing_of_teachers(iteration):
    distiller = build()
    distiller.load_state_dict(ToyStudent().state_dict(), strict=False)
    iteration(12)
    distiller.train()(*batch(), mode='loss')


def test_what_was_loaded_is_handed_on_without_training():
    _, state = _trained()
    between = build()
    between.load_state_dict(state)
    assert torch.equal(between.state_dict()[KEY], state[KEY])


def test_a_teacher_that_the_checkpoint_does_not_know():
    with pytest.raises(MMKDError, match="Teacher 'b' is new: the checkpoint knows a"):
        side_state.compare(
            {'a': {'identity': _identity('f')}}, {'b': _identity('a')}, 'refuse', True
        )


def test_what_a_teacher_remembers_goes_round():
    from mmkd.distill.distillers.pool import TeacherPool

    pool = TeacherPool(dict(OTHER))
    pool['teacher'].memory = lambda: {'net.weight': torch.ones(2)}
    state = {'backbone.weight': torch.zeros(1)}
    side_state.save(pool, {'teacher': _identity('a')}, {}, state, 'module.')
    assert set(state) == {
        'backbone.weight',
        f'module.{KEY}',
        f'module.{KEY}'.replace('fingerprint', 'identity'),
        'module.distill.teachers.teacher.memory.net.weight',
    }
    found = side_state.take(state, 'module.')
    assert set(state) == {'backbone.weight'}
    assert found['teacher']['identity'] == _identity('a')
    assert found['teacher']['memory']['net.weight'].tolist() == [1, 1]


AVERAGED = {
    'teacher': {'type': 'mmkd.EMATeacher', 'momentum': 0.1},
    'distill': [{'student': 'neck[0]', 'teacher': 'neck[0]', 'transform': None}],
}


def _averaged(iteration, steps):
    distiller = build(**AVERAGED).train()
    for step in range(steps):
        iteration(step)
        distiller(*batch(seed=step), mode='loss')
    return {key: value.clone() for key, value in distiller.state_dict().items()}


def test_a_teacher_remembers_also_if_training_mode_came_before_the_checkpoint(iteration):
    state = _averaged(iteration, 3)
    resumed = build(**AVERAGED).train()
    resumed.load_state_dict(state)
    iteration(3)
    resumed(*batch(), mode='loss')
    assert resumed.teacher._steps == 4


@pytest.mark.parametrize('step', [0, 2])
def test_a_memory_that_does_not_fit_stops_a_resumed_run_alone(iteration, step):
    state = _averaged(iteration, 2)
    state = {key: value for key, value in state.items() if not key.startswith('head.')}
    key = 'distill.teachers.teacher.memory.net.head.weight'
    state[key] = torch.cat([state[key]] * 3)
    other = build(**AVERAGED)
    other.load_state_dict(state, strict=False)
    iteration(step)
    if step:
        with pytest.raises(MMKDError, match='another student.*head.weight'):
            other.train()
    else:
        other.train()(*batch(), mode='loss')
        assert other.teacher._steps == 1
        ours, theirs = other.teacher.net.state_dict(), other.student.state_dict()
        assert torch.equal(ours['head.weight'], theirs['head.weight'])


def test_mmengines_average_has_no_keys_that_the_model_lacks(iteration):
    _, state = _trained()
    average = _averaged(iteration, 1)
    entry = {'student': 'neck[0]', 'teacher': 'dino.last'}
    for old, changes in (
        (state, {'teacher': None, 'teachers': {'dino': OTHER}, 'distill': [entry]}),
        (average, {}),
    ):
        distiller = build(**changes)
        ema = ExponentialMovingAverage(distiller)
        for model in (distiller, ema.module):
            model.load_state_dict(old, strict=False)
        iteration(0)
        distiller.train()(*batch(), mode='loss')
        # EMAHook looks each of them up when it saves.
        assert {key[7:] for key in ema.state_dict() if key[:7] == 'module.'} <= set(
            distiller.state_dict()
        )


def test_a_teacher_whose_work_was_over_is_not_loaded_and_not_forgotten(iteration):
    entry = {'student': 'neck[0]', 'transform': None, 'weight': {'value': 1.0, 'stop_iter': 2}}
    changes = {
        'teacher': None,
        'teachers': {'mean': AVERAGED['teacher'], 'dino': OTHER},
        'distill': [
            dict(entry, teacher='mean.neck[0]', name='a'),
            {'student': 'neck[0]', 'teacher': 'dino.last', 'name': 'b'},
        ],
    }
    first = build(**changes).train()
    for step in range(3):
        iteration(step)
        first(*batch(seed=step), mode='loss')
        assert first.teachers['mean'].loaded == (step < 2)
        assert first.teachers['dino'].loaded
    state = first.state_dict()
    resumed = build(**changes)
    resumed.load_state_dict(state)
    iteration(3)
    resumed.train()
    assert not resumed.teachers['mean'].loaded
    resumed(*batch(), mode='loss')
    after = resumed.state_dict()
    assert set(after) == set(state)
    place = 'distill.teachers.mean.'
    assert all(torch.equal(after[key], state[key]) for key in state if key.startswith(place))


def test_an_unknown_policy_is_told():
    with pytest.raises(MMKDError, match="on_other_teacher='refused'.*'refuse'"):
        build(on_other_teacher='refused')
