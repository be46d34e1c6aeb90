"""A student in training: it is used, saved and loaded as if the distiller were not there."""

from __future__ import annotations

import copy
import warnings
from typing import Any, Dict, List, Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..progress import read_progress
from ..schedules import Progress, parse_schedule
from ..teachers import Teacher
from ..teachers.fingerprint import Fingerprint
from ..uncompiled import uncompiled
from . import cached, keys, side_state
from . import state_dict as student_first
from .pool import ONLY, TeacherPool


class Distiller(BaseModel):
    """Base of distillers: owns a student and teachers, and is the student to everybody else.

    ``predict`` and ``tensor``, the data preprocessor, unknown public attributes and the state
    dict are the student's own. What a subclass trains besides goes into ``self.distill``; it is
    saved after the student, under ``distill.``. Teachers are in no parameter list or module tree,
    get their weights when training starts (``train()`` or the first loss) and follow ``.to()``;
    a checkpoint has their fingerprints, not their weights.

    Args:
        student: Config of an OpenMMLab model, or the model.
        teacher: Config of a :class:`mmkd.distill.Teacher`, or one.
        teachers: Instead of ``teacher``, several by name.
        alpha: The teachers' share of the loss, in [0, 1], or a schedule of it (see
            :func:`mmkd.distill.schedules.parse_schedule`); the task keeps ``1 - alpha``. With 0
            no teacher is loaded.
        on_other_teacher: 'refuse' to resume with a teacher that is not the one the checkpoint was
            trained with, or 'warn'.
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
        teacher: Union[None, dict, Teacher] = None,
        alpha: Union[float, dict, list] = 0.5,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
        teachers: Optional[Dict[str, Union[dict, Teacher]]] = None,
        on_other_teacher: str = 'refuse',
    ):
        super().__init__(init_cfg=init_cfg)
        # The student has its own; see __getattr__.
        del self.data_preprocessor
        self._alpha = _check_alpha(alpha)
        # Nobody knows how long training will be before its first step.
        self._progress: Optional[Progress] = None
        choices = side_state.ON_OTHER_TEACHER
        if on_other_teacher not in choices:
            raise MMKDError(
                f'There is no on_other_teacher={on_other_teacher!r}. '
                f'{nearest(on_other_teacher, choices)}'
            )
        self.on_other_teacher = on_other_teacher
        self.student = _build_student(student, data_preprocessor)
        self.distill = nn.Module()
        self._pool = TeacherPool(teacher, teachers)
        self._started = False
        self._identities: Dict[str, Fingerprint] = {}
        # What a checkpoint said of its teachers, until the first step knows what to make of it.
        self._stored: Dict[str, Dict[str, Any]] = {}
        self._register_state_dict_hook(_save)
        self.register_load_state_dict_post_hook(_after_load)

    # What a subclass writes.

    def loss(self, inputs: Any, data_samples: Optional[list] = None, **kwargs) -> Dict[str, Tensor]:
        """The student's losses and the distiller's."""
        raise NotImplementedError

    def on_training_start(self) -> None:
        """Called once, when the teachers have their weights."""

    def before_saving(self) -> None:
        """Called before a state dict is made; raises what must not be saved."""

    @property
    def needed(self) -> List[str]:
        """The names of the teachers that training uses at all."""
        return list(self._pool) if self._alpha.peak > 0 else []

    @property
    def active(self) -> bool:
        """Whether a teacher is needed at all."""
        return bool(self.needed)

    @property
    def alpha(self) -> float:
        """The teachers' share of the loss now."""
        return self._alpha.peak if self._progress is None else self.alpha_at(self._progress)

    @property
    def progress(self) -> Optional[Progress]:
        """How far training has come; None before its first step."""
        return self._progress

    def alpha_at(self, progress: Progress) -> float:
        """The teachers' share at a point of training."""
        return self._alpha(progress)

    # The teachers.

    @property
    def teacher(self) -> Teacher:
        """The teacher of a run with one; before training starts it has no weights."""
        return self._pool.only()

    @property
    def teachers(self) -> Dict[str, Teacher]:
        """All of them, by name."""
        return {name: self._pool[name] for name in self._pool}

    def config_key(self, teacher: str) -> str:
        """Where a config of this model has the teacher of that name, for messages."""
        return teacher if teacher == ONLY else f'teachers.{teacher}'

    @uncompiled
    def start(self) -> None:
        """Loads the teachers that have work to do; training does this by itself.

        Raises:
            MMKDError: A teacher's weights cannot be loaded.
        """
        progress = self._progress or read_progress()
        # At the first step nothing is over, and the length of the run need not be known.
        begun = progress.iter > 0
        names = [name for name in self.needed if not (begun and self._over(name, progress))]
        if not names:
            return
        ready = self._started and all(self._pool[name].loaded for name in names)
        if not ready:
            self._pool.load(names, self.student)
        for name in names:
            side_state.recall(self._stored, name, self._pool[name], resumed=begun)
        if ready:
            return
        self._identities = self.identities()
        if not self._started:
            self._started = True
            self.on_training_start()

    def _over(self, name: str, progress: Progress) -> bool:
        """Whether that teacher's work is done for good."""
        return self._alpha.finished(progress)

    @uncompiled
    def identities(self) -> Dict[str, Fingerprint]:
        """Name to fingerprint of the teachers that are loaded, and of those that were."""
        loaded = [name for name in self._pool if self._pool[name].loaded]
        return {**self._identities, **{name: self._pool[name].identity() for name in loaded}}

    @uncompiled
    def begin_step(self) -> None:
        """To be called first in each step of training: looks at the clock, loads, compares."""
        self._progress = read_progress()
        self.start()
        if self._stored and self._identities:
            # The first step of this process is a later one of the run: so the run goes on.
            resumed = self._progress.iter > 0
            stored, self._stored = self._stored, {}
            side_state.compare(stored, self._identities, self.on_other_teacher, resumed)
            # Those whose work was over before: they stay in the checkpoint.
            others = side_state.hand_on(stored, self._pool, self._identities)
            self._identities = {**others, **self._identities}

    def train(self, mode: bool = True) -> Distiller:
        """Switches the student; with ``mode=True`` the teachers get their weights."""
        super().train(mode)
        if mode:
            self.start()
        return self

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        self._pool.apply(fn)
        return self

    # For mmkd.TrackRunner.

    def data_needs(self) -> Dict[str, Any]:
        """See :func:`.cached.data_needs`."""
        return cached.data_needs({name: self._pool[name] for name in self.needed})

    def prepare_data(self, dataset: Any, start: float = 0.0) -> None:
        """See :func:`.cached.build_caches`."""
        teachers = {name: self._pool[name] for name in self.needed}
        image_key = getattr(self, 'image_key', 'img')
        cached.build_caches(teachers, self.student, image_key, dataset, start)

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

    if hasattr(nn.Module, 'compile'):

        def compile(self, *args, **kwargs) -> None:
            """Compiles the student. What is around it decides on the host and stays as it is.

            Calling it again does nothing; a teacher has its own switch.
            """
            if self.student._compiled_call_impl is None:
                # The check of the first steps goes backward twice through one graph.
                import torch._functorch.config as functorch_config

                functorch_config.donated_buffer = False
                self.student.compile(*args, **kwargs)

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

    def _save_to_state_dict(self, *args, **kwargs) -> None:
        # Torch's and mmengine's way to a state dict both come by here first.
        self.before_saving()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: Dict, prefix: str, *args, **kwargs) -> None:
        # Both torch's loader and mmengine's hand their own copy here and pick the children's
        # entries from it afterwards.
        stored = side_state.take(state_dict, prefix)
        if stored:
            self._stored = stored
        added = student_first.load_student_first(state_dict, prefix)
        own = {prefix + name: value for name, value in _tensors(self)}
        shapes = keys.mismatched(state_dict, own, lambda key: _as_saved(key, prefix))
        self.__dict__['_loading'] = (prefix, state_dict, added, shapes)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # Shared arithmetic.

    def weigh_task(self, losses: Dict[str, Any]) -> Dict[str, Any]:
        """The student's entries, losses times ``1 - alpha``, and their unweighted sum.

        An entry is a loss if mmengine would sum it: if 'loss' is in its name. The sum is logged as
        ``task_raw``, a name that is not summed.
        """
        out: Dict[str, Any] = {}
        raw: List[Tensor] = []
        share = 1 - self.alpha
        for name, value in losses.items():
            if 'loss' not in name:
                out[name] = value
            elif isinstance(value, Tensor):
                out[name] = value * share
                raw.append(value.detach().mean())
            else:
                out[name] = [item * share for item in value]
                raw.extend(item.detach().mean() for item in value)
        if raw:
            out['task_raw'] = torch.stack([value.float() for value in raw]).sum()
        return out


def _tensors(module: nn.Module) -> List:
    return [*module.named_parameters(), *module.named_buffers()]


def _as_saved(key: str, prefix: str) -> str:
    renamed = [key]
    student_first.name_as_saved(renamed, prefix)
    return renamed[0][len(prefix) :]


def _save(module: Distiller, state: Dict, prefix: str, local_metadata: Dict) -> None:
    student_first.save_student_first(module, state, prefix, local_metadata)
    side_state.save(module._pool, module._identities, module._stored, state, prefix)


def _after_load(module: Distiller, incompatible_keys: Any) -> None:
    prefix, state, added, shapes = module.__dict__.pop('_loading', ('', {}, [], []))
    student_first.take_back(state, added)
    missing, unexpected = incompatible_keys.missing_keys, incompatible_keys.unexpected_keys
    student_first.name_as_saved(missing, prefix)
    student_first.name_as_saved(unexpected, prefix)
    inner = [[key[len(prefix) :] for key in found] for found in (missing, unexpected)]
    for sentence in keys.explain(*inner, shapes, list(module.distill._modules)):
        print_log(sentence, logger='current')


def _check_alpha(alpha: Any) -> Any:
    number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    schedule = None
    if isinstance(alpha, (dict, list, tuple)) or (number and alpha >= 0):
        schedule = parse_schedule(alpha, 'alpha')
    if schedule is None or not schedule.peak <= 1:
        raise MMKDError(
            f'alpha is the share of the distillation loss, a number in [0, 1], but got {alpha!r}.'
        )
    if alpha == 1:
        warnings.warn(
            'alpha=1 erases the task loss: the student learns from the teacher alone. '
            'The usual value is 0.5.',
            stacklevel=3,
        )
    return schedule


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
