"""Builds the cache of a teacher from the training set whose samples it is for."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmkd.distill.cache import builder
from mmkd.distill.cache.batches import picture_size
from mmkd.distill.cache.builder import Builder, Item, Plan, Work
from mmkd.distill.cache.manifest import EXACT
from mmkd.distill.distillers.pictures import pictures_for
from mmkd.errors import MMKDError

from .canvas import CanvasPictures

# Records that are looked at before building: to fit on, and to measure on.
FIT_SAMPLES = 32


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
        return builder.fit_codecs(manifest, (_run(teacher, images) for _, images, _ in loaded))

    manifest, codecs = builder.begin(teacher.path, planned.manifest, fit)
    sources.dataset.remember(teacher.path)
    work = Work(
        teacher.path, manifest.layout, settings.batch, int(settings.start * manifest.layout.shards)
    )
    maker = Builder(
        teacher.path, manifest, codecs.to(settings.device), lambda images: _run(teacher, images)
    )
    return maker.run(work, _batches(sources, settings, work, canvas), told)


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
        dataset, batch_sampler=groups, num_workers=workers, collate_fn=_together, pin_memory=False
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
    batch: Dict[str, Any] = {
        'inputs': _column([each['inputs'] for each in results]),
        'data_samples': [each['data_samples'] for each in results],
    }
    inputs = sources.preprocessor(batch, False)['inputs']
    return pictures_for(sources.teacher, inputs, sources.preprocessor, sources.image_key)


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


def _together(loaded: List[Tuple[Item, Any]]) -> Tuple[List[Item], List[Any]]:
    items, values = zip(*loaded)
    return list(items), list(values)
