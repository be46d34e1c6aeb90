"""Results of a single-object tracker, per video and per attribute, and the files they are kept in.

The json's schema, ``mmkd-sot-results-1``, is told in docs/sot_evaluation.md.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from mmkd.errors import MMKDError

from .attribute_sot_curves import METRICS, THRESHOLDS, score
from .report import unused_paths

SCHEMA = 'mmkd-sot-results-1'
OVERALL = 'overall'


@dataclass
class VideoResult:
    """What one video scored.

    Attributes:
        name: Of the video, different for each.
        frames: All of them.
        evaluated: Frames whose boxes were looked at; fewer with ``only_eval_visible``.
        hits: ``{metric: (thresholds,) int}``, frames that were good enough.
        attributes: Of the video, under the data set's own names.
        groups: Common groups that these belong to.
    """

    name: str
    frames: int
    evaluated: int
    hits: Dict[str, np.ndarray]
    attributes: Tuple[str, ...] = ()
    groups: Tuple[str, ...] = ()

    def curve(self, metric: str) -> np.ndarray:
        """Percent (thresholds,) of all frames."""
        return self.hits[metric] / float(self.frames) * 100

    def score(self, metric: str) -> float:
        return float(score(metric, self.curve(metric)))


@dataclass
class Subset:
    """Videos that are averaged together: all of them, those of an attribute, those of a group."""

    kind: str  # 'overall', 'attribute' or 'group'
    name: str
    index: List[int]  # in the list of videos


@dataclass
class SOTResults:
    """All videos of one tracker.

    Attributes:
        videos: By name, sorted.
        only_eval_visible: Whether frames without a visible object were left out.
        tracker: What it calls itself, perhaps.
        source: Where it was read, for messages.
    """

    videos: Dict[str, VideoResult]
    only_eval_visible: bool = False
    tracker: str | None = None
    source: str = ''

    def subsets(self) -> List[Subset]:
        """Overall, then attributes, then groups, by name."""
        return subsets(list(self.videos.values()))

    def scores(self) -> np.ndarray:
        """(videos, 3) percent, in the order of ``videos`` and :data:`METRICS`."""
        return np.array([[v.score(m) for m in METRICS] for v in self.videos.values()])

    def curves(self, subset: Subset) -> Dict[str, np.ndarray]:
        """Means over a subset's videos, in percent: ``{metric: (thresholds,)}``."""
        videos = list(self.videos.values())
        return {
            metric: np.mean([videos[i].curve(metric) for i in subset.index], axis=0)
            for metric in METRICS
        }


def subsets(videos: Sequence[VideoResult]) -> List[Subset]:
    """Sorts videos by what they have in common.

    A group that is called like an attribute, but has other videos, is told as ``<name> (group)``.
    """
    found = [Subset(OVERALL, OVERALL, list(range(len(videos))))]
    by_kind: Dict[str, Dict[str, List[int]]] = {'attribute': {}, 'group': {}}
    for i, video in enumerate(videos):
        for kind, names in (('attribute', video.attributes), ('group', video.groups)):
            for name in dict.fromkeys(names):
                by_kind[kind].setdefault(name, []).append(i)
    attributes = by_kind['attribute']
    for kind, members in by_kind.items():
        for name in sorted(members):
            label = name
            if kind == 'group' and name in attributes:
                if attributes[name] == members[name]:
                    continue
                label = f'{name} (group)'
            found.append(Subset(kind, label, members[name]))
    return found


def write_results(prefix: str, results: SOTResults) -> List[Path]:
    """Writes ``<prefix>.json`` (all), ``<prefix>.csv`` (scores), ``<prefix>_curves.csv`` (curves).

    Args:
        prefix: Path without suffix; folders are made. If one of the files exists, ``<prefix>-1``,
            ``<prefix>-2``, ... are used; nothing is overwritten.
        results: What to write.

    Returns:
        The three paths.

    Raises:
        MMKDError: If they cannot be written.
    """
    base = Path(prefix)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        paths = unused_paths(base, ('.json', '.csv', '_curves.csv'))
        with paths[0].open('x') as file:
            file.write(_as_text(results))
        with paths[1].open('x', newline='') as file:
            csv.writer(file).writerows(_score_rows(results))
        with paths[2].open('x', newline='') as file:
            csv.writer(file).writerows(_curve_rows(results))
    except OSError as error:
        raise MMKDError(f'Cannot write the results to {prefix!r}: {error}.') from error
    return paths


def read_results(path: str | Path) -> SOTResults:
    """Reads the json that :func:`write_results` wrote.

    Raises:
        MMKDError: If there is none, it is another kind of json, or it contradicts itself.
    """
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise MMKDError(f'Cannot read the results {str(path)!r}: {error}.') from error
    except ValueError as error:
        raise MMKDError(f'{path} is not JSON: {error}.') from error
    schema = content.get('schema') if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise MMKDError(
            f'{path} has the schema {schema!r}, expected {SCHEMA!r}: a json that '
            'mmkd.AttributeSOTMetric(outfile_prefix=...) wrote.'
        )
    videos = {}
    try:
        for name in sorted(content['videos']):
            videos[name] = _read_video(name, content['videos'][name])
        only_visible = bool(content['settings']['only_eval_visible'])
    except (KeyError, TypeError, ValueError) as error:
        what = f'has no {error}' if isinstance(error, KeyError) else f'is damaged: {error}'
        raise MMKDError(f'{path} {what}.') from error
    if not videos:
        raise MMKDError(f'{path} has results of no video.')
    return SOTResults(videos, only_visible, content.get('tracker'), str(path))


def _read_video(name: str, entry: Dict[str, Any]) -> VideoResult:
    frames = int(entry['frames'])
    hits = {metric: np.array(entry['hits'][metric], dtype=np.int64) for metric in METRICS}
    for metric, count in hits.items():
        if count.shape != THRESHOLDS[metric].shape:
            raise ValueError(
                f"video {name!r} has {count.size} values of '{metric}', expected "
                f'{THRESHOLDS[metric].size}'
            )
        if frames < 1 or count.min() < 0 or count.max() > frames:
            raise ValueError(f"video {name!r} has {frames} frames and other hits of '{metric}'")
    return VideoResult(
        name,
        frames,
        int(entry['evaluated']),
        hits,
        tuple(entry['attributes']),
        tuple(entry['groups']),
    )


def _as_text(results: SOTResults) -> str:
    """The json with one line per video and per subset: readable, and small."""
    head = {
        'schema': SCHEMA,
        'tracker': results.tracker,
        'settings': {'only_eval_visible': results.only_eval_visible},
        'thresholds': {metric: values.round(2).tolist() for metric, values in THRESHOLDS.items()},
    }
    parts: List[Tuple[str, Dict[str, Any]]] = []
    for kind in ('attribute', 'group'):
        rows = {s.name: _summary(results, s) for s in results.subsets() if s.kind == kind}
        parts.append((f'{kind}s', rows))
    parts.append(
        (
            'videos',
            {
                video.name: {
                    'frames': video.frames,
                    'evaluated': video.evaluated,
                    'attributes': video.attributes,
                    'groups': video.groups,
                    **{metric: video.score(metric) for metric in METRICS},
                    'hits': {metric: count.tolist() for metric, count in video.hits.items()},
                }
                for video in results.videos.values()
            },
        )
    )
    lines = [f'{json.dumps(key)}: {json.dumps(value)}' for key, value in head.items()]
    lines.append(f'"{OVERALL}": {json.dumps(_summary(results, results.subsets()[0]))}')
    for key, rows in parts:
        body = ',\n'.join(f'  {json.dumps(n)}: {json.dumps(row)}' for n, row in rows.items())
        lines.append(f'"{key}": {{\n{body}\n }}' if rows else f'"{key}": {{}}')
    return '{\n ' + ',\n '.join(lines) + '\n}\n'


def _summary(results: SOTResults, subset: Subset) -> Dict[str, Any]:
    videos = list(results.videos.values())
    curves = results.curves(subset)
    return {
        'videos': len(subset.index),
        'frames': sum(videos[i].frames for i in subset.index),
        **{metric: float(score(metric, curve)) for metric, curve in curves.items()},
        'curves': {metric: curve.round(6).tolist() for metric, curve in curves.items()},
    }


def _score_rows(results: SOTResults) -> List[list]:
    rows: List[list] = [['kind', 'name', 'videos', 'frames', *METRICS]]
    for subset in results.subsets():
        row = _summary(results, subset)
        rows.append(
            [subset.kind, subset.name, row['videos'], row['frames'], *(row[m] for m in METRICS)]
        )
    for video in results.videos.values():
        rows.append(['video', video.name, 1, video.frames, *map(video.score, METRICS)])
    return rows


def _curve_rows(results: SOTResults) -> List[list]:
    rows: List[list] = [['kind', 'name', 'metric', 'threshold', 'percent']]
    for subset in results.subsets():
        for metric, curve in results.curves(subset).items():
            points = zip(THRESHOLDS[metric].round(2).tolist(), curve.round(6).tolist())
            rows += [[subset.kind, subset.name, metric, *point] for point in points]
    return rows
