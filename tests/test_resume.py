"""A run that is killed and goes on is the run that was never killed."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from .test_end_to_end import DISTILLED, REPO, data, openmmlab_tool, options  # noqa: F401

pytestmark = pytest.mark.slow

EPOCH = 4  # steps: 8 frames, 2 a batch
KILLED_AT = 6  # in the middle of the second epoch
KILLER = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Killer(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == int(os.environ.get('KILL_AT', -1)):
            os.kill(os.getpid(), signal.SIGKILL)
"""
# Everything that could make a difference: two loader processes, averages, moving statistics, a
# measured weight, a schedule.
CONFIG = f"""
_base_ = '{REPO / DISTILLED}'
custom_imports = dict(imports=['killer'])
custom_hooks = [
    dict(type='Killer'),
    dict(type='EMAHook', momentum=0.1, update_buffers=True),
]
randomness = dict(seed=3)
default_hooks = dict(checkpoint=dict(interval=1))
train_dataloader = dict(batch_size=2)
model = dict(
    teacher=None,
    teachers=dict(
        dino={{{{_base_.model.teacher}}}},
        own=dict(type='mmkd.EMATeacher', momentum=0.9),
    ),
    distill=[
        dict(
            student='neck',
            teacher='dino.last',
            standardize=True,
            weight=dict(value=1.0, warmup_iters=6, decay='cosine'),
        ),
        dict(
            student='head[heatmap]',
            teacher='own.head[heatmap]',
            name='own',
            transform=None,
            loss=dict(type='mmkd.HeatmapDistillLoss'),
        ),
    ],
    calibration=dict(type='mmkd.GradientRatio', ratio=0.3, interval=3),
)
"""


@pytest.fixture(scope='module')
def train(data, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp('killed')
    (folder / 'killer.py').write_text(KILLER)
    config = folder / 'mine.py'
    config.write_text(CONFIG)

    def act(name, *more, kill_at=-1, extra=()):
        environment = dict(os.environ, OMP_NUM_THREADS='1', KILL_AT=str(kill_at))
        environment['PYTHONPATH'] = f'{REPO}{os.pathsep}{folder}'
        chosen = [o for o in options(data) if 'workers' not in o and 'max_epochs' not in o]
        result = subprocess.run(
            [
                *(sys.executable, openmmlab_tool('train'), config, *more),
                *('--work-dir', folder / name, '--cfg-options', *chosen),
                *('train_cfg.max_epochs=3', 'train_cfg.val_interval=9'),
                'log_processor.window_size=1',
                *('train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True'),
                *extra,
            ],
            cwd=REPO,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return folder / name, result

    return act


def curve(work):
    """Step to what was logged, of the last process that trained there."""
    files = sorted(work.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in files[-1].read_text().splitlines()]
    keys = ('loss', 'kd_neck', 'kd_own', 'task_raw', 'kd_scale', 'kd_gradient_cosine')
    return {line['step']: [line.get(key) for key in keys] for line in lines if 'loss' in line}


@pytest.fixture(scope='module')
def killed(train):
    work, result = train('killed', kill_at=KILLED_AT)
    assert result.returncode == -signal.SIGKILL, result.stdout[-3000:]
    return work


def test_the_loss_curve_is_that_of_the_uninterrupted_run(train, killed):
    whole, result = train('whole')
    assert result.returncode == 0, result.stdout[-3000:]
    assert (killed / 'epoch_1.pth').is_file()
    assert not (killed / 'epoch_2.pth').is_file()
    assert max(curve(killed)) < 2 * EPOCH

    _, result = train('killed', '--resume')
    assert result.returncode == 0, result.stdout[-3000:]
    expected, after = curve(whole), curve(killed)
    assert sorted(after) == list(range(EPOCH + 1, 3 * EPOCH + 1))
    assert after == {step: values for step, values in expected.items() if step > EPOCH}
    assert all(None not in values for values in after.values())
    states = [torch.load(work / 'epoch_3.pth', weights_only=False) for work in (whole, killed)]
    for part in ('state_dict', 'ema_state_dict'):
        ours, theirs = (state[part] for state in states)
        assert list(ours) == list(theirs)
        differing = [key for key in ours if not torch.equal(ours[key], theirs[key])]
        assert not differing, differing
    kept = {key for key in states[0]['state_dict'] if key.startswith('distill.')}
    assert {'distill.calibration.scale', 'distill.teachers.dino.fingerprint'} <= kept
    for part in ('neck.standardize', 'teachers.own.memory'):
        assert any(key.startswith(f'distill.{part}.') for key in kept), part


def test_another_teacher_is_refused(train, killed):
    _, result = train(
        'killed', '--resume', extra=['model.teachers.dino.input_size=0.5', 'train_cfg.max_epochs=4']
    )
    assert result.returncode != 0
    assert 'cannot go on with another teacher' in result.stdout
