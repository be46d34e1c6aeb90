from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmkd.datasets.converters import convert, extract_sequence
from mmkd.errors import MMKDError


@pytest.fixture
def video(tmp_path):
    """Eight frames, the k-th one of brightness 20 k."""
    path = tmp_path / 'v.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12, (64, 48))
    for number in range(1, 9):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def test_all_frames_in_order(video, tmp_path):
    report = extract_sequence(str(video), str(tmp_path / 'train' / 's'))
    assert report == {'frames': 8, 'width': 64, 'height': 48, 'fps': 12, 'boxes': 0, 'skipped': {}}
    images = sorted((tmp_path / 'train' / 's' / 'img1').iterdir())
    assert [p.name for p in images] == [f'{i:06d}.jpg' for i in range(1, 9)]
    for number, path in enumerate(images, start=1):
        assert abs(cv2.imread(str(path)).mean() - 20 * number) < 4
    assert convert(str(tmp_path / 'train'), str(tmp_path / 'x.json'))['frames'] == 8


def test_a_part_with_its_ground_truth_is_numbered_from_one(video, tmp_path):
    gt = tmp_path / 'gt.txt'
    gt.write_text(
        '2,1,0,0,10,10,1,1,1\n3,1,1.25,0,10,10,1,1,1\n5,1,2,0,10,10,1,1,0.5\n9,1,2,0,9,9,1,1,1\n'
    )
    out = tmp_path / 's'
    report = extract_sequence(str(video), str(out), gt=str(gt), first=3, last=5, fps=7)
    assert (report['frames'], report['boxes'], report['fps']) == (3, 2, 7)
    assert abs(cv2.imread(str(out / 'img1' / '000001.jpg')).mean() - 60) < 4
    assert (out / 'gt' / 'gt.txt').read_text() == '1,1,1.25,0,10,10,1,1,1\n3,1,2,0,10,10,1,1,0.5\n'


def test_nothing_is_overwritten_without_force(video, tmp_path):
    out = tmp_path / 's'
    extract_sequence(str(video), str(out))
    with pytest.raises(MMKDError, match='already holds a sequence.*--force'):
        extract_sequence(str(video), str(out), last=2)
    extract_sequence(str(video), str(out), last=2, force=True)
    assert len(list((out / 'img1').iterdir())) == 2


def test_a_video_that_is_too_short_is_told(video, tmp_path):
    with pytest.raises(MMKDError, match='ends after 8 frames'):
        extract_sequence(str(video), str(tmp_path / 's'), last=20)
    with pytest.raises(MMKDError, match='ends after 8 frames'):
        extract_sequence(str(video), str(tmp_path / 't'), first=9)


def test_what_is_no_video_is_told(tmp_path):
    (tmp_path / 'v.avi').write_text('no video')
    with pytest.raises(MMKDError, match='cannot read'):
        extract_sequence(str(tmp_path / 'v.avi'), str(tmp_path / 's'))
    with pytest.raises(MMKDError, match='does not exist'):
        extract_sequence(str(tmp_path / 'gone.avi'), str(tmp_path / 's'))
    assert not (tmp_path / 's').exists()
