"""What is distilled into what, in words."""

from __future__ import annotations

from typing import Any, Dict, List

from mmengine.logging import print_log
from torch import Tensor

from ..teachers import Teacher
from .pair import FeaturePair

_PAIR = (
    '  {name}: student {tap} ({student_channels} channels, stride {student_stride}) | {teacher} '
    '{feature} ({teacher_channels} channels, stride {teacher_stride:g}) | {direction}, {transform} '
    'with {transform_parameters:,} parameters, {loss}, weight {weight:g}'
)


def report_pair(pair: FeaturePair, teacher: Teacher) -> Dict[str, Any]:
    """One pair, as ``FeatureDistiller.report()`` lists it."""
    tapped, transform = pair.tapped, pair.transform
    return {
        'name': pair.name,
        'tap': pair.path,
        'student_channels': tapped.channels if tapped else '?',
        'student_stride': f'{tapped.stride:g}' if tapped else '?',
        'teacher': pair.teacher,
        'feature': pair.feature,
        'teacher_channels': teacher.channels[pair.feature],
        'teacher_stride': teacher.strides[pair.feature],
        'direction': 'student to teacher' if pair.to_teacher else 'teacher to student',
        'transform': 'no transform' if transform is None else type(transform).__name__,
        'transform_parameters': 0
        if transform is None
        else sum(p.numel() for p in transform.parameters()),
        'loss': type(pair.loss).__name__,
        'weight': pair.weight,
    }


def report_run(distiller: Any, alpha: float, pairs: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What ``report()`` of a distiller returns.

    Args:
        distiller: The distiller.
        alpha: Its largest.
        pairs: One dict each.
    """
    identities = distiller.identities()
    return {
        'student': type(distiller.student).__name__,
        'alpha': alpha,
        'teachers': {
            name: {
                'describe': teacher.describe(),
                'random': teacher.is_random,
                'fingerprint': identities[name].hash if teacher.loaded else None,
            }
            for name, teacher in distiller.teachers.items()
        },
        'pairs': pairs,
    }


def describe(report: Dict[str, Any]) -> List[str]:
    """Lines for the log, from a report."""
    lines = [f'Distilling into {report["student"]}, alpha {report["alpha"]:g}:']
    for name, teacher in report['teachers'].items():
        fingerprint = teacher['fingerprint']
        state = f'fingerprint {fingerprint[:12]}' if fingerprint else 'not needed'
        lines.append(f'  {name}: {teacher["describe"]} ({state})')
    lines.extend(_PAIR.format(**pair) for pair in report['pairs'])
    return lines


def tell_grids(pair: FeaturePair, images: Tensor, seen: Tensor, target: Tensor) -> None:
    """Logs what the first batch gave."""
    print_log(
        f'  {pair.name}: of images {tuple(images.shape[2:])} the student gives '
        f'{tuple(seen.shape[1:])}, {pair.teacher} {tuple(target.shape[1:])}',
        logger='current',
    )
