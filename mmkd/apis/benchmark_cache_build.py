"""How fast a cache is built, beside the teacher alone."""

from __future__ import annotations

import os.path as osp
import shutil
import tempfile
import time
from statistics import median
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config

from mmkd.datasets import build_cache
from mmkd.datasets.build_cache import Settings as BuildSettings
from mmkd.errors import MMKDError

from .cache_teacher import only_job


class Settings(NamedTuple):
    """How building is timed; by the wall's clock, as other processes take part.

    Attributes:
        batch: Pictures that the teacher runs on at once.
        workers: That load and augment.
        rounds: In each a whole cache is built, and as many pictures go through the teacher.
        device: Where the teacher runs.
        scratch: Folder for the caches, which are removed; None: the system's.
    """

    batch: int = 2
    workers: int = 1
    rounds: int = 3
    device: str = 'cpu'
    scratch: Optional[str] = None


def benchmark(cfg: Config, settings: Settings) -> Dict[str, float]:
    """Builds the cache of a config's only cached teacher, some times over.

    What is done once for a cache, however large (fitting and measuring codecs), and the first
    batch, for which the workers start, are left out.

    Args:
        cfg: Its teacher is a CachedTeacher; the cache at its path is left alone.
        settings: How.

    Returns:
        ``bare`` and ``build`` in seconds a record (medians), and ``throughput``, the median of
        the build's rate over the bare teacher's within a round.

    Raises:
        MMKDError: It has several cached teachers; there are fewer than two batches to build.
    """
    if min(settings.rounds, settings.batch) < 1:
        raise MMKDError('A benchmark of building takes 1 or more rounds and pictures.')
    sources = only_job(cfg).sources
    building = BuildSettings(settings.batch, settings.workers, device=torch.device(settings.device))
    folder = tempfile.mkdtemp(prefix='mmkd_cache_', dir=settings.scratch)
    bare: List[float] = []
    build: List[float] = []
    try:
        for number in range(settings.rounds):
            sources.teacher.path = osp.join(folder, str(number))
            planned = build_cache.plan(sources, building)
            if planned.manifest.layout.records < 2 * settings.batch:
                raise MMKDError(
                    f'There are {planned.manifest.layout.records} records to build, which make '
                    f'no two batches of {settings.batch}.'
                )
            if number % 2:
                build.append(_built(sources, building, planned))
            bare.append(_teacher_alone(sources, building, planned.manifest))
            if not number % 2:
                build.append(_built(sources, building, planned))
            shutil.rmtree(sources.teacher.path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return dict(
        bare=median(bare),
        build=median(build),
        throughput=median(alone / whole for alone, whole in zip(bare, build)),
    )


def _built(sources: Any, settings: BuildSettings, planned: Any) -> float:
    """Seconds a record."""
    told: List[Tuple[float, int]] = []

    def note(records: int) -> None:
        told.append((time.perf_counter(), records))

    build_cache.build(sources, settings, planned, note)
    records = sum(count for _, count in told[1:])
    return (time.perf_counter() - told[0][0]) / records


def _teacher_alone(sources: Any, settings: BuildSettings, manifest: Any) -> float:
    """Seconds a record, of pictures that are there already; nothing is kept of its features."""
    layout = manifest.layout
    items = [divmod(number, layout.variants) for number in range(settings.batch)]
    batches = build_cache._batches(sources, settings, [items], manifest.canvas, workers=0)
    # Of different sizes they come one by one; a clip's sample has several pictures.
    some, images, _ = next(iter(batches))
    count = len(some)
    times = max(layout.records // count - 1, 1)
    with torch.no_grad():
        build_cache._run(sources.teacher, images)
        _wait(settings.device)
        begun = time.perf_counter()
        for _ in range(times):
            build_cache._run(sources.teacher, images)
        _wait(settings.device)
    return (time.perf_counter() - begun) / (times * count)


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
