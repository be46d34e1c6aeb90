from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmkd.errors import MMKDError
from mmkd.visualization.curves import draw_losses, read_run, smooth

ROOT = Path(__file__).resolve().parents[2]


def log(folder, steps, date='20260101_000000', **values):
    """Writes scalars.json as mmengine does: training rows, and a validation row after them."""
    path = folder / date / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    rows = [
        {'lr': 0.1, 'time': 0.5, 'step': s, 'epoch': 1, **{k: f(s) for k, f in values.items()}}
        for s in steps
    ]
    rows.append({'mot/HOTA': 50.0, 'step': 1})
    path.write_text('\n'.join(map(json.dumps, rows)) + '\n')
    return folder


def loss(step):
    return 10 / (1 + step / 20)


def test_plain_run(tmp_path):
    run = read_run(log(tmp_path / 'student', range(10, 60, 10), loss=loss))
    assert run.name == 'student'
    assert run.task.tolist() == [[s, loss(s)] for s in range(10, 60, 10)]
    assert run.kd == {}
    again = read_run(tmp_path / 'student/20260101_000000/vis_data/scalars.json', 'x')
    assert (again.name, again.task.tolist()) == ('x', run.task.tolist())


def test_distilled_run_shows_the_unweighted_losses(tmp_path):
    folder = log(
        tmp_path / 'kd',
        [10, 20],
        loss=lambda s: 1.0,
        loss_kd_neck=lambda s: 0.5,
        task_raw=loss,
        kd_neck=lambda s: 1 / s,
    )
    run = read_run(folder)
    assert run.task[:, 1].tolist() == [loss(10), loss(20)]
    assert run.kd['kd_neck'].tolist() == [[10, 0.1], [20, 0.05]]
    assert list(run.kd) == ['kd_neck']


def test_resumed_run_is_one_curve(tmp_path):
    log(tmp_path, [10, 20, 30], loss=lambda s: 1.0)
    log(tmp_path, [30, 40], date='20260102_000000', loss=lambda s: 2.0)
    assert read_run(tmp_path).task.tolist() == [[10, 1], [20, 1], [30, 2], [40, 2]]


def test_an_interrupted_line_is_skipped_and_a_broken_one_named(tmp_path):
    file = next(log(tmp_path, [10, 20], loss=loss).glob('*/*/*.json'))
    whole = file.read_text()
    file.write_text(whole + '{"loss": 1.')
    assert len(read_run(tmp_path).task) == 2
    file.write_text('{"loss": 1.\n' + whole)
    with pytest.raises(MMKDError, match='Line 1 of'):
        read_run(tmp_path)


def test_picture(tmp_path):
    student = log(tmp_path / 'a', range(5, 2000, 5), loss=lambda s: loss(s) if s != 50 else np.nan)
    distilled = log(
        tmp_path / 'b', range(10, 100, 10), loss=loss, task_raw=loss, kd_neck=lambda s: 1 / s
    )
    one = cv2.imread(str(draw_losses([read_run(student)], tmp_path / 'one.png')))
    path = draw_losses([read_run(student), read_run(distilled, 'student+KD')], tmp_path / 'two.png')
    two = cv2.imread(str(path))
    assert two.shape[0] == one.shape[0]
    assert two.shape[1] > 1.5 * one.shape[1]
    # Both colours are on the left panel, only the second run's on the right.
    left, right = np.array_split(two.reshape(-1, *two.shape[1:]), 2, axis=1)
    blue, orange = (178, 114, 0), (0, 94, 213)
    assert (left == blue).all(axis=2).any()
    assert (left == orange).all(axis=2).any()
    assert (right == orange).all(axis=2).any()
    assert not (right == blue).all(axis=2).any()


def test_smooth_keeps_the_mean_and_skips_nan():
    assert smooth(np.array([1.0, 1, np.nan, 1, 1]), 3).tolist() == [1, 1, 1, 1, 1]
    assert smooth(np.array([0.0, 3, 0]), 3).tolist() == [1.5, 1, 1.5]


def test_mistakes(tmp_path):
    with pytest.raises(MMKDError, match='There is no run'):
        read_run(tmp_path / 'nothing')
    with pytest.raises(MMKDError, match='is not the work_dir of a training'):
        read_run(tmp_path)
    log(tmp_path / 'new', [], loss=loss)
    with pytest.raises(MMKDError, match='no training loss yet'):
        read_run(tmp_path / 'new')
    run = read_run(log(tmp_path / 'r', [1], loss=loss))
    with pytest.raises(MMKDError, match='Cannot write the picture'):
        draw_losses([run], tmp_path / 'a.nonsense')


def test_command_line(tmp_path):
    log(tmp_path / 'a', [10, 20], loss=loss)

    def plot(*arguments):
        return subprocess.run(
            [sys.executable, 'tools/analysis_tools/plot_loss.py', *map(str, arguments)],
            cwd=ROOT,
            env={'PYTHONPATH': str(ROOT), 'PATH': ''},
            capture_output=True,
            text=True,
        )

    out = tmp_path / 'loss.png'
    done = plot(f'student={tmp_path}/a', tmp_path / 'a', '--out', out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    again = plot(tmp_path / 'a', '--out', out)
    assert again.returncode == 1
    assert 'exists already' in again.stderr
    assert plot(tmp_path / 'a', '--out', out, '--force').returncode == 0
