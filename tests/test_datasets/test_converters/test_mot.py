from __future__ import annotations

import json

import pytest

from mmkd.datasets.converters.mot import (
    convert,
    find_sequences,
    frame_range,
    half,
    parse_classes,
    split_detector,
)
from mmkd.errors import MMKDError

from ..mot_folder import make_image, make_sequence

ROWS = [
    '2,7,1,2,10,20,1,1,0.5',
    '1,7,0,2,10,20,1,1,1',
    '1,3,20,2,10,20,0,8,1',
    '3,-1,9,9,9,9,1,1,1',
]


def load(path):
    return json.loads(path.read_text())


@pytest.fixture
def root(tmp_path):
    make_sequence(tmp_path / 'train', 'b', ROWS)
    make_sequence(tmp_path / 'train', 'a', ['1,1,2,3,10,20,1,1,1'])
    return tmp_path


def test_the_file_is_cocovid_in_sorted_order(root):
    report = convert(str(root / 'train'), str(root / 'out' / 'train.json'))
    content = load(root / 'out' / 'train.json')
    assert content['videos'] == [
        {'id': 1, 'name': 'a', 'scene': 'a', 'fps': 25, 'width': 64, 'height': 48},
        {'id': 2, 'name': 'b', 'scene': 'b', 'fps': 25, 'width': 64, 'height': 48},
    ]
    assert content['images'][5] == {
        'id': 6,
        'video_id': 2,
        'file_name': 'b/img1/000002.jpg',
        'height': 48,
        'width': 64,
        'frame_id': 1,
        'mot_frame_id': 2,
    }
    assert [a['id'] for a in content['annotations']] == [1, 2, 3, 4, 5]
    assert [(a['image_id'], a['mot_instance_id'], a['instance_id']) for a in content['annotations']
            ] == [(1, 1, 0), (5, 3, 1), (5, 7, 2), (6, 7, 2), (7, -1, -1)]  # fmt: skip
    assert content['annotations'][1] == {
        'id': 2,
        'image_id': 5,
        'video_id': 2,
        'category_id': 8,
        'bbox': [20, 2, 10, 20],
        'area': 200,
        'iscrowd': False,
        'ignore': False,
        'instance_id': 1,
        'mot_instance_id': 3,
        'visibility': 1,
        'mot_conf': 0,
        'mot_class_id': 8,
    }
    assert content['num_instances'] == 3
    assert content['categories'][0] == {'id': 1, 'name': 'pedestrian'}
    # Track 3 is never to be considered and -1 is nobody: neither counts as an identity.
    assert (report['frames'], report['boxes'], report['ids']) == (8, 5, 2)
    assert [s['ids'] for s in report['sequences']] == [1, 1]


def test_converting_twice_gives_the_same_bytes(root):
    convert(str(root / 'train'), str(root / '1.json'))
    convert(str(root / 'train'), str(root / '2.json'))
    assert (root / '1.json').read_bytes() == (root / '2.json').read_bytes()


def test_mmtracks_own_reader_takes_the_file(root):
    pytest.importorskip('mmtrack')
    from mmtrack.datasets import MOTChallengeDataset

    convert(str(root / 'train'), str(root / 'train.json'))
    dataset = MOTChallengeDataset(
        ann_file=str(root / 'train.json'),
        data_prefix={'img_path': str(root / 'train')},
        ref_img_sampler=None,
        test_mode=True,
        metainfo={'CLASSES': ('pedestrian',), 'classes': ('pedestrian',)},
    )
    assert len(dataset) == 8
    assert len(dataset.get_data_info(0)['instances']) == 1


def test_frames_are_numbered_from_zero_within_the_split(root):
    convert(str(root / 'train'), str(root / 'x.json'), frames=frame_range('2:3'))
    content = load(root / 'x.json')
    assert [(i['frame_id'], i['mot_frame_id']) for i in content['images']] == [(0, 2), (1, 3)] * 2
    # Track 3 of b and track 1 of a do not occur in these frames.
    assert content['num_instances'] == 1


def test_halves_share_no_frame_and_cut_as_mmtrack_does(root):
    parts = {}
    for which in ('train', 'val'):
        convert(str(root / 'train'), str(root / f'{which}.json'), frames=half(which))
        parts[which] = [i['mot_frame_id'] for i in load(root / f'{which}.json')['images']]
    assert parts == {'train': [1, 2, 3] * 2, 'val': [4] * 2}


# MOT17's training sequences, and the frames of each in FairMOT's list of first halves.
LENGTHS = {600: 300, 1050: 525, 837: 418, 525: 262, 654: 327, 900: 450, 750: 375}


def test_halves_cut_as_fairmot_does():
    first = {n: len(half('train', 'fairmot')(list(range(n)))) for n in LENGTHS}
    second = {n: len(half('val', 'fairmot')(list(range(n)))) for n in LENGTHS}
    assert first == LENGTHS
    assert sum(first.values()) == 2657
    assert sum(second.values()) == 2659
    assert half('val', 'fairmot')([1, 2, 3]) == [2, 3]


def test_a_range_that_leaves_nothing_is_told(root):
    with pytest.raises(MMKDError, match="nothing of 'a', which has frames 1 to 4"):
        convert(str(root / 'train'), str(root / 'x.json'), frames=frame_range('5:9'))


@pytest.mark.parametrize('text', ['', ':', 'a:b', '1:2:3', '9:3', '1.5:2'])
def test_a_range_that_is_none_is_told(text):
    with pytest.raises(MMKDError, match='is no range of frames'):
        frame_range(text)


@pytest.mark.parametrize(
    ('text', 'kept'), [('2:3', [2, 3]), ('2-3', [2, 3]), ('3:', [3, 4]), (':2', [1, 2])]
)
def test_ranges(text, kept):
    assert frame_range(text)([1, 2, 3, 4]) == kept


def test_one_copy_of_each_scene_of_mot17(tmp_path):
    for name in ('MOT17-02-FRCNN', 'MOT17-02-SDP', 'MOT17-04-FRCNN', 'MOT17-04-SDP', 'mine'):
        make_sequence(tmp_path, name, ROWS)
    assert [p.name for p in find_sequences(tmp_path)] == [
        'MOT17-02-FRCNN',
        'MOT17-04-FRCNN',
        'mine',
    ]
    assert [p.name for p in find_sequences(tmp_path, 'SDP')][0] == 'MOT17-02-SDP'
    assert len(find_sequences(tmp_path, 'all')) == 5
    with pytest.raises(MMKDError, match='FRCNN, SDP but not for DPM'):
        find_sequences(tmp_path, 'DPM')
    with pytest.raises(MMKDError, match="no public detector 'sdp'"):
        find_sequences(tmp_path, 'sdp')


def test_a_person_has_one_id_in_all_copies(tmp_path):
    for name in ('MOT17-02-FRCNN', 'MOT17-02-SDP', 'MOT17-04-SDP'):
        make_sequence(tmp_path / 'train', name, ['1,4,2,3,10,20,1,1,1'])
    report = convert(str(tmp_path / 'train'), str(tmp_path / 'x.json'), detector='all')
    annotations = load(tmp_path / 'x.json')['annotations']
    assert [a['instance_id'] for a in annotations] == [0, 0, 1]
    assert report['ids'] == 2


def test_names_are_split_only_where_mot17_splits_them():
    assert split_detector('MOT17-02-DPM') == ('MOT17-02', 'DPM')
    assert split_detector('street-DPM') == ('street-DPM', None)


def test_test_sets_have_no_annotations(tmp_path):
    make_sequence(tmp_path / 'test', 'a', None)
    report = convert(str(tmp_path / 'test'), str(tmp_path / 'x.json'))
    assert load(tmp_path / 'x.json')['annotations'] == []
    assert (report['frames'], report['boxes']) == (4, 0)


def test_a_forgotten_gt_is_told(root):
    make_sequence(root / 'train', 'c', None)
    with pytest.raises(MMKDError, match='these have not: c'):
        convert(str(root / 'train'), str(root / 'x.json'))


def test_classes_of_the_user(root):
    report = convert(
        str(root / 'train'), str(root / 'x.json'), classes=parse_classes('8:bear, 2:fox')
    )
    content = load(root / 'x.json')
    assert content['categories'] == [{'id': 1, 'name': 'fox'}, {'id': 2, 'name': 'bear'}]
    assert [(a['category_id'], a['mot_class_id']) for a in content['annotations']] == [(2, 8)]
    assert report['sequences'][1]['skipped'] == {'class 1 not named': 3}


def test_a_class_that_motchallenge_does_not_have_is_told(tmp_path):
    make_sequence(tmp_path / 'train', 'a', ['1,4,2,3,10,20,1,14,1'])
    with pytest.raises(MMKDError, match='line 1: class 14.*--classes'):
        convert(str(tmp_path / 'train'), str(tmp_path / 'x.json'))


@pytest.mark.parametrize('text', ['person', '1=person', '1:', '1:a,1:b', '1:a,2:a', '-1:a'])
def test_wrong_classes_are_told(text):
    with pytest.raises(MMKDError, match='--classes'):
        parse_classes(text)


def test_a_file_of_the_user_is_not_overwritten(root):
    (root / 'x.json').write_text('mine')
    with pytest.raises(MMKDError, match='exists.*--force'):
        convert(str(root / 'train'), str(root / 'x.json'))
    assert (root / 'x.json').read_text() == 'mine'
    convert(str(root / 'train'), str(root / 'x.json'), force=True)
    assert load(root / 'x.json')['videos']


def test_a_failed_conversion_leaves_no_file(tmp_path):
    make_sequence(tmp_path / 'train', 'a', ['bad'])
    with pytest.raises(MMKDError, match='line 1'):
        convert(str(tmp_path / 'train'), str(tmp_path / 'out' / 'x.json'))
    assert not (tmp_path / 'out').exists()


def test_bad_rows_are_counted_in_the_report(tmp_path):
    make_sequence(tmp_path / 'train', 'a', ['bad', '1,4,2,3,10,20,1,1,1', '9,4,2,3,10,20,1,1,1'])
    report = convert(str(tmp_path / 'train'), str(tmp_path / 'x.json'), skip_bad=True)
    assert report['boxes'] == 1
    assert sum(report['sequences'][0]['skipped'].values()) == 2


def test_bad_images_are_told_or_counted_with_their_rows(tmp_path):
    rows = [f'{frame},4,2,3,10,20,1,1,1' for frame in (1, 2, 3, 4)]
    folder = make_sequence(tmp_path / 'train', 'a', rows)
    (folder / 'img1' / '000002.jpg').unlink()
    (folder / 'img1' / '000003.jpg').write_bytes(b'no image')
    make_image(folder / 'img1' / '000004.jpg', (32, 24))
    with pytest.raises(MMKDError, match='img1: an image that is missing, of frame 2'):
        convert(str(tmp_path / 'train'), str(tmp_path / 'x.json'))
    report = convert(str(tmp_path / 'train'), str(tmp_path / 'x.json'), skip_bad=True)
    assert report['sequences'][0]['skipped'] == {
        'an image that is missing': 1,
        'an image that cannot be read': 1,
        'an image of another size than the first': 1,
        'a frame without an image': 3,
    }
    assert [i['mot_frame_id'] for i in load(tmp_path / 'x.json')['images']] == [1]
    assert report['boxes'] == 1


def test_the_order_of_rows_does_not_matter(tmp_path):
    """The original makes a new person of each row whose id differs from the last one's."""
    rows = [f'{frame},{track},2,3,10,20,1,1,1' for frame in (2, 1) for track in (9, 3, 5)]
    for name, order in (('x', rows), ('y', sorted(rows)), ('z', sorted(rows, key=lambda r: r[2]))):
        make_sequence(tmp_path / name, 'a', order)
        convert(str(tmp_path / name), str(tmp_path / f'{name}.json'))
    assert (tmp_path / 'x.json').read_bytes() == (tmp_path / 'y.json').read_bytes()
    assert (tmp_path / 'x.json').read_bytes() == (tmp_path / 'z.json').read_bytes()
    assert load(tmp_path / 'x.json')['num_instances'] == 3


def test_mot20_and_dancetrack(tmp_path):
    rows = [f'1,{c},2,3,10,20,{int(c == 1)},{c},0.9' for c in range(1, 14)]
    make_sequence(tmp_path / 'MOT20', 'MOT20-01', rows)
    convert(str(tmp_path / 'MOT20'), str(tmp_path / 'x.json'))
    assert sorted(a['mot_class_id'] for a in load(tmp_path / 'x.json')['annotations']) == list(
        range(1, 14)
    )
    folder = make_sequence(tmp_path / 'dance', 'dancetrack0001', ['2,1,2,3,10,20,1,1,1'])
    for path in sorted((folder / 'img1').iterdir()):  # its frames have eight digits
        path.rename(path.with_name(f'00{path.name}'))
    convert(str(tmp_path / 'dance'), str(tmp_path / 'y.json'))
    content = load(tmp_path / 'y.json')
    assert content['images'][1]['file_name'] == 'dancetrack0001/img1/00000002.jpg'
    assert content['annotations'][0]['image_id'] == 2


def test_one_sequence_alone_is_an_input(root):
    report = convert(str(root / 'train' / 'b'), str(root / 'x.json'))
    assert [s['name'] for s in report['sequences']] == ['b']


def test_a_folder_without_sequences_is_told(root):
    with pytest.raises(MMKDError, match="holds no sequence.*Did you mean '.*train'"):
        convert(str(root), str(root / 'x.json'))
    with pytest.raises(MMKDError, match='does not exist'):
        convert(str(root / 'gone'), str(root / 'x.json'))
