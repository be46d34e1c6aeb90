"""Builds the cache of a teacher from the training set whose samples it is for."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmkd.distill.cache import builder, live
from mmkd.distill.cache.batches import picture_size
from mmkd.distill.cache.builder import Builder, Item, Plan, Work
from mmkd.distill.cache.manifest import EXACT
from mmkd.distill.cache.warp import variant_of
from mmkd.distill.copying import copy_beside
from mmkd.distill.distillers.pictures import pictures_for
from mmkd.errors import MMKDError

from .canvas import CanvasPictures
from .replay_random import replayed

# Records that are looked at before building: to fit on, and to measure on.
FIT_SAMPLES = 32
# Warp mode: training samples that are compared with the live teacher before building.
LIVE_SAMPLES = 16
# Of their augmentation. The report of a cache should not be another one every time.
_LIVE_SEED = 0


class Sources(NamedTuple):
    """What a cache is built of.

    Attributes:
        dataset: A :class:`.replay.ReplayDataset`.
        teacher: A :class:`mmkd.CachedTeacher`.
        preprocessor: The student's: what it gives, less its normalisation, is what teachers see.
        image_key: Which of the student's inputs the teacher sees.
    """

    dataset: Any
    teacher: Any
    preprocessor: nn.Module
    image_key: str = 'img'


class Settings(NamedTuple):
    """How it is built.

    Attributes:
        batch: Pictures that the teacher runs on at once.
        workers: Processes that load and augment.
        shard_bytes: About the size of a file.
        device: Where the teacher runs.
        start: The share of the shards, in [0, 1), that this process leaves to others at first.
    """

    batch: int = 8
    workers: int = 2
    shard_bytes: int = builder.SHARD_BYTES
    device: torch.device = torch.device('cpu')
    start: float = 0.0


def plan(sources: Sources, settings: Settings) -> Plan:
    """Loads the teacher, runs it on one sample, and works out what the cache will be.

    Raises:
        MMKDError: As the teacher and the data set.
    """
    dataset, teacher = sources.dataset, sources.teacher
    teacher.inner.load(settings.device)
    sources.preprocessor.to(settings.device)
    if settings.device.type == 'cuda':
        copy_beside(sources.preprocessor)
    canvas = _canvas(sources, settings)
    _, images, _ = next(_batches(sources, settings, [[(0, 0)]], canvas, workers=0))
    features = _run(teacher, images)
    fields = dataset.identity(teacher.path)
    fields.setdefault('seed', 0)
    fields.setdefault('augmentation', {})
    return builder.plan(
        teacher.path,
        len(dataset),
        teacher.variants,
        {name: tuple(value.shape) for name, value in features.items()},
        settings.shard_bytes,
        storage=teacher.storage_name,
        canvas=canvas,
        teacher=teacher.inner.identity(),
        **fields,
    )


def build(
    sources: Sources,
    settings: Settings,
    planned: Optional[Plan] = None,
    told: Optional[Callable[[int], None]] = None,
) -> int:
    """Builds what the cache lacks; another process may do so at the same time.

    Args:
        sources: What of.
        settings: How.
        planned: Of :func:`plan`.
        told: Called with the number of records after each batch.

    Returns:
        How many shards this process wrote.

    Raises:
        MMKDError: The cache is of something else, or the disk cannot hold it.
    """
    planned = planned or plan(sources, settings)
    teacher = sources.teacher
    builder.check_room(planned, teacher.path, builder.built_bytes(teacher.path))
    canvas = planned.manifest.canvas

    def fit(manifest: Any) -> Tuple[Any, Dict[str, Dict[str, float]]]:
        layout = manifest.layout
        count = min(max(FIT_SAMPLES, 2 * settings.batch), layout.records)
        chosen = np.random.default_rng(0).choice(layout.records, count, replace=False)
        items = [divmod(int(each), layout.variants) for each in np.sort(chosen)]
        size = max(1, min(settings.batch, count // 2))
        groups = [items[first : first + size] for first in range(0, count, size)]
        loaded = _batches(sources, settings, groups, canvas)
        codecs, report = builder.fit_codecs(
            manifest, (_run(teacher, images) for _, images, _ in loaded)
        )
        if canvas is not None:
            for name, found in _measure(sources, settings, canvas, codecs).items():
                report[name].update(found)
        return codecs, report

    manifest, codecs = builder.begin(teacher.path, planned.manifest, fit)
    for problem, remedy in live.too_far(teacher.path, manifest.report, teacher.threshold):
        _warn(f'{problem} {remedy}')
    sources.dataset.remember(teacher.path)
    work = Work(
        teacher.path, manifest.layout, settings.batch, int(settings.start * manifest.layout.shards)
    )
    maker = Builder(
        teacher.path, manifest, codecs.to(settings.device), lambda images: _run(teacher, images)
    )
    return maker.run(work, _batches(sources, settings, work, canvas), told)


def _measure(
    sources: Sources, settings: Settings, canvas: Tuple[int, int], codecs: nn.ModuleDict
) -> Dict[str, Dict[str, float]]:
    """How near the features will be when training has warped them."""
    count = min(LIVE_SAMPLES, len(sources.dataset))
    chosen = np.random.default_rng(_LIVE_SEED).choice(len(sources.dataset), count, replace=False)
    samples = [int(each) for each in np.sort(chosen)]
    groups = [samples[first : first + settings.batch] for first in range(0, count, settings.batch)]
    loader = DataLoader(
        _Beside(sources.dataset, canvas),
        batch_sampler=groups,
        num_workers=settings.workers,
        collate_fn=list,
    )

    def drawn() -> Iterator[live.Drawn]:
        for loaded in loader:
            pictures, results = zip(*loaded)
            images, data_samples = _packed(sources, results)
            yield torch.stack(pictures).to(settings.device), images, data_samples

    # A loader takes its workers' seed from the global generator, which is training's.
    with replayed(_LIVE_SEED):
        return live.measure(codecs.to(settings.device), sources.teacher.inner, canvas, drawn())


@lru_cache(maxsize=None)
def _warn(text: str) -> None:
    """Once for each process: building is tried again while others still build."""
    print_log(text, logger='current', level=logging.WARNING)


def _run(teacher: Any, images: Any) -> Dict[str, Tensor]:
    features = teacher.inner(images)
    return {name: features[name] for name in teacher.inner._requested}


def _canvas(sources: Sources, settings: Settings) -> Optional[Tuple[int, int]]:
    teacher = sources.teacher
    if teacher.mode == EXACT:
        return None
    if not isinstance(teacher.canvas, (int, float)):
        return tuple(teacher.canvas)
    results = sources.dataset.draw(0, 0)
    images = _pictures(sources, [results])
    return tuple(round(side * teacher.canvas) for side in picture_size(images))


def _batches(
    sources: Sources,
    settings: Settings,
    groups: Any,
    canvas: Optional[Tuple[int, int]],
    workers: Optional[int] = None,
) -> Iterator[builder.Batch]:
    dataset: Dataset = _Drawn(sources.dataset)
    if sources.teacher.mode != EXACT:
        dataset = CanvasPictures(sources.dataset, canvas)
    workers = settings.workers if workers is None else workers
    loader = DataLoader(
        dataset,
        batch_sampler=groups,
        num_workers=workers,
        collate_fn=_together,
        pin_memory=settings.device.type == 'cuda',
    )
    for items, loaded in loader:
        if sources.teacher.mode != EXACT:
            images = torch.stack(loaded).to(settings.device, non_blocking=True)
            yield items, images, [canvas] * len(items)
            continue
        if _alike(loaded):
            parts = [(items, loaded)]
        else:
            # Padded to each other they would be other pictures.
            parts = [([item], [each]) for item, each in zip(items, loaded)]
        for some, results in parts:
            images = _pictures(sources, results)
            yield some, images, [picture_size(images)] * len(some)


def _pictures(sources: Sources, results: Sequence[dict]) -> Any:
    return _packed(sources, results)[0]


def _packed(sources: Sources, results: Sequence[dict]) -> Tuple[Any, Sequence[Any]]:
    """What the teacher sees of a batch, and its data samples."""
    batch: Dict[str, Any] = {
        'inputs': _column([each['inputs'] for each in results]),
        'data_samples': [each['data_samples'] for each in results],
    }
    batch = sources.preprocessor(batch, False)
    images = pictures_for(sources.teacher, batch['inputs'], sources.preprocessor, sources.image_key)
    return images, batch['data_samples']


def _column(values: List[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: [value[key] for value in values] for key in values[0]}
    return values


def _alike(loaded: Sequence[dict]) -> bool:
    def shape(value: Any) -> Any:
        return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else value.shape

    shapes = [shape(each['inputs']) for each in loaded]
    return all(each == shapes[0] for each in shapes)


class _Drawn(Dataset):
    """Items, (sample, variant), to training samples."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __getitem__(self, item: Item) -> Tuple[Item, dict]:
        results = self.dataset.draw(*item)
        if not isinstance(results, dict) or 'inputs' not in results:
            raise MMKDError(
                'A cache is built of what the training pipeline packs, but it gives a '
                f'{type(results).__name__} without inputs. It must end with a Pack...Inputs '
                'transform.'
            )
        return item, results


class _Beside(Dataset):
    """Numbers of samples to pictures on the canvas, (3, h, w), and samples as training draws them.

    The picture is turned over where augmentation has turned the sample over. A sample is drawn
    alike in every process.
    """

    def __init__(self, dataset: Any, canvas: Tuple[int, int]):
        self.drawn, self.whole = _Drawn(dataset), CanvasPictures(dataset, canvas)

    def __getitem__(self, sample: int) -> Tuple[Tensor, dict]:
        with replayed(_LIVE_SEED, sample):
            _, results = self.drawn[sample, 0]
        _, picture = self.whole[sample, variant_of(results['data_samples'])]
        return picture, results


def _together(loaded: List[Tuple[Item, Any]]) -> Tuple[List[Item], List[Any]]:
    items, values = zip(*loaded)
    return list(items), list(values)
