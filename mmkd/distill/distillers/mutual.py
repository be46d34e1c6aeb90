"""Two students that learn from each other beside their teachers (Shen et al., arXiv 1907.10586)."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..schedules import Progress, parse_schedule
from .lesson import Answer, check_respondent
from .transfer import ONE, TransferConfig

PEER = 'peer'
_KEYS = ('student', 'weight', 'peer_weight', 'margin', 'transfers', 'detach')


class Mutual:
    """The settings of ``mutual=dict(...)``.

    Each student learns from the other's answer, while its own task loss is less than ``margin``
    above the general teacher's: ``weight(t) * [L - L_teacher < margin] * loss(mine, other's)``.

    Args:
        student: The second student's config. It trains beside the first, with the same teachers,
            and is saved after it, under ``distill.peer.``.
        weight: How much the first learns from it, or a schedule; danier97/CFKD, which follows
            the paper, lets it fall by 0.9 an epoch.
        peer_weight: The second's weight, as a factor of the first's.
        margin: In units of the task loss.
        transfers: Names of entries of ``transfers`` whose losses compare the two; by default all
            that compare answers.
        detach: Whether the other's answer is held still; CFKD lets the gradient go through
            both.
    """

    def __init__(
        self,
        student: Any,
        weight: Any = 1.0,
        peer_weight: float = 0.5,
        margin: float = 0.005,
        transfers: Optional[List[str]] = None,
        detach: bool = True,
    ):
        self.student = student
        self.schedule = parse_schedule(weight, 'mutual: weight')
        self.peer_weight = _number('peer_weight', peer_weight)
        self.margin = float(margin)
        self.transfers = transfers
        self.detach = bool(detach)

    def build(self, preprocessor: Optional[dict]) -> BaseModel:
        """The second student."""
        config = self.student
        if isinstance(config, dict):
            config = copy.deepcopy(config)
            if preprocessor is not None:
                config.setdefault('data_preprocessor', preprocessor)
            # The first student starts from the same weights as without a second.
            with torch.random.fork_rng(devices=[]):
                config = MODELS.build(config)
        if not isinstance(config, BaseModel):
            raise MMKDError(
                f'mutual: student= is the config of an OpenMMLab model, but got {config!r}.'
            )
        check_respondent(config, 'mutual=')
        return config

    def choose(self, configs: List[TransferConfig]) -> List[TransferConfig]:
        """The entries by which the two are compared."""
        by_name = {config.name: config for config in configs}
        if self.transfers is None:
            chosen = [c for c in configs if 'response' in c.needs and list(c.student) == [ONE]]
        else:
            for name in self.transfers:
                if name not in by_name:
                    raise MMKDError(
                        f'mutual: transfers has no entry {name!r}. {nearest(name, by_name)}'
                    )
            chosen = [by_name[name] for name in self.transfers]
        if not chosen:
            raise MMKDError(
                'mutual: no entry of transfers compares answers, so the two students have nothing '
                'to tell each other. Name some, as in transfers=["cls"].'
            )
        return chosen

    def weights(self, progress: Progress) -> Tuple[float, float]:
        """Of the first and of the second student."""
        now = self.schedule(progress)
        return now, now * self.peer_weight

    def gate(self, answer: Answer, general: Optional[Tensor]) -> Tensor:
        """(N,) float, 1 where a student is good enough to listen to the other.

        Args:
            answer: The student's.
            general: (N,), the general teacher's task losses; None if it rests, which leaves the
                gate open.
        """
        losses = answer.losses.detach().float()
        if general is None:
            return torch.ones_like(losses)
        return (losses - general.float() < self.margin).float()


def parse_mutual(given: Optional[Dict[str, Any]]) -> Optional[Mutual]:
    """The settings, from a config.

    Raises:
        MMKDError: There is no such key, or no student.
    """
    if given is None:
        return None
    if not isinstance(given, dict) or 'student' not in given:
        raise MMKDError(f'mutual is dict(student=<config>, ...), but got {given!r}.')
    for key in given:
        if key not in _KEYS:
            raise MMKDError(f'mutual has no key {key!r}. {nearest(key, _KEYS)}')
    return Mutual(**given)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise MMKDError(f'mutual: {name} is a number, 0 or more, but got {value!r}.')
    return float(value)


def copy_of(maps: Dict[str, Tensor], detach: bool) -> Dict[str, Tensor]:
    """The other student's maps, held still or not."""
    return {name: value.detach() if detach else value for name, value in maps.items()}
