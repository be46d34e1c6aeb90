"""A comparison of trackers as text: Markdown, csv, json."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from mmkd.errors import MMKDError
from mmkd.evaluation.attribute_sot_curves import METRICS

_TITLES = {
    'success': 'Success (area under the curve, %)',
    'norm_precision': 'Normalised precision (at 0.2, %)',
    'precision': 'Precision (at 20 pixels, %)',
}
SUFFIXES = ('.md', '.csv', '.json')


def as_markdown(result: Dict[str, Any], metrics: Sequence[str] = METRICS) -> str:
    """A table per metric, what the differences amount to, costs, and how it was found.

    Args:
        result: What ``compare`` returned.
        metrics: Which, in order.
    """
    parts = []
    for metric in metrics:
        parts += [f'### {_TITLES[metric]}', _table(_score_rows(result, metric))]
        lines = _summary(result, metric)
        if lines:
            parts.append('\n'.join(f'- {line}' for line in lines))
    if result.get('costs'):
        # Only here: it builds models, and the rest runs without.
        from .benchmark_sot import as_markdown as costs_as_markdown

        parts += ['### Cost', costs_as_markdown(result['costs'])]
    parts.append(_method(result))
    return '\n\n'.join(parts) + '\n'


def write_comparison(
    prefix: str | Path,
    result: Dict[str, Any],
    metrics: Sequence[str] = METRICS,
    force: bool = False,
) -> List[Path]:
    """Writes ``<prefix>.md``, ``<prefix>.csv`` and ``<prefix>.json``.

    Args:
        prefix: Path without suffix; folders are made.
        result: What ``compare`` returned.
        metrics: Of the Markdown; csv and json have all.
        force: Replace files that are there.

    Raises:
        MMKDError: If a file is there already or cannot be written.
    """
    paths = outputs(prefix)
    if not force:
        check_free(paths)
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(as_markdown(result, metrics))
        with paths[1].open('w', newline='') as file:
            csv.writer(file).writerows(_csv_rows(result))
        paths[2].write_text(json.dumps(result, indent=1) + '\n')
    except OSError as error:
        raise MMKDError(f'Cannot write the comparison to {str(prefix)!r}: {error}.') from error
    return paths


def outputs(prefix: str | Path) -> List[Path]:
    """The files of a prefix; a dot in its name ends no suffix."""
    base = Path(prefix)
    return [base.with_name(base.name + suffix) for suffix in SUFFIXES]


def check_free(paths: Sequence[Path]) -> None:
    """Refuses paths that exist.

    Raises:
        MMKDError: Names the first.
    """
    for path in paths:
        if path.exists():
            raise MMKDError(f'{path} exists already; choose another --out or add --force.')


def _score_rows(result: Dict[str, Any], metric: str) -> List[List[str]]:
    pairs = [(d['arm'], d['minus']) for d in result['rows'][0]['differences']]
    rows = [['', 'videos', *result['arms'], *(f'{a} - {b}' for a, b in pairs)]]
    for row in result['rows']:
        # An attribute of all videos is still told; a group that is another row is not.
        if row['kind'] == 'group' and row['same_as'] != row['name']:
            continue
        cells = [row['name'], str(row['videos'])]
        for score in row['arms'].values():
            cells.append(_mean(score[metric]))
        for difference in row['differences']:
            cells.append(_difference(difference[metric]))
        rows.append(cells)
    return rows


def _mean(score: Dict[str, Any]) -> str:
    deviation = _deviation(score['seeds'])
    return f'{score["mean"]:.2f}' + ('' if deviation is None else f' ± {deviation:.2f}')


def _deviation(seeds: Sequence[float]) -> float | None:
    """Standard deviation of a sample of seeds; None of a single one."""
    if len(seeds) < 2:
        return None
    mean = sum(seeds) / len(seeds)
    return (sum((seed - mean) ** 2 for seed in seeds) / (len(seeds) - 1)) ** 0.5


def _difference(entry: Dict[str, Any]) -> str:
    text = f'{entry["mean"]:+.2f}'
    if entry['low'] is None:
        return text
    text += f' [{entry["low"]:+.2f}, {entry["high"]:+.2f}]'
    return f'**{text}**' if _sign(entry) else text


def _sign(entry: Dict[str, Any]) -> int:
    """1 or -1 where the interval lies above or below 0."""
    if entry['low'] is None:
        return 0
    return int(entry['low'] > 0) - int(entry['high'] < 0)


def _summary(result: Dict[str, Any], metric: str) -> List[str]:
    """What each difference says over the attributes, or over the groups if there are only these."""
    rows: List[dict] = []
    kind = ''
    for kind in ('attribute', 'group'):
        rows = [row for row in result['rows'] if row['kind'] == kind]
        if rows:
            break
    lines = []
    for i, pair in enumerate(result['rows'][0]['differences'] if rows else []):
        entries = [row['differences'][i][metric] for row in rows]
        higher = sum(entry['mean'] > 0 for entry in entries)
        above = sum(_sign(entry) > 0 for entry in entries)
        below = sum(_sign(entry) < 0 for entry in entries)
        lines.append(
            f'{pair["arm"]} above {pair["minus"]} on {higher} of {len(entries)} {kind}s; interval '
            f'above 0 on {above}, below 0 on {below}.'
        )
    return lines


def _method(result: Dict[str, Any]) -> str:
    settings = result['settings']
    seeds = ', '.join(f'{name}: {len(files)}' for name, files in result['arms'].items())
    visible = (
        'frames without a visible object are no hits (only_eval_visible)'
        if settings['only_eval_visible']
        else 'all frames are scored'
    )
    return (
        f'Percent, means over videos and seeds ({seeds}), ± standard deviation over seeds; '
        f'{len(result["videos"])} videos; {visible}. In brackets {settings["level"]:g} % '
        f'intervals, {settings["resamples"]} resamples, seed {settings["seed"]}; bold: 0 lies '
        'outside. '
        f'Method: {settings["method"]}. Each interval is for its row alone: among many rows some '
        'leave 0 out by chance.'
    )


def _csv_rows(result: Dict[str, Any]) -> List[list]:
    rows: List[list] = [
        ['metric', 'kind', 'name', 'videos', 'arm', 'minus', 'mean', 'low', 'high', 'std', 'seeds']
    ]
    for metric in METRICS:
        for row in result['rows']:
            head = [metric, row['kind'], row['name'], row['videos']]
            for arm, scores in row['arms'].items():
                found = scores[metric]
                ends = [found['mean'], found['low'], found['high']]
                rows.append(
                    [*head, arm, '', *ends, _deviation(found['seeds']), len(found['seeds'])]
                )
            for difference in row['differences']:
                found = difference[metric]
                ends = [found['mean'], found['low'], found['high']]
                rows.append([*head, difference['arm'], difference['minus'], *ends, '', ''])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    rows = [[cell.replace('|', r'\|') for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = [':' + '-' * (widths[0] - 1)] + ['-' * (w - 1) + ':' for w in widths[1:]]
    rule[0] = ':--' if widths[0] < 3 else rule[0]
    return '\n'.join(
        '| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths)) + ' |'
        for row in (rows[0], rule, *rows[1:])
    )
