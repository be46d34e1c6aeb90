"""A student in training: it is used, saved and loaded as if the distiller were not there."""

from __future__ import annotations

import copy
import warnings
from typing import Any, Dict, List, Optional, Union

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..teachers import Teacher
from ..teachers.holder import TeacherHolder
from . import state_dict as student_first


class Distiller(BaseModel):
    """Base of distillers: owns a student and a teacher, and is the student to everybody else.

    ``predict`` and ``tensor``, the data preprocessor, unknown public attributes and the state
    dict are the student's own. What a subclass trains besides goes into ``self.distill``; it is
    saved after the student, under ``distill.``. The teacher is in no state dict, parameter list
    or module tree, gets its weights when training starts (``train()`` or the first loss) and
    follows ``.to()``.

    Args:
        student: Config of an OpenMMLab model, or the model.
        teacher: Config of a :class:`mmkd.distill.Teacher`, or one.
        alpha: The teacher's share of the loss, in [0, 1]; the task keeps ``1 - alpha``. With 0
            the teacher is never loaded.
        data_preprocessor: For the student's config if it has none of its own; mmengine's Runner
            puts a config's top-level ``data_preprocessor`` here.
        init_cfg: mmengine's initialisation config.

    Raises:
        MMKDError: ``alpha`` is outside [0, 1], or the student is no mmengine model or uses the
            name ``distill`` itself.
    """

    def __init__(
        self,
        student: Union[dict, nn.Module],
        teacher: Union[dict, Teacher],
        alpha: float = 0.5,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg=init_cfg)
        # The student has its own; see __getattr__.
        del self.data_preprocessor
        self.alpha = _check_alpha(alpha)
        self.student = _build_student(student, data_preprocessor)
        self.distill = nn.Module()
        self._started = False
        self._teacher_holder = TeacherHolder(teacher)
        self._register_state_dict_hook(student_first.save_student_first)
        self.register_load_state_dict_post_hook(_after_load)

    # What a subclass writes.

    def loss(self, inputs: Any, data_samples: Optional[list] = None, **kwargs) -> Dict[str, Tensor]:
        """The student's losses and the distiller's."""
        raise NotImplementedError

    def on_training_start(self, teacher: Teacher) -> None:
        """Called once, when the teacher has its weights."""

    @property
    def active(self) -> bool:
        """Whether the teacher is needed at all."""
        return self.alpha > 0

    # The teacher.

    @property
    def teacher(self) -> Teacher:
        """The teacher; before training starts it has no weights."""
        return self._teacher_holder.teacher

    def start(self) -> None:
        """Loads the teacher; training does this by itself.

        Raises:
            MMKDError: The teacher's weights cannot be loaded.
        """
        if not self.active or (self._started and self.teacher.loaded):
            return
        reference = next((p for p in self.student.parameters() if p.is_floating_point()), None)
        teacher = self._teacher_holder.load(reference)
        if not self._started:
            self._started = True
            self.on_training_start(teacher)

    def train(self, mode: bool = True) -> Distiller:
        """Switches the student; with ``mode=True`` the teacher gets its weights."""
        super().train(mode)
        if mode:
            self.start()
        return self

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        self._teacher_holder.apply(fn)
        return self

    # The student.

    def forward(
        self, inputs: Any, data_samples: Optional[list] = None, mode: str = 'tensor', **kwargs
    ) -> Any:
        """Args:
        inputs: What the student reads.
        data_samples: Its samples.
        mode: 'loss' distils; every other mode is the student's own.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples, **kwargs)
        return self.student(inputs, data_samples, mode=mode, **kwargs)

    def val_step(self, data: Any) -> list:
        """The student's own."""
        return self.student.val_step(data)

    def test_step(self, data: Any) -> list:
        """The student's own."""
        return self.student.test_step(data)

    def parse_losses(self, losses: Dict[str, Tensor]):
        """The student's own."""
        return self.student.parse_losses(losses)

    def __getattr__(self, name: str) -> Any:
        """Looks in the student for public names that the distiller does not have.

        Private ones stay here: torch and copy probe for them, and the student's answer would
        be taken for the distiller's.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            student = self.__dict__.get('_modules', {}).get(student_first.STUDENT)
            if student is None or name.startswith('_'):
                raise
            try:
                return getattr(student, name)
            except AttributeError:
                raise AttributeError(
                    f'Neither {type(self).__name__} nor its student {type(student).__name__} has '
                    f'an attribute {name!r}.'
                ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        student = self.__dict__.get('_modules', {}).get(student_first.STUDENT)
        if name == 'data_preprocessor' and student is not None:
            student.data_preprocessor = value
        else:
            super().__setattr__(name, value)

    def _load_from_state_dict(self, state_dict: Dict, prefix: str, *args, **kwargs) -> None:
        # Both torch's loader and mmengine's hand their own copy here and pick the children's
        # entries from it afterwards.
        added = student_first.load_student_first(state_dict, prefix)
        self.__dict__['_loading'] = (prefix, state_dict, added)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # Shared arithmetic.

    def weigh_task(self, losses: Dict[str, Any]) -> Dict[str, Any]:
        """The student's entries, losses times ``1 - alpha``, and their unweighted sum.

        An entry is a loss if mmengine would sum it: if 'loss' is in its name. The sum is logged as
        ``task_raw``, a name that is not summed.
        """
        out: Dict[str, Any] = {}
        raw: List[Tensor] = []
        for name, value in losses.items():
            if 'loss' not in name:
                out[name] = value
            elif isinstance(value, Tensor):
                out[name] = value * (1 - self.alpha)
                raw.append(value.detach().mean())
            else:
                out[name] = [item * (1 - self.alpha) for item in value]
                raw.extend(item.detach().mean() for item in value)
        if raw:
            out['task_raw'] = torch.stack([value.float() for value in raw]).sum()
        return out


def _after_load(module: Distiller, incompatible_keys: Any) -> None:
    prefix, state, added = module.__dict__.pop('_loading', ('', {}, []))
    student_first.take_back(state, added)
    student_first.name_as_saved(incompatible_keys.missing_keys, prefix)
    student_first.name_as_saved(incompatible_keys.unexpected_keys, prefix)


def _check_alpha(alpha: float) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise MMKDError(
            f'alpha is the share of the distillation loss, a number in [0, 1], but got {alpha!r}.'
        )
    if alpha == 1:
        warnings.warn(
            'alpha=1 erases the task loss: the student learns from the teacher alone. '
            'The usual value is 0.5.',
            stacklevel=3,
        )
    return float(alpha)


def _build_student(student: Union[dict, nn.Module], data_preprocessor: Optional[dict]) -> BaseModel:
    if isinstance(student, dict):
        student = copy.deepcopy(student)
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        student = MODELS.build(student)
    if not isinstance(student, BaseModel):
        raise MMKDError(
            'The student must be an OpenMMLab model (a mmengine BaseModel, which computes its own '
            f'loss), but it is a {type(student).__name__}.'
        )
    taken = (*student._modules, *student._parameters, *student._buffers)
    if student_first.KD in taken:
        raise MMKDError(
            f"{type(student).__name__} has a part named 'distill' of its own. In a checkpoint "
            'that name belongs to the distiller, so the student must call it otherwise.'
        )
    return student
