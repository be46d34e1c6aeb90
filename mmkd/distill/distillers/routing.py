"""Which specialist teaches which sample: by the attributes of its video."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from mmkd.errors import MMKDError, nearest

from ..schedules import Schedule, parse_schedule
from ..teachers import Teacher
from .mutual import PEER

GENERAL = 'general'
EVERY = 'all'
# What datasets write into a sample's metainfo: their own names, and the common groups.
ATTRIBUTE_KEYS = ('attributes', 'attribute_groups')
# A mixture of data sets may have a few batches of those without attributes.
PATIENCE = 5
_KEYS = ('teacher', 'attributes', 'weight', 'response')


class Specialist(NamedTuple):
    """One line of ``specialists=dict(...)``."""

    teacher: Union[None, dict, Teacher]
    """None where somebody else keeps it."""
    attributes: Optional[Tuple[str, ...]]
    """None: every sample is one of its."""
    weight: Schedule
    response: Optional[Dict[str, str]]
    """Taps of the teacher's answer, if they are others than the student's."""


def parse_specialists(given: Optional[Dict[str, Any]]) -> Dict[str, Specialist]:
    """Specialists by name.

    Args:
        given: Name to a teacher, or its config, or a dict with ``teacher`` and optionally
            ``attributes``, ``weight`` and ``response``.

    Raises:
        MMKDError: It is something else, or a name is not one.
    """
    if given is not None and not isinstance(given, dict):
        raise MMKDError(
            'specialists is a dict, name to teacher, such as '
            f"dict(occlusion=dict(teacher=..., attributes=('POC', 'FOC'))), but got {given!r}."
        )
    return {name: _parse(name, value) for name, value in (given or {}).items()}


def _parse(name: str, value: Any) -> Specialist:
    if not isinstance(name, str) or not name.isidentifier() or name in (GENERAL, PEER):
        raise MMKDError(
            f'A specialist is named by a plain word, not {GENERAL!r} or {PEER!r}, but got {name!r}.'
        )
    if 'loss' in name:
        raise MMKDError(
            f"A specialist is named by a word without 'loss' (mmengine adds up every logged value "
            f'that has it), but got {name!r}.'
        )
    if isinstance(value, Teacher) or (isinstance(value, dict) and 'type' in value):
        value = dict(teacher=value)
    if not isinstance(value, dict) or 'teacher' not in value:
        raise MMKDError(
            f"The specialist {name!r} is a teacher's config, or dict(teacher=..., "
            f'attributes=...), but got {value!r}.'
        )
    for key in value:
        if key not in _KEYS:
            raise MMKDError(f'The specialist {name!r} has no key {key!r}. {nearest(key, _KEYS)}')
    attributes = value.get('attributes', (name,))
    if isinstance(attributes, str):
        attributes = (attributes,)
    if not isinstance(attributes, (list, tuple)) or not all(
        isinstance(each, str) for each in attributes
    ):
        raise MMKDError(
            f"The specialist {name!r}: attributes are names such as ('POC', 'FOC'), or "
            f'{EVERY!r}, but got {attributes!r}.'
        )
    return Specialist(
        teacher=copy.deepcopy(value['teacher'])
        if isinstance(value['teacher'], dict)
        else value['teacher'],
        attributes=None if EVERY in attributes else tuple(attributes),
        weight=parse_schedule(value.get('weight', 1.0), f'{name}: weight'),
        response=value.get('response'),
    )


class Router:
    """Finds the samples that a specialist teaches.

    It reads what the dataset wrote, on the host, so that nothing waits for a device.

    Args:
        specialists: By name.
    """

    def __init__(self, specialists: Dict[str, Specialist]):
        self._wanted = {
            name: None if each.attributes is None else frozenset(each.attributes)
            for name, each in specialists.items()
        }
        # Batches in a row without a sample that says anything; None once there was one.
        self._blind: Optional[int] = 0

    def __call__(self, data_samples: Optional[Sequence], count: int) -> Dict[str, List[int]]:
        """Args:
            data_samples: The batch's.
            count: How many there are.

        Returns:
            Specialist's name to the numbers of its samples, ascending.

        Samples of data sets without attributes, mixed with others, have none.

        Raises:
            MMKDError: No sample of the first :data:`PATIENCE` batches says what its attributes are.
        """
        if all(wanted is None for wanted in self._wanted.values()):
            return {name: list(range(count)) for name in self._wanted}
        found = [_attributes(sample) for sample in data_samples or ()]
        if len(found) != count:
            raise MMKDError(f'{count} samples have the attributes of {len(found)} data samples.')
        self._look(found)
        return {
            name: [
                number
                for number, has in enumerate(found)
                if wanted is None or (has is not None and not wanted.isdisjoint(has))
            ]
            for name, wanted in self._wanted.items()
        }

    def _look(self, found: List[Optional[frozenset]]) -> None:
        if self._blind is None:
            return
        if any(each is not None for each in found):
            self._blind = None
            return
        self._blind += 1
        if self._blind >= PATIENCE:
            raise MMKDError(
                'Specialists are chosen by the attributes of a sample, but no data sample of '
                f'{self._blind} batches has {" or ".join(map(repr, ATTRIBUTE_KEYS))} in its '
                "metainfo. Give the dataset a table, as in dict(type='mmkd.LaSOTDataset', "
                "attributes=...), or the pipeline dict(type='mmkd.AddAttributes', ...); or write "
                "attributes='all' for a specialist of everything."
            )


def _attributes(sample: Any) -> Optional[frozenset]:
    meta = getattr(sample, 'metainfo', {})
    given = [meta[key] for key in ATTRIBUTE_KEYS if meta.get(key) is not None]
    if not given:
        return None
    return frozenset(name for names in given for name in _flat(names))


def _flat(names: Any) -> Sequence[str]:
    """Names, also of metainfo that a clip has once per frame."""
    if isinstance(names, str):
        return (names,)
    flat: List[str] = []
    for name in names:
        flat.extend((name,) if isinstance(name, str) else name)
    return flat
