import json
from dataclasses import replace

import pytest

from mmkd.distill.cache.layout import Layout
from mmkd.distill.cache.manifest import Manifest, differences, refuse
from mmkd.distill.teachers.fingerprint import Fingerprint
from mmkd.errors import MMKDError

MANIFEST = Manifest(
    mode='exact',
    storage='bf16',
    features=('last',),
    layout=Layout(10, 2, 4),
    seed=0,
    canvas=None,
    teacher=Fingerprint('a' * 64, {'w': '1' * 16}, {'mean': [1.0], 'patch': 14}),
    data={'annotations': 'x', 'pictures': 'y'},
    augmentation={
        'parameters': {'pipeline[0] Flip': 'p'},
        'code': {'mmkd.flip': 'c'},
        'packages': {'numpy': '1.26.4'},
    },
    shapes={'last': (1, 8, 4, 6)},
    report={'last': {'error': 0.001}},
)


def test_it_comes_back_as_it_was_saved(tmp_path):
    MANIFEST.save(str(tmp_path))
    read = Manifest.load(str(tmp_path))
    assert read == MANIFEST
    assert read.owner == MANIFEST.owner


@pytest.mark.parametrize(
    ('changes', 'word'),
    [
        (dict(storage='fp16'), "storage was 'bf16' and is 'fp16'"),
        (dict(mode='warp'), "mode was 'exact' and is 'warp'"),
        (dict(seed=1), 'seed was 0 and is 1'),
        (dict(canvas=(4, 6)), 'canvas was None'),
        (dict(layout=Layout(10, 3, 4)), "layout was {'samples': 10, 'variants': 2"),
        (dict(features=('deep',)), 'deep is asked for, but last is stored'),
        (dict(data={'annotations': 'x', 'pictures': 'z'}), 'The data set: other pictures'),
        (
            dict(teacher=Fingerprint('b' * 64, {'w': '2' * 16}, {'mean': [1.0], 'patch': 14})),
            'The teacher is another one: 1 of 1 tensors differ: w',
        ),
        (
            dict(teacher=Fingerprint('b' * 64, {'w': '1' * 16}, {'mean': [1.0], 'patch': 16})),
            'The teacher is another one: patch was 14 and is 16',
        ),
        (
            dict(augmentation={**MANIFEST.augmentation, 'parameters': {}}),
            'other parameters of pipeline.0. Flip',
        ),
        (
            dict(augmentation={**MANIFEST.augmentation, 'code': {'mmkd.flip': 'd'}}),
            'other code in mmkd.flip',
        ),
        (
            dict(augmentation={**MANIFEST.augmentation, 'packages': {'numpy': '2.0'}}),
            r'other versions of numpy \(1.26.4, now 2.0\)',
        ),
    ],
)
def test_what_differs_is_named_and_alone(changes, word):
    words = differences(MANIFEST, **changes)
    assert len(words) == 1
    with pytest.raises(MMKDError, match=word):
        refuse('folder', words, 'training set')
    assert replace(MANIFEST, **changes).owner != MANIFEST.owner, 'its shards are none of ours'


def test_what_was_measured_is_no_identity():
    assert replace(MANIFEST, report={}).owner == MANIFEST.owner
    refuse('folder', differences(MANIFEST, mode='exact', data=MANIFEST.data), 'teacher')


def test_a_part_of_the_stored_features_will_do():
    saved = replace(MANIFEST, features=('last', 'deep'))
    assert differences(saved, features=('deep',)) == []


def test_no_cache_another_format_and_a_damaged_one(tmp_path):
    with pytest.raises(MMKDError, match='no cache of a teacher.*tools/cache_teacher.py'):
        Manifest.load(str(tmp_path))
    MANIFEST.save(str(tmp_path))
    file = tmp_path / 'manifest.json'
    good = json.loads(file.read_text())
    for content, word in (
        ({**good, 'schema': 2}, 'has the format 2, but this mmkd reads 1'),
        ({**good, 'colour': 'red'}, 'is damaged.*colour'),
        ({k: v for k, v in good.items() if k != 'seed'}, 'is damaged.*seed'),
        ({**good, 'layout': {'samples': 1}}, 'is damaged'),
        ([], 'is damaged'),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(MMKDError, match=word):
            Manifest.load(str(tmp_path))
    file.write_text('{"schema"')
    with pytest.raises(MMKDError, match='is damaged'):
        Manifest.load(str(tmp_path))
