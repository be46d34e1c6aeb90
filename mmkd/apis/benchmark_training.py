"""What iterations of several trainings take, beside each other: data, model and optimiser."""

from __future__ import annotations

import copy
from statistics import median
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import cv2
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from mmkd.datasets.replay import ReplayDataset
from mmkd.engine.identities import assign_id_offsets
from mmkd.errors import MMKDError

from .benchmark_arms import set_progress
from .benchmark_data import CLOCKS
from .experiment import enable_compile

# The first steps of distillation check what they do, and compare a cache with the live teacher.
_LONGEST_WARMUP = 20


class Settings(NamedTuple):
    """How trainings are timed.

    Attributes:
        batch: Samples of a batch; None: as the config says.
        rounds: That are counted; in each, every arm takes one iteration.
        warmup: Iterations of each arm before, at least.
        device: Where.
        clock: 'wall', or 'cpu' if others use the machine.
    """

    batch: Optional[int] = None
    rounds: int = 5
    warmup: int = 2
    device: str = 'cpu'
    clock: str = 'wall'


class Training:
    """One config's iterations, without a runner, hooks and workers.

    Args:
        name: For the table.
        cfg: Of a training. ``channels_last`` and ``compile`` are read as by mmkd.TrackRunner.
        settings: How.

    Raises:
        MMKDError: It trains nothing, or its training set is empty.
    """

    def __init__(self, name: str, cfg: Config, settings: Settings):
        self.name = name
        for key in ('model', 'train_dataloader', 'optim_wrapper'):
            if not cfg.get(key):
                raise MMKDError(f'{name} is no config of a training: it has no {key}.')
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        model_cfg = copy.deepcopy(dict(cfg.model))
        if cfg.get('data_preprocessor') is not None:
            model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
        self.model: nn.Module = MODELS.build(model_cfg)
        self.dataset = self._dataset(cfg)
        if hasattr(self.model, 'set_num_ids'):
            self.model.set_num_ids(assign_id_offsets(self.dataset))
        self.model.to(settings.device).train()
        if cfg.get('channels_last', False):
            self.model.to(memory_format=torch.channels_last)
        self.optimiser = build_optim_wrapper(self.model, copy.deepcopy(dict(cfg.optim_wrapper)))
        for group in self.optimiser.param_groups:
            # Without its warm-up a schedule's full rate could blow the weights up.
            group['lr'] = 0.0
        if cfg.get('compile'):
            # Says so if this torch cannot.
            enable_compile(cfg)
            self.model.compile(**({} if cfg.compile is True else dict(cfg.compile)))
        size = settings.batch or int(cfg.train_dataloader.get('batch_size', 1))
        self._batches = self._endless(size)
        self._device = torch.device(settings.device)

    def _dataset(self, cfg: Config) -> Any:
        dataset = DATASETS.build(copy.deepcopy(cfg.train_dataloader.dataset))
        ask = getattr(self.model, 'data_needs', None)
        needs = ask() if callable(ask) else {}
        if needs and not isinstance(dataset, ReplayDataset):
            dataset = ReplayDataset(dataset, **needs)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        if not len(dataset):
            raise MMKDError(f'The training set of {self.name} is empty.')
        return dataset

    def _endless(self, size: int) -> Iterator[Dict[str, Any]]:
        # The same samples in every arm, so that none has smaller pictures.
        generator = torch.Generator().manual_seed(0)
        while True:
            chosen = torch.randint(len(self.dataset), (size,), generator=generator)
            yield pseudo_collate([self.dataset[int(index)] for index in chosen])

    def step(self) -> None:
        """One iteration, from files to weights."""
        self.model.train_step(next(self._batches), self.optimiser)
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)

    @property
    def is_checking(self) -> bool:
        """Whether the distillation still looks at itself, as it does at the start only."""
        teachers = getattr(self.model, 'teachers', {})
        return getattr(self.model, '_arrival', None) is not None or any(
            getattr(teacher, 'comparing', False) for teacher in teachers.values()
        )


def benchmark(arms: Dict[str, Config], settings: Settings) -> Dict[str, Dict[str, float]]:
    """Lets trainings take turns, each round in another order.

    Args:
        arms: Name to config; ratios are to the first.
        settings: How.

    Returns:
        By arm ``seconds`` of an iteration (median) and ``speed``, the median of its rate over the
        first arm's within a round.

    Raises:
        MMKDError: A config cannot be trained; a check of its distillation does not end.
    """
    if settings.rounds < 1 or settings.warmup < 1 or (settings.batch or 1) < 1:
        raise MMKDError('A benchmark takes 1 or more rounds, warm-up and samples.')
    clock = CLOCKS[settings.clock]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    set_progress(0)
    try:
        trainings = [Training(name, cfg, settings) for name, cfg in arms.items()]
        for each in trainings:
            _warm_up(each, settings.warmup)
        spent: Dict[str, List[float]] = {each.name: [] for each in trainings}
        for number in range(settings.rounds):
            shift = number % len(trainings)
            for each in trainings[shift:] + trainings[:shift]:
                begun = clock()
                each.step()
                spent[each.name].append(clock() - begun)
    finally:
        cv2.setNumThreads(threads)
    first = spent[trainings[0].name]
    return {
        name: dict(seconds=median(own), speed=median(base / mine for base, mine in zip(first, own)))
        for name, own in spent.items()
    }


def _warm_up(training: Training, least: int) -> None:
    for number in range(_LONGEST_WARMUP):
        if number >= least and not training.is_checking:
            return
        training.step()
    if training.is_checking:
        raise MMKDError(
            f'{training.name} still checks its distillation after {_LONGEST_WARMUP} steps. With a '
            'cache, a smaller model.teacher.verify= compares fewer pictures.'
        )
