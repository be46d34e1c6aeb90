from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmtrack')

from mmkd.apis import init_tracker
from mmkd.apis.demo import run_demo
from mmkd.apis.frames import open_frames
from mmkd.errors import MMKDError
from mmkd.visualization import check_video

from . import toy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sequence(tmp_path):
    """MOTChallenge layout, 6 frames, 10 fps."""
    folder = tmp_path / 'toy-01/img1'
    folder.mkdir(parents=True)
    for i in range(6):
        cv2.imwrite(str(folder / f'{i + 1:06d}.png'), toy.scene(i))
    (tmp_path / 'toy-01/seqinfo.ini').write_text('[Sequence]\nframeRate=10\n')
    return tmp_path / 'toy-01'


@pytest.fixture
def model(tmp_path):
    (tmp_path / 'toy.py').write_text(toy.CONFIG)
    return init_tracker(tmp_path / 'toy.py')


def test_text_and_video(sequence, model, tmp_path):
    bar = io.StringIO()
    result = run_demo(model, open_frames(sequence), tmp_path / 'out', progress=bar)
    assert (result.frames, result.tracks) == (6, 2)
    rows = np.loadtxt(result.text, delimiter=',')
    assert rows.shape == (12, 10)
    assert rows[:, 0].tolist() == [f for f in range(1, 7) for _ in range(2)]
    assert rows[:, 1].tolist() == [1, 2] * 6
    x1, y1, x2, y2 = toy.truth(0)[1]
    assert rows[0, 2:6] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=2)
    assert (rows[:, 7:] == -1).all()
    assert check_video(result.video, 6) == 6
    assert cv2.VideoCapture(str(result.video)).get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert '6/6' in bar.getvalue()
    assert 'frames/s' in bar.getvalue()


def test_nothing_is_overwritten_unless_forced(sequence, model, tmp_path):
    out, frames = tmp_path / 'out', open_frames(sequence)
    out.mkdir()
    (out / 'toy-01.mp4').write_text('mine')
    first = run_demo(model, frames, out, progress=None)
    assert (out / 'toy-01.mp4').read_text() == 'mine'
    assert first.text.name == 'toy-01-1.txt'
    assert run_demo(model, frames, out, video=False, progress=None).text.name == 'toy-01-2.txt'
    assert not (out / 'toy-01-2.mp4').exists()
    forced = run_demo(model, frames, out, force=True, progress=None)
    assert check_video(forced.video) == 6
    assert forced.video.name == 'toy-01.mp4'


def test_a_broken_frame_leaves_no_half_files(sequence, model, tmp_path):
    (sequence / 'img1/000004.png').write_bytes(b'broken')
    with pytest.raises(MMKDError, match='000004.png'):
        run_demo(model, open_frames(sequence), tmp_path / 'out', progress=None)
    assert list((tmp_path / 'out').iterdir()) == []


def test_score_threshold(sequence, model, tmp_path):
    result = run_demo(model, open_frames(sequence), tmp_path, score_thr=0.95, progress=None)
    assert result.text.read_text() == ''
    assert check_video(result.video, 6) == 6


def demo(*arguments):
    """The command, with the toy model registered as a user's own package would be."""
    code = (
        'import sys, runpy, mmkd, mmtrack, tests.test_apis.toy;'
        "sys.argv[0] = 'demo.py';"
        "runpy.run_path('tools/demo.py', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_command_line(sequence, model, tmp_path):
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'toy.pth')
    done = demo(
        *(sequence, tmp_path / 'toy.py', tmp_path / 'toy.pth'),
        *('--out-dir', tmp_path / 'out', '--fps', '5', '--show-trail', '3'),
    )
    assert done.returncode == 0, done.stderr
    assert '6 frames, 2 tracks' in done.stdout
    assert check_video(tmp_path / 'out/toy-01.mp4', 6)
    assert 'frames/s' in done.stderr
    wrong = demo(tmp_path / 'nowhere', tmp_path / 'toy.py', tmp_path / 'toy.pth')
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith('error: There is no video or folder')
    assert 'Traceback' not in wrong.stderr
