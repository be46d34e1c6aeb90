"""What a checkpoint keeps of teachers: who they were, and what they alone remember."""

from __future__ import annotations

from typing import Any, Dict, List

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmkd.errors import MMKDError

from .pool import TeacherPool
from .state_dict import KD

PLACE = f'{KD}.teachers.'
FINGERPRINT = 'fingerprint'
ON_OTHER_TEACHER = ('refuse', 'warn')


def save(
    pool: TeacherPool,
    prints: Dict[str, str],
    stored: Dict[str, Dict[str, Any]],
    state: Dict[str, Tensor],
    prefix: str,
) -> None:
    """Adds ``distill.teachers.<name>.fingerprint`` (32 bytes) and a teacher's own memory.

    Args:
        pool: The teachers.
        prints: Name to fingerprint in hex, of those that were loaded.
        stored: What a checkpoint said of them (see :func:`take`), handed on until training begins.
        state: The state dict.
        prefix: What its keys begin with.
    """
    known = dict(stored)
    for name, fingerprint in prints.items():
        known[name] = {FINGERPRINT: fingerprint, 'memory': pool[name].memory()}
    for name, entry in known.items():
        place = f'{prefix}{PLACE}{name}.'
        if FINGERPRINT in entry:
            number = list(bytes.fromhex(entry[FINGERPRINT]))
            state[place + FINGERPRINT] = torch.tensor(number, dtype=torch.uint8)
        for key, value in entry['memory'].items():
            state[f'{place}memory.{key}'] = value


def take(state: Dict[str, Tensor], prefix: str) -> Dict[str, Dict[str, Any]]:
    """Removes from a state dict what :func:`save` added.

    Returns:
        Teacher's name to ``{'fingerprint': hex, 'memory': {...}}``.
    """
    found: Dict[str, Dict[str, Any]] = {}
    place = prefix + PLACE
    for key in [key for key in state if key.startswith(place)]:
        name, _, rest = key[len(place) :].partition('.')
        value = state.pop(key)
        entry = found.setdefault(name, {'memory': {}})
        if rest == FINGERPRINT:
            entry[FINGERPRINT] = bytes(value.cpu().tolist()).hex()
        elif rest.startswith('memory.'):
            entry['memory'][rest[len('memory.') :]] = value
    return found


def compare(
    stored: Dict[str, Dict[str, Any]], present: Dict[str, str], policy: str, resumed: bool
) -> None:
    """Sees that a run goes on with the teachers that it began with.

    Args:
        stored: What :func:`take` found in the checkpoint.
        present: Name to fingerprint of today's teachers.
        policy: 'refuse' or 'warn'.
        resumed: Whether the run goes on from that checkpoint. If it merely starts from its weights,
            another teacher is a choice, and is told.

    Raises:
        MMKDError: A resumed run has another teacher, and the policy is to refuse.
    """
    problems: List[str] = []
    for name, fingerprint in present.items():
        before = stored.get(name, {}).get(FINGERPRINT)
        if before is not None and before != fingerprint:
            problems.append(
                f'teacher {name!r} has the fingerprint {fingerprint[:16]}..., but the checkpoint '
                f'was trained with {before[:16]}...'
            )
        elif before is None and stored:
            problems.append(
                f'teacher {name!r} is new: the checkpoint knows {", ".join(sorted(stored))}'
            )
    if not problems:
        return
    text = '; '.join(problems) + '.'
    if not resumed:
        print_log(f'Starting from weights of another distillation: {text}', logger='current')
    elif policy == 'refuse':
        raise MMKDError(
            f'This run cannot go on with another teacher: {text} A fingerprint covers the '
            'weights, their precision and the preprocessing (size, mean, std), so compare these '
            'settings and the file. If the change is meant, say so: '
            "model.on_other_teacher='warn'."
        )
    else:
        print_log(f'Going on with another teacher: {text}', logger='current', level=30)
