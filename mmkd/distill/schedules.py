"""Weights that change while training goes on, as pure functions of its progress."""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from mmkd.errors import MMKDError, nearest

DECAYS = ('linear', 'cosine', 'step')
UNITS = ('epoch', 'iter')
# Each may end in _epoch(s) or _iter(s), which is its unit.
_TIMES = {
    'begin': ('begin_epoch', 'begin_iter'),
    'warmup': ('warmup_epochs', 'warmup_iters'),
    'decay_begin': ('decay_begin_epoch', 'decay_begin_iter'),
    'decay_end': ('decay_end_epoch', 'decay_end_iter'),
    'step': ('step_epochs', 'step_iters'),
    'stop': ('stop_epoch', 'stop_iter'),
}
KEYS = ('value', 'decay', 'final', 'gamma', *(key for keys in _TIMES.values() for key in keys))


class Progress(NamedTuple):
    """How far training has come."""

    iter: int
    max_iters: int = 0
    """0 if unknown."""
    epoch: float = 0.0
    """With its fraction."""
    max_epochs: float = 0.0
    """0 if unknown."""


class Moment(NamedTuple):
    """A point or a length of time."""

    at: float
    unit: str

    def to(self, unit: str, progress: Progress, owner: str) -> float:
        """The same in another unit, by the length of the whole training."""
        if unit == self.unit or self.at == 0:
            return self.at
        return self.at * _last(unit, progress, owner) / _last(self.unit, progress, owner)


class Schedule:
    """A weight over time: nothing, warm-up, the full value, decay, nothing.

    A config writes what it needs of it::

        weight=1.0
        weight=dict(value=1.0, warmup_epochs=1)
        weight=dict(value=1.0, warmup_iters=500, decay='cosine', final=0.1, stop_epoch=25)
        weight=dict(value=1.0, decay='step', step_epochs=[20, 27], gamma=0.1)
        weight=dict(value=2.0, begin_epoch=5, decay='linear', decay_end_epoch=20)

    - ``value``: the full value, 0 or more; 1 by default.
    - ``begin_epoch`` / ``begin_iter``: exactly 0 before it.
    - ``warmup_epochs`` / ``warmup_iters``: it then rises from 0 in a line for so long.
    - ``decay``: 'linear' or 'cosine' (half a period), from ``decay_begin_epoch`` /
      ``decay_begin_iter`` (by default the end of the warm-up) to ``decay_end_epoch`` /
      ``decay_end_iter`` (by default the stop, or the end of training), down to ``final``, 0 by
      default, where it stays; or 'step': times ``gamma``, 0.1 by default, at each of
      ``step_epochs`` / ``step_iters``.
    - ``stop_epoch`` / ``stop_iter``: exactly 0 from there on, so that the teacher can go.

    Epochs may be fractions. They are counted from 0 and stand for their beginning: with
    ``stop_epoch=25`` the 25 epochs 0 to 24 are distilled. Epochs and iterations may be mixed where
    the runner knows how long training is in both.

    Attributes:
        peak: The largest value it is ever allowed; 0 if it never counts.

    Made by :func:`parse_schedule`, which also tells mistakes.
    """

    def __init__(
        self,
        owner: str,
        value: float = 1.0,
        decay: Optional[str] = None,
        final: float = 0.0,
        gamma: float = 0.1,
        begin: Optional[Moment] = None,
        warmup: Optional[Moment] = None,
        decay_begin: Optional[Moment] = None,
        decay_end: Optional[Moment] = None,
        step: Tuple[Moment, ...] = (),
        stop: Optional[Moment] = None,
    ):
        self._owner = owner
        self._value = value
        self._decay = decay
        self._final = final
        self._gamma = gamma
        self._begin = begin or Moment(0, warmup.unit if warmup else 'epoch')
        self._warmup = warmup
        self._decay_begin = decay_begin
        self._decay_end = decay_end or stop
        self._step = step
        self._stop = stop
        self.peak = 0.0 if stop is not None and stop.at == 0 else value

    def __call__(self, progress: Progress) -> float:
        """The weight at a point of training.

        Raises:
            MMKDError: It must know how long training is, and that is unknown; or its parts, in
                different units, turn out to be in the wrong order.
        """
        if self.peak == 0 or self._passed(self._stop, progress):
            return 0.0
        if not self._passed(self._begin, progress):
            return 0.0
        return self._value * self._rise(progress) * self._fall(progress)

    def finished(self, progress: Progress) -> bool:
        """Whether it is 0 now and for ever after."""
        if self.peak == 0 or self._passed(self._stop, progress):
            return True
        if self._decay == 'step':
            return self._gamma == 0 and self._passed(self._step[0], progress)
        if self._decay is None or self._final > 0:
            return False
        begin, end, unit = self._decay_span(progress)
        return _now(unit, progress) >= end

    def _passed(self, moment: Optional[Moment], progress: Progress) -> bool:
        return moment is not None and _now(moment.unit, progress) >= moment.at

    def _rise(self, progress: Progress) -> float:
        if self._warmup is None:
            return 1.0
        unit = self._warmup.unit
        since = _now(unit, progress) - self._begin.to(unit, progress, self._owner)
        return min(max(since / self._warmup.at, 0.0), 1.0)

    def _fall(self, progress: Progress) -> float:
        """The decay's factor on the full value."""
        if self._decay is None:
            return 1.0
        if self._decay == 'step':
            return self._gamma ** sum(self._passed(step, progress) for step in self._step)
        begin, end, unit = self._decay_span(progress)
        done = min(max((_now(unit, progress) - begin) / (end - begin), 0.0), 1.0)
        if done == 1:
            # Exactly, whatever the cosine of pi is.
            return self._final / self._value
        left = 1 - done if self._decay == 'linear' else (1 + math.cos(math.pi * done)) / 2
        return (self._final + (self._value - self._final) * left) / self._value

    def _decay_span(self, progress: Progress) -> Tuple[float, float, str]:
        """Where a linear or cosine decay begins and ends, and the unit of both."""
        if self._decay_end is not None:
            unit = self._decay_end.unit
            end = self._decay_end.at
        else:
            unit = (self._decay_begin or self._warmup or self._begin).unit
            if not _length(unit, progress):
                unit = UNITS[1 - UNITS.index(unit)]
            end = _last(unit, progress, self._owner)
        if self._decay_begin is not None:
            begin = self._decay_begin.to(unit, progress, self._owner)
        else:
            begin = self._begin.to(unit, progress, self._owner)
            if self._warmup is not None:
                begin += self._warmup.to(unit, progress, self._owner)
        if end <= begin:
            raise MMKDError(
                f'{self._owner}: the decay ends at {unit} {end:g}, before it begins, at {unit} '
                f'{begin:g}. Say when it ends with decay_end_{unit}=.'
            )
        return begin, end, unit

    def __str__(self) -> str:
        parts = [f'{self._value:g}']
        if self._begin.at:
            parts.append(f'from {_told(self._begin)}')
        if self._warmup is not None:
            parts.append(f'warm-up of {self._warmup.at:g} {self._warmup.unit}s')
        if self._decay == 'step':
            steps = ', '.join(f'{step.at:g}' for step in self._step)
            parts.append(f'times {self._gamma:g} at {self._step[0].unit}s {steps}')
        elif self._decay is not None:
            until = 'the end' if self._decay_end is None else _told(self._decay_end)
            parts.append(f'{self._decay} decay to {self._final:g} at {until}')
        if self._stop is not None:
            parts.append(f'stop at {_told(self._stop)}')
        return ', '.join(parts)

    def __repr__(self) -> str:
        return f'Schedule({self})'


def parse_schedule(value: Any, owner: str) -> Schedule:
    """Reads a weight of a config.

    Args:
        value: A number, 0 or more, or a dict; see :class:`Schedule`.
        owner: What it belongs to, for messages: 'neck: weight'.

    Raises:
        MMKDError: A key that does not exist, a number that is negative or none, parts in the wrong
            order.
    """
    if isinstance(value, Schedule):
        return value
    if not isinstance(value, dict):
        return Schedule(owner, _number(value, owner))
    for key in value:
        if key not in KEYS:
            raise MMKDError(f'{owner}: a schedule has no key {key!r}. {nearest(key, KEYS)}')
    full = _number(value.get('value', 1.0), f'{owner}: value')
    times = {name: _moments(name, value, owner) for name in _TIMES}
    decay = _check_decay(value, times, full, owner)
    single = {name: found[0] for name, found in times.items() if found and name != 'step'}
    _check_order(single, times['step'], owner)
    return Schedule(
        owner,
        full,
        decay,
        _number(value.get('final', 0.0), f'{owner}: final'),
        _number(value.get('gamma', 0.1), f'{owner}: gamma'),
        step=tuple(times['step']),
        **single,
    )


def _number(value: Any, owner: str) -> float:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not 0 <= value < math.inf:
        raise MMKDError(
            f'{owner} is a number, 0 or more, or a schedule such as dict(value=1.0, '
            f"warmup_epochs=1, decay='cosine', stop_epoch=25), but got {value!r}."
        )
    return float(value)


def _moments(name: str, config: dict, owner: str) -> List[Moment]:
    given = [key for key in _TIMES[name] if config.get(key) is not None]
    if len(given) > 1:
        raise MMKDError(f'{owner}: {given[0]} and {given[1]} say the same twice; leave one out.')
    if not given:
        return []
    key = given[0]
    unit = UNITS[_TIMES[name].index(key)]
    values = config[key]
    if name != 'step':
        values = [values]
    elif not isinstance(values, (list, tuple)) or not values:
        raise MMKDError(f'{owner}: {key} is a list such as [20, 27], but got {values!r}.')
    for at in values:
        if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at < math.inf:
            raise MMKDError(f'{owner}: {key} counts {unit}s, from 0 on, but got {at!r}.')
    if name == 'warmup' and values[0] == 0:
        return []
    return [Moment(at, unit) for at in values]


def _check_decay(
    config: dict, times: Dict[str, List[Moment]], full: float, owner: str
) -> Optional[str]:
    decay = config.get('decay')
    if decay is not None and decay not in DECAYS:
        raise MMKDError(f'{owner}: there is no decay {decay!r}. {nearest(decay, DECAYS)}')
    stepwise = ('gamma', *_TIMES['step'])
    smooth = ('final', *_TIMES['decay_begin'], *_TIMES['decay_end'])
    stray = [key for key in stepwise if key in config and decay != 'step']
    stray += [key for key in smooth if key in config and decay not in ('linear', 'cosine')]
    if stray:
        belongs = "'step'" if stray[0] in stepwise else "'linear' or 'cosine'"
        raise MMKDError(f'{owner}: {stray[0]} belongs to decay={belongs}, not to {decay!r}.')
    if decay == 'step' and not times['step']:
        raise MMKDError(f"{owner}: decay='step' needs step_epochs= or step_iters=, a list.")
    if _number(config.get('gamma', 0.1), f'{owner}: gamma') > 1:
        raise MMKDError(f'{owner}: gamma is at most 1, but got {config["gamma"]!r}.')
    if _number(config.get('final', 0.0), f'{owner}: final') > full:
        raise MMKDError(
            f'{owner}: final={config["final"]} is above value={full:g}; a weight rises by its '
            'warm-up.'
        )
    return decay


def _check_order(times: Dict[str, Moment], steps: List[Moment], owner: str) -> None:
    """What can be told without knowing how long an epoch is."""
    if any(late.at <= early.at for early, late in zip(steps, steps[1:])):
        raise MMKDError(f'{owner}: the steps must rise, but got {[step.at for step in steps]}.')
    begin, warmup = times.get('begin'), times.get('warmup')
    decay_begin, decay_end, stop = (times.get(key) for key in ('decay_begin', 'decay_end', 'stop'))
    if stop is not None and stop.at == 0:
        return
    ready, name = begin, 'the beginning'
    if warmup is not None:
        start = begin or Moment(0, warmup.unit)
        name = 'the end of the warm-up'
        ready = Moment(start.at + warmup.at, start.unit) if start.unit == warmup.unit else None
    for early, first, late, second in (
        (begin, 'the beginning', stop, 'the stop'),
        (ready, name, stop, 'the stop'),
        (ready, name, decay_end, 'the end of the decay'),
        (ready, name, steps[0] if steps else None, 'the first step'),
        (decay_begin, 'its beginning', decay_end or stop, 'the end of the decay'),
    ):
        if early and late and early.unit == late.unit and late.at <= early.at:
            raise MMKDError(
                f'{owner}: {second}, {_told(late)}, must be later than {first}, {_told(early)}.'
            )
    if decay_begin and ready and decay_begin.unit == ready.unit and decay_begin.at < ready.at:
        raise MMKDError(
            f'{owner}: the decay begins at {_told(decay_begin)}, before {name}, {_told(ready)}.'
        )


def _told(moment: Moment) -> str:
    return f'{moment.unit} {moment.at:g}'


def _now(unit: str, progress: Progress) -> float:
    return progress.epoch if unit == 'epoch' else progress.iter


def _length(unit: str, progress: Progress) -> float:
    return progress.max_epochs if unit == 'epoch' else progress.max_iters


def _last(unit: str, progress: Progress, owner: str) -> float:
    length = _length(unit, progress)
    if not length:
        raise MMKDError(
            f'{owner}: the schedule must know how many {unit}s training takes, which nobody has '
            f'said. Write all of its times in {"iters" if unit == "epoch" else "epochs"}, with the '
            'end of its decay.'
        )
    return length
