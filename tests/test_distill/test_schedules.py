import copy
import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict

from mmkd.distill.schedules import Progress, parse_schedule
from mmkd.errors import MMKDError

EPOCHS, PER_EPOCH = 30, 100


def at(epoch, known=True):
    """A point of a training of 30 epochs of 100 iterations."""
    step = round(epoch * PER_EPOCH)
    if not known:
        return Progress(iter=step, epoch=step / PER_EPOCH)
    return Progress(step, EPOCHS * PER_EPOCH, step / PER_EPOCH, EPOCHS)


def values(config, *epochs):
    schedule = parse_schedule(config, 'weight')
    return [pytest.approx(schedule(at(epoch)), abs=1e-12) for epoch in epochs]


def test_a_number_stays():
    assert values(0.5, 0, 7, 30) == [0.5, 0.5, 0.5]
    assert values({}, 0) == [1]
    schedule = parse_schedule(0.5, 'weight')
    assert schedule.peak == 0.5
    assert not schedule.finished(at(30))
    # Nobody need know how long training is.
    assert schedule(Progress(7)) == 0.5


def test_zero_is_never_used():
    for config in (0, dict(value=0), dict(value=2, stop_epoch=0)):
        schedule = parse_schedule(config, 'weight')
        assert schedule.peak == 0
        assert schedule.finished(at(0))
        assert schedule(at(0)) == 0


def test_warm_up():
    assert values(dict(value=2.0, warmup_epochs=4), 0, 1, 3, 4, 20) == [0, 0.5, 1.5, 2, 2]
    assert values(dict(value=2.0, warmup_iters=400), 0, 1, 3, 4, 20) == [0, 0.5, 1.5, 2, 2]
    late = dict(value=2.0, begin_epoch=10, warmup_iters=400)
    assert values(late, 0, 9.99, 10, 11, 14) == [0, 0, 0, 0.5, 2]
    assert values(dict(begin_iter=1000, warmup_epochs=4), 11, 14) == [0.25, 1]
    assert values(dict(begin_iter=1000), 9.99, 10) == [0, 1]


def test_linear_and_cosine_decay():
    assert values(dict(decay='linear'), 0, 7.5, 15, 30) == [1, 0.75, 0.5, 0]
    half = (1 + math.cos(math.pi / 4)) / 2
    assert values(dict(decay='cosine'), 0, 7.5, 15, 30) == [1, half, 0.5, 0]
    config = dict(value=2, warmup_epochs=10, decay='linear', final=1, decay_end_epoch=20)
    assert values(config, 5, 10, 15, 20, 25) == [1, 2, 1.5, 1, 1]
    config = dict(value=2, warmup_iters=1000, decay='linear', decay_begin_iter=1500, final=0.5)
    assert values(config, 15, 22.5, 30) == [2, 1.25, 0.5]
    # It is over when the stop comes.
    assert values(dict(decay='linear', stop_epoch=20), 10, 19, 20) == [0.5, 0.05, 0]


def test_steps():
    config = dict(value=4, decay='step', step_epochs=[10, 20], gamma=0.5)
    assert values(config, 0, 9.99, 10, 19.99, 20, 30) == [4, 4, 2, 2, 1, 1]
    assert values(dict(decay='step', step_iters=[1000]), 9.99, 10) == [1, 0.1]


def test_stop():
    assert values(dict(stop_epoch=25), 24.99, 25, 30) == [1, 0, 0]
    assert values(dict(stop_iter=2500), 24.99, 25, 30) == [1, 0, 0]


@pytest.mark.parametrize(
    ('config', 'when'),
    [
        (dict(stop_epoch=25), 25),
        (dict(begin_epoch=3, stop_iter=2500), 25),
        (dict(decay='linear', decay_end_epoch=20), 20),
        (dict(decay='cosine', decay_end_iter=2000, stop_epoch=25), 20),
        (dict(decay='cosine'), 30),
        (dict(decay='step', step_epochs=[5, 9], gamma=0), 5),
        (dict(decay='linear', decay_end_epoch=20, final=0.1), None),
        (dict(begin_epoch=5), None),
        (dict(warmup_epochs=5), None),
    ],
)
def test_finished_as_soon_as_it_is_zero_for_ever(config, when):
    schedule = parse_schedule(config, 'weight')
    for epoch in range(EPOCHS + 1):
        assert schedule.finished(at(epoch)) == (when is not None and epoch >= when)


moments = st.integers(0, EPOCHS * 2).map(lambda n: n / 2)


@st.composite
def configs(draw):
    """Parts of a schedule in the order of their times, in any unit."""
    config = dict(value=draw(st.sampled_from([0.25, 1.0, 3.0])))

    def put(name, epochs, many=False):
        if draw(st.booleans()):
            config[f'{name}_epoch' + 's' * many] = epochs
        elif isinstance(epochs, list):
            config[f'{name}_iters'] = [round(epoch * PER_EPOCH) for epoch in epochs]
        else:
            config[f'{name}_iter' + 's' * many] = round(epochs * PER_EPOCH)

    times = sorted(draw(st.lists(moments, min_size=6, max_size=6, unique=True)))
    begin, ready, first, second, last, stop = times
    if draw(st.booleans()):
        put('begin', begin)
    else:
        begin = 0
    if draw(st.booleans()):
        put('warmup', ready - begin, many=True)
    decay = draw(st.sampled_from([None, 'linear', 'cosine', 'step']))
    if decay == 'step':
        config['gamma'] = draw(st.sampled_from([0, 0.1, 1]))
        put('step', [first, second], many=True)
    elif decay is not None:
        config['final'] = draw(st.sampled_from([0, 0.1, config['value']]))
        if config['final'] > config['value']:
            config['final'] = 0
        if draw(st.booleans()):
            put('decay_begin', first)
        put('decay_end', last)
    if decay is not None:
        config['decay'] = decay
    if draw(st.booleans()):
        put('stop', stop)
    return config


def slow(config, step):
    """The same, written down from the documentation, in iterations."""

    def time(name, many, default):
        if f'{name}_epoch' + 's' * many in config:
            return config[f'{name}_epoch' + 's' * many] * PER_EPOCH
        return config.get(f'{name}_iter' + 's' * many, default)

    begin = time('begin', False, 0)
    if step < begin or step >= time('stop', False, math.inf):
        return 0
    value = config['value']
    warmup = time('warmup', True, 0)
    if step < begin + warmup:
        value *= (step - begin) / warmup
    decay = config.get('decay')
    if decay == 'step':
        steps = config.get('step_iters') or [e * PER_EPOCH for e in config['step_epochs']]
        for moment in steps:
            if step >= moment:
                value *= config['gamma']
    elif decay:
        start = time('decay_begin', False, begin + warmup)
        end = time('decay_end', False, None)
        if step >= end:
            value = config['final']
        elif step > start:
            done = (step - start) / (end - start)
            drop = done if decay == 'linear' else 0.5 - 0.5 * math.cos(math.pi * done)
            value -= (config['value'] - config['final']) * drop
    return value


@settings(deadline=None, max_examples=150)
@given(configs())
def test_any_schedule_is_the_slow_one_and_finished_means_finished(config):
    schedule = parse_schedule(config, 'weight')
    finished = False
    largest = 0
    for step in range(0, EPOCHS * PER_EPOCH + 1, 25):
        progress = at(step / PER_EPOCH)
        value = schedule(progress)
        assert value == pytest.approx(slow(config, step), abs=1e-9)
        assert 0 <= value <= schedule.peak
        largest = max(largest, value)
        assert not (finished and value)
        # Once finished, it stays so.
        assert schedule.finished(progress) or not finished
        finished = schedule.finished(progress)
    # All times are multiples of 50 iterations and at least that far apart.
    assert largest == pytest.approx(schedule.peak)


def test_units_need_the_length_of_training_only_when_mixed():
    unknown = at(10, known=False)
    same = dict(warmup_epochs=5, decay='linear', decay_end_epoch=15)
    assert parse_schedule(same, 'weight')(unknown) == pytest.approx(0.5)
    for config in (
        dict(decay='linear'),
        dict(begin_epoch=2, warmup_iters=100),
        dict(warmup_iters=100, decay='cosine', decay_end_epoch=15),
    ):
        with pytest.raises(MMKDError, match='neck: weight: .*how many (epoch|iter)s training'):
            parse_schedule(config, 'neck: weight')(unknown)
    # A runner that counts iterations alone.
    assert parse_schedule(dict(decay='linear'), 'w')(Progress(5, 20)) == 0.75


def test_order_that_only_shows_when_training_is_known():
    schedule = parse_schedule(dict(warmup_iters=2000, decay='linear', decay_end_epoch=15), 'w')
    with pytest.raises(MMKDError, match='decay ends at epoch 15, before it begins, at epoch 20'):
        schedule(at(1))
    schedule = parse_schedule(dict(warmup_epochs=40, decay='linear'), 'w')
    with pytest.raises(MMKDError, match='decay ends at epoch 30.*at epoch 40'):
        schedule(at(1))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (-1, 'neck: weight is a number, 0 or more'),
        ('much', "got 'much'"),
        (True, 'got True'),
        (float('nan'), 'got nan'),
        (float('inf'), 'got inf'),
        ([1.0, 2.0], 'a number, 0 or more, or a schedule such as dict'),
        (dict(value=-1), 'neck: weight: value is a number, 0 or more'),
        (dict(warmup_epoch=1), "no key 'warmup_epoch'. Did you mean 'warmup_epochs'"),
        (dict(type='warmup', epochs=1), "no key 'type'"),
        (dict(warmup_epochs=-1), 'warmup_epochs counts epochs, from 0 on, but got -1'),
        (dict(stop_iter='end'), "stop_iter counts iters, from 0 on, but got 'end'"),
        (dict(stop_epoch=3, stop_iter=300), 'stop_epoch and stop_iter say the same twice'),
        (dict(decay='cosin'), "no decay 'cosin'. Did you mean 'cosine'"),
        (dict(decay='step'), 'needs step_epochs= or step_iters='),
        (dict(decay='step', step_epochs=3), r'a list such as \[20, 27\], but got 3'),
        (dict(decay='step', step_epochs=[3, 3]), r'must rise, but got \[3, 3\]'),
        (dict(decay='step', step_epochs=[3], gamma=2), 'gamma is at most 1'),
        (dict(decay='step', step_epochs=[3], gamma='0.1'), "gamma is a number.*got '0.1'"),
        (dict(decay='step', step_epochs=[3], final=0), 'final belongs to decay='),
        (dict(step_epochs=[3]), "step_epochs belongs to decay='step', not to None"),
        (dict(decay='cosine', gamma=0.1), "gamma belongs to decay='step', not to 'cosine'"),
        (dict(decay='cosine', final=2), r'final=2 is above value=1'),
        (dict(begin_epoch=5, stop_epoch=5), 'the stop, epoch 5, must be later than the beginning'),
        (dict(warmup_iters=5, stop_iter=4), 'must be later than the end of the warm-up, iter 5'),
        (
            dict(begin_epoch=3, warmup_epochs=2, decay='linear', decay_end_epoch=4),
            'the end of the decay, epoch 4, must be later than the end of the warm-up, epoch 5',
        ),
        (
            dict(decay='linear', decay_begin_iter=9, decay_end_iter=9),
            'the end of the decay, iter 9, must be later than its beginning, iter 9',
        ),
        (
            dict(warmup_epochs=3, decay='linear', decay_begin_epoch=2),
            'begins at epoch 2, before the end of the warm-up, epoch 3',
        ),
        (
            dict(warmup_epochs=3, decay='step', step_epochs=[2, 5]),
            'the first step, epoch 2, must be later',
        ),
    ],
)
def test_mistakes_are_told(config, message):
    with pytest.raises(MMKDError, match=message):
        parse_schedule(config, 'neck: weight')


def test_it_travels_and_tells():
    config = ConfigDict(
        value=1.5, begin_iter=10, warmup_iters=500, decay='cosine', final=0.1, stop_epoch=25
    )
    schedule = parse_schedule(config, 'weight')
    assert parse_schedule(schedule, 'weight') is schedule
    assert str(schedule) == (
        '1.5, from iter 10, warm-up of 500 iters, cosine decay to 0.1 at epoch 25, stop at epoch 25'
    )
    assert str(parse_schedule(0.5, 'weight')) == '0.5'
    steps = parse_schedule(dict(decay='step', step_epochs=[3, 5.5]), 'weight')
    assert str(steps) == '1, times 0.1 at epochs 3, 5.5'
    for twin in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert twin(at(3)) == schedule(at(3))
