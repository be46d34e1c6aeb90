"""Logs are the same as mmengine's, though nothing is read in the step that made it."""

import pytest
import torch
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from mmkd.engine import DeferredRuntimeInfoHook, TrackRunner
from mmkd.engine.deferred_log import Held

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


class Numbers(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        value = self.body(torch.stack(inputs)).pow(2).mean()
        return dict(loss=value, seen=inputs[0].sum())


class Spy(Hook):
    """Notes how many losses are written down when a step ends, and what the last log saw."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.written, self.saved = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.written.append(losses(runner.message_hub))

    def before_save_checkpoint(self, runner, checkpoint):
        history = checkpoint['message_hub']['log_scalars'].get('train/loss')
        self.saved.append(len(history.data[0]) if history else 0)


def losses(hub):
    history = hub.log_scalars.get('train/loss')
    return len(history.data[0]) if history else 0


def train(folder, runtime_info=None, loop=None, checkpoint=None, interval=3):
    spy = Spy()
    hooks = dict(logger=dict(type='LoggerHook', interval=interval), checkpoint=checkpoint)
    if runtime_info is not None:
        hooks['runtime_info'] = runtime_info
    torch.manual_seed(0)
    runner = TrackRunner(
        model=Model(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=1,
            dataset=Numbers(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=loop or dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.001)),
        default_hooks=hooks,
        custom_hooks=[spy],
        log_processor=dict(by_epoch=loop is None),
        default_scope='mmengine',
        log_level='ERROR',
        experiment_name=folder.name,
    )
    runner.train()
    return runner, spy


def test_the_runner_takes_it_and_logs_are_the_same(tmp_path):
    mine, spy = train(tmp_path / 'mine')
    theirs, _ = train(tmp_path / 'theirs', dict(type='RuntimeInfoHook'))
    found = [h for h in mine.hooks if isinstance(h, RuntimeInfoHook)]
    assert [type(hook) for hook in found] == [DeferredRuntimeInfoHook]
    kinds = [type(hook) for hook in theirs.hooks if isinstance(hook, RuntimeInfoHook)]
    assert kinds == [RuntimeInfoHook]
    for name in ('train/loss', 'train/seen', 'train/lr'):
        ours, other = (run.message_hub.get_scalar(name).data for run in (mine, theirs))
        assert len(ours[0]) == 14
        assert ours[0].tolist() == pytest.approx(other[0].tolist(), rel=1e-6)
    # One step late, but for steps 3 and 6, which are logged, and 7, which ends the epoch.
    assert spy.written == [0, 1, 3, 3, 4, 6, 7, 7, 8, 10, 10, 11, 13, 14]


def test_a_checkpoint_within_an_epoch_has_all_steps_before_it(tmp_path):
    hook = dict(type='CheckpointHook', interval=2, by_epoch=False)
    loop = dict(by_epoch=False, max_iters=5)
    runner, spy = train(tmp_path, loop=loop, checkpoint=hook, interval=50)
    assert spy.saved == [2, 4, 5]
    assert losses(runner.message_hub) == 5


def test_a_config_may_leave_it_out(tmp_path):
    runner, _ = train(tmp_path, dict(type='RuntimeInfoHook'))
    assert not any(isinstance(hook, DeferredRuntimeInfoHook) for hook in runner.hooks)


def test_numbers_of_the_host_are_held_as_they_are():
    outputs = dict(a=1, b=torch.tensor(2.5), c=float('nan'))
    read = Held(outputs).read()
    assert list(read) == ['a', 'b', 'c']
    assert read['a'] == 1
    assert read['b'] == 2.5


def test_a_graph_is_not_held():
    weight = torch.ones((), requires_grad=True)
    read = Held(dict(loss=weight * 2)).read()
    assert read['loss'].grad_fn is None
    assert read['loss'] == 2


@needs_cuda
def test_numbers_of_a_gpu_come_without_waiting():
    outputs = dict(a=torch.tensor(1.5, device='cuda'), b=3, c=torch.ones(1, device='cuda').half())
    torch.cuda.set_sync_debug_mode('error')
    try:
        held = Held(outputs)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert held.read() == dict(a=1.5, b=3, c=1.0)
