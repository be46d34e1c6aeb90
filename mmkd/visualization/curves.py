"""Loss curves of training runs, from what mmengine logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np

from mmkd.errors import MMKDError

# Colours that differ for colour-blind eyes, too (Okabe and Ito).
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
# From this many points on a curve is drawn smoothed, with the measured one pale behind it.
_SMOOTH_FROM = 200


@dataclass
class Run:
    """Scalars of one training.

    Attributes:
        name: For the legend.
        scalars: ``{key: (n, 2) array of step and value}``, steps ascending.
    """

    name: str
    scalars: Dict[str, np.ndarray]

    @property
    def task(self) -> np.ndarray:
        """The student's own loss (n, 2), unweighted: of a distillation and of a plain run alike."""
        return self.scalars['task_raw' if 'task_raw' in self.scalars else 'loss']

    @property
    def kd(self) -> Dict[str, np.ndarray]:
        """The distillation losses, unweighted; empty for a plain run."""
        return {key: self.scalars[key] for key in sorted(self.scalars) if key.startswith('kd_')}


def read_run(path: str | Path, name: str | None = None) -> Run:
    """Reads the training scalars of a run.

    Args:
        path: A work_dir, one of the dated folders in it, or a ``scalars.json``. If a work_dir has
            several dated folders, a later one continues or replaces an earlier one from its first
            step on, as resuming does.
        name: For the legend; the folder's by default.

    Raises:
        MMKDError: If there is no training loss.
    """
    path = Path(path)
    rows: List[dict] = []
    for file in _scalar_files(path):
        new = _read_rows(file)
        if new:
            rows = [row for row in rows if row['step'] < new[0]['step']] + new
    if not rows:
        raise MMKDError(f'{path} has no training loss yet (no step was logged).')
    keys = sorted({key for row in rows for key in row})
    scalars = {
        key: np.array(
            [(row['step'], row[key]) for row in rows if isinstance(row.get(key), (int, float))],
            dtype=np.float64,
        ).reshape(-1, 2)
        for key in keys
    }
    return Run(name or path.resolve().name, scalars)


def draw_losses(runs: Sequence[Run], path: str | Path) -> Path:
    """Draws task losses in one panel and, if there are any, distillation losses in another.

    Args:
        runs: One curve each.
        path: Of the picture; its suffix tells the format (.png, .pdf, .svg).

    Returns:
        The path.

    Raises:
        MMKDError: If it cannot be written.
    """
    has_kd = any(run.kd for run in runs)
    figure = new_figure(11 if has_kd else 6, 4)
    panels = figure.subplots(1, 2 if has_kd else 1, squeeze=False)[0]
    for run, colour in zip(runs, colours(len(runs))):
        _draw_curve(panels[0], run.task, run.name, colour)
    _label_panel(panels[0], 'Task loss (without distillation)', 'loss')
    if has_kd:
        entries = [
            (run, key, curve, colour)
            for run, colour in zip(runs, colours(len(runs)))
            for key, curve in run.kd.items()
        ]
        several = len({key for _, key, _, _ in entries}) > 1
        for i, (run, key, curve, colour) in enumerate(entries):
            name = f'{run.name}: {key[3:]}' if several else run.name
            _draw_curve(panels[1], curve, name, colour, style=('-', '--', ':', '-.')[i % 4])
        _label_panel(panels[1], 'Distillation loss (unweighted)', 'loss')
    return save_figure(figure, path)


def new_figure(width: float, height: float):
    """An empty figure of a size in inches, apart from pyplot's backend and state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path: str | Path) -> Path:
    """Writes a figure; folders are made.

    Raises:
        MMKDError: If it cannot be written.
    """
    path = Path(path)
    figure.tight_layout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise MMKDError(f'Cannot write the picture {path}: {error}') from error
    return path


def colours(count: int) -> List[str]:
    """As many colours as asked for; the same again after seven."""
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred mean over ``window`` values, over fewer at both ends; leaves NaN out."""
    good = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(good, values, 0), kernel, mode='same')
    count = np.convolve(good.astype(float), kernel, mode='same')
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _draw_curve(panel, curve: np.ndarray, name: str, colour: str, style: str = '-') -> None:
    step, value = curve.T
    # A run of a single step would leave no mark as a line.
    marker = 'o' if len(step) < 20 else None
    if len(step) >= _SMOOTH_FROM:
        panel.plot(step, value, color=colour, alpha=0.25, linewidth=0.8)
        value = smooth(value, 1 + 2 * (len(step) // 100))
    panel.plot(step, value, style, color=colour, label=name, marker=marker, markersize=3)


def _label_panel(panel, title: str, y_label: str) -> None:
    panel.set_title(title, fontsize=11)
    panel.set_xlabel('training step')
    panel.set_ylabel(y_label)
    panel.grid(alpha=0.3)
    panel.spines[['top', 'right']].set_visible(False)
    panel.legend(frameon=False)


def _scalar_files(path: Path) -> List[Path]:
    """The scalars.json files under a path, oldest first: mmengine dates the folders' names."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MMKDError(f'There is no run {str(path)!r}.')
    files = sorted([*path.glob('vis_data/scalars.json'), *path.glob('*/vis_data/scalars.json')])
    if not files:
        raise MMKDError(
            f'{str(path)!r} is not the work_dir of a training: it has no '
            '<date>/vis_data/scalars.json. Is LocalVisBackend among vis_backends?'
        )
    return files


def _read_rows(file: Path) -> List[dict]:
    """Rows with a training loss. A last line that was cut off by an interruption is skipped."""
    lines = file.read_text().splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise MMKDError(f'Line {number} of {file} is not JSON: {error}.') from error
        if isinstance(row, dict) and 'loss' in row and 'step' in row:
            rows.append(row)
    return rows
