"""Where the time of a training goes: the iterations of the config's own runner, in parts."""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import is_model_wrapper
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from torch import nn

from mmkd.errors import MMKDError

from .benchmark_data import CLOCKS
from .experiment import build_runner

LOADING, COLLATE, PREPROCESS = 'data: loader', 'data: collate', 'data: to the device, normalise'
TEACHER, TARGETS, LOSS = 'teacher', 'student: targets', 'student: loss, the rest of the forward'
PAIRS, KD = 'distillation: transform and loss', 'distillation: pictures, masks, checks'
SUM, BACKWARD = 'sum of the losses', 'backward'
OPTIMISER, ZERO, LOOP = 'optimiser: step', 'optimiser: gradients to zero', 'the loop itself'
# Methods of a student, or of its head, that make targets.
_TARGETS = ('sample_targets', 'get_targets')


class Profile(NamedTuple):
    """What the iterations of a training took.

    Attributes:
        iterations: That were counted.
        seconds: Of one, the mean.
        shares: Part to its share of an iteration, what it calls left out; they add up to 1.
    """

    iterations: int
    seconds: float
    shares: Dict[str, float]


class Parts:
    """Sums up times by name; within a part, what another part takes is not its own.

    Args:
        clock: Seconds.
        wait: Called at both ends of a part; waits for a device.
    """

    def __init__(self, clock: Callable[[], float], wait: Callable[[], None] = lambda: None):
        self._clock, self._wait = clock, wait
        self.spent: Dict[str, float] = {}
        # Of the parts that are open: what was spent in those that they called.
        self._open: List[float] = []

    def clear(self) -> None:
        """Forgets what was spent."""
        self.spent = dict.fromkeys(self.spent, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs within belongs to a part."""
        self._wait()
        begun = self._clock()
        self._open.append(0.0)
        try:
            yield
        finally:
            self._wait()
            whole = self._clock() - begun
            own = whole - self._open.pop()
            self.spent[name] = self.spent.get(name, 0.0) + own
            if self._open:
                self._open[-1] += whole

    def around(self, owner: Any, method: str, name: str) -> None:
        """Counts every call of a method of one object from now on."""
        original = getattr(owner, method)

        def counted(*args, **kwargs):
            with self.part(name):
                return original(*args, **kwargs)

        # Past nn.Module's __setattr__, which has nothing to do with it.
        owner.__dict__[method] = counted


def profile(
    cfg: Config,
    iterations: int = 10,
    warmup: int = 2,
    workers: int = 0,
    clock: str = 'wall',
) -> Profile:
    """Trains a few iterations with the config's own runner, hooks and optimiser.

    Nothing is validated and no checkpoint is written; logs go to a folder that is removed.

    Args:
        cfg: Of a training; it is changed.
        iterations: That are counted.
        warmup: Iterations before those.
        workers: Of the data loader. With 0 every transform is a part of its own; with more the
            part 'data: loader' is what training waits for them.
        clock: 'wall', or 'cpu' for a machine that others use as well.

    Raises:
        MMKDError: An argument is wrong, or the config trains nothing.
    """
    if min(iterations, warmup) < 1 or workers < 0:
        raise MMKDError('A profile takes 1 or more iterations and warm-up, and 0 or more workers.')
    loader, loop = cfg.get('train_dataloader'), cfg.get('train_cfg')
    if not loader or not loop:
        raise MMKDError('A profile is of a training, but the config has no train_dataloader.')
    loader.num_workers, loader.persistent_workers = workers, False
    loader.pop('prefetch_factor', None)
    with tempfile.TemporaryDirectory(prefix='mmkd_profile_') as folder:
        runner = build_runner(_shortened(cfg, folder, warmup + iterations))
        look = _ProfileHook(iterations, warmup, CLOCKS[clock])
        # Before all others, so that their own work is counted.
        runner.register_hook(look, priority='HIGHEST')
        runner.register_hook(_LastHook(look), priority='LOWEST')
        try:
            runner.train()
        finally:
            _forget(runner)
    return look.found()


def _forget(runner: Any) -> None:
    """Whoever asks for the current logger next must not get one whose folder is gone."""
    for handler in list(runner.logger.handlers):
        runner.logger.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
    for manager in (MMLogger, MessageHub, Visualizer, DefaultScope):
        manager._instance_dict.pop(runner.experiment_name, None)


def _shortened(cfg: Config, folder: str, iterations: int) -> Config:
    cfg.work_dir, cfg.resume, cfg.experiment_name = folder, False, f'profile_{time.time_ns()}'
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[name] = None
    for name in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        cfg[name] = None
    loop = cfg.train_cfg
    if 'max_epochs' in loop:
        # The loader ends by itself.
        loop.max_epochs = 1
    else:
        loop.max_iters = iterations
    hooks = cfg.setdefault('default_hooks', {})
    hooks['checkpoint'] = None
    return cfg


class _ProfileHook(Hook):
    """Puts clocks into a runner when everything in it is there."""

    def __init__(self, iterations: int, warmup: int, clock: Callable[[], float]):
        self.iterations, self.warmup, self._clock = iterations, warmup, clock
        self._seconds: Optional[float] = None
        self._counted = 0
        self._limited: Any = ()
        self.parts = Parts(clock)

    def before_train(self, runner: Any) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        device = next((p.device for p in model.parameters()), torch.device('cpu'))
        if device.type == 'cuda':
            self.parts._wait = lambda: torch.cuda.synchronize(device)
        loop = runner.train_loop
        _instrument_data(self.parts, loop.dataloader)
        _instrument_model(self.parts, model)
        _instrument_update(self.parts, runner, model)
        for hook in runner.hooks:
            if not isinstance(hook, (_ProfileHook, _LastHook)):
                for method in ('before_train_iter', 'after_train_iter'):
                    self.parts.around(hook, method, f'hook: {type(hook).__name__}')
        loop.dataloader = self._limited = _Limited(loop.dataloader, self)
        if hasattr(loop, 'dataloader_iterator'):
            # A loop in iterations has begun to iterate.
            loop.dataloader_iterator = iter(loop.dataloader)

    def begin(self) -> None:
        """The warm-up is over."""
        self.parts.clear()
        self._seconds = self._clock()

    def end(self, count: int) -> None:
        """An iteration is over."""
        if count == len(self._limited) and count > self.warmup:
            self._seconds = self._clock() - self._seconds
            self._counted = count - self.warmup

    def found(self) -> Profile:
        """Of what was counted."""
        if not self._counted:
            raise MMKDError(
                f'The training set has no more than {self.warmup} batches, which are the warm-up.'
            )
        whole = self._seconds
        shares = {name: spent / whole for name, spent in self.parts.spent.items() if spent > 0}
        shares[LOOP] = max(1 - sum(shares.values()), 0.0)
        return Profile(self._counted, whole / self._counted, shares)


class _LastHook(Hook):
    """Tells that an iteration is over, when all other hooks have done their work."""

    def __init__(self, look: _ProfileHook):
        self._look, self._count = look, 0

    def after_train_iter(self, runner: Any, batch_idx: int, **kwargs: Any) -> None:
        self._count += 1
        self._look.end(self._count)


class _Limited:
    """A data loader that ends early, and whose batches are a part."""

    def __init__(self, loader: Any, look: _ProfileHook):
        self._loader, self._look = loader, look

    def __len__(self) -> int:
        return min(len(self._loader), self._look.warmup + self._look.iterations)

    def __iter__(self) -> Iterator[Any]:
        look = self._look
        batches = iter(self._loader)
        for number in range(len(self)):
            if number == look.warmup:
                look.begin()
            with look.parts.part(LOADING):
                batch = next(batches)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['_loader'], name)


def _instrument_data(parts: Parts, loader: Any) -> None:
    parts.around(loader, 'collate_fn', COLLATE)
    waiting, seen = [loader.dataset], set()
    while waiting:
        dataset = waiting.pop()
        if id(dataset) in seen:
            continue
        seen.add(id(dataset))
        inner = dataset.__dict__
        waiting += [inner[name] for name in ('dataset',) if name in inner]
        waiting += list(inner.get('datasets') or ())
        if hasattr(type(dataset), '_read'):
            parts.around(dataset, '_read', 'data: reading the cache')
        for transform in getattr(inner.get('pipeline'), 'transforms', ()):
            name = f'data: {type(transform).__name__}'
            if hasattr(transform, 'transform'):
                parts.around(transform, 'transform', name)


def _instrument_model(parts: Parts, model: nn.Module) -> None:
    if isinstance(getattr(model, 'data_preprocessor', None), nn.Module):
        parts.around(model.data_preprocessor, 'forward', PREPROCESS)
    student = getattr(model, '_modules', {}).get('student')
    if isinstance(student, nn.Module):
        parts.around(model, 'forward', KD)
        for teacher in getattr(model, 'teachers', {}).values():
            # One of these, by the kind of teacher; waiting for it is the distiller's.
            for method in ('launch', 'read'):
                if hasattr(teacher, method):
                    parts.around(teacher, method, TEACHER)
        for pair in getattr(model, 'distill', nn.Module()).children():
            parts.around(pair, 'forward', PAIRS)
    else:
        student = model
    parts.around(student, 'forward', LOSS)
    for name, child in student.named_children():
        if child is getattr(student, 'data_preprocessor', None):
            continue
        parts.around(child, 'forward', f'student: {name}')
        for method in _TARGETS:
            if hasattr(child, method):
                parts.around(child, method, TARGETS)


def _instrument_update(parts: Parts, runner: Any, model: nn.Module) -> None:
    parts.around(model, 'parse_losses', SUM)
    wrappers = runner.optim_wrapper
    every = wrappers.values() if hasattr(wrappers, 'values') else [wrappers]
    for wrapper in every:
        for method, name in (('backward', BACKWARD), ('step', OPTIMISER), ('zero_grad', ZERO)):
            parts.around(wrapper, method, name)
