"""Trackers side by side, per attribute: with, without and by another distillation."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from mmkd.errors import MMKDError, nearest
from mmkd.evaluation.attribute_sot_bootstrap import METHOD, interval, resample
from mmkd.evaluation.attribute_sot_curves import METRICS, THRESHOLDS
from mmkd.evaluation.attribute_sot_results import OVERALL

from .compare_trackers_arms import Arm, load_arms

__all__ = ['METRICS', 'OVERALL', 'Arm', 'add_costs', 'compare', 'draw', 'load_arms']

SCHEMA = 'mmkd-sot-comparison-1'


def compare(
    arms: Sequence[Arm],
    differences: Sequence[Tuple[str, str]] | None = None,
    resamples: int = 10_000,
    level: float = 95.0,
    seed: int = 0,
) -> Dict[str, Any]:
    """Scores of all arms and differences between them, overall and for each attribute.

    Args:
        arms: As :func:`load_arms` gives them.
        differences: Pairs (arm, arm that is subtracted). Default: every other minus the first.
        resamples: Of the bootstrap (mmkd/evaluation/attribute_sot_bootstrap.py).
        level: Percent that an interval holds.
        seed: Of the resamples.

    Returns:
        What the json holds, docs/sot_evaluation.md. An interval over a single video is None.

    Raises:
        MMKDError: If there is no arm of a name in ``differences``, or a number makes no sense.
    """
    names = [arm.name for arm in arms]
    if differences is None:
        differences = [(name, names[0]) for name in names[1:]]
    for pair in differences:
        for name in pair:
            if name not in names:
                raise MMKDError(f'There is no arm {name!r} to compare. {nearest(name, names)}')
        if pair[0] == pair[1]:
            raise MMKDError(f'The difference of {pair[0]!r} to itself is 0.')
    if resamples < 100:
        raise MMKDError(f'{resamples} resamples are too few for an interval; 10000 are usual.')
    if not 0 < level < 100:
        raise MMKDError(f'An interval of {level} percent makes no sense; 95 is usual.')
    if seed < 0:
        raise MMKDError(f'The seed is {seed}; expected 0 or more.')
    scores = {arm.name: arm.scores() for arm in arms}
    first = arms[0].results[0]
    rows = []
    by_videos: Dict[tuple, str] = {}
    for subset in first.subsets():
        part = {name: values[:, subset.index] for name, values in scores.items()}
        row: Dict[str, Any] = {
            'kind': subset.kind,
            'name': subset.name,
            'videos': len(subset.index),
            # Of a data set with one attribute per group, groups say nothing new.
            'same_as': by_videos.setdefault(tuple(subset.index), subset.name),
        }
        # One video says nothing of others.
        drawn = resample(part, resamples, seed, subset.name) if len(subset.index) > 1 else None
        row['arms'] = {name: _score(part[name], drawn and drawn[name], level) for name in names}
        row['differences'] = [
            {
                'arm': a,
                'minus': b,
                **_with_interval(
                    part[a].mean(axis=(0, 1)) - part[b].mean(axis=(0, 1)),
                    drawn and drawn[a] - drawn[b],
                    level,
                ),
            }
            for a, b in differences
        ]
        rows.append(row)
    return {
        'schema': SCHEMA,
        'settings': {
            'only_eval_visible': first.only_eval_visible,
            'resamples': resamples,
            'level': level,
            'seed': seed,
            'method': METHOD,
        },
        'arms': {arm.name: [result.source for result in arm.results] for arm in arms},
        'videos': list(first.videos),
        'rows': rows,
    }


def add_costs(
    result: Dict[str, Any], configs: Mapping[str, str | Path], **settings: Any
) -> Dict[str, Any]:
    """Adds parameters, multiply-accumulates and frames per second, timed in turns in one run.

    Args:
        result: What :func:`compare` returned; gets an entry 'costs', what
            :func:`mmkd.apis.benchmark_sot.benchmark` returns, its trackers named as the arms.
        configs: ``{arm: config}``; arms may be left out. Ratios are to the first.
        settings: For :class:`mmkd.apis.benchmark_sot.Settings`, such as ``device`` and ``rounds``.

    Raises:
        MMKDError: If there is no such arm or setting, or a config cannot be built.
    """
    for name in configs:
        if name not in result['arms']:
            raise MMKDError(
                f'There is no arm {name!r} for a config. {nearest(name, result["arms"])}'
            )
    # Only here: it builds models, and the rest runs without.
    from .benchmark_sot import Settings, benchmark

    known = {field.name for field in fields(Settings)} - {'configs'}
    for name in settings:
        if name not in known:
            raise MMKDError(f'The benchmark has no setting {name!r}. {nearest(name, known)}')
    costs = benchmark(Settings(configs=[str(path) for path in configs.values()], **settings))
    for name, tracker in zip(configs, costs['trackers']):
        tracker['name'] = name
    result['costs'] = costs
    return result


def draw(arms: Sequence[Arm], folder: str | Path, curves_of: Sequence[str] = (OVERALL,)) -> list:
    """Draws radar plots over the attributes, one per metric, and curves; means over seeds.

    Args:
        arms: As :func:`load_arms` gives them.
        folder: Where pictures go: ``radar_<metric>.png`` and ``curves_<subset>.png``. With fewer
            than three attributes there are radar plots over the groups, or none.
        curves_of: 'overall', attributes, groups; 'all' for every one.

    Returns:
        Paths of the pictures.

    Raises:
        MMKDError: If there is no such attribute.
    """
    from mmkd.visualization.radar import draw_radar
    from mmkd.visualization.sot_curves import draw_curves

    folder = Path(folder)
    subsets = {subset.name: subset for subset in arms[0].results[0].subsets()}
    wanted = list(subsets) if 'all' in curves_of else list(curves_of)
    for name in wanted:
        if name not in subsets:
            raise MMKDError(f'There are no curves of {name!r}. {nearest(name, subsets)}')
    paths = []
    for kind in ('attribute', 'group'):
        spokes = [subset for subset in subsets.values() if subset.kind == kind]
        if len(spokes) < 3:
            continue
        scores = {arm.name: arm.scores().mean(axis=0) for arm in arms}
        counts = {subset.name: len(subset.index) for subset in spokes}
        for column, metric in enumerate(METRICS):
            values = {
                arm: {s.name: float(table[s.index, column].mean()) for s in spokes}
                for arm, table in scores.items()
            }
            title = f'{metric.replace("_", " ").capitalize()} (%) by {kind}'
            paths.append(draw_radar(values, folder / f'radar_{metric}.png', counts, title))
        break
    for name in wanted:
        curves = {arm.name: arm.curves(subsets[name]) for arm in arms}
        file_name = f'curves_{name.replace("/", "_").replace(" ", "_")}.png'
        title = f'{name} ({len(subsets[name].index)} videos)'
        paths.append(draw_curves(curves, THRESHOLDS, folder / file_name, title))
    return paths


def _score(values: np.ndarray, drawn: np.ndarray | None, level: float) -> Dict[str, dict]:
    """Of one arm: values (seeds, videos, 3), drawn (resamples, 3)."""
    seeds = values.mean(axis=1)
    found = _with_interval(seeds.mean(axis=0), drawn, level)
    for column, metric in enumerate(METRICS):
        found[metric]['seeds'] = seeds[:, column].tolist()
    return found


def _with_interval(mean: np.ndarray, drawn: np.ndarray | None, level: float) -> Dict[str, dict]:
    low, high = ([None] * len(METRICS),) * 2
    if drawn is not None:
        low, high = (end.tolist() for end in interval(drawn, level))
    return {
        metric: {'mean': float(mean[i]), 'low': low[i], 'high': high[i]}
        for i, metric in enumerate(METRICS)
    }
