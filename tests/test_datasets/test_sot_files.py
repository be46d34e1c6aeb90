"""Lists of videos and annotation files: what is read, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.datasets.sot_annotations import read_boxes, read_flags
from mmkd.datasets.sot_infos import HEADER, VideoInfo, read_infos, write_infos
from mmkd.errors import MMKDError

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False) | st.just(float('nan'))


@given(st.lists(st.tuples(*[NUMBERS] * 4), min_size=1, max_size=8), st.sampled_from([',', '\t']))
def test_boxes_come_back(tmp_path_factory, boxes, separator):
    path = tmp_path_factory.mktemp('boxes') / 'gt.txt'
    path.write_text('\n'.join(separator.join(map(repr, box)) for box in boxes) + '\n')
    np.testing.assert_array_equal(read_boxes(str(path)), np.array(boxes))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=20), st.sampled_from([',', '\n', ' ']))
def test_flags_come_back(tmp_path_factory, flags, separator):
    path = tmp_path_factory.mktemp('flags') / 'x.label'
    path.write_text(separator.join(map(str, flags)))
    assert read_flags(str(path), int).tolist() == flags
    if max(flags) < 2:
        assert read_flags(str(path)).tolist() == [bool(flag) for flag in flags]
    else:
        with pytest.raises(MMKDError, match='where a frame has 0 or 1'):
            read_flags(str(path))


@given(st.text(alphabet='0123.,-e \tN\n', max_size=40))
def test_no_text_is_taken_for_boxes(tmp_path_factory, text):
    path = tmp_path_factory.mktemp('text') / 'gt.txt'
    path.write_text(text)
    try:
        boxes = read_boxes(str(path))
    except MMKDError as error:
        message = str(error)
    else:
        message = str(path)
        assert boxes.shape == (len(text.rstrip().splitlines()), 4)
    assert str(path) in message


PARTS = st.text(alphabet='abcXYZ019-_', min_size=1, max_size=6)
INFOS = st.lists(
    st.builds(
        lambda path, ann, start, more: VideoInfo('/'.join(path), ann + '.txt', start, start + more),
        st.lists(PARTS, min_size=1, max_size=3),
        PARTS,
        st.integers(0, 9999),
        st.integers(0, 9999),
    ),
    min_size=1,
    max_size=5,
)


@given(INFOS)
def test_lists_come_back(tmp_path_factory, infos):
    path = str(tmp_path_factory.mktemp('infos') / 'sub' / 'infos.txt')
    write_infos(path, infos)
    assert read_infos(path) == infos


@pytest.mark.parametrize(
    ('video', 'ann', 'names'),
    [
        ('airplane/airplane-1/img', 'airplane/airplane-1/groundtruth.txt', ('airplane-1',)),
        ('data/Jogging/img', 'data/Jogging/groundtruth_rect.2.txt', ('Jogging-2', 'Jogging')),
        ('data/Dog/img', 'data/Dog/groundtruth_rect.txt', ('Dog',)),
        ('data_seq/UAV123/bird1', 'anno/UAV123/bird1_3.txt', ('bird1_3', 'bird1')),
        ('data_seq/UAV123/car1_s', 'anno/UAV123/car1_s.txt', ('car1_s',)),
        ('TRAIN_0/frames/x_0', 'TRAIN_0/anno/x_0.txt', ('x_0',)),
        ('train/GOT-10k_Train_000001', 'train/GOT-10k_Train_000001/groundtruth.txt',
         ('GOT-10k_Train_000001',)),
    ],
)  # fmt: skip
def test_names_of_videos(video, ann, names):
    info = VideoInfo(video, ann, 1, 2)
    assert info.names == names
    assert info.name == names[0]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('a,b,1', r"infos.txt', line 3: expected 'video_path"),
        ('a,b,1,x', r'line 3: expected'),
        ('a,,1,2', r'line 3: expected'),
        ('a,b,5,2', r'line 3: the last frame, 2, is before the first, 5'),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    path = tmp_path / 'infos.txt'
    path.write_text(f'{HEADER}\na,b,1,2\n{line}\n')
    with pytest.raises(MMKDError, match=message):
        read_infos(str(path))


def test_a_list_without_its_comment_or_without_videos(tmp_path):
    path = tmp_path / 'infos.txt'
    path.write_text('a/img,a/gt.txt,1,2\n')
    with pytest.raises(MMKDError, match='the first line must be a comment'):
        read_infos(str(path))
    path.write_text(HEADER)
    with pytest.raises(MMKDError, match='has no video. Make it with: xyz'):
        read_infos(str(path), 'xyz')


def test_backslashes_are_folders(tmp_path):
    path = tmp_path / 'infos.txt'
    path.write_text(f'{HEADER}\ncat\\cat-1\\img,cat\\cat-1\\gt.txt,1,2\n')
    assert read_infos(str(path))[0].name == 'cat-1'
