"""What a step costs: the student's alone, with the live teacher, with its cache."""

from __future__ import annotations

import copy
import random
from contextlib import nullcontext
from statistics import median
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.distillers import FeatureDistiller
from mmkd.distill.teachers import CachedTeacher
from mmkd.engine.identities import assign_id_offsets
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .benchmark_arms import set_progress
from .benchmark_data import CLOCKS
from .benchmark_kd import AMP

STUDENT, LIVE, CACHED = 'student', 'live', 'cached'
READING, PLAIN = 'load and read', 'load'


class Settings(NamedTuple):
    """Attributes:
    batch: Pictures of a step.
    rounds: That are counted.
    clock: 'wall', or 'cpu' if others use the machine.
    device: Where.
    amp: The student's precision under autocast, as benchmark_kd names it; None: none.
    """

    batch: int = 2
    rounds: int = 5
    clock: str = 'wall'
    device: str = 'cpu'
    amp: Optional[str] = None


class Bench:
    """Two distillers of one config, one of them live, and samples that fit both.

    Args:
        cfg: Its teacher is a CachedTeacher whose cache has been built.
        settings: How.

    Raises:
        MMKDError: The config is another one.
    """

    def __init__(self, cfg: Config, settings: Settings):
        self.settings = settings
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        model_cfg = copy.deepcopy(dict(cfg.model))
        if cfg.get('data_preprocessor') is not None:
            model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
        self.cached = MODELS.build(copy.deepcopy(model_cfg))
        teachers = getattr(self.cached, 'teachers', {})
        if not isinstance(self.cached, FeatureDistiller) or not (
            len(teachers) == 1 and isinstance(self.cached.teacher, CachedTeacher)
        ):
            raise MMKDError(
                'This benchmark takes a FeatureDistiller whose only teacher is a '
                "dict(type='mmkd.CachedTeacher', ...)."
            )
        model_cfg['teacher'] = model_cfg['teacher']['teacher']
        self.live = MODELS.build(model_cfg)
        dataset = cfg.train_dataloader.dataset
        self.dataset = ReplayDataset(dataset, **self.cached.data_needs())
        self.dataset.full_init()
        if not self.dataset.caches:
            raise MMKDError(
                f"There is no cache in '{self.cached.teacher.path}' yet. Build it with: "
                'python tools/cache_teacher.py CONFIG'
            )
        for model in (self.cached, self.live):
            if hasattr(model, 'set_num_ids'):
                model.set_num_ids(assign_id_offsets(self.dataset))
            model.to(settings.device)
            if cfg.get('channels_last', False):
                model.to(memory_format=torch.channels_last)

    def samples(self, number: int) -> List[dict]:
        """A round's."""
        chosen = random.Random(number).choices(range(len(self.dataset)), k=self.settings.batch)
        return [self.dataset[index] for index in chosen]

    def without_reading(self, number: int) -> None:
        """The same samples, made by the data set alone."""
        chosen = random.Random(number).choices(range(len(self.dataset)), k=self.settings.batch)
        for index in chosen:
            self.dataset.draw(index, self.dataset.variant_of(index))

    def step(self, model: Any, data: Dict[str, Any]) -> Callable[[], None]:
        """A step of training without an optimiser."""

        def run() -> None:
            model.zero_grad(set_to_none=True)
            with self._autocast():
                losses = model(data['inputs'], data['data_samples'], mode='loss')
                total, _ = self.live.student.parse_losses(losses)
            total.backward()
            self._wait()

        return run

    def _autocast(self):
        settings = self.settings
        if settings.amp is None:
            return nullcontext()
        return torch.autocast(torch.device(settings.device).type, AMP[settings.amp])

    def _wait(self) -> None:
        if torch.device(self.settings.device).type == 'cuda':
            torch.cuda.synchronize(self.settings.device)


def benchmark(cfg: Config, settings: Settings) -> Dict[str, Any]:
    """Takes steps of all three in turns, on the same samples within a round.

    Args:
        cfg: Of distillation from a cache that is there.
        settings: How.

    Returns:
        ``steps``: arm to ``seconds`` (median) and ``to_student`` (median of the ratios within a
        round); ``loading``: the same of making a batch, to making it without reading the cache;
        ``bytes`` of one record.
    """
    bench = Bench(cfg, settings)
    clock = CLOCKS[settings.clock]

    def timed(call: Callable[[], Any]) -> float:
        begun = clock()
        call()
        return clock() - begun

    set_progress(0)
    for model in (bench.live, bench.cached):
        model.train()
    number = 0
    while number < 2 or bench.cached.teacher.comparing or _is_checking(bench):
        # The checks of the first steps, and the comparison with the live teacher.
        number += 1
        data = bench.cached.data_preprocessor(pseudo_collate(bench.samples(-number)), True)
        for model in (bench.live, bench.cached):
            bench.step(model, data)()
    steps: Dict[str, List[float]] = {STUDENT: [], LIVE: [], CACHED: []}
    loading: Dict[str, List[float]] = {PLAIN: [], READING: []}
    models = {STUDENT: bench.live.student, LIVE: bench.live, CACHED: bench.cached}
    for number in range(settings.rounds):
        calls = {
            PLAIN: lambda n=number: bench.without_reading(n),
            READING: lambda n=number: bench.samples(n),
        }
        for name in _turn(list(calls), number):
            loading[name].append(timed(calls[name]))
        data = bench.cached.data_preprocessor(pseudo_collate(bench.samples(number)), True)
        for name in _turn(list(models), number):
            steps[name].append(timed(bench.step(models[name], data)))
    record = bench.samples(0)[0]['data_samples'].get('cached_features')[bench.cached.teacher.path]
    return dict(
        steps=_ratios(steps, STUDENT),
        loading=_ratios(loading, PLAIN),
        bytes=sum(t.numel() * t.element_size() for t in record.tensors.values()),
    )


def _is_checking(bench: Bench) -> bool:
    return any(model._arrival is not None for model in (bench.live, bench.cached))


def _turn(names: List[str], number: int) -> List[str]:
    shift = number % len(names)
    return names[shift:] + names[:shift]


def _ratios(spent: Dict[str, List[float]], base: str) -> Dict[str, Dict[str, float]]:
    return {
        name: dict(
            seconds=median(own), ratio=median(mine / other for mine, other in zip(own, spent[base]))
        )
        for name, own in spent.items()
    }
