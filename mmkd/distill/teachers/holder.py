"""Where a distiller keeps its teacher: beside the module tree, not in it."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, Optional, Union

from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .teacher import Teacher


class TeacherHolder:
    """Keeps a teacher out of parameters, state dict, DDP, EMA and the optimiser.

    It is no ``nn.Module``, so nothing that walks the module tree meets it. Copies of a distiller
    (mmengine's EMA makes one) share the loaded network, which never changes. A copy that is moved
    or cast elsewhere lets go of it rather than moving it under the original's feet; it would load
    its own if it were ever trained. A pickle holds the config alone. A teacher that does change
    (``stateful``) is copied and pickled whole, bound to the copy's student.

    Args:
        teacher: Config of a teacher, or a teacher.
    """

    def __init__(self, teacher: Union[dict, Teacher]):
        if isinstance(teacher, dict):
            self._cfg: Optional[dict] = copy.deepcopy(dict(teacher))
            teacher = MODELS.build(teacher)
        else:
            self._cfg = None
        if not isinstance(teacher, Teacher):
            raise MMKDError(
                'A distiller needs a teacher, as a config or as an mmkd.distill.Teacher, but got '
                f'a {type(teacher).__name__}.'
            )
        self.teacher = teacher
        self._is_copy = False

    def load(self, reference: Optional[Tensor]) -> Teacher:
        """The teacher with its weights, where the student's are.

        Args:
            reference: One of the student's floating parameters.
        """
        if not self.teacher.loaded:
            if reference is None:
                return self.teacher.load()
            self.teacher.load(reference.device, reference.dtype)
        return self.teacher

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Does to the teacher what ``nn.Module._apply`` does to the student."""
        if self._is_copy and self.teacher.loaded:
            probe = self.teacher.mean
            moved = fn(probe)
            if moved.device == probe.device and moved.dtype == probe.dtype:
                return
            self._separate()
        self.teacher._apply(fn)

    def _separate(self) -> None:
        if self._cfg is None:
            # Given as a module: nothing else can make another one.
            self.teacher = copy.deepcopy(self.teacher)
        else:
            self.teacher = self._rebuild()
        self._is_copy = False

    def _rebuild(self) -> Teacher:
        teacher = MODELS.build(copy.deepcopy(self._cfg))
        teacher.request(self.teacher._requested)
        return teacher

    def __deepcopy__(self, memo: Dict[int, Any]) -> TeacherHolder:
        other = object.__new__(TeacherHolder)
        other.__dict__.update(self.__dict__)
        if self.teacher.loaded and not self.teacher.stateful:
            other._is_copy = True
        else:
            other.teacher = copy.deepcopy(self.teacher, memo)
        memo[id(self)] = other
        return other

    def __getstate__(self) -> Dict[str, Any]:
        state = dict(self.__dict__, _is_copy=False)
        if self._cfg is not None and not self.teacher.stateful:
            state['teacher'] = self.teacher._requested
        return state

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.teacher, tuple):
            requested = self.teacher
            self.teacher = MODELS.build(copy.deepcopy(self._cfg))
            self.teacher.request(requested)
