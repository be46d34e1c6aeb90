"""The first and the last training sample, as the network gets them."""

from __future__ import annotations

import copy
import os.path as osp
import random
from typing import Any, Dict, List, Sequence

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.engine.identities import assign_id_offsets, leaves
from mmkd.errors import MMKDError

from .doctor_case import Case, LeftOut
from .doctor_draw import Frame, frames_of, paint
from .doctor_page import Section, count_of, some


def look(case: Case, section: Section) -> None:
    """Builds the training data, decodes two samples and draws them."""
    cfg = case.cfg.get('train_dataloader')
    if not cfg:
        raise LeftOut('Left out: the config has no train_dataloader.')
    if case.data_missing:
        raise LeftOut('Left out: files of the training data are missing, see above.')
    # Its pipeline may name mmtrack's steps without their scope.
    init_default_scope(case.cfg.get('default_scope') or 'mmengine')
    case.loader = build_loader(cfg)
    dataset = case.loader.dataset
    rows = []
    if all(getattr(leaf, 'num_ids', None) is not None for _, leaf in leaves(dataset, '')):
        # As training does: the pictures show the labels that the classifier learns.
        case.num_ids = assign_id_offsets(dataset)
    for path, leaf in leaves(dataset, 'dataset'):
        size = len(leaf) if hasattr(leaf, '__len__') else '?'
        rows.append((path, type(leaf).__name__, size, getattr(leaf, 'num_ids', '-')))
    section.table(('data set', 'type', 'samples', 'ids'), rows)
    section.data['samples'] = len(dataset)
    section.fact(
        'in all',
        f'{count_of(len(dataset), "sample")}, {count_of(len(case.loader), "batch")} an epoch',
    )
    if not len(dataset):
        case.loader = None
        raise MMKDError(
            'The training set is empty after its filters (filter_cfg, visibility_thr, classes).'
        )
    if not len(case.loader):
        section.stop(
            f'{len(dataset)} samples make no batch of {cfg.get("batch_size", 1)} with '
            'drop_last=True, so that an epoch has no step.',
            'Set train_dataloader.drop_last=False, or a smaller batch_size.',
        )
    metainfo = getattr(dataset, 'metainfo', None) or {}
    # Before 3.0.0rc5, mmdet wrote the name in capitals.
    classes = metainfo.get('classes') or metainfo.get('CLASSES') or ()
    boxes = 0
    section.data['pictures'] = []
    for name, index in (('first', 0), ('last', len(dataset) - 1)):
        boxes += _look_at(case, section, name, index, classes)
    if not boxes and section.data.get('has_boxes'):
        section.warn(
            'Neither the first nor the last training sample has a box after the pipeline.',
            'Look at the pictures; a crop or filter may throw everything away.',
        )


def build_loader(cfg: Dict[str, Any]) -> torch.utils.data.DataLoader:
    """The training data loader of a config, in this process: its errors are seen whole."""
    cfg = copy.deepcopy(cfg)
    cfg['num_workers'] = 0
    cfg['persistent_workers'] = False
    cfg.pop('prefetch_factor', None)
    return Runner.build_dataloader(cfg, seed=0)


def _look_at(case: Case, section: Section, name: str, index: int, classes: Sequence[str]) -> int:
    """Decodes and draws one sample; returns how many boxes it has."""
    # The same picture at every call, however the pipeline throws its dice.
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    sample = case.loader.dataset[index]
    frames = frames_of(sample) if isinstance(sample, dict) else []
    if not frames:
        section.fact(name, f'sample {index}: no picture in {_kinds(sample)}, so nothing is drawn')
        return 0
    case.size = case.size or tuple(frames[0].image.shape[:2])
    boxes = sum(len(frame.boxes) for frame in frames)
    file = _source(sample)
    case.out.mkdir(parents=True, exist_ok=True)
    picture = case.out / f'doctor_{name}_sample.png'
    caption = f'{name} training sample ({index}): {file}, {_told(frames)}'
    cv2.imwrite(str(picture), paint(frames, classes, caption))
    section.data['pictures'].append(str(picture))
    section.fact(name, f'{file}: {_told(frames)}; drawn in {picture}')
    if hasattr(sample.get('data_samples'), 'gt_instances'):
        section.data['has_boxes'] = True
    _check(section, name, frames)
    return boxes


def _check(section: Section, name: str, frames: Sequence[Frame]) -> None:
    for frame in frames:
        if not np.isfinite(frame.boxes).all():
            section.stop(f'The {name} sample has boxes that are not finite: {frame.boxes}.')
        # Of these nobody can learn, and some heads divide by their size.
        flat = (frame.boxes[:, 2:] - frame.boxes[:, :2] <= 0).any(axis=1).sum()
        if flat:
            section.warn(
                f'The {name} sample ({frame.name}) has {flat} boxes without width or height.',
                'A geometric step of the pipeline leaves them over; filter them there.',
            )
        if frame.ids is not None:
            known = frame.ids[frame.ids >= 0]
            twice = sorted({int(i) for i in known if (known == i).sum() > 1})
            if twice:
                section.warn(
                    f'The {name} sample ({frame.name}) has an id twice in one picture: '
                    f'{some(twice)}.',
                    'A person is in one place at a time: the annotations are wrong.',
                )


def _told(frames: Sequence[Frame]) -> str:
    shapes: List[str] = []
    for frame in frames:
        height, width = frame.image.shape[:2]
        text = f'{frame.name} {height} x {width}, {count_of(len(frame.boxes), "box")}'
        if frame.ids is not None:
            text += ', ' + count_of(len(set(frame.ids[frame.ids >= 0].tolist())), 'id')
        shapes.append(text)
    return '; '.join(shapes)


def _source(sample: Dict[str, Any]) -> str:
    path = getattr(sample.get('data_samples'), 'metainfo', {}).get('img_path', 'no file name')
    if isinstance(path, (list, tuple)):
        path = path[0]
    return osp.join(*str(path).split(osp.sep)[-3:])


def _kinds(sample: Any) -> str:
    return f'a dict of {some(list(sample))}' if isinstance(sample, dict) else type(sample).__name__
