"""Whether reading a cache keeps a data loader up."""

from __future__ import annotations

import os
import time
from statistics import median
from typing import Any, Dict, List, NamedTuple, Sequence

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache.layout import shard_file
from mmkd.errors import MMKDError

from .cache_teacher import only_job

PLAIN, READING, ALONE, COLD = 'samples', 'samples and records', 'records', 'records, from the disk'


class Settings(NamedTuple):
    """How reading is timed; by the wall's clock, as other processes take part.

    Attributes:
        batch: Samples of a batch.
        workers: Numbers of workers to try.
        rounds: That are counted.
        samples: That a pass draws, again and again from the data set if it is smaller.
    """

    batch: int = 2
    workers: Sequence[int] = (0, 1, 2, 4, 8)
    rounds: int = 3
    samples: int = 96


def benchmark(cfg: Config, settings: Settings) -> Dict[int, Dict[str, Dict[str, float]]]:
    """Runs a data loader over samples, over samples with their records, and over records alone.

    Args:
        cfg: Its only cached teacher's cache has been built.
        settings: How.

    Returns:
        By number of workers and by what is loaded: ``rate`` in samples a second (median), and
        ``to_samples``, the median of the rate over that of samples without the cache within a
        round. Records from the disk are read once each, after the system was told to forget
        them; where it cannot be told, they are left out. A disk may have a memory of its own.

    Raises:
        MMKDError: It has several cached teachers; there is no cache, or it is not complete.
    """
    if min(settings.rounds, settings.batch, settings.samples, *settings.workers) < 0 or not (
        settings.rounds and settings.batch and settings.samples
    ):
        raise MMKDError('A benchmark of reading takes 1 or more rounds, samples and workers.')
    job = only_job(cfg)
    dataset: ReplayDataset = job.sources.dataset
    dataset.full_init()
    if job.path not in dataset._readers:
        dataset.open(job.path)
    reader = dataset._readers[job.path]
    if reader.missing():
        raise MMKDError(
            f"The cache '{job.path}' is not complete; tools/cache_teacher.py CONFIG builds it."
        )
    files = [shard_file(job.path, number) for number in reader.layout.numbers]
    arms: Dict[str, Dataset] = {
        PLAIN: _Samples(dataset, settings.samples, False),
        READING: _Samples(dataset, settings.samples, True),
        ALONE: _Records(reader, settings.samples),
    }
    if hasattr(os, 'posix_fadvise'):
        # Each once: the second time it would be in memory.
        arms[COLD] = _Records(reader, min(settings.samples, reader.layout.records))
    found = {}
    for workers in settings.workers:
        rates: Dict[str, List[float]] = {name: [] for name in arms}
        for number in range(settings.rounds + 1):
            names = list(arms)
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                if name == COLD:
                    # What is mapped into a process stays in memory.
                    reader._open.clear()
                    _forget(files)
                rate = _rate(arms[name], settings.batch, workers)
                if number:
                    # The first round fills the system's cache and starts what starts once.
                    rates[name].append(rate)
        found[workers] = {
            name: dict(
                rate=median(own),
                to_samples=median(mine / plain for mine, plain in zip(own, rates[PLAIN])),
            )
            for name, own in rates.items()
        }
    return found


class _Samples(Dataset):
    """Training samples."""

    def __init__(self, dataset: ReplayDataset, count: int, reads: bool):
        self.dataset, self.count, self.reads = dataset, count, reads

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        index %= len(self.dataset)
        if self.reads:
            return self.dataset[index]
        return self.dataset.draw(index, self.dataset.variant_of(index))


class _Records(Dataset):
    """What a cache has of them, in an order as a sampler's."""

    def __init__(self, reader: Any, count: int):
        self.reader, self.count = reader, count
        generator = torch.Generator().manual_seed(0)
        self.order = torch.randperm(reader.layout.records, generator=generator).tolist()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        layout = self.reader.layout
        sample, variant = divmod(self.order[index % layout.records], layout.variants)
        record = self.reader.read(sample, variant)
        if record.tensors is None:
            raise MMKDError(record.problem)
        return record


def _rate(dataset: Dataset, batch: int, workers: int) -> float:
    """Samples a second, from the first batch on: workers start once in a training."""
    loader = DataLoader(
        dataset, batch_size=batch, num_workers=workers, collate_fn=pseudo_collate, drop_last=True
    )
    batches = iter(loader)
    next(batches)
    begun = time.perf_counter()
    count = sum(batch for _ in batches)
    if not count:
        raise MMKDError('A pass of one batch has nothing to time: more samples, please.')
    return count / (time.perf_counter() - begun)


def _forget(files: Sequence[str]) -> None:
    """Lets the system drop files from its memory."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
