"""SOT data sets: mmtrack's answers, with attributes, quicker, and told when something is wrong."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

pytest.importorskip('mmtrack')
import mmtrack.datasets
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import init_default_scope

from mmkd.datasets.attributes import AttributeTable
from mmkd.datasets.sot import (
    GOT10kDataset,
    LaSOTDataset,
    OTB100Dataset,
    TrackingNetDataset,
    UAV123Dataset,
)
from mmkd.datasets.sot_infos import VideoInfo, write_infos
from mmkd.errors import MMKDError

from ..sot_folder import boxes_of, lasot_config, make_lasot, write_frames, write_lines

VIDEOS = {'cat-1': ['POC', 'SV'], 'cat-2': ['FM'], 'dog-1': []}
TRAIN_PIPELINE = [
    {'type': 'mmkd.VisiblePairSampling', 'frame_range': 3, 'pos_prob': 0.5},
    {
        'type': 'TransformBroadcaster',
        'share_random_params': False,
        'transforms': [
            {'type': 'LoadImageFromFile'},
            {'type': 'mmtrack.LoadTrackAnnotations', 'with_instance_id': False},
            {'type': 'mmtrack.CropLikeSiamFC', 'crop_size': 63, 'exemplar_size': 15},
        ],
    },
    {'type': 'mmtrack.SeqShiftScaleAug', 'target_size': [15, 31], 'shift': [1, 4]},
    {'type': 'mmtrack.PackTrackInputs', 'ref_prefix': 'search', 'num_template_frames': 1},
]
TEST_PIPELINE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'mmtrack.LoadTrackAnnotations', 'with_instance_id': False},
    {'type': 'mmtrack.PackTrackInputs', 'pack_single_img': True},
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmtrack')


@pytest.fixture
def root(tmp_path):
    return make_lasot(tmp_path, VIDEOS, absent={'cat-1': [0, 3]})


def same(ours, theirs):
    """Whether two data sets give the same videos."""
    assert ours.num_videos == theirs.num_videos
    assert len(ours) == len(theirs)
    for i in range(theirs.num_videos):
        ann, other = ours.get_ann_infos_from_video(i), theirs.get_ann_infos_from_video(i)
        assert set(ann) == set(other)
        for key, value in other.items():
            np.testing.assert_array_equal(ann[key], value, err_msg=key)
        images, other = ours.get_img_infos_from_video(i), theirs.get_img_infos_from_video(i)
        assert list(images['img_paths']) == other['img_paths']
        assert list(images['frame_ids']) == other['frame_ids'].tolist()
        assert images['video_length'] == other['video_length'] == ours.get_len_per_video(i)


@pytest.mark.parametrize('test_mode', [False, True])
def test_lasot_is_mmtracks(root, test_mode):
    config = lasot_config(root, test_mode=test_mode)
    same(LaSOTDataset(attributes='att', **config), mmtrack.datasets.LaSOTDataset(**config))


def test_got10k_is_mmtracks(tmp_path):
    infos = []
    for name in ('GOT-10k_Train_000001', 'GOT-10k_Train_000002'):
        folder = tmp_path / 'train' / name
        write_lines(folder / 'groundtruth.txt', [f'{b}.5000' for b in boxes_of(5)])
        write_lines(folder / 'absence.label', [0, 0, 1, 0, 0])
        write_lines(folder / 'cover.label', [8, 3, 0, 0, 7])
        infos.append(VideoInfo(f'train/{name}', f'train/{name}/groundtruth.txt', 1, 5))
    write_infos(str(tmp_path / 'train.txt'), infos)
    config = dict(ann_file=str(tmp_path / 'train.txt'), data_prefix={'img_path': str(tmp_path)})
    ours = GOT10kDataset(**config)
    same(ours, mmtrack.datasets.GOT10kDataset(**config))
    assert ours.get_ann_infos_from_video(0)['visible'].tolist() == [True, True, False, False, True]


def test_trackingnet_is_mmtracks(tmp_path):
    infos = []
    for chunk, video in (('TRAIN_0', 'a_0'), ('TRAIN_7', 'b_0')):
        ann = f'{chunk}/anno/{video}.txt'
        write_lines(tmp_path / ann, boxes_of(4))
        infos.append(VideoInfo(f'{chunk}/frames/{video}', ann, 0, 3))
    write_infos(str(tmp_path / 'train.txt'), infos)
    config = dict(ann_file=str(tmp_path / 'train.txt'), data_prefix={'img_path': str(tmp_path)})
    for chunks in ({}, {'chunks_list': [7]}):
        ours = TrackingNetDataset(**config, **chunks)
        same(ours, mmtrack.datasets.TrackingNetDataset(**config, **chunks))
    assert ours.get_data_info(0)['video_name'] == 'b_0'
    with pytest.raises(MMKDError, match='has none of the videos that are asked for'):
        TrackingNetDataset(**config, chunks_list=3)


def otb(root):
    videos = [
        ('data/Board', 'groundtruth_rect.txt', 1, 3, boxes_of(3)),
        ('data/Tiger1', 'groundtruth_rect.txt', 6, 8, boxes_of(8)),
        ('data/Jogging', 'groundtruth_rect.1.txt', 1, 2, boxes_of(2)),
        ('data/Jogging', 'groundtruth_rect.2.txt', 1, 2, ['1\t2\t30\t40', '1 2 30 40']),
    ]
    infos = []
    for folder, ann, start, end, lines in videos:
        write_lines(root / folder / ann, lines)
        infos.append(VideoInfo(f'{folder}/img', f'{folder}/{ann}', start, end))
    write_infos(str(root / 'otb.txt'), infos)
    return dict(ann_file=str(root / 'otb.txt'), data_prefix={'img_path': str(root)}, test_mode=True)


def test_otb_is_mmtracks(tmp_path):
    config = otb(tmp_path)
    same(OTB100Dataset(**config), mmtrack.datasets.OTB100Dataset(**config))


def test_otb_reads_parts_of_pixels_which_mmtrack_does_not(tmp_path):
    config = otb(tmp_path)
    write_lines(tmp_path / 'data/Board/groundtruth_rect.txt', ['1.5,2,3.25,4'] * 3)
    box = OTB100Dataset(**config).get_bboxes_from_video(0)[0]
    assert box.tolist() == [1.5, 2, 3.25, 4]


def test_two_targets_of_a_folder(tmp_path):
    names = ('OCC', 'FM')
    table = AttributeTable(
        names, {'board': (), 'tiger1': (), 'jogging_1': ('OCC',), 'Jogging': ('FM',)}
    )
    data = OTB100Dataset(attributes=table, **otb(tmp_path))
    infos = [data.get_data_info(i) for i in range(4)]
    # One that the table knows exactly, and one for which it has the folder only.
    assert [info['video_name'] for info in infos[2:]] == ['Jogging-1', 'Jogging-2']
    assert [info['attributes'] for info in infos[2:]] == [('OCC',), ('FM',)]


def test_uav123_is_mmtracks_and_nan_is_not_visible(tmp_path):
    lines = [boxes_of(3), ['NaN,NaN,NaN,NaN', '1,2,3,4']]
    infos = []
    for name, start, rows in (('bird1_1', 1, lines[0]), ('bird1_2', 4, lines[1])):
        ann = f'anno/UAV123/{name}.txt'
        write_lines(tmp_path / ann, rows)
        infos.append(VideoInfo('data_seq/UAV123/bird1', ann, start, start + len(rows) - 1))
    write_infos(str(tmp_path / 'uav.txt'), infos)
    config = dict(
        ann_file=str(tmp_path / 'uav.txt'), data_prefix={'img_path': str(tmp_path)}, test_mode=True
    )
    ours = UAV123Dataset(**config)
    same(ours, mmtrack.datasets.UAV123Dataset(**config))
    assert ours.get_ann_infos_from_video(1)['visible'].tolist() == [False, True]
    assert ours.get_data_info(1)['video_name'] == 'bird1_2'


def test_every_pair_has_the_search_videos_attributes(root):
    data = ROOT_DATASETS.build(
        lasot_config(root, type='mmkd.LaSOTDataset', attributes='att', pipeline=TRAIN_PIPELINE)
    )
    names = list(VIDEOS)
    seen = Counter()
    for i in range(60):
        sample = data[i % 3]
        meta = sample['data_samples'].metainfo
        search, template = names[meta['search_video_id']], names[meta['video_id']]
        assert template == names[i % 3]
        assert meta['attributes'] == tuple(VIDEOS[search])
        assert meta['video_name'] == search
        groups = {'cat-1': ('occlusion', 'scale_variation'), 'cat-2': ('fast_motion',), 'dog-1': ()}
        assert meta['attribute_groups'] == groups[search]
        is_positive = int(sample['data_samples'].search_gt_instances.labels[0])
        assert is_positive == (search == template)
        seen[is_positive] += 1
        assert sample['inputs']['img'].shape == (1, 3, 15, 15)
        assert sample['inputs']['search_img'].shape == (1, 3, 31, 31)
        for video, frame in ((template, meta['frame_id']), (search, meta['search_frame_id'])):
            assert (video, frame) not in {('cat-1', 0), ('cat-1', 3)}
    assert min(seen.values()) > 10


def test_mmtracks_own_pair_sampling_gets_attributes_too(root):
    pipeline = [{'type': 'mmtrack.PairSampling', 'frame_range': 2}, *TRAIN_PIPELINE[1:]]
    data = LaSOTDataset(**lasot_config(root, attributes='att', pipeline=pipeline))
    meta = data[1]['data_samples'].metainfo
    assert meta['attributes'] == tuple(VIDEOS[list(VIDEOS)[meta['search_video_id']]])


def test_without_a_table_no_video_has_any(root):
    data = LaSOTDataset(**lasot_config(root, pipeline=TRAIN_PIPELINE))
    meta = data[0]['data_samples'].metainfo
    assert meta['attributes'] == meta['attribute_groups'] == ()


def test_every_test_frame_has_them(root):
    config = lasot_config(root, test_mode=True, pipeline=TEST_PIPELINE)
    data = LaSOTDataset(attributes='att', **config)
    theirs = mmtrack.datasets.LaSOTDataset(**config)
    assert len(data) == 18
    for index in ((0, 0), (0, 5), (1, 2)):
        ours, other = data[index], theirs[index]
        meta = ours['data_samples'].metainfo
        assert meta['attributes'] == tuple(VIDEOS[list(VIDEOS)[index[0]]])
        for key, value in other['data_samples'].metainfo.items():
            if key != 'instances':
                assert meta[key] == value, key
        for key, value in other['data_samples'].metainfo['instances'][0].items():
            np.testing.assert_array_equal(meta['instances'][0][key], value)
        assert (ours['inputs']['img'] == other['inputs']['img']).all()
        boxes = [sample['data_samples'].gt_instances.bboxes for sample in (ours, other)]
        assert (boxes[0] == boxes[1]).all()


def test_hidden_truth_is_the_first_box_only(tmp_path):
    folder = tmp_path / 'test' / 'GOT-10k_Test_000001'
    write_frames(folder, range(1, 4))
    write_lines(folder / 'groundtruth.txt', ['1,2,30,40'])
    infos = [VideoInfo('test/GOT-10k_Test_000001', f'test/{folder.name}/groundtruth.txt', 1, 3)]
    write_infos(str(tmp_path / 'test.txt'), infos)
    config = dict(
        ann_file=str(tmp_path / 'test.txt'),
        data_prefix={'img_path': str(tmp_path)},
        test_mode=True,
        pipeline=TEST_PIPELINE,
    )
    data, theirs = GOT10kDataset(**config), mmtrack.datasets.GOT10kDataset(**config)
    for frame in range(3):
        ours, other = (d[0, frame]['data_samples'] for d in (data, theirs))
        assert len(ours.gt_instances.bboxes) == len(other.gt_instances.bboxes) == (frame == 0)
        assert bool(ours.metainfo['instances'][0]['visible'])


@pytest.mark.parametrize(
    ('choice', 'videos'),
    [
        ({'only': 'FM'}, ['cat-2']),
        ({'groups': ['occlusion']}, ['cat-1']),
        ({'only': ['FM'], 'groups': ['occlusion']}, ['cat-1', 'cat-2']),
    ],
)
def test_subsets(root, choice, videos):
    data = LaSOTDataset(**lasot_config(root, attributes='att', **choice))
    assert [data.get_data_info(i)['video_name'] for i in range(len(data))] == videos


def test_impossible_subsets(root):
    for choice, message in [
        ({'only': 'FMM', 'attributes': 'att'}, "LaSOTDataset only: .*no attribute 'FMM'.*'FM'"),
        ({'only': 'LR', 'attributes': 'att'}, "None of the 3 videos .* has any of 'LR'"),
        ({'only': 'FM'}, 'say with attributes= where these are'),
        ({'attributes': 'nowhere'}, 'nowhere.* does not exist'),
    ]:
        with pytest.raises(MMKDError, match=message):
            LaSOTDataset(**lasot_config(root, **choice))


def test_a_video_that_the_table_lacks(root):
    (root / 'att' / 'dog-1.txt').unlink()
    with pytest.raises(MMKDError, match='no attributes of 1 of the 3 videos .*: dog-1'):
        LaSOTDataset(**lasot_config(root, attributes='att'))


def test_degenerate_boxes_and_invisible_videos_are_passed_over(tmp_path):
    rows = boxes_of(6)
    rows[1], rows[2] = '0,0,0,0', '5,5,10,0'
    boxes = {'cat-1': rows, 'cat-2': ['0,0,0,0'] * 4, 'cat-3': ['0,0,0,0', *boxes_of(1)]}
    make_lasot(tmp_path, dict.fromkeys(boxes, ()), boxes=boxes, absent={'cat-1': [0]})
    data = LaSOTDataset(**lasot_config(tmp_path, pipeline=TRAIN_PIPELINE))
    seen = set()
    for i in range(60):
        meta = data[i % 3]['data_samples'].metainfo
        seen |= {(meta['video_id'], meta['frame_id'])}
        seen |= {(meta['search_video_id'], meta['search_frame_id'])}
    assert seen == {(0, 3), (0, 4), (0, 5), (2, 1)}


def test_no_visible_target_at_all(tmp_path):
    make_lasot(tmp_path, {'cat-1': ()}, absent={'cat-1': range(6)})
    data = LaSOTDataset(**lasot_config(tmp_path, pipeline=TRAIN_PIPELINE))
    with pytest.raises(MMKDError, match='In none of the 1 videos'):
        data[0]


def test_the_other_video_is_another_one(root):
    def keep(pair):
        pairs.append(tuple(video['video_id'] for video in pair))

    pairs = []
    data = LaSOTDataset(**lasot_config(root, pipeline=[keep]))
    for i in range(300):
        data.prepare_train_data(i % 3)
    counts = Counter(pairs)
    assert set(counts) == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert min(counts.values()) > 30


def test_files_are_read_once(root, monkeypatch):
    read = Counter()
    from mmkd.datasets.sot import base

    def counted(path):
        read[path] += 1
        return real(path)

    real = base.read_boxes
    monkeypatch.setattr(base, 'read_boxes', counted)
    data = LaSOTDataset(**lasot_config(root, pipeline=TRAIN_PIPELINE))
    assert not read
    for i in range(12):
        data[i % 3]
    assert len(read) == 3
    assert set(read.values()) == {1}
    few = LaSOTDataset(**lasot_config(root, pipeline=TRAIN_PIPELINE, cache_videos=1))
    for i in range(6):
        few[i % 3]
    assert len(few._cache) == 1


def test_what_is_kept_cannot_be_spoilt(root):
    data = LaSOTDataset(**lasot_config(root))
    boxes = data.get_ann_infos_from_video(0)['bboxes']
    with pytest.raises(ValueError, match='read-only'):
        boxes += 1


def test_the_seed_decides(root):
    data = LaSOTDataset(**lasot_config(root, pipeline=TRAIN_PIPELINE))

    def draw(seed):
        random.seed(seed)
        np.random.seed(seed)
        return [float(data[i % 3]['inputs']['search_img'].sum()) for i in range(6)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_it_goes_with_mmtracks_mixture_and_samplers(root):
    part = lasot_config(
        root, type='mmkd.LaSOTDataset', attributes='att', only='FM', pipeline=TRAIN_PIPELINE
    )
    mixture = ROOT_DATASETS.build(
        {'type': 'mmtrack.RandomSampleConcatDataset', 'datasets': [part, {**part, 'only': 'SV'}]}
    )
    found = {mixture[i]['data_samples'].metainfo['attributes'] for i in range(20)}
    assert found == {('FM',), ('POC', 'SV')}
    test = LaSOTDataset(**lasot_config(root, test_mode=True))
    sampler = mmtrack.datasets.samplers.VideoSampler(test)
    assert list(sampler)[6:8] == [(1, 0), (1, 1)]


def spoil(root, name, text):
    (root / 'LaSOTBenchmark' / 'cat' / 'cat-1' / name).write_text(text)


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('groundtruth.txt', '1,2,3,4\n1,2,x,4\n', r"groundtruth.txt', line 2: expected a box"),
        ('groundtruth.txt', '1,2,3,4\n1,2,3\n', r"line 2: expected a box.*'1,2,3'"),
        ('groundtruth.txt', '1,2,3,4\n', r'is for 1 frames, but the video has 6: .* 1 to 6'),
        ('groundtruth.txt', '', r"groundtruth.txt' is empty"),
        ('full_occlusion.txt', '0,0,0,2,0,0', r"full_occlusion.txt', line 1: '2' where .* 0 or 1"),
        ('full_occlusion.txt', '0,0,0,,,x', r"line 1: 'x' where a frame has 0 or 1"),
        ('out_of_view.txt', ',,', r"out_of_view.txt' has no numbers"),
        ('out_of_view.txt', '0,0,0', r"out_of_view.txt' is for 3 frames"),
    ],
)
def test_wrong_annotations_are_named(root, name, text, message):
    spoil(root, name, text)
    data = LaSOTDataset(**lasot_config(root))
    with pytest.raises(MMKDError, match=message):
        data.get_ann_infos_from_video(0)


def test_missing_files_are_named(root):
    (root / 'LaSOTBenchmark' / 'cat' / 'cat-1' / 'groundtruth.txt').unlink()
    data = LaSOTDataset(**lasot_config(root))
    with pytest.raises(MMKDError, match=r"groundtruth.txt' does not exist. The paths in the list"):
        data.get_ann_infos_from_video(0)
    with pytest.raises(MMKDError, match=r'list of videos .* does not exist. Make it with: python'):
        LaSOTDataset(**lasot_config(root, ann_file='x.txt'))


def test_workers_draw_what_their_seed_says(root):
    from functools import partial

    from mmengine.dataset import worker_init_fn
    from torch.utils.data import DataLoader

    data = LaSOTDataset(**lasot_config(root, pipeline=TRAIN_PIPELINE[:1]))

    def draw(seed):
        init = partial(worker_init_fn, num_workers=2, rank=0, seed=seed)
        loader = DataLoader(
            data, batch_size=None, sampler=[0, 1, 2] * 4, num_workers=2, worker_init_fn=init
        )
        return [(pair['video_id'], pair['frame_id']) for pair in loader]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
