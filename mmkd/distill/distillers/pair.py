"""One line of a distiller's ``distill=[...]``: a student's map and a teacher's, compared."""

from __future__ import annotations

import copy
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..dry_run import TapInfo
from ..schedules import Progress, parse_schedule
from ..taps import Tap
from .pool import TeacherPool
from .step import Extent, Step

DIRECTIONS = ('student_to_teacher', 'teacher_to_student')
KEYS = (
    'student',
    'teacher',
    'name',
    'transform',
    'loss',
    'weight',
    'direction',
    'call',
    'weighting',
    'standardize',
)
# What the distiller keeps under 'distill.' besides its entries.
RESERVED = ('teachers', 'calibration', 'balance')
_DEFAULT_LOSS = dict(type='mmkd.CosineDistillLoss')
_DEFAULT_TRANSFORM = dict(type='mmkd.FeatureTransform')
# Relational losses compare spaces of any widths, place by place.
_DEFAULT_RELATED = dict(type='mmkd.AlignedResize', same_channels=False)


def expand(entries: Any) -> List[dict]:
    """Lines that name several maps, as one line for each.

    ``student=['backbone.layer2', 'backbone.layer3']`` with one ``teacher``, or with as many.
    """
    if isinstance(entries, dict) or not entries:
        raise MMKDError('distill is a list with one dict per pair of maps, and not empty.')
    lines: List[dict] = []
    for entry in entries:
        taps = entry.get('student') if isinstance(entry, dict) else None
        if not isinstance(taps, (list, tuple)):
            lines.append(entry)
            continue
        features = entry.get('teacher')
        if not isinstance(features, (list, tuple)):
            features = [features] * len(taps)
        if len(features) != len(taps) or not taps:
            raise MMKDError(
                f'An entry of distill names {len(taps)} maps of the student and {len(features)} '
                'features of a teacher; give one feature for all, or one for each.'
            )
        for number, (tap, feature) in enumerate(zip(taps, features)):
            line = dict(entry, student=tap, teacher=feature)
            if 'name' in entry:
                line['name'] = f'{entry["name"]}_{number}'
            lines.append(line)
    return lines


class PairConfig:
    """A line of ``distill``, checked.

    Args:
        student_model: The student, for its tap.
        pool: The teachers.
        entry: The line.
    """

    def __init__(self, student_model: nn.Module, pool: TeacherPool, entry: dict):
        if not isinstance(entry, dict):
            raise MMKDError(
                f'An entry of distill is a dict(student=..., teacher=...), not {entry!r}.'
            )
        for key in entry:
            if key not in KEYS:
                raise MMKDError(f'An entry of distill has no key {key!r}. {nearest(key, KEYS)}')
        for key in ('student', 'teacher'):
            if not isinstance(entry.get(key), str):
                raise MMKDError(
                    f'An entry of distill needs {key}=: the student is the dotted path of a '
                    f'module, the teacher the name of a feature. Got {entry.get(key)!r}.'
                )
        self.tap = Tap(student_model, entry['student'])
        self.teacher, self.feature = pool.split(entry['teacher'])
        self.name = _check_name(entry.get('name'), entry['student'])
        self.schedule = parse_schedule(entry.get('weight', 1.0), f'{self.name}: weight')
        self.direction: str = entry.get('direction', DIRECTIONS[0])
        if self.direction not in DIRECTIONS:
            raise MMKDError(
                f'{self.name}: there is no direction {self.direction!r}. '
                f'{nearest(self.direction, DIRECTIONS)}'
            )
        self.call: Optional[int] = entry.get('call')
        self.loss: Any = entry.get('loss', _DEFAULT_LOSS)
        if not getattr(class_of(self.loss), 'build_needs', ()):
            # The student of a distilled run starts from the same weights as the plain one's.
            with torch.random.fork_rng(devices=[]):
                self.loss = build(self.loss)
        related = not getattr(self.loss, 'same_channels', True)
        default = _DEFAULT_RELATED if related else _DEFAULT_TRANSFORM
        self.transform: Any = entry.get('transform', default)
        self.weighting: Any = entry.get('weighting')
        self.standardize: Any = entry.get('standardize', False)

    @property
    def used(self) -> bool:
        """Whether its weight is ever above 0."""
        return self.schedule.peak > 0


class FeaturePair(BaseModule):
    """Maps one side to the other's space and compares there.

    Args:
        config: The line.
        tapped: The student's channels; None if they could not be found, then the transform's
            config must have them.
        teacher_channels: The teacher's channels.
    """

    def __init__(self, config: PairConfig, tapped: Optional[TapInfo], teacher_channels: int):
        super().__init__()
        self.name = config.name
        self.path = config.tap.path
        self.module_path = config.tap.module_path
        self.teacher = config.teacher
        self.feature = config.feature
        self.schedule = config.schedule
        self.call = config.call
        self.to_teacher = config.direction == DIRECTIONS[0]
        self.tapped = tapped
        ends = [None if tapped is None else tapped.channels, teacher_channels]
        if not self.to_teacher:
            ends.reverse()
        with torch.random.fork_rng(devices=[]):
            self.transform = self._build_transform(config.transform, *ends)
            self.loss = self._build_loss(
                config.loss, ends[0] if self.transform is None else ends[1]
            )
            self._check_direction()
            self._check_channels(tapped, teacher_channels)
            self.weighting = None if config.weighting is None else build(config.weighting)
            self.standardize = _build_standardize(config.standardize, teacher_channels)

    @property
    def weight(self) -> float:
        """The largest that its weight becomes."""
        return self.schedule.peak

    def weight_at(self, progress: Progress) -> float:
        """Its weight now."""
        return self.schedule(progress)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        step: Step,
        extent: Optional[Extent] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, H, W) or (N, C), the tapped map.
            teacher: (N, D, h, w) or (N, D), frozen.
            step: The batch.
            extent: What the teacher's map covers, in pixels of the student's input; the input by
                default.
            reduction: Of the loss, instead of its own.

        Returns:
            The unweighted loss.
        """
        if len(student) != len(teacher):
            raise MMKDError(
                f'{self.name}: the student gives {len(student)} maps {tuple(student.shape)} and '
                f'the teacher {len(teacher)} {tuple(teacher.shape)}. If the tapped module ran on '
                'something else than the images, tap another one.'
            )
        size: Extent = tuple(map(float, step.size))
        extent = size if extent is None else tuple(map(float, extent))
        if self.standardize is not None:
            teacher = self.standardize(teacher, _mask(step, teacher, extent))
        cover = (extent[0] / size[0], extent[1] / size[1])
        if self.transform is None:
            pass
        elif self.to_teacher:
            student = self._transform(student, teacher, cover)
        else:
            teacher = self._transform(teacher, student, (1 / cover[0], 1 / cover[1]))
            extent = size
        mask = _mask(step, teacher, extent)
        if self.weighting is not None:
            if teacher.dim() != 4:
                raise MMKDError(
                    f'{self.name}: weighting= weighs the places of a map, but {self.feature!r} of '
                    f'the teacher is {tuple(teacher.shape)}. Leave it out, or compare maps.'
                )
            mask = self.weighting(step.instances(extent), tuple(teacher.shape[2:]), mask)
        known: Dict[str, Any] = {}
        needs: Sequence[str] = getattr(self.loss, 'needs', ())
        if 'instances' in needs:
            known['instances'] = step.instances(extent)
        if 'labels' in needs:
            known['labels'] = step.labels()
        if reduction is not None:
            known['reduction'] = reduction
        return self.loss(student, teacher, mask, **known)

    def _transform(self, x: Tensor, other: Tensor, cover: Extent) -> Tensor:
        if x.dim() != other.dim():
            raise MMKDError(
                f'{self.name}: {self.path!r} of the student and {self.feature!r} of the teacher '
                f'are {x.dim()}- and {other.dim()}-dimensional; compare maps with maps, vectors '
                'with vectors.'
            )
        grid: Tuple[int, int] = tuple(other.shape[2:]) if other.dim() == 4 else (1, 1)
        # Transforms of others need not know what a teacher's padding is.
        return self.transform(x, grid) if cover == (1.0, 1.0) else self.transform(x, grid, cover)

    def _check_channels(self, tapped: Optional[TapInfo], teacher_channels: int) -> None:
        alike = tapped is None or tapped.channels == teacher_channels
        if self.transform is None and not alike and getattr(self.loss, 'same_channels', True):
            raise MMKDError(
                f'{self.name}: {type(self.loss).__name__} compares as many channels with as many, '
                f'but {self.path!r} of the student has {tapped.channels} and {self.feature!r} of '
                f'the teacher {teacher_channels}. Leave transform=None out, so that a trained one '
                'stands between, or choose a relational loss.'
            )

    def _check_direction(self) -> None:
        one_way = not getattr(self.loss, 'trains_teacher_side', True)
        trained = self.transform is not None and bool(list(self.transform.parameters()))
        if one_way and trained and not self.to_teacher:
            raise MMKDError(
                f'{self.name}: {type(self.loss).__name__} never trains what is on the side of the '
                "teacher, so direction='teacher_to_student' with a transform has nothing to learn "
                f'from. Leave direction= out: it is {DIRECTIONS[0]!r}.'
            )

    def _build_transform(
        self, config: Any, in_channels: Optional[int], out_channels: Optional[int]
    ) -> Optional[nn.Module]:
        if config is None or isinstance(config, nn.Module):
            return config
        config = copy.deepcopy(dict(config))
        found: Dict[str, Optional[int]] = dict(in_channels=in_channels, out_channels=out_channels)
        for key, value in found.items():
            typed = config.get(key)
            if typed is None:
                config[key] = value
            elif value is not None and typed != value:
                raise MMKDError(
                    f'{self.name}: the transform says {key}={typed}, but it is {value} '
                    f'({self.path!r} of the student, {self.feature!r} of the teacher). Leave it '
                    'out: the distiller fills it in.'
                )
        return MODELS.build(config)

    def _build_loss(self, config: Any, channels: Optional[int]) -> nn.Module:
        if isinstance(config, nn.Module):
            return config
        config = copy.deepcopy(dict(config))
        if 'channels' in getattr(class_of(config), 'build_needs', ()):
            config.setdefault('channels', channels)
        return MODELS.build(config)


def _mask(step: Step, feature: Tensor, extent: Extent) -> Optional[Tensor]:
    return step.mask(tuple(feature.shape[2:]), extent) if feature.dim() == 4 else None


def class_of(config: Any) -> Any:
    """The class that a config names, or that a module has."""
    if isinstance(config, nn.Module):
        return type(config)
    kind = dict(config).get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind


def build(config: Any) -> nn.Module:
    """A module from its config; a module as it is."""
    return config if isinstance(config, nn.Module) else MODELS.build(copy.deepcopy(dict(config)))


def _build_standardize(config: Any, channels: int) -> Optional[nn.Module]:
    if config is False or config is None:
        return None
    if isinstance(config, nn.Module):
        return config
    options = {} if config is True else dict(config)
    options.setdefault('type', 'mmkd.EMAStandardize')
    return MODELS.build(dict(options, channels=channels))


def _check_name(name: Any, path: str) -> str:
    chosen = name if name is not None else re.sub(r'\W+', '_', path).strip('_')
    if not isinstance(chosen, str) or not re.fullmatch(r'\w+', chosen):
        raise MMKDError(f'The name of a distill entry is made of letters, digits and _: {name!r}.')
    if 'loss' in chosen:
        raise MMKDError(
            f"The distill entry {chosen!r} needs a name= without 'loss' in it: mmengine adds up "
            'every logged value that has it.'
        )
    if hasattr(nn.ModuleDict(), chosen) or chosen in RESERVED:
        raise MMKDError(f'A distill entry cannot be named {chosen!r}; give it another name=.')
    return chosen
