"""The teachers of one run, by name."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from ..teachers import Teacher
from ..teachers.holder import TeacherHolder

# What a single teacher is called in checkpoints.
ONLY = 'teacher'


class TeacherPool:
    """Keeps teachers beside the module tree; see :class:`TeacherHolder`.

    Args:
        teacher: The only one: a config or a teacher.
        teachers: Or several, by name.

    Raises:
        MMKDError: Neither or both are given, or a name is no plain word.
    """

    def __init__(
        self,
        teacher: Union[None, dict, Teacher] = None,
        teachers: Optional[Dict[str, Union[dict, Teacher]]] = None,
    ):
        if (teacher is None) == (not teachers):
            raise MMKDError(
                'A distiller needs either teacher=, a config of one teacher, or '
                'teachers=dict(name=...), several by name.'
            )
        self._single = teacher is not None
        given = {ONLY: teacher} if self._single else dict(teachers)
        for name in given:
            if not isinstance(name, str) or not name.isidentifier():
                raise MMKDError(
                    f'teachers=dict(...) names each teacher by a plain word, but got {name!r}.'
                )
        self._holders = {name: TeacherHolder(value) for name, value in given.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._holders)

    def __getitem__(self, name: str) -> Teacher:
        return self._holders[name].teacher

    def only(self) -> Teacher:
        """The one teacher of a run with one.

        Raises:
            MMKDError: There are several.
        """
        if len(self._holders) > 1:
            raise MMKDError(
                f'This run has several teachers: {", ".join(self._holders)}. Name one, as '
                'distiller.teachers[name].'
            )
        return self[next(iter(self._holders))]

    def split(self, path: str) -> Tuple[str, str]:
        """The teacher and its feature that an entry's ``teacher=`` names.

        With ``teacher=``, that is the feature; with ``teachers=``, it begins with a name:
        ``'dino.last'``.

        Raises:
            MMKDError: There is no such teacher.
        """
        if self._single:
            return ONLY, path
        name, _, feature = path.partition('.')
        if name not in self._holders or not feature:
            raise MMKDError(
                f'teacher={path!r}: with teachers=dict(...) an entry names one of them and its '
                f"feature, as in '{next(iter(self._holders))}.last'. {nearest(name, self)}"
            )
        return name, feature

    def load(self, names: Sequence[str], student: nn.Module) -> List[Teacher]:
        """Loads those that have no network yet, where the student is.

        Returns:
            The teachers that were loaded by this call.
        """
        reference = next((p for p in student.parameters() if p.is_floating_point()), None)
        loaded = []
        for name in names:
            holder = self._holders[name]
            if not holder.teacher.loaded:
                holder.teacher.bind(student)
                loaded.append(holder.load(reference))
        return loaded

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Does to all what ``nn.Module._apply`` does to the student."""
        for holder in self._holders.values():
            holder.apply(fn)

    def set(self, name: str, teacher: Any) -> None:
        """Puts another teacher in a place, for wrappers of teachers."""
        self._holders[name] = TeacherHolder(teacher)
