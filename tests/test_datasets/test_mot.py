from __future__ import annotations

import json

import numpy as np
import pytest

from mmkd.errors import MMKDError

pytest.importorskip('mmtrack')
from mmengine.dataset import ConcatDataset

from mmkd.datasets import MOTDataset
from mmkd.datasets.converters import convert
from mmkd.engine.identities import assign_id_offsets
from mmkd.registry import DATASETS

from .mot_folder import make_sequence

# Tracks 5 and 9 of sequence b, 5 of sequence a; a car (3); an ignored person (conf 0).
ROWS_A = ['1,5,10,10,20,30,1,1,1', '2,5,12,10,20,30,1,1,0.2']
ROWS_B = [
    '1,9,-5,10,20,30,1,1,1',
    '1,5,30,10,20,30,1,1,1',
    '1,2,1,1,20,10,1,3,1',
    '2,7,40,10,10,20,0,1,1',
    '3,9,70,10,20,30,1,1,1',
]


@pytest.fixture
def root(tmp_path):
    make_sequence(tmp_path / 'train', 'b', ROWS_B)
    make_sequence(tmp_path / 'train', 'a', ROWS_A)
    convert(str(tmp_path / 'train'), str(tmp_path / 'ann.json'))
    return tmp_path


def build(root, **kwargs):
    kwargs.setdefault('ann_file', 'ann.json')
    kwargs.setdefault('data_prefix', {'img_path': 'train'})
    return MOTDataset(data_root=str(root), **kwargs)


def instances(dataset):
    """(sequence, frame_id) -> instances of every frame that has any."""
    found = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        if info['instances']:
            found[info['file_name'][0], info['frame_id']] = info['instances']
    return found


def test_training_labels_are_ranks_of_sorted_video_and_track(root):
    dataset = build(root)
    found = instances(dataset)
    assert [i['instance_id'] for i in found['a', 0]] == [0]
    assert [i['instance_id'] for i in found['b', 0]] == [1, 2]  # tracks 5 and 9
    assert dataset.num_ids == 3


def test_the_order_of_the_file_does_not_decide_the_labels(root):
    content = json.loads((root / 'ann.json').read_text())
    content['videos'].reverse()
    content['annotations'].reverse()
    for ann in content['annotations']:
        ann['instance_id'] = 50 - ann['instance_id']
    (root / 'other.json').write_text(json.dumps(content))

    def labels(name):
        found = instances(build(root, ann_file=name))
        return {
            (frame, i['mot_instance_id']): i['instance_id'] for frame in found for i in found[frame]
        }

    assert labels('ann.json') == labels('other.json')


def test_testing_keeps_the_ids_of_the_file(root):
    found = instances(build(root, test_mode=True))
    content = json.loads((root / 'ann.json').read_text())
    expected = {a['mot_instance_id']: a['instance_id'] for a in content['annotations']
                if a['video_id'] == 2}  # fmt: skip
    assert {i['mot_instance_id']: i['instance_id'] for i in found['b', 0]} == {
        5: expected[5],
        9: expected[9],
    }


def test_id_zero_is_an_identity_and_an_absent_one_is_unknown(root):
    content = json.loads((root / 'ann.json').read_text())
    for ann in content['annotations']:
        if ann['mot_instance_id'] == 9:
            del ann['instance_id']
    (root / 'ann.json').write_text(json.dumps(content))
    dataset = build(root)
    dataset.id_offset = 10
    found = instances(dataset)
    assert [i['instance_id'] for i in found['a', 0]] == [10]
    assert [i['instance_id'] for i in found['b', 0]] == [11, -1]
    assert dataset.num_ids == 2


def test_ignored_boxes_are_left_out_of_training_and_flagged_in_testing(root):
    assert ('b', 1) not in instances(build(root))
    (ignored,) = instances(build(root, test_mode=True))['b', 1]
    assert ignored['ignore_flag'] == 1
    assert ignored['mot_conf'] == 0


def test_boxes_keep_what_leaves_the_image_but_not_what_is_outside(root):
    found = instances(build(root))
    assert found['b', 0][1]['bbox'] == [-5, 10, 15, 40]
    assert ('b', 2) not in found  # x from 70 in an image of 64
    assert ('b', 2) in instances(build(root, test_mode=True))


def test_frames_without_objects_stay_unless_asked_otherwise(root):
    assert len(build(root)) == 8
    assert len(build(root, filter_cfg={'filter_empty_gt': True})) == 3
    assert len(build(root, filter_cfg={'min_size': 49})) == 0
    assert len(build(root, filter_cfg={'filter_empty_gt': True}, test_mode=True)) == 8


def test_visibility_threshold(root):
    assert ('a', 1) in instances(build(root))
    assert ('a', 1) not in instances(build(root, visibility_thr=0.5))


@pytest.mark.parametrize('indices', [2, [0, 1]])
def test_indices_choose_frames(root, indices):
    assert len(build(root, indices=indices)) == 2


def test_key_img_sampler_takes_every_nth_frame(root):
    dataset = build(root, key_img_sampler={'interval': 2})
    assert [dataset.get_data_info(i)['frame_id'] for i in range(4)] == [0, 2, 0, 2]


@pytest.mark.parametrize('key', ['classes', 'CLASSES'])
def test_both_spellings_of_classes_are_set_and_order_the_labels(root, key):
    dataset = build(root, metainfo={key: ['car', 'pedestrian']})
    assert dataset.metainfo['classes'] == dataset.metainfo['CLASSES'] == ('car', 'pedestrian')
    assert [i['bbox_label'] for i in instances(dataset)['b', 0]] == [0, 1, 1]
    assert dataset.num_ids == 4


def test_classes_may_be_a_string_that_lost_its_comma(root):
    assert build(root, metainfo={'classes': 'car'}).metainfo['classes'] == ('car',)


def test_frames_know_the_rate_of_their_video(root):
    assert build(root).get_data_info(5)['fps'] == 25
    content = json.loads((root / 'ann.json').read_text())
    del content['videos'][1]['fps']
    (root / 'ann.json').write_text(json.dumps(content))
    assert build(root).get_data_info(5)['fps'] is None


def test_a_class_that_the_file_lacks_is_named_with_the_nearest(root):
    with pytest.raises(MMKDError, match="no category 'pedestrain'.*Did you mean 'pedestrian'"):
        build(root, metainfo={'classes': ('pedestrain',)})


def test_a_missing_annotation_file_tells_the_converter(root):
    with pytest.raises(MMKDError, match='gone.json.* does not exist.*mot2coco.py --input'):
        build(root, ann_file='gone.json')


def test_a_missing_image_folder_tells_where_it_looked(root):
    with pytest.raises(MMKDError, match=r"elsewhere/a/img1' does not exist.*data_prefix"):
        build(root, data_prefix={'img_path': 'elsewhere'})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'not a json file'),
        ('{"images": []}', 'no categories and no videos'),
        ('[]', 'no images'),
    ],
)
def test_a_file_that_is_no_annotation_file(root, text, message):
    (root / 'bad.json').write_text(text)
    with pytest.raises(MMKDError, match=message):
        build(root, ann_file='bad.json')


def test_single_images_need_load_as_video_false(root):
    content = json.loads((root / 'ann.json').read_text())
    content['videos'] = []
    (root / 'images.json').write_text(json.dumps(content))
    with pytest.raises(MMKDError, match='load_as_video=False'):
        build(root, ann_file='images.json')
    assert len(build(root, ann_file='images.json', load_as_video=False)) == 8


def test_copies_of_a_scene_share_their_identities(tmp_path):
    for detector in ('SDP', 'FRCNN'):
        make_sequence(tmp_path / 'train', f'MOT17-02-{detector}', ROWS_A)
    convert(str(tmp_path / 'train'), str(tmp_path / 'ann.json'), detector='all')
    assert build(tmp_path).num_ids == 1


def test_offsets_of_a_mixture_reach_the_samples(root):
    (root / 'other.json').write_text((root / 'ann.json').read_text())
    mixture = ConcatDataset([build(root), build(root, ann_file='other.json')])
    assert assign_id_offsets(mixture) == 6
    assert mixture.get_data_info(0)['instances'][0]['instance_id'] == 0
    assert mixture.get_data_info(8)['instances'][0]['instance_id'] == 3


@pytest.mark.parametrize('test_mode', [False, True])
def test_the_pipeline_of_the_configs_packs_boxes_with_ids(root, test_mode):
    augment = [
        {'type': 'mmkd.HSVJitter'},
        {'type': 'mmkd.Letterbox', 'scale': (96, 64)},
        {'type': 'mmkd.IdAwareRandomAffine'},
        {'type': 'mmkd.IdAwareRandomFlip'},
    ]
    dataset = DATASETS.build(
        {
            'type': 'mmkd.MOTDataset',
            'data_root': str(root),
            'ann_file': 'ann.json',
            'data_prefix': {'img_path': 'train'},
            'test_mode': test_mode,
            'pipeline': [
                {'type': 'LoadImageFromFile'},
                {'type': 'mmtrack.LoadTrackAnnotations', 'with_instance_id': True},
                *(augment[1:2] if test_mode else augment),
                {
                    'type': 'mmtrack.PackTrackInputs',
                    'pack_single_img': True,
                    'meta_keys': ('homography_matrix',),
                },
            ],
        }
    )
    for i in range(len(dataset)):  # frames without objects are among them
        item = dataset[i]
        assert item['inputs']['img'].shape == (1, 3, 64, 96)
        sample = item['data_samples']
        assert len(sample.gt_instances.bboxes) == len(sample.gt_instances.instances_id)
        assert sample.ori_shape == (48, 64)
        assert sample.homography_matrix.shape == (3, 3)
    if test_mode:
        expected = [[4 / 3, 0, 5], [0, 4 / 3, 0], [0, 0, 1]]
        np.testing.assert_allclose(sample.homography_matrix, expected, atol=0.02)


# ---------------------------------------------------------------- distractors


@pytest.fixture
def crowd(tmp_path):
    """A pedestrian, one who is not considered, a static person, a reflection, a car."""
    rows = [
        '1,1,10,10,20,30,1,1,1',
        '1,2,12,10,20,30,0,1,1',
        '1,3,14,10,20,30,1,7,1',
        '1,4,16,10,20,30,0,12,1',
        '1,5,18,10,20,30,1,3,1',
    ]
    make_sequence(tmp_path / 'train', 'a', rows)
    convert(str(tmp_path / 'train'), str(tmp_path / 'ann.json'))
    return tmp_path


DISTRACTORS = ('static_person', 'reflection')


def flags(dataset):
    return {
        i['mot_instance_id']: (i['bbox_label'], i['ignore_flag'], i['distractor'])
        for i in instances(dataset)['a', 0]
    }


def test_testing_with_distractors_keeps_all_boxes_but_scores_the_classes_only(crowd):
    dataset = build(crowd, test_mode=True, distractors=DISTRACTORS)
    assert flags(dataset) == {
        1: (0, 0, False),
        2: (0, 1, False),
        3: (-1, 1, True),
        4: (-1, 1, True),
        5: (-1, 1, False),
    }
    assert dataset.num_ids == 2
    assert flags(build(crowd, test_mode=True)) == {1: (0, 0, False), 2: (0, 1, False)}


def test_training_never_sees_distractors(crowd):
    dataset = build(crowd, distractors=DISTRACTORS)
    assert flags(dataset) == {1: (0, 0, False)}
    assert dataset.num_ids == 1
    # Nor does its file need to have such categories.
    build(crowd, distractors=('robot',))


def test_distractors_are_no_targets_when_packed(crowd):
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'mmtrack.LoadTrackAnnotations', 'with_instance_id': True},
        {'type': 'mmkd.Letterbox', 'scale': (96, 64)},
        {'type': 'mmtrack.PackTrackInputs', 'pack_single_img': True},
    ]
    config = {
        'type': 'mmkd.MOTDataset',
        'data_root': str(crowd),
        'ann_file': 'ann.json',
        'data_prefix': {'img_path': 'train'},
        'test_mode': True,
        'distractors': DISTRACTORS,
        'pipeline': pipeline,
    }
    sample = DATASETS.build(config)[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [0]
    assert sample.ignored_instances.labels.tolist() == [0, -1, -1, -1]
    assert [i['distractor'] for i in sample.instances] == [False, False, True, True, False]


def test_a_file_without_any_of_the_distractors_has_nothing_to_forgive(crowd):
    dataset = build(crowd, test_mode=True, distractors=('robot', 'statue'))
    assert flags(dataset) == flags(build(crowd, test_mode=True))


def test_mistaken_distractors(crowd):
    with pytest.raises(MMKDError, match="no category 'static_persn', which distractors.*'static_p"):
        build(crowd, test_mode=True, distractors=('static_persn', 'reflection'))
    with pytest.raises(MMKDError, match="'pedestrian' is both a class and one of the distractors"):
        build(crowd, test_mode=True, distractors='pedestrian')
