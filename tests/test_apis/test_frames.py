from __future__ import annotations

import random
import string

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.apis.frames import natural_key, open_frames
from mmkd.errors import MMKDError
from mmkd.visualization import VideoWriter


def fill(folder, names, suffix='.png'):
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in enumerate(names):
        assert cv2.imwrite(str(folder / f'{name}{suffix}'), np.full((8, 8, 3), value, np.uint8))


def values(frames):
    return [int(image[0, 0, 0]) for image in frames]


def test_folder_in_natural_order(tmp_path):
    fill(tmp_path / 'clip', ['f1', 'f2', 'f9', 'f10', 'f11', 'f100'])
    (tmp_path / 'clip/notes.txt').write_text('not an image')
    frames = open_frames(tmp_path / 'clip')
    assert (frames.name, frames.fps, len(frames)) == ('clip', 30, 6)
    assert values(frames) == values(frames) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize('inside', ['', 'img1'])
def test_motchallenge_layout(tmp_path, inside):
    fill(tmp_path / 'MOT17-02/img1', ['000001', '000002'])
    (tmp_path / 'MOT17-02/seqinfo.ini').write_text('[Sequence]\nframeRate=14\n')
    frames = open_frames(tmp_path / 'MOT17-02' / inside)
    assert (frames.name, frames.fps, len(frames)) == ('MOT17-02', 14, 2)


def test_broken_seqinfo_is_not_a_reason_to_stop(tmp_path):
    fill(tmp_path / 's/img1', ['1'])
    for text in ('', '[Sequence]\nframeRate=fast\n', 'nonsense', '[Sequence]\nframeRate=0\n'):
        (tmp_path / 's/seqinfo.ini').write_text(text)
        assert open_frames(tmp_path / 's').fps == 30


def test_video_file(tmp_path):
    with VideoWriter(tmp_path / 'walk.mp4', fps=12) as writer:
        for value in (0, 80, 160):
            writer.write(np.full((32, 32, 3), value, np.uint8))
    frames = open_frames(tmp_path / 'walk.mp4')
    assert (frames.name, len(frames)) == ('walk', 3)
    assert frames.fps == pytest.approx(12)
    assert values(frames) == pytest.approx([0, 80, 160], abs=8)


def test_mistakes(tmp_path):
    with pytest.raises(MMKDError, match='There is no video or folder'):
        open_frames(tmp_path / 'nothing')
    with pytest.raises(MMKDError, match='no images in'):
        open_frames(tmp_path)
    (tmp_path / 'a.txt').write_text('hello')
    with pytest.raises(MMKDError, match='a.txt'):
        open_frames(tmp_path / 'a.txt')
    fill(tmp_path / 'f', ['1'])
    (tmp_path / 'f/2.png').write_bytes(b'broken')
    with pytest.raises(MMKDError, match='2.png cannot be read as an image'):
        list(open_frames(tmp_path / 'f'))


@given(st.lists(st.text(string.ascii_letters + string.digits + '_', max_size=6)))
def test_natural_order_is_an_order(names):
    """Any two names compare, and the result does not depend on the order they came in."""
    shuffled = random.Random(0).sample(names, len(names))
    key = natural_key
    assert [key(n) for n in sorted(names, key=key)] == [key(n) for n in sorted(shuffled, key=key)]
