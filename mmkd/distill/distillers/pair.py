"""One line of a distiller's ``distill=[...]``: a student's map and a teacher's, compared."""

from __future__ import annotations

import copy
import re
from typing import Any, Callable, Dict, Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..taps import Tap
from ..dry_run import TapInfo

DIRECTIONS = ('student_to_teacher', 'teacher_to_student')
KEYS = ('student', 'teacher', 'name', 'transform', 'loss', 'weight', 'direction', 'call')

MakeMask = Callable[[Tuple[int, int]], Optional[Tensor]]


class PairConfig:
    """A line of ``distill``, checked.

    Args:
        student_model: The student, for its tap.
        entry: The line.
    """

    def __init__(self, student_model: nn.Module, entry: dict):
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
        self.feature: str = entry['teacher']
        self.name = _check_name(entry.get('name'), entry['student'])
        self.weight = _check_weight(entry.get('weight', 1.0), self.name)
        self.direction: str = entry.get('direction', DIRECTIONS[0])
        if self.direction not in DIRECTIONS:
            raise MMKDError(
                f'{self.name}: there is no direction {self.direction!r}. '
                f'{nearest(self.direction, DIRECTIONS)}'
            )
        self.call: Optional[int] = entry.get('call')
        self.transform: Any = entry.get('transform', dict(type='mmkd.FeatureTransform'))
        self.loss: Any = entry.get('loss', dict(type='mmkd.CosineDistillLoss'))


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
        self.feature = config.feature
        self.weight = config.weight
        self.call = config.call
        self.to_teacher = config.direction == DIRECTIONS[0]
        self.tapped = tapped
        ends = [None if tapped is None else tapped.channels, teacher_channels]
        if not self.to_teacher:
            ends.reverse()
        # The student of a distilled run starts from the same weights as the plain one's.
        with torch.random.fork_rng(devices=[]):
            self.transform = self._build_transform(config.transform, *ends)
            self.loss = _build(config.loss)

    def forward(self, student: Tensor, teacher: Tensor, make_mask: MakeMask) -> Tensor:
        """Args:
            student: (N, C, H, W), the tapped map.
            teacher: (N, D, h, w), frozen.
            make_mask: Gives the valid mask (N, 1, h, w) of a grid, or None.

        Returns:
            The unweighted loss.
        """
        if len(student) != len(teacher):
            raise MMKDError(
                f'{self.name}: the student gives {len(student)} maps {tuple(student.shape)} and '
                f'the teacher {len(teacher)} {tuple(teacher.shape)}. If the tapped module ran on '
                'something else than the images, tap another one.'
            )
        if self.to_teacher:
            student = self.transform(student, tuple(teacher.shape[2:]))
        else:
            teacher = self.transform(teacher, tuple(student.shape[2:]))
        return self.loss(student, teacher, make_mask(tuple(teacher.shape[2:])))

    def _build_transform(
        self, config: Any, in_channels: Optional[int], out_channels: Optional[int]
    ) -> nn.Module:
        if isinstance(config, nn.Module):
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


def _build(config: Any) -> nn.Module:
    return config if isinstance(config, nn.Module) else MODELS.build(copy.deepcopy(dict(config)))


def _check_name(name: Any, path: str) -> str:
    chosen = name if name is not None else re.sub(r'\W+', '_', path).strip('_')
    if not isinstance(chosen, str) or not re.fullmatch(r'\w+', chosen):
        raise MMKDError(f'The name of a distill entry is made of letters, digits and _: {name!r}.')
    if 'loss' in chosen:
        raise MMKDError(
            f"The distill entry {chosen!r} needs a name= without 'loss' in it: mmengine adds up "
            'every logged value that has it.'
        )
    if hasattr(nn.ModuleDict(), chosen):
        raise MMKDError(f'A distill entry cannot be named {chosen!r}; give it another name=.')
    return chosen


def _check_weight(weight: Any, name: str) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight >= 0:
        raise MMKDError(f'{name}: weight is a number, 0 or more, but got {weight!r}.')
    return float(weight)
