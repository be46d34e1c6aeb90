"""Is a specialist special? The task losses of a config's teachers, per attribute."""

from __future__ import annotations

import copy
import random
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Set

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import autocast
from torch import Tensor

from mmkd.distill.distillers import SpecializedTeacherDistiller
from mmkd.distill.distillers.lesson import Lesson, answer_of, check_respondent, compare
from mmkd.distill.distillers.pictures import Pictures
from mmkd.distill.distillers.routing import ATTRIBUTE_KEYS, GENERAL
from mmkd.distill.taps import Tap, TapRecorder, split_run
from mmkd.errors import MMKDError
from mmkd.registry import DATASETS, MODELS

EVERY = 'all'


class Row(NamedTuple):
    """One attribute, one teacher.

    Attributes:
        samples: That have the attribute.
        loss: The teacher's mean task loss there.
        less: By how much that is less than the general teacher's.
        error: Standard error of ``less``, from the differences sample by sample.
    """

    samples: int
    loss: float
    less: float
    error: float


def teacher_losses(
    cfg: Config, pairs: int, batch: int = 16, seed: int = 0, device: str = 'cpu'
) -> Dict[str, Dict[str, Row]]:
    """Asks every teacher about every sample, and judges by the student's targets.

    Args:
        cfg: Of a :class:`mmkd.SpecializedTeacherDistiller`; samples are of its training set, with
            its augmentation. Naming another annotation file there asks about other videos.
        pairs: Samples.
        batch: At once.
        seed: Of which frames and augmentations.
        device: Where.

    Returns:
        Attribute ('all' first) to teacher to row.

    Raises:
        MMKDError: The config is another one, or its models have no answers to compare.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model_cfg = copy.deepcopy(dict(cfg.model))
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    distiller = MODELS.build(model_cfg)
    if not isinstance(distiller, SpecializedTeacherDistiller):
        raise MMKDError(
            'This compares the teachers of a SpecializedTeacherDistiller, but the model of the '
            f'config is a {type(distiller).__name__}.'
        )
    student = distiller.student
    check_respondent(student, 'Comparing teachers')
    distiller.to(device).eval()
    distiller.start()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    taps = [Tap(student, split_run(path)[0]) for path in student.response_taps.values()]
    losses: Dict[str, List[Tensor]] = {name: [] for name in distiller.teachers}
    found: List[Set[str]] = []
    with torch.no_grad():
        for data in _batches(dataset, pairs, batch, seed):
            data = student.data_preprocessor(data, False)
            inputs, samples = data['inputs'], data['data_samples']
            targets = student.sample_targets(samples, torch.device(device))
            recorder = TapRecorder(taps)
            with recorder.record(student):
                student(inputs, samples, mode='tensor')
            answer = answer_of(student, recorder, targets)
            pictures = Pictures(inputs, student.data_preprocessor).whole
            for name, teacher in distiller.teachers.items():
                with autocast(device_type=torch.device(device).type, enabled=False):
                    features = teacher.read(pictures, samples).wait()
                lesson = Lesson(name, None, features, _answer_taps(distiller, name))
                losses[name].append(compare(student, answer, lesson).teacher_loss.float().cpu())
            found += [_attributes(sample) for sample in samples]
    whole = {name: torch.cat(parts).double() for name, parts in losses.items()}
    return _rows(whole, found)


def _answer_taps(distiller: SpecializedTeacherDistiller, name: str) -> Dict[str, str]:
    return distiller.answer_taps(name) or dict(distiller.student.response_taps)


def _batches(dataset: Any, pairs: int, batch: int, seed: int) -> Iterator[dict]:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for first in range(0, pairs, batch):
        chosen = range(first, min(first + batch, pairs))
        yield pseudo_collate([dataset[index % len(dataset)] for index in chosen])


def _attributes(sample: Any) -> Set[str]:
    return {name for key in ATTRIBUTE_KEYS for name in sample.metainfo.get(key, ())}


def _rows(losses: Dict[str, Tensor], found: Sequence[Set[str]]) -> Dict[str, Dict[str, Row]]:
    table: Dict[str, Dict[str, Row]] = {}
    for attribute in [EVERY, *sorted(set().union(*found))]:
        numbers = [n for n, own in enumerate(found) if attribute == EVERY or attribute in own]
        chosen = torch.tensor(numbers)
        table[attribute] = {}
        for name, values in losses.items():
            less = losses[GENERAL][chosen] - values[chosen]
            error = float(less.std()) / len(chosen) ** 0.5 if len(chosen) > 1 else float('nan')
            table[attribute][name] = Row(
                len(chosen), float(values[chosen].mean()), float(less.mean()), error
            )
    return table
