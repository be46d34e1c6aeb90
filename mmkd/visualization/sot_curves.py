"""Success and precision plots of single-object trackers, as the benchmarks draw them."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping, Sequence

import numpy as np

from mmkd.errors import MMKDError

from .curves import colours, new_figure, save_figure

# Title, label of the thresholds, and where the one number of the legend is read; success is the
# mean over all thresholds.
_PANELS = {
    'success': ('Success', 'overlap (IoU) above', None),
    'precision': ('Precision', 'distance of centres up to (pixels)', 20.0),
    'norm_precision': ('Normalised precision', 'distance / size of object up to', 0.2),
}
_STYLES = ('-', '--', '-.', ':')

# {tracker: {metric: (thresholds,) percent}}
Curves = Mapping[str, Mapping[str, np.ndarray]]


def draw_curves(
    trackers: Curves,
    thresholds: Mapping[str, Sequence[float]],
    path: str | Path,
    title: str = '',
) -> Path:
    """Draws one panel per metric with a curve per tracker; legends are sorted, the best first.

    Args:
        trackers: Percent of frames at each threshold; the same metrics for each tracker, out of
            'success', 'precision', 'norm_precision'.
        thresholds: ``{metric: (thresholds,)}``.
        path: Of the picture; its suffix tells the format (.png, .pdf, .svg).
        title: Above all panels, e.g. the attribute and its number of videos.

    Returns:
        The path.

    Raises:
        MMKDError: If there is nothing to draw or the picture cannot be written.
    """
    if not trackers:
        raise MMKDError(f'There is no tracker to draw in {path}.')
    metrics = [metric for metric in _PANELS if metric in next(iter(trackers.values()))]
    figure = new_figure(5 * len(metrics), 4.6 if title else 4.3)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    looks = dict(zip(trackers, zip(colours(len(trackers)), _line_styles(len(trackers)))))
    for panel, metric in zip(panels, metrics):
        name, label, at = _PANELS[metric]
        steps = np.asarray(thresholds[metric], dtype=np.float64)
        scores = {
            tracker: _score(np.asarray(curves[metric]), steps, at)
            for tracker, curves in trackers.items()
        }
        for tracker in sorted(scores, key=scores.get, reverse=True):
            colour, style = looks[tracker]
            panel.plot(
                steps,
                trackers[tracker][metric],
                style,
                color=colour,
                label=f'{tracker} [{scores[tracker]:.1f}]',
            )
        if at is not None:
            panel.axvline(at, color='0.6', linewidth=0.8, zorder=0)
        panel.set_title(name, fontsize=11)
        panel.set_xlabel(label)
        panel.set_ylabel('frames (%)')
        panel.set_xlim(steps[0], steps[-1])
        panel.set_ylim(0, 100)
        panel.grid(alpha=0.3)
        panel.spines[['top', 'right']].set_visible(False)
        # Success falls and precision rises: each has its empty corner.
        corner = 'lower left' if metric == 'success' else 'lower right'
        panel.legend(fontsize=8, loc=corner, framealpha=0.8, edgecolor='none')
    if title:
        figure.suptitle(title, fontsize=12)
    return save_figure(figure, path)


def _score(curve: np.ndarray, steps: np.ndarray, at: float | None) -> float:
    return float(curve.mean()) if at is None else float(np.interp(at, steps, curve))


def _line_styles(count: int) -> List[str]:
    """Solid while colours differ, then dashed and so on."""
    return [_STYLES[i // 7 % len(_STYLES)] for i in range(count)]
