"""Frames of MOT videos that know their scene's attributes."""

from __future__ import annotations

import pytest

from mmkd.datasets.attributes import AttributeTable
from mmkd.errors import MMKDError

pytest.importorskip('mmtrack')
from mmengine.registry import init_default_scope

from mmkd.datasets import MOTDataset
from mmkd.datasets.converters import convert
from mmkd.datasets.transforms import AddAttributes

from .mot_folder import make_sequence

TABLE = AttributeTable(('OCC', 'FM'), {'A': ('OCC',), 'b': ('OCC', 'FM')}, source='table')
META_KEYS = ('attributes', 'attribute_groups')


def pipeline(*before, meta_keys=None, after=()):
    return [
        {'type': 'LoadImageFromFile'},
        {'type': 'mmtrack.LoadTrackAnnotations', 'with_instance_id': True},
        *before,
        {'type': 'mmtrack.PackTrackInputs', 'pack_single_img': True, 'meta_keys': meta_keys},
        *after,
    ]


@pytest.fixture
def root(tmp_path):
    init_default_scope('mmtrack')
    for name in 'ab':
        make_sequence(tmp_path / 'train', name, ['1,5,10,10,20,30,1,1,1'])
    convert(str(tmp_path / 'train'), str(tmp_path / 'ann.json'))
    TABLE.save(str(tmp_path / 'attributes.json'))
    return tmp_path


def build(root, **kwargs):
    config = {'ann_file': 'ann.json', 'data_prefix': {'img_path': 'train'}, 'data_root': str(root)}
    return MOTDataset(**{**config, **kwargs})


def metas(dataset):
    return [dataset[i]['data_samples'].metainfo for i in (0, 3, 4)]


def has_them(found):
    """Of the first and last frame of sequence a and the first of b."""
    a = {'attributes': ('OCC',), 'attribute_groups': ('occlusion',)}
    b = {'attributes': ('OCC', 'FM'), 'attribute_groups': ('occlusion', 'fast_motion')}
    assert [{key: meta[key] for key in META_KEYS} for meta in found] == [a, a, b]


@pytest.mark.parametrize('test_mode', [False, True])
def test_the_data_set_tells_whatever_the_pipeline_packs(root, test_mode):
    has_them(
        metas(build(root, attributes='attributes.json', pipeline=pipeline(), test_mode=test_mode))
    )


def test_a_pipeline_that_does_not_pack_the_video(root):
    steps = pipeline()
    steps[-1]['default_meta_keys'] = ('img_path',)
    has_them(metas(build(root, attributes=TABLE, pipeline=steps)))


def test_without_a_table_nothing_is_added(root):
    assert 'attributes' not in metas(build(root, pipeline=pipeline()))[0]


def test_the_transform_before_packing(root):
    step = {'type': 'mmkd.AddAttributes', 'attributes': str(root / 'attributes.json')}
    has_them(metas(build(root, pipeline=pipeline(step, meta_keys=META_KEYS))))


def test_the_transform_after_packing(root):
    step = {'type': 'mmkd.AddAttributes', 'attributes': TABLE}
    has_them(metas(build(root, pipeline=pipeline(after=[step]))))


def test_which_video_a_frame_is_of():
    def of(info, **options):
        return AddAttributes(TABLE, **options).transform(dict(info))['attributes']

    assert of({'img_path': 'data/b/img1/000001.jpg'}) == ('OCC', 'FM')
    assert of({'img_path': 'data/a/000001.jpg'}) == ('OCC',)
    assert of({'img_path': 'data/a/000001.jpg', 'scene': 'b'}) == ('OCC', 'FM')
    assert of({'scene': 'a', 'name': 'b'}, by='name') == ('OCC', 'FM')
    assert of({'scene': 'c'}, missing='none') == ()
    with pytest.raises(MMKDError, match="'table' has no attributes of the video 'c'"):
        of({'scene': 'c'})
    with pytest.raises(MMKDError, match="has no 'name'. It has img_path, scene"):
        of({'scene': 'a', 'img_path': 'x'}, by='name')
    with pytest.raises(MMKDError, match='sees one frame at a time'):
        of({'img_path': ['a/1.jpg', 'a/2.jpg']})
    with pytest.raises(MMKDError, match="missing is 'error' or 'none'"):
        of({}, missing='no')


def test_a_data_set_whose_video_is_unknown(root):
    with pytest.raises(MMKDError, match="no attributes of the video 'b'"):
        build(root, attributes=AttributeTable(('FM',), {'a': ()}, source='t'))
    with pytest.raises(MMKDError, match='are those of videos'):
        build(root, attributes=TABLE, load_as_video=False)
