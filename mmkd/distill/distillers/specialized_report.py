"""What is transferred from whom, for logs and reports."""

from __future__ import annotations

from typing import Any, Dict, List

from ..teachers import Teacher
from .report import describe
from .transfer import ONE, Transfer

_LINE = (
    '  {name}: student {tap} ({student_channels} channels) | {teacher} {feature} '
    '({teacher_channels} channels) | {transform} with {transform_parameters:,} parameters, {loss}, '
    'weight {weight:g}'
)


def report_transfer(part: Transfer, teacher: Teacher, info: Any, weight: float) -> Dict[str, Any]:
    """One transfer, with the keys of :func:`.report.report_pair`.

    Args:
        part: The transfer.
        teacher: Who gives it.
        info: What the dry run found of the student's map; None if nothing, or if there is none.
        weight: The largest that it becomes.
    """
    feature = ', '.join(_path(*tap) for tap in part.teacher_taps.values()) or 'the answer'
    only = part.teacher_taps.get(ONE)
    name = None if only is None else _path(*only)
    return {
        'name': part.name,
        'tap': ', '.join(_path(*tap) for tap in part.student_taps.values()) or 'the answer',
        'student_channels': info.channels if info else '?',
        # Of several inputs, each has its own.
        'student_stride': '?',
        'teacher': part.teacher,
        'feature': feature,
        'teacher_channels': teacher.channels[name] if name else '?',
        'teacher_stride': '?',
        'direction': 'student to teacher',
        'transform': 'no transform' if part.transform is None else type(part.transform).__name__,
        'transform_parameters': sum(p.numel() for p in part.parameters()),
        'loss': type(part.loss).__name__,
        'weight': weight,
    }


def describe_transfers(report: Dict[str, Any]) -> List[str]:
    """Lines for the log, from a report."""
    head = describe({**report, 'pairs': []})
    return head + [_LINE.format(**pair) for pair in report['pairs']]


def _path(path: str, run: Any) -> str:
    return path if run is None else f'{path}@{run}'
