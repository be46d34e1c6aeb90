"""The channels behind a distiller's taps, found rather than typed."""

from __future__ import annotations

from typing import Dict, List, Sequence

from torch import nn

from mmkd.errors import MMKDError

from ..dry_run import DryInput, TapInfo, probe
from ..taps import Tap
from .pair import PairConfig


def find_channels(
    student: nn.Module, taps: Sequence[Tap], configs: List[PairConfig], dry_input: DryInput
) -> Dict[str, TapInfo]:
    """Runs the student dry.

    Args:
        student: The student.
        taps: What to look at.
        configs: The lines that read it, some of which may know their channels.
        dry_input: Shapes for the run; see :func:`mmkd.distill.dry_run.probe`.

    Returns:
        Tap path to what was found.

    Raises:
        MMKDError: A line needs channels that were not found.
    """
    found, error = probe(student, taps, dry_input)
    for config in configs:
        if config.tap.path in found or config.transform is None:
            continue
        key = 'in_channels' if config.direction == 'student_to_teacher' else 'out_channels'
        given = isinstance(config.transform, nn.Module) or config.transform.get(key) is not None
        if not given:
            why = 'was not reached'
            if error is not None:
                why = f'failed ({type(error).__name__}: {error})'
            raise MMKDError(
                f'The channels of {config.tap.path!r} could not be found: a dry run of the '
                f"student, mode='tensor', {why}. Either say what it reads, as "
                'dry_input=dict(img=(1, 1, 3, 128, 128)) in the distiller, or type '
                f'{key}= in the transform.'
            )
    return found
