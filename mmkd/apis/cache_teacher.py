"""The cache of a config's teachers: planned, built, looked through."""

from __future__ import annotations

import copy
import os
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.datasets import build_cache
from mmkd.datasets.build_cache import Settings, Sources
from mmkd.datasets.replay import ReplayDataset
from mmkd.distill.cache import builder, live
from mmkd.distill.cache.builder import Plan
from mmkd.distill.cache.manifest import Manifest
from mmkd.distill.cache.store import exists
from mmkd.distill.distillers import Distiller
from mmkd.distill.teachers import CachedTeacher
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

_REPLAY = 'mmkd.ReplayDataset'


class Job(NamedTuple):
    """One teacher's cache.

    Attributes:
        name: The teacher's.
        sources: What its cache is built of.
    """

    name: str
    sources: Sources

    @property
    def path(self) -> str:
        """The cache's folder."""
        return self.sources.teacher.path


def jobs(cfg: Config, wrap: Optional[Dict[str, Any]] = None) -> List[Job]:
    """The caches that a config's training reads.

    Args:
        cfg: Of distillation.
        wrap: Arguments of CachedTeacher, ``path`` among them, for the only teacher of a config
            that reads no cache yet.

    Raises:
        MMKDError: It distils nothing, or has no cached teacher and ``wrap`` is not given.
    """
    model_cfg = copy.deepcopy(dict(cfg.model))
    if wrap is not None:
        model_cfg['teacher'] = _wrapped(model_cfg, wrap)
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model = MODELS.build(model_cfg)
    if not isinstance(model, Distiller):
        raise MMKDError(
            f'A cache is of the teachers of a distillation, but the model of this config is a '
            f'{type(model).__name__}.'
        )
    cached = {
        name: teacher
        for name, teacher in model.teachers.items()
        if isinstance(teacher, CachedTeacher)
    }
    if not cached:
        raise MMKDError(
            'No teacher of this config reads a cache. Say --path FOLDER to build one for its '
            "teacher, or put dict(type='mmkd.CachedTeacher', teacher=..., path=FOLDER) in the "
            "teacher's place."
        )
    dataset = _dataset(cfg, model.data_needs())
    for teacher in cached.values():
        teacher.inner.bind(model.student)
    return [
        Job(
            name,
            Sources(
                dataset,
                teacher,
                model.student.data_preprocessor,
                getattr(model, 'image_key', 'img'),
            ),
        )
        for name, teacher in cached.items()
    ]


def only_job(cfg: Config) -> Job:
    """The cache of a config that has one.

    Raises:
        MMKDError: It has several, or none.
    """
    found = jobs(cfg)
    if len(found) > 1:
        raise MMKDError(
            f'This looks at one cache, but the config has {len(found)} cached teachers: '
            f'{", ".join(job.name for job in found)}. Leave one of them in.'
        )
    return found[0]


def _wrapped(model_cfg: Dict[str, Any], wrap: Dict[str, Any]) -> Dict[str, Any]:
    teacher = model_cfg.get('teacher')
    if not isinstance(teacher, dict):
        raise MMKDError(
            '--path caches the only teacher of a config, model.teacher, and this one has none. '
            'Write CachedTeacher into the config where its teachers stand.'
        )
    if teacher.get('type') in ('mmkd.CachedTeacher', 'CachedTeacher', CachedTeacher):
        return {**teacher, **wrap}
    return dict(type='mmkd.CachedTeacher', teacher=teacher, **wrap)


def _dataset(cfg: Config, needs: Dict[str, Any]) -> ReplayDataset:
    loader = cfg.get('train_dataloader') or {}
    dataset = copy.deepcopy(loader.get('dataset'))
    if not dataset:
        raise MMKDError(
            'A cache is of training samples, but the config has no train_dataloader.dataset.'
        )
    # Nothing is read while it is being built.
    needs = {key: value for key, value in needs.items() if key != 'cache'}
    if dataset.get('type') == _REPLAY:
        dataset = {**dataset, 'cache': None}
        del dataset['type']
        wrapped = ReplayDataset(**dataset)
    else:
        wrapped = ReplayDataset(dataset=dataset, **needs)
    wrapped.full_init()
    return wrapped


def describe(job: Job, planned: Plan) -> List[str]:
    """What a cache is and takes, a line each."""
    manifest, teacher = planned.manifest, job.sources.teacher
    layout = manifest.layout
    kinds = (
        f'{layout.variants} augmentation(s)'
        if manifest.canvas is None
        else ('the whole picture and its mirror image')
    )
    shapes = ', '.join(f'{name} {tuple(shape)}' for name, shape in manifest.shapes.items())
    done = builder.built_bytes(job.path)
    return [
        f'teacher   {teacher.inner.describe()}',
        f'cache     {job.path} ({manifest.mode} mode, {manifest.storage})',
        f'samples   {layout.samples:,} x {kinds} = {layout.records:,} records of {shapes}',
        f'size      {planned.record / 1e6:.3f} MB a record, {planned.total / 1e9:.3f} GB in '
        f'{layout.shards:,} shard(s); {done / 1e9:.3f} GB are there, '
        f'{planned.free / 1e9:.1f} GB are free',
    ]


def settings_of(device: str, batch: int, workers: int, shard_mb: float) -> Settings:
    """Settings, with this process's place among those that torchrun started."""
    rank, world = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    if device == 'cuda' and 'LOCAL_RANK' in os.environ:
        device = f'cuda:{os.environ["LOCAL_RANK"]}'
    return Settings(
        batch=batch,
        workers=workers,
        shard_bytes=int(shard_mb * 2**20),
        device=torch.device(device),
        start=rank / world,
    )


def report_lines(path: str) -> List[str]:
    """How near a cache's features are to the teacher's, as it was measured at building."""
    if not exists(path):
        return []
    return live.lines(Manifest.load(path).report)


plan = build_cache.plan
build = build_cache.build
verify = builder.verify
