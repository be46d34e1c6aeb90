from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmkd.errors import MMKDError
from mmkd.visualization import VideoWriter, check_video


def frame(value, height=48, width=64):
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_written_and_read_back(tmp_path):
    path = tmp_path / 'new/folder/out.mp4'
    with VideoWriter(path, fps=7) as writer:
        for value in (0, 100, 200):
            writer.write(frame(value))
    assert [p.name for p in path.parent.iterdir()] == ['out.mp4']
    assert check_video(path, 3) == 3
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(7)
    means = [capture.read()[1].mean() for _ in range(3)]
    assert means == pytest.approx([0, 100, 200], abs=8)


def test_odd_sides(tmp_path):
    with VideoWriter(tmp_path / 'odd.mp4') as writer:
        writer.write(frame(9, 33, 41))
    capture = cv2.VideoCapture(str(tmp_path / 'odd.mp4'))
    assert capture.read()[1].shape == (34, 42, 3)


def test_nothing_of_the_users_is_lost(tmp_path):
    path = tmp_path / 'out.mp4'
    path.write_text('mine')
    with pytest.raises(MMKDError, match='exists already'):
        VideoWriter(path)

    def stumble():
        with VideoWriter(path, overwrite=True) as writer:
            writer.write(frame(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert path.read_text() == 'mine'
    assert len(list(tmp_path.iterdir())) == 1


def test_mistakes(tmp_path):
    with pytest.raises(MMKDError, match='.mp4'):
        VideoWriter(tmp_path / 'a.avi')
    with pytest.raises(MMKDError, match='frames per second'):
        VideoWriter(tmp_path / 'a.mp4', fps=0)
    with pytest.raises(MMKDError, match='No frames'), VideoWriter(tmp_path / 'a.mp4'):
        pass
    writer = VideoWriter(tmp_path / 'a.mp4')
    writer.write(frame(1))
    with pytest.raises(MMKDError, match='Frame 2 of a.mp4 is 64x50, the first was 64x48'):
        writer.write(frame(1, 50))
    assert list(tmp_path.iterdir()) == []


def test_no_codec(tmp_path, monkeypatch):
    class Closed:
        def __init__(self, *args):
            pass

        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, 'VideoWriter', Closed)
    with pytest.raises(MMKDError, match='mp4v codec'), VideoWriter(tmp_path / 'a.mp4') as writer:
        writer.write(frame(1))


def test_a_broken_file_is_not_a_video(tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'nothing')
    with pytest.raises(MMKDError, match='cannot be read back'):
        check_video(tmp_path / 'a.mp4')
