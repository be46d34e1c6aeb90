"""MOT tracks as single-object videos: cutting, flags, attributes, layout, and the two tools."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.datasets.attributes import load_attributes
from mmkd.datasets.converters import convert
from mmkd.datasets.converters.mot2sot import Cut, cut_videos, write_videos
from mmkd.datasets.converters.mot_tracks import MOTVideo, read_mot
from mmkd.datasets.sot_annotations import read_boxes, read_flags
from mmkd.datasets.sot_infos import read_infos
from mmkd.errors import MMKDError

from ..mot_folder import make_sequence

REPO = Path(__file__).parents[3]
PETS = REPO.parent / 'shared' / 'data' / 'PETS09-S2L1'
SIZE = (640, 480)


def mot(rows, frames, name='seq'):
    """A sequence of (frame, track, box, visibility)."""
    frame, track, boxes, visibility = (list(column) for column in zip(*rows))
    images = [Path(f'{name}/{i}.jpg') for i in range(frames)]
    return MOTVideo(name, images, SIZE, np.array(frame), np.array(track),
                    np.array(boxes, float), np.array(visibility, float))  # fmt: skip


def walk(track, first, last, x=100.0, step=2.0, box=(50, 100), visibility=1.0):
    """Rows of a track that goes to the right."""
    return [(t, track, (x + step * (t - first), 200, *box), visibility) for t in range(first, last)]


def test_one_video_for_each_track_and_part():
    source = mot(walk(1, 0, 60) + walk(2, 30, 60, x=300), 60)
    found = {v.name: v for v in cut_videos([source], Cut(test_share=0.5, min_frames=5))}
    assert list(found) == ['seq-t1-train1', 'seq-t1-test1', 'seq-t2-test1']
    assert [len(v.images) for v in found.values()] == [30, 30, 30]
    assert found['seq-t1-test1'].images[0] == Path('seq/30.jpg')
    assert found['seq-t1-test1'].boxes[0].tolist() == [160, 200, 50, 100]
    gapped = cut_videos([source], Cut(test_share=0.5, min_frames=5, gap=4))
    assert [v.images[0].stem for v in gapped] == ['0', '34', '34']


TRACKS = st.lists(st.tuples(st.integers(0, 50), st.integers(10, 60)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(tracks=TRACKS, share=st.floats(0.2, 0.8), split=st.sampled_from(['frames', 'tracks']),
       gap=st.integers(0, 5))  # fmt: skip
def test_training_and_testing_have_no_image_in_common(tracks, share, split, gap):
    rows = [
        row
        for i, (first, length) in enumerate(tracks)
        for row in walk(i, first, min(80, first + length), x=20 + 90 * i)
    ]
    cut = Cut(split=split, test_share=share, gap=gap, min_frames=4)
    try:
        found = cut_videos([mot(rows, 80)], cut)
    except MMKDError:
        return  # nothing is left on one side
    images = {s: {i for v in found if v.split == s for i in v.images} for s in ('train', 'test')}
    people = {s: {v.name.split('-')[1] for v in found if v.split == s} for s in images}
    numbers = [int(i.stem) for s in ('train', 'test') for i in sorted(images[s])]
    assert not images['train'] & images['test']
    first_test = min(int(image.stem) for image in images['test'])
    assert first_test - max(int(image.stem) for image in images['train']) > gap
    assert split == 'frames' or not people['train'] & people['test']
    assert len(numbers) == len(set(numbers))


def test_whole_sequences():
    both = [mot(walk(1, 0, 30), 30, name) for name in ('a', 'b')]
    found = cut_videos(both, Cut(split='sequences', test_sequences=('b',)))
    assert {v.sequence: v.split for v in found} == {'a': 'train', 'b': 'test'}
    assert {v.split for v in cut_videos(both, Cut(split='test'))} == {'test'}
    with pytest.raises(MMKDError, match="no sequence 'bb'"):
        cut_videos(both, Cut(split='sequences', test_sequences=('bb',)))


def test_gaps_are_occlusion_inside_and_out_of_view_at_the_border():
    inside = walk(1, 0, 10) + walk(1, 15, 30, x=130)
    at_border = walk(2, 0, 10, x=572, step=2) + walk(2, 15, 30, x=590, step=-2)
    first, second = cut_videos([mot(inside + at_border, 30)], Cut(split='train', min_frames=5))
    gap = [10 <= t < 15 for t in range(30)]
    assert first.occluded.tolist() == gap
    assert not first.outside.any()
    assert second.outside.tolist() == gap
    assert not second.occluded.any()
    assert (first.boxes[10:15] == 0).all()
    assert {'FOC'} <= set(first.attributes)
    assert {'OV'} <= set(second.attributes)
    assert 'FOC' not in second.attributes


def test_a_gap_that_ends_at_the_border_is_out_of_view():
    rows = walk(1, 0, 10) + walk(1, 15, 30, x=0)
    (video,) = cut_videos([mot(rows, 30)], Cut(split='train', min_frames=5))
    assert np.flatnonzero(video.outside).tolist() == [10, 11, 12, 13, 14]


def test_by_tracks_each_track_is_where_it_has_more_frames():
    source = mot(walk(1, 10, 70) + walk(2, 40, 100, x=300) + walk(3, 0, 100, x=20, step=1), 100)
    cut = Cut(split='tracks', test_share=0.4, min_frames=5)
    found = {video.name: len(video.images) for video in cut_videos([source], cut)}
    assert found == {'seq-t1-train1': 50, 'seq-t2-test1': 40, 'seq-t3-train1': 60}


def test_a_long_gap_makes_two_videos_and_a_short_piece_none():
    rows = walk(1, 0, 30) + walk(1, 50, 80) + walk(1, 99, 104)
    found = cut_videos([mot(rows, 104)], Cut(split='train', max_gap=18))
    assert [(v.name, len(v.images)) for v in found] == [
        ('seq-t1-train1', 30), ('seq-t1-train2', 30)
    ]  # fmt: skip
    # 20 frames without a box, then 19.
    for gap, lengths in ((18, [30, 30]), (19, [30, 54]), (20, [104])):
        found = cut_videos([mot(rows, 104)], Cut(split='train', max_gap=gap))
        assert [len(v.images) for v in found] == lengths


def test_a_video_begins_where_its_target_is_clear():
    tiny = walk(1, 0, 5, box=(5, 5))
    hidden = walk(1, 5, 10, visibility=0.5)
    leaving = walk(2, 0, 40, x=-40, step=4)
    found = cut_videos([mot(tiny + hidden + walk(1, 10, 40) + leaving, 40)], Cut(split='train'))
    assert found[0].images[0] == Path('seq/10.jpg')
    # 30 of 50 columns out at first: 80 % are inside from the eighth frame on.
    assert found[1].images[0] == Path('seq/8.jpg')
    assert found[1].boxes[0].tolist() == [0, 200, 42, 100]
    whole = cut_videos([mot(leaving, 40)], Cut(split='train', clip=False))[0]
    assert whole.boxes[0].tolist() == [-8, 200, 50, 100]


def test_occlusion_from_the_column_or_from_boxes():
    # Another person, nearer, stands in the way of frames 20 to 23.
    rows = walk(1, 0, 60) + [(t, -1, (130, 220, 50, 100), 1.0) for t in range(20, 24)]
    overlapped = cut_videos([mot(rows, 60)], Cut(split='train'))[0]
    assert 'POC' in overlapped.attributes
    assert cut_videos([mot(walk(1, 0, 60), 60)], Cut(split='train'))[0].attributes == ()
    told = [(t, i, box, 0.02 if t == 40 else 1.0) for t, i, box, _ in walk(1, 0, 60)]
    for occlusion, hidden in (('auto', [40]), ('visibility', [40]), ('overlap', [])):
        video = cut_videos([mot(told, 60)], Cut(split='train', occlusion=occlusion))[0]
        assert np.flatnonzero(video.occluded).tolist() == hidden
    unknown = [(t, i, box, np.nan) for t, i, box, _ in walk(1, 0, 60)]
    with pytest.raises(MMKDError, match='--occlusion overlap'):
        cut_videos([mot(unknown, 60)], Cut(split='train', occlusion='visibility'))


def test_nothing_left_is_told():
    with pytest.raises(MMKDError, match='No track is left to test'):
        cut_videos([mot(walk(1, 0, 30), 60)], Cut())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'split': 'track'}, "Did you mean 'tracks'"),
        ({'occlusion': 'visible'}, "Did you mean 'visibility'"),
        ({'test_share': 1.0}, 'between 0 and 1'),
        ({'split': 'sequences'}, 'go together'),
        ({'min_frames': 1}, 'min_frames'),
        ({'start_visible': 0}, 'start_visible'),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        Cut(**options)


ROWS = [
    *(f'{frame},{track},{3 * frame},10,20,30,1,1,1' for track in (1, 2) for frame in range(1, 9)),
    *(f'{frame},3,30,5,20,30,0,1,1' for frame in range(1, 9)),  # not to be considered
    *(f'{frame},4,30,5,20,30,1,3,1' for frame in range(1, 9)),  # a car
]


@pytest.fixture
def folder(tmp_path):
    make_sequence(tmp_path / 'mot', 'S', ROWS, frames=8)
    return tmp_path / 'mot'


def same(a: MOTVideo, b: MOTVideo) -> bool:
    order = [np.lexsort((video.boxes[:, 0], video.track, video.frame)) for video in (a, b)]
    columns = ('frame', 'track', 'boxes', 'visibility')
    return all(
        np.array_equal(getattr(a, key)[order[0]], getattr(b, key)[order[1]]) for key in columns
    )


def test_both_forms_of_a_set_read_alike(folder, tmp_path):
    convert(str(folder), str(tmp_path / 'all.json'))
    (one,) = read_mot(str(folder))
    (other,) = read_mot(str(tmp_path / 'all.json'), img_prefix=str(folder))
    assert same(one, other)
    assert one.images == other.images
    assert (one.name, one.size) == (other.name, other.size) == ('S', (64, 48))
    assert sorted(set(one.track)) == [-1, 1, 2]
    (cars,) = read_mot(str(folder), classes=('car',))
    assert sorted(set(cars.track)) == [-1, 4]


def test_what_is_missing_is_told(folder, tmp_path):
    convert(str(folder), str(tmp_path / 'all.json'))
    with pytest.raises(MMKDError, match='--img-prefix'):
        read_mot(str(tmp_path / 'all.json'))
    with pytest.raises(MMKDError, match='8 of 8 images are missing'):
        read_mot(str(tmp_path / 'all.json'), img_prefix=str(tmp_path))
    with pytest.raises(MMKDError, match="Did you mean 'pedestrian'"):
        read_mot(str(folder), classes=('pedestrains',))
    (folder / 'S' / 'gt' / 'gt.txt').unlink()
    with pytest.raises(MMKDError, match='without tracks'):
        read_mot(str(folder))


def call(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['mot2sot.py', *map(str, args)])
    path = REPO / 'tools' / 'dataset_converters' / 'mot2sot.py'
    runpy.run_path(str(path), run_name='__main__')


def test_the_tool_writes_lasots_layout(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'sot'
    args = ('-i', folder, '-o', out, '--min-frames', 3, '--test-share', 0.5)
    call(monkeypatch, *args)
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ['train', '2', '8', '0']
    table = load_attributes(str(out / 'annotations' / 'attributes.json'))
    assert table.names == ('POC', 'SV', 'FOC', 'FM', 'OV', 'LR', 'ARC')
    note = json.loads((out / 'mot2sot.json').read_text())
    assert note['cut']['test_share'] == 0.5
    names = []
    for split, first in (('train', 1), ('test', 5)):
        for info in read_infos(str(out / 'annotations' / f'{split}_infos.txt')):
            video = out / 'videos' / Path(info.ann_path).parent
            names.append(info.name)
            assert info.name in table
            assert 'LR' in table.of(info.name)
            links = sorted((video / 'img').iterdir())
            assert [link.name for link in links] == [f'{n:08d}.jpg' for n in range(1, 5)]
            original = folder / 'S' / 'img1' / f'{first:06d}.jpg'
            assert links[0].is_symlink()
            assert links[0].resolve() == original.resolve()
            boxes = read_boxes(str(video / 'groundtruth.txt'))
            assert boxes[:, 0].tolist() == [3 * n for n in range(first, first + 4)]
            for name in ('full_occlusion', 'out_of_view'):
                assert read_flags(str(video / f'{name}.txt')).shape == (4,)
    assert names == ['S-t1-train1', 'S-t2-train1', 'S-t1-test1', 'S-t2-test1']
    with pytest.raises(SystemExit, match='error: .*--force'):
        call(monkeypatch, *args)
    # Both folders moved together: relative links still lead to the images.
    shutil.move(str(tmp_path / 'mot'), str(tmp_path / 'b' / 'mot'))
    shutil.move(str(out), str(tmp_path / 'b' / 'sot'))
    moved = tmp_path / 'b' / 'sot' / 'videos' / 'S' / 'S-t1-train1' / 'img' / '00000001.jpg'
    assert cv2.imread(str(moved)).shape == (48, 64, 3)


def test_copies_are_files_and_replaced_sets_leave_nothing(folder, tmp_path, monkeypatch):
    out = tmp_path / 'sot'
    args = ('-i', folder, '-o', out, '--min-frames', 3, '--copy')
    call(monkeypatch, *args, '--split', 'train', '--rules', 'otb', '--low-resolution', 100)
    image = out / 'videos' / 'S' / 'S-t1-train1' / 'img' / '00000002.jpg'
    assert not image.is_symlink()
    assert image.read_bytes() == (folder / 'S' / 'img1' / '000002.jpg').read_bytes()
    table = load_attributes(str(out / 'annotations' / 'attributes.json'))
    assert table.names == ('SV', 'OCC', 'FM', 'OV', 'LR')
    assert 'LR' not in table.of('S-t1-train1')
    call(monkeypatch, *args, '--split', 'test', '--force')
    assert not (out / 'annotations' / 'train_infos.txt').exists()
    assert sorted(p.name for p in (out / 'videos' / 'S').iterdir()) == ['S-t1-test1', 'S-t2-test1']
    (out / 'mot2sot.json').unlink()
    with pytest.raises(SystemExit, match='it is not replaced'):
        call(monkeypatch, *args, '--force')
    with pytest.raises(MMKDError, match='symlink, copy'):
        write_videos(str(tmp_path / 'x'), [], link='hard')


@pytest.mark.skipif(not PETS.is_dir(), reason='needs the real sequence beside the repository')
def test_pets09_s2l1(tmp_path, monkeypatch):
    folder = tmp_path / 'mot' / 'PETS09-S2L1'
    (folder / 'img1').mkdir(parents=True)
    shutil.copytree(PETS / 'gt', folder / 'gt')
    # Only names are linked to: one image stands for all.
    blank = np.zeros((576, 768, 3), np.uint8)
    cv2.imwrite(str(folder / 'img1' / '000001.jpg'), blank)
    for number in range(2, 601):
        (folder / 'img1' / f'{number:06d}.jpg').symlink_to('000001.jpg')
    call(monkeypatch, '-i', tmp_path / 'mot', '-o', tmp_path / 'sot')
    annotations = tmp_path / 'sot' / 'annotations'
    counts = {s: len(read_infos(str(annotations / f'{s}_infos.txt'))) for s in ('train', 'test')}
    assert counts == {'train': 10, 'test': 8}
    table = load_attributes(str(annotations / 'attributes.json'))
    rows = [line.split(',') for line in (PETS / 'gt' / 'gt.txt').read_text().splitlines()]
    # The boxes of a track are those of the file, cut at the image's border.
    info = read_infos(str(annotations / 'train_infos.txt'))[1]
    track = info.name.split('-')[2][1:]
    want = [r for r in sorted(rows, key=lambda r: int(r[0])) if r[1] == track and int(r[0]) <= 400]
    boxes = read_boxes(str(tmp_path / 'sot' / 'videos' / info.ann_path))
    want = np.array([[float(v) for v in row[2:6]] for row in want])[-len(boxes) :]
    inside = (want[:, :2] >= 0).all(axis=1) & (want[:, :2] + want[:, 2:] <= (768, 576)).all(axis=1)
    assert inside.sum() > 100
    assert np.abs(boxes[inside] - want[inside]).max() <= 0.0051
    assert any('POC' in table.of(name) for name in table.videos)
