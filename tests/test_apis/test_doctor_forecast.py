import pytest
import torch
from torch import nn

from mmkd.apis import doctor_forecast
from mmkd.apis.doctor_case import Measured
from mmkd.apis.doctor_stopwatch import state_bytes
from tests.test_apis.doctor_toy import case, look, told


@pytest.mark.parametrize(
    ('hook', 'kept'),
    [
        (dict(interval=1), 10),
        (dict(interval=1, max_keep_ckpts=2), 2),
        (dict(interval=3), 4),  # 3, 6, 9 and the last
        (dict(interval=3, save_last=False), 3),
        (dict(interval=5), 2),  # the last is one of them
        (dict(interval=-1), 1),
        (dict(interval=-1, save_last=False), 0),
        (dict(interval=100, by_epoch=False), 10),
        (dict(interval=1, max_keep_ckpts=2, save_best='auto'), 3),
        (dict(interval=1, max_keep_ckpts=2, save_best=['a', 'b']), 4),
        (dict(interval=2, save_begin=5), 4),  # 5, 7, 9 and the last
        (dict(interval=1, save_begin=20), 1),
    ],
)
def test_checkpoints_that_are_kept(hook, kept):
    assert doctor_forecast.saves(hook, 10, 1000) == kept


def test_mmengine_saves_as_many(tmp_path):
    """Against the hook itself, epoch by epoch."""
    from mmengine.hooks import CheckpointHook

    class Runner:
        max_epochs = 10

    configs = (
        dict(interval=3),
        dict(interval=5),
        dict(interval=-1),
        dict(interval=2, save_begin=5),
        dict(interval=2, save_begin=6),
        dict(interval=1, save_begin=20),
    )
    for config in configs:
        hook, runner, made = CheckpointHook(**config), Runner(), 0
        for runner.epoch in range(10):
            every = hook.every_n_epochs(runner, hook.interval, hook.save_begin)
            made += bool(every or (hook.save_last and hook.is_last_train_epoch(runner)))
        assert doctor_forecast.saves(config, 10, 1000) == made, config


def test_a_run_of_unknown_length():
    assert doctor_forecast.saves(dict(interval=1), None, None) is None


@pytest.mark.parametrize(
    ('optimiser', 'copies'),
    [
        (dict(type='Adam', lr=0.1), 2),
        (dict(type='AdamW', lr=0.1, amsgrad=True), 3),
        (dict(type='SGD', lr=0.1, momentum=0.9), 1),
        (dict(type='SGD', lr=0.1), 0),
    ],
)
def test_the_state_of_an_optimiser(optimiser, copies):
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 3))
    model[1].requires_grad_(False)
    found = doctor_forecast.optimiser_bytes(model, dict(optimizer=optimiser))
    assert found == copies * 110 * 4


def forecast(tmp_path, step=2.0, wait=0.5, peak=1000, **changes):
    examined = case(tmp_path, **changes)
    examined.measured = Measured(step=step, wait=wait, peak=peak, saved=4000, optimiser=100)
    return examined, look(doctor_forecast.look, examined)


def test_the_whole_run(tmp_path):
    examined, section = forecast(tmp_path)
    # 3 epochs of 4 samples in batches of 2, each with its wait.
    assert (section.data['epochs'], section.data['iters']) == (3, 6)
    assert section.data['seconds'] == 6 * 2.5
    weights = state_bytes(examined.model.state_dict())
    # mmengine's default keeps the checkpoints of all epochs.
    assert section.data['disk']['checkpoints'] == 3
    assert section.data['disk']['checkpoint'] == weights + 100
    memory = section.data['memory']
    trained = sum(p.numel() * 4 for p in examined.model.parameters())
    assert (memory['weights'], memory['gradients']) == (weights, trained)
    assert not section.problems


def test_an_average_is_saved_too_and_the_optimiser_can_be_left_out(tmp_path):
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_optimizer=False))
    examined, section = forecast(
        tmp_path, default_hooks=hooks, custom_hooks=[dict(type='EMAHook', momentum=0.1)]
    )
    weights = state_bytes(examined.model.state_dict())
    assert section.data['disk']['checkpoint'] == 2 * weights


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_forecast, 'free_disk', lambda folder: 10)
    _, section = forecast(tmp_path)
    (problem,) = section.problems
    assert problem.stops
    assert 'max_keep_ckpts' in problem.remedy


def test_memory_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_forecast, 'memory', lambda device: 5000)
    _, section = forecast(tmp_path, peak=6000)
    (problem,) = section.problems
    assert problem.stops
    assert 'accumulative_counts' in problem.remedy


def test_no_checkpoint_at_all(tmp_path):
    hooks = dict(checkpoint=dict(type='CheckpointHook', save_last=False))
    _, section = forecast(tmp_path, default_hooks=hooks)
    assert [problem.stops for problem in section.problems] == [False]
    assert 'No checkpoint' in section.problems[0].text


def test_without_a_timed_step_and_without_data(tmp_path):
    examined = case(tmp_path)
    examined.loader = None
    section = look(doctor_forecast.look, examined)
    assert '3 epochs; of how many iterations, only the data can tell' in told(section)
    assert 'only a timed step can tell' in told(section)
    momentum = sum(p.numel() * 4 for p in examined.model.parameters())
    disk = section.data['disk']
    assert disk['checkpoint'] == state_bytes(examined.model.state_dict()) + momentum


def test_teachers_count(tmp_path):
    from mmkd.apis import doctor_teacher
    from mmkd.apis.doctor_case import teachers_of

    examined = case(tmp_path)
    look(doctor_teacher.look, examined)
    section = look(doctor_forecast.look, examined)
    net = teachers_of(examined.model)['teacher'].net
    assert section.data['memory']['teachers'] == sum(p.numel() * 4 for p in net.parameters())
    assert torch.is_tensor(next(net.parameters()))
