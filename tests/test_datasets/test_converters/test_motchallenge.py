from __future__ import annotations

import contextlib
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.datasets.converters.badlines import BadLines
from mmkd.datasets.converters.motchallenge import read_gt, read_sequence
from mmkd.errors import MMKDError

from ..mot_folder import make_sequence

FRAMES = {1: 'a.jpg', 2: 'b.jpg'}


def write(tmp_path, *lines):
    path = tmp_path / 'gt.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_mot17_row(tmp_path):
    ((row,), skipped) = read_gt(write(tmp_path, '2,7,-3.5,4,10,20.25,0,8,0.3'), FRAMES)
    assert row[:6] == (2, 7, (-3.5, 4, 10, 20.25), 0, 8, 0.3)
    assert not skipped


def test_mot15_row_has_neither_class_nor_visibility(tmp_path):
    ((row,), _) = read_gt(write(tmp_path, '1,7,3,4,10,20,1,-1,-1,-1'), FRAMES)
    assert (row.class_id, row.visibility) == (1, 1.0)
    ((row,), _) = read_gt(write(tmp_path, '1,7,3,4,10,20,1'), FRAMES)
    assert (row.class_id, row.visibility) == (1, 1.0)


def test_mot15_rows_may_hold_a_place_in_the_world(tmp_path):
    rows, _ = read_gt(
        write(tmp_path, '1,7,3,4,10,20,1,-9.7,-11.8,0', '1,8,3,4,10,20,1,2,-1.5,0'), FRAMES
    )
    assert [(row.class_id, row.visibility) for row in rows] == [(1, 1.0)] * 2


def test_ten_columns_with_whole_classes_have_classes(tmp_path):
    """CVAT's export has a tenth column."""
    rows, _ = read_gt(write(tmp_path, '1,7,3,4,10,20,1,2,0.5,0', '1,8,3,4,10,20,1,1,1,0'), FRAMES)
    assert [(row.class_id, row.visibility) for row in rows] == [(2, 0.5), (1, 1.0)]


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('1,2,3,4,5,6,1,1.5,1', 'a class that is not a whole number'),
        ('1,2.5,3,4,5,6,1,1,1', 'frame or id that is not a whole number'),
        ('1,2,3', '3 columns where at least 7'),
        ('1,2,3,4,5,6', '6 columns'),
        ('1,2,x,4,5,6,1', 'not a number'),
        ('1,2,nan,4,5,6,1', 'not finite'),
        ('1,2,3,4,inf,6,1', 'not finite'),
        ('1,2,3,4,-5,6,1', 'without area'),
        ('1,2,3,4,5,0,1', 'without area'),
        ('1.5,2,3,4,5,6,1', 'not a whole number'),
        ('3,2,3,4,5,6,1', r'without an image, 3 \(there are 1 to 2\)'),
        ('0,2,3,4,5,6,1', 'without an image, 0'),
        ('1,9,3,4,5,6,1', 'same frame and id as an earlier line, line 1'),
    ],
)
def test_a_bad_row_is_an_error_with_file_and_line_or_is_counted(tmp_path, line, reason):
    path = write(tmp_path, '1,9,3,4,5,6,1,1,1', line)
    with pytest.raises(MMKDError, match=rf'gt\.txt, line 2: .*{reason}.*--skip-bad'):
        read_gt(path, FRAMES)
    rows, skipped = read_gt(path, FRAMES, skip_bad=True)
    assert [row.track for row in rows] == [9]
    assert sum(skipped.values()) == 1


def test_empty_lines_and_an_empty_file_are_fine(tmp_path):
    assert read_gt(write(tmp_path, '', '  '), FRAMES) == ([], {})


def test_a_binary_file_is_told(tmp_path):
    (tmp_path / 'gt.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(MMKDError, match='not a text file'):
        read_gt(tmp_path / 'gt.txt', FRAMES)


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.lists(numbers | st.just(1.0), min_size=0, max_size=10), max_size=6))
def test_any_table_of_numbers_is_read_or_refused_in_a_sentence(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp('gt') / 'gt.txt'
    path.write_text('\n'.join(','.join(str(v) for v in row) for row in rows))
    good, skipped = read_gt(path, FRAMES, skip_bad=True)
    assert len(good) + sum(skipped.values()) == sum(1 for row in rows if row)
    for row in good:
        assert row.frame in FRAMES
        assert row.bbox[2] > 0
        assert row.bbox[3] > 0
        assert all(math.isfinite(v) for v in row.bbox)
    if skipped:
        with pytest.raises(MMKDError, match='line '):
            read_gt(path, FRAMES)


coordinate = st.floats(-1e4, 1e4, width=32)
row = st.tuples(
    st.integers(1, 2),
    st.integers(1, 50),
    st.tuples(coordinate, coordinate, st.floats(0.5, 1e4), st.floats(0.5, 1e4)),
    st.sampled_from([0.0, 1.0, 0.25]),
    st.integers(1, 13),
    st.floats(0, 1),
)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(row, max_size=10, unique_by=lambda r: r[:2]))
def test_what_is_written_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / 'back.txt'
    path.write_text(
        '\n'.join(
            ','.join(map(repr, (frame, track, *box, conf, class_id, visibility)))
            for frame, track, box, conf, class_id, visibility in rows
        )
    )
    found, skipped = read_gt(path, FRAMES)
    assert [r[:6] for r in found] == rows
    assert not skipped


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_any_text_is_read_or_refused_in_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / 'any.txt'
    path.write_bytes(text.encode('utf-8', 'surrogatepass'))
    for skip_bad in (True, False):
        try:
            read_gt(path, FRAMES, skip_bad)
        except MMKDError:
            continue


@settings(max_examples=60, deadline=None)
@given(text=st.text() | st.text(alphabet='[Sequnc]imWidthHgframRLl=0123.\n', max_size=120))
def test_any_seqinfo_is_read_or_refused_in_a_sentence(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / 'any'
    if not folder.exists():
        make_sequence(folder.parent, 'any', None, frames=1)
    (folder / 'seqinfo.ini').write_bytes(text.encode('utf-8', 'surrogatepass'))
    with contextlib.suppress(MMKDError):
        assert read_sequence(folder).frames == {1: '000001.jpg'}


def test_seqinfo_is_read(tmp_path):
    sequence = read_sequence(make_sequence(tmp_path, 'x', None))
    assert (sequence.name, sequence.width, sequence.height, sequence.fps) == ('x', 64, 48, 25)
    assert sequence.frames == {i: f'{i:06d}.jpg' for i in range(1, 5)}


def test_without_seqinfo_the_images_tell(tmp_path):
    folder = make_sequence(tmp_path, 'x', None, seqinfo=False)
    sequence = read_sequence(folder)
    assert (sequence.width, sequence.height, sequence.fps) == (64, 48, 30)
    assert read_sequence(folder, fps=7.5).fps == 7.5


def test_frames_sort_as_numbers(tmp_path):
    (tmp_path / 'x' / 'img1').mkdir(parents=True)
    for number in (10, 9, 2):
        cv2.imwrite(str(tmp_path / 'x' / 'img1' / f'{number}.png'), np.zeros((4, 5, 3), np.uint8))
    assert list(read_sequence(tmp_path / 'x').frames) == [2, 9, 10]


def test_missing_images_are_told_or_accepted(tmp_path):
    folder = make_sequence(tmp_path, 'x', None)
    (folder / 'img1' / '000002.jpg').unlink()
    with pytest.raises(MMKDError, match='missing, of frame 2 .1 of 4 are missing.*--skip-bad'):
        read_sequence(folder)
    bad = BadLines(skip=True)
    assert list(read_sequence(folder, bad=bad).frames) == [1, 3, 4]
    assert bad.counts == {'an image that is missing': 1}


def test_images_past_seqlength_are_left_out(tmp_path):
    folder = make_sequence(tmp_path, 'x', None)
    text = (folder / 'seqinfo.ini').read_text()
    (folder / 'seqinfo.ini').write_text(text.replace('seqLength=4', 'seqLength=3'))
    assert len(read_sequence(folder).frames) == 3


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('imWidth=64', 'imWidth=65', 'says 65x48 pixels.*have 64x48'),
        ('[Sequence]', '', 'no readable section'),
        ('frameRate=25', 'frameRate=fast', "'fast' is no valid framerate"),
        ('seqLength=4', 'seqLength=0', "'0' is no valid seqlength"),
        ('imDir=img1', 'imDir=gone', "folder '.*gone' does not exist"),
    ],
)
def test_a_wrong_seqinfo_is_told(tmp_path, old, new, message):
    folder = make_sequence(tmp_path, 'x', None)
    text = (folder / 'seqinfo.ini').read_text()
    (folder / 'seqinfo.ini').write_text(text.replace(old, new))
    with pytest.raises(MMKDError, match=message):
        read_sequence(folder)


def test_an_image_that_is_not_named_after_a_frame_is_told(tmp_path):
    folder = make_sequence(tmp_path, 'x', None, seqinfo=False)
    (folder / 'img1' / '000001.jpg').rename(folder / 'img1' / 'cover.jpg')
    with pytest.raises(MMKDError, match='cover.jpg.*frame number'):
        read_sequence(folder)


def test_an_image_that_cannot_be_read_is_told(tmp_path):
    folder = make_sequence(tmp_path, 'x', None)
    (folder / 'img1' / '000001.jpg').write_bytes(b'nothing')
    with pytest.raises(MMKDError, match='cannot be read'):
        read_sequence(folder)
