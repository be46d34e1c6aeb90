"""One kind of knowledge that goes from a teacher to a student, with a value for each sample."""

from __future__ import annotations

import copy
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..response import Response
from ..schedules import parse_schedule
from ..taps import Tap, split_run
from ..transforms.centre_align import centre_align
from ..transforms.resize import resize_to_grid
from .pair import build, class_of

KEYS = ('student', 'teacher', 'name', 'transform', 'align', 'loss', 'weight', 'to')
TO = ('all', 'general', 'specialists')
ALIGNS = ('centre', 'resize', 'none')
# The name of the map of a transfer that has one only.
ONE = ''
_DEFAULT_LOSS = dict(type='mmkd.CosineDistillLoss')
_DEFAULT_TRANSFORM = dict(type='mmkd.FeatureTransform')
_UNSET = object()

Paths = Dict[str, Tuple[str, Optional[int]]]


class TransferConfig:
    """A line of ``transfers``, checked.

    Args:
        entry: The line; see :class:`.specialized_distiller.SpecializedTeacherDistiller`.
    """

    def __init__(self, entry: Any):
        if not isinstance(entry, dict):
            raise MMKDError(
                f'An entry of transfers is a dict(student=..., loss=...), not {entry!r}.'
            )
        for key in entry:
            if key not in KEYS:
                raise MMKDError(f'An entry of transfers has no key {key!r}. {nearest(key, KEYS)}')
        self.loss: Any = entry.get('loss', _DEFAULT_LOSS)
        kind = class_of(self.loss)
        # What knows the channels is built where they are known.
        self.wants_channels = 'channels' in getattr(kind, 'build_needs', ())
        given = isinstance(self.loss, nn.Module) or 'channels' in dict(self.loss)
        if not self.wants_channels or given:
            with torch.random.fork_rng(devices=[]):
                self.loss = build(self.loss)
            self.wants_channels = False
        self.needs = tuple(getattr(kind, 'needs', ()))
        student = entry.get('student')
        self.student = _paths(student, 'student')
        self.teacher = _paths(entry.get('teacher', student), 'teacher')
        if set(self.student) != set(self.teacher):
            raise MMKDError(
                f'An entry of transfers names the maps {sorted(self.student)} of the student and '
                f'{sorted(self.teacher)} of the teacher; they go in pairs.'
            )
        if not self.student and 'response' not in self.needs:
            raise MMKDError(
                f'{kind.__name__} compares maps: an entry of transfers with it needs '
                "student=, the path of a module, such as 'neck[0]@1'."
            )
        self.name = _name(entry.get('name'), student, kind)
        self.schedule = parse_schedule(entry.get('weight', 1.0), f'{self.name}: weight')
        self.to = _choice(self.name, 'to', entry.get('to', TO[0]), TO)
        self.align = _choice(self.name, 'align', entry.get('align', ALIGNS[0]), ALIGNS)
        self.transform: Any = entry.get('transform', _UNSET)
        if self.transform not in (_UNSET, None) and list(self.student) != [ONE]:
            raise MMKDError(
                f'{self.name}: a transform stands between one map of the student and one of the '
                'teacher; this entry names several, or none.'
            )
        if 'sample' not in getattr(kind, 'reductions', ('sample',)):
            raise MMKDError(
                f'{self.name}: {kind.__name__} has no value for each sample, by which '
                'specialists are chosen. Take one that has, such as mmkd.CosineDistillLoss.'
            )

    @property
    def used(self) -> bool:
        """Whether its weight is ever above 0."""
        return self.schedule.peak > 0

    def for_teacher(self, general: bool) -> bool:
        """Whether that kind of teacher gives it."""
        return self.used and self.to in ('all', 'general' if general else 'specialists')


class Place(NamedTuple):
    """What a transfer needs to know of the samples it compares."""

    mask: Callable[[Tuple[int, int]], Optional[Tensor]]
    """Grid to (n, 1, h, w) bool: where the picture is real; None if everywhere."""
    response: Optional[Response]
    known: Dict[str, Callable[[], Any]]
    """What else a loss may ask for by name."""
    covers: bool = False
    """Whether the teacher's map covers the whole picture, whatever its cells are."""


class Transfer(BaseModule):
    """A line of ``transfers`` for one teacher and one pupil.

    Args:
        config: The line.
        name: Its full name.
        teacher: The teacher's.
        student_channels: Channels of the student's map, if there is one map and they are known.
        teacher_channels: Of the teacher's.
        pupil: What the names of all that belongs to the pupil begin with.
    """

    def __init__(
        self,
        config: TransferConfig,
        name: str,
        teacher: str,
        student_channels: Optional[int],
        teacher_channels: Optional[int],
        pupil: str = '',
    ):
        super().__init__()
        self.name, self.teacher, self.entry = name, teacher, config.name
        self.pupil = pupil
        self.student_taps, self.teacher_taps = config.student, config.teacher
        self.align = config.align
        self.needs = config.needs
        with torch.random.fork_rng(devices=[]):
            # Every teacher's own, if it has trained parts.
            self.loss = _own_loss(config, teacher_channels)
            self.gated = bool(getattr(self.loss, 'gated', False))
            self.transform = self._build_transform(
                config.transform, student_channels, teacher_channels
            )

    def forward(
        self, student: Dict[str, Tensor], teacher: Dict[str, Tensor], place: Place
    ) -> Tensor:
        """Args:
            student: Name to (n, C, h, w).
            teacher: Name to (n, D, h', w'), frozen.
            place: The rest.

        Returns:
            (n,): the unweighted loss of each sample.
        """
        known: Dict[str, Any] = {
            key: get() for key, get in place.known.items() if key in self.needs
        }
        if 'response' in self.needs:
            known['response'] = place.response
        if list(student) != [ONE]:
            # Losses of several maps, or of none, know by themselves how theirs meet.
            given = (student, teacher) if student else (None, None)
            return self.loss(*given, None, reduction='sample', **known)
        ours, theirs = student[ONE], teacher[ONE]
        if len(ours) != len(theirs):
            raise MMKDError(
                f'{self.name}: the student gives {len(ours)} maps {tuple(ours.shape)} and the '
                f'teacher {len(theirs)} {tuple(theirs.shape)} for the same samples.'
            )
        mask = None
        if ours.dim() == 4 and theirs.dim() == 4:
            theirs, mask = self._meet(theirs, tuple(ours.shape[2:]), place.covers)
            real = place.mask(tuple(ours.shape[2:]))
            if real is not None:
                mask = real if mask is None else mask & real
            elif mask is not None:
                mask = mask.expand(len(ours), *mask.shape[1:])
        if self.transform is not None:
            ours = self.transform(ours, tuple(theirs.shape[2:]) if theirs.dim() == 4 else (1, 1))
        return self.loss(ours, theirs, mask, reduction='sample', **known)

    def _meet(
        self, theirs: Tensor, size: Tuple[int, int], covers: bool
    ) -> Tuple[Tensor, Optional[Tensor]]:
        if tuple(theirs.shape[2:]) == size or self.align == 'none':
            return theirs, None
        if self.align == 'resize':
            return resize_to_grid(theirs, size), None
        if covers:
            raise MMKDError(
                f'{self.name}: the teacher reads one image, all of which its map of '
                f"{tuple(theirs.shape[2:])} covers, as the student's of {size} does; cells of "
                "other sizes do not meet around the centre. Say align='resize'."
            )
        return centre_align(theirs, size)

    def _build_transform(
        self, config: Any, student: Optional[int], teacher: Optional[int]
    ) -> Optional[nn.Module]:
        if config is _UNSET:
            same = student is None or teacher is None or student == teacher
            if same or not getattr(self.loss, 'same_channels', True):
                return None
            config = _DEFAULT_TRANSFORM
        if config is None or isinstance(config, nn.Module):
            return copy.deepcopy(config)
        config = copy.deepcopy(dict(config))
        for key, value in (('in_channels', student), ('out_channels', teacher)):
            if config.setdefault(key, value) != value and value is not None:
                raise MMKDError(
                    f'{self.name}: the transform says {key}={config[key]}, but it is {value}. '
                    'Leave it out: the distiller fills it in.'
                )
        return MODELS.build(config)


def parse_transfers(entries: Any) -> List[TransferConfig]:
    """The lines of ``transfers``, checked.

    Raises:
        MMKDError: There is none, or two have one name.
    """
    if isinstance(entries, dict) or not entries:
        raise MMKDError('transfers is a list with one dict per kind of knowledge, and not empty.')
    configs = [TransferConfig(entry) for entry in entries]
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise MMKDError(
                f'{names.count(name)} entries of transfers are named {name!r}; give each its own '
                'name=.'
            )
    return configs


def add_parts(parts: Dict[str, nn.Module], transfers: List[Transfer]) -> None:
    """Adds transfers to the parts of a distiller, under their names.

    Raises:
        MMKDError: Something is called so already.
    """
    for transfer in transfers:
        if transfer.name in parts:
            raise MMKDError(f'transfers: {transfer.name!r} is taken; give the entry another name=.')
        parts[transfer.name] = transfer


def check_taps(config: TransferConfig, model: nn.Module, owner: str) -> Dict[str, Tap]:
    """The taps of a line in a pupil, by path.

    Raises:
        MMKDError: It has no such module.
    """
    return {path: Tap(model, path, owner) for path, _ in config.student.values()}


def _own_loss(config: TransferConfig, channels: Optional[int]) -> nn.Module:
    if config.wants_channels:
        return build(dict(config.loss, channels=channels))
    return copy.deepcopy(config.loss)


def _paths(given: Union[None, str, Dict[str, str]], side: str) -> Paths:
    if given is None:
        return {}
    if isinstance(given, str):
        return {ONE: split_run(given)}
    if isinstance(given, dict) and given and all(isinstance(p, str) for p in given.values()):
        return {name: split_run(path) for name, path in given.items()}
    raise MMKDError(
        f"transfers: {side}= is a path such as 'neck[0]@1', or several by name, such as "
        f"dict(template='neck[0]@0', search='neck[0]@1'), but got {given!r}."
    )


def _choice(name: str, key: str, value: Any, choices: Tuple[str, ...]) -> str:
    if value not in choices:
        raise MMKDError(f'{name}: there is no {key}={value!r}. {nearest(value, choices)}')
    return value


def _name(name: Any, student: Any, kind: type) -> str:
    if name is None:
        if isinstance(student, str):
            name = re.sub(r'\W+', '_', student).strip('_')
        else:
            words = re.sub(r'(DistillLoss|Loss)$', '', kind.__name__)
            name = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', words).lower()
    if not isinstance(name, str) or not re.fullmatch(r'\w+', name) or 'loss' in name:
        raise MMKDError(
            "The name of an entry of transfers is made of letters, digits and _, without 'loss' "
            f'(mmengine adds up every logged value that has it): {name!r}.'
        )
    return name
