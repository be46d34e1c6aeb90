"""Examines a config before a long run; see docs/doctor.md."""

from __future__ import annotations

from typing import List

from . import (
    doctor_checkpoint,
    doctor_environment,
    doctor_files,
    doctor_forecast,
    doctor_model,
    doctor_samples,
    doctor_taps,
    doctor_teacher,
    doctor_timing,
)
from .doctor_case import Case, examine
from .doctor_page import Section

_SECTIONS = (
    ('Environment', doctor_environment.look, 'tools/setup_env.sh makes an environment.'),
    ('Data files', doctor_files.look, ''),
    (
        'Training samples',
        doctor_samples.look,
        'See the data files above; docs/datasets.md tells how each data set is made.',
    ),
    ('Model', doctor_model.look, 'The message names what the config has to say otherwise.'),
    ('Teachers', doctor_teacher.look, ''),
    (
        'One training step',
        doctor_timing.look,
        'Training would stop in its first steps for the same reason.',
    ),
    ('Distillation', doctor_taps.look, ''),
    ('The whole run', doctor_forecast.look, ''),
    ('Checkpoint', doctor_checkpoint.look, 'Give a checkpoint of this model.'),
)


def diagnose(case: Case) -> List[Section]:
    """Looks at everything; a problem in one section hides no other.

    Args:
        case: The config and what is to be done with it; changed.

    Returns:
        The page's sections, in order.
    """
    sections = []
    for title, look, remedy in _SECTIONS:
        if title != 'Checkpoint' or case.checkpoint is not None:
            sections.append(examine(title, look, case, remedy))
    return sections
