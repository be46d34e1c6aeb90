"""One score of several trackers for every attribute, as a radar plot."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

import numpy as np

from mmkd.errors import MMKDError

from .curves import colours, new_figure, save_figure


def draw_radar(
    trackers: Mapping[str, Mapping[str, float]],
    path: str | Path,
    counts: Mapping[str, int] | None = None,
    title: str = '',
) -> Path:
    """Draws a spoke per attribute and a closed line per tracker.

    All spokes have one scale, which is written on the rings. It need not start at 0: differences
    would be too small to see. Spokes are labelled with the lowest and the highest score on them.

    Args:
        trackers: ``{tracker: {attribute: percent}}``, the same attributes for each, three or more.
        path: Of the picture; its suffix tells the format (.png, .pdf, .svg).
        counts: Number of videos of each attribute, for the labels.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        MMKDError: If there are fewer than three attributes, trackers do not have the same, or the
            picture cannot be written.
    """
    names = _attributes(trackers, path)
    values = np.array([[scores[name] for name in names] for scores in trackers.values()])
    if not np.isfinite(values).all():
        raise MMKDError(f'{path}: a score is no finite number.')
    figure = new_figure(8.2, 6)
    panel = figure.add_subplot(projection='polar')
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    closed = np.append(angles, angles[0])
    for tracker, row, colour in zip(trackers, values, colours(len(trackers))):
        around = np.append(row, row[0])
        panel.plot(closed, around, 'o-', color=colour, linewidth=1.6, markersize=3, label=tracker)
    # Clockwise from the top.
    panel.set_theta_offset(np.pi / 2)
    panel.set_theta_direction(-1)
    panel.set_xticks(angles)
    panel.set_xticklabels(
        [_label(name, counts, column) for name, column in zip(names, values.T)], fontsize=9
    )
    for label, angle in zip(panel.get_xticklabels(), angles):
        across = np.sin(angle)
        label.set_horizontalalignment(
            'center' if abs(across) < 0.1 else 'left' if across > 0 else 'right'
        )
    rings = _rings(values)
    panel.set_ylim(rings[0], rings[-1])
    panel.set_yticks(rings)
    panel.set_yticklabels([f'{ring:g}' for ring in rings], fontsize=7, color='0.35')
    panel.set_rlabel_position(180 / len(names))
    panel.grid(alpha=0.4)
    panel.spines['polar'].set_color('0.8')
    panel.legend(loc='upper left', bbox_to_anchor=(1.14, 1.12), frameon=False, fontsize=9)
    if title:
        panel.set_title(title, fontsize=12, pad=18)
    return save_figure(figure, path)


def _attributes(trackers: Mapping[str, Mapping[str, float]], path: str | Path) -> list:
    if not trackers:
        raise MMKDError(f'There is no tracker to draw in {path}.')
    first, names = next(iter((tracker, list(scores)) for tracker, scores in trackers.items()))
    for tracker, scores in trackers.items():
        odd = sorted(set(names) ^ set(scores))
        if odd:
            raise MMKDError(
                f'{path}: {tracker!r} and {first!r} do not have the same attributes; only one has '
                f'{", ".join(map(repr, odd))}.'
            )
    if len(names) < 3:
        raise MMKDError(
            f'{path}: a radar plot needs three attributes or more, there are {len(names)}.'
        )
    return names


def _label(name: str, counts: Mapping[str, int] | None, column: np.ndarray) -> str:
    count = '' if counts is None else f' ({counts[name]})'
    low, high = column.min(), column.max()
    span = f'{low:.1f}' if low == high else f'{low:.1f} - {high:.1f}'
    return f'{name}{count}\n{span}'


def _rings(values: np.ndarray) -> np.ndarray:
    """Four to eight round numbers that hold all scores, the first as near below them as it gets."""
    low, high = values.min(), values.max()
    for step in (0.5, 1, 2, 5, 10, 20):
        # One ring of air: the lowest score must not vanish in the middle.
        start = max(0.0, np.floor(low / step - 1) * step)
        end = np.ceil(high / step) * step
        if end - start <= 7 * step:
            break
    return np.arange(start, max(end, start + 3 * step) + step / 2, step)
