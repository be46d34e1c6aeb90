"""What a checkpoint keeps of teachers: who they were, and what they alone remember."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmkd.errors import MMKDError

from ..teachers import Teacher
from ..teachers.fingerprint import Fingerprint, explain
from .pool import TeacherPool
from .state_dict import KD

PLACE = f'{KD}.teachers.'
FINGERPRINT = 'fingerprint'
IDENTITY = 'identity'
ON_OTHER_TEACHER = ('refuse', 'warn')


def save(
    pool: TeacherPool,
    identities: Dict[str, Fingerprint],
    stored: Dict[str, Dict[str, Any]],
    state: Dict[str, Tensor],
    prefix: str,
) -> None:
    """Adds who the teachers are, and what they alone remember.

    Under ``distill.teachers.<name>.``: ``fingerprint``, 32 bytes; ``identity``, its parts as the
    bytes of JSON, by which a refusal tells what has changed; and ``memory.<key>``.

    Args:
        pool: The teachers.
        identities: Name to fingerprint, of those that were loaded.
        stored: What a checkpoint said of them (see :func:`take`), handed on until training begins.
        state: The state dict.
        prefix: What its keys begin with.
    """
    # Of teachers that this run has. A moving average of mmengine, which never trains, would else
    # have keys that the model has not, and cannot be swapped with it.
    known = {name: dict(entry) for name, entry in stored.items() if name in list(pool)}
    for name, entry in known.items():
        if not pool[name].stateful:
            entry['memory'] = {}
    for name, identity in identities.items():
        known[name] = {IDENTITY: identity, 'memory': pool[name].memory()}
    for name, entry in known.items():
        place = f'{prefix}{PLACE}{name}.'
        if IDENTITY in entry:
            identity = entry[IDENTITY]
            state[place + FINGERPRINT] = _to_tensor(bytes.fromhex(identity.hash))
            state[place + IDENTITY] = _to_tensor(json.dumps(identity._asdict()).encode())
        for key, value in entry['memory'].items():
            state[f'{place}memory.{key}'] = value


def take(state: Dict[str, Tensor], prefix: str) -> Dict[str, Dict[str, Any]]:
    """Removes from a state dict what :func:`save` added.

    Returns:
        Teacher's name to ``{'identity': Fingerprint, 'memory': {...}}``.
    """
    found: Dict[str, Dict[str, Any]] = {}
    place = prefix + PLACE
    for key in [key for key in state if key.startswith(place)]:
        name, _, rest = key[len(place) :].partition('.')
        value = state.pop(key)
        entry = found.setdefault(name, {'memory': {}})
        if rest == IDENTITY:
            entry[IDENTITY] = Fingerprint(**json.loads(bytes(value.cpu().tolist())))
        elif rest.startswith('memory.'):
            entry['memory'][rest[len('memory.') :]] = value
    return found


def recall(stored: Dict[str, Dict[str, Any]], name: str, teacher: Teacher, resumed: bool) -> None:
    """Gives a teacher, once, what a checkpoint remembers of it.

    Args:
        stored: What :func:`take` found; the memory is taken out.
        name: The teacher's.
        teacher: Loaded or not.
        resumed: Whether the run goes on from that checkpoint. If it merely starts from its
            weights, with a head of another size perhaps, a memory that does not fit is told.

    Raises:
        MMKDError: In a resumed run it does not fit.
    """
    memory = stored.get(name, {}).get('memory')
    if not memory:
        return
    stored[name]['memory'] = {}
    try:
        teacher.load_memory(memory)
    except MMKDError as error:
        if resumed:
            raise
        print_log(f'Teacher {name!r} starts anew. {error}', logger='current', level=30)


def hand_on(
    stored: Dict[str, Dict[str, Any]], pool: TeacherPool, present: Dict[str, Fingerprint]
) -> Dict[str, Fingerprint]:
    """Keeps what a checkpoint said of this run's teachers that are not loaded any more.

    Args:
        stored: What :func:`take` found.
        pool: The teachers; those get their memory.
        present: Name to fingerprint of those that were loaded.

    Returns:
        Name to fingerprint of the others, as far as it is known.
    """
    others = {}
    for name in pool:
        if name not in present and IDENTITY in stored.get(name, {}):
            recall(stored, name, pool[name], resumed=True)
            others[name] = stored[name][IDENTITY]
    return others


def compare(
    stored: Dict[str, Dict[str, Any]],
    present: Dict[str, Fingerprint],
    policy: str,
    resumed: bool,
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
    for name, identity in present.items():
        before = stored.get(name, {}).get(IDENTITY)
        if before is not None and before.hash != identity.hash:
            problems.append(
                f'Teacher {name!r} has the fingerprint {identity.hash[:16]}..., but the '
                f'checkpoint was trained with {before.hash[:16]}... {explain(before, identity)}'
            )
        elif before is None and stored:
            known = ', '.join(sorted(stored))
            problems.append(f'Teacher {name!r} is new: the checkpoint knows {known}.')
    if not problems:
        return
    text = ' '.join(problems)
    if not resumed:
        print_log(f'Starting from weights of another distillation. {text}', logger='current')
    elif policy == 'refuse':
        raise MMKDError(
            f'This run cannot go on with another teacher. {text} If the change is meant, say so: '
            "model.on_other_teacher='warn'."
        )
    else:
        print_log(f'Going on with another teacher. {text}', logger='current', level=30)


def _to_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
