from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmkd.datasets.converters.crowdhuman import convert_crowdhuman
from mmkd.errors import MMKDError

from ..mot_folder import make_image

PERSON = {
    'tag': 'person',
    'hbox': [12, 8, 4, 4],
    'head_attr': {'ignore': 0, 'occ': 1, 'unsure': 0},
    'fbox': [-5, 10, 20, 60],
    'vbox': [0, 10, 15, 30],
    'extra': {'box_id': 0, 'occ': 1},
}
IGNORED = {**PERSON, 'extra': {'box_id': 1, 'ignore': 1}}
MASK = {'tag': 'mask', 'fbox': [1, 1, 9, 9], 'vbox': [1, 1, 9, 9], 'extra': {'ignore': 1}}
ID = '273271,c9db000d5146c15'


def write(root, *records):
    path = root / 'annotation_train.odgt'
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.fixture
def root(tmp_path):
    make_image(tmp_path / 'Images' / f'{ID}.jpg')
    make_image(tmp_path / 'Images' / 'b.jpg', (32, 24))
    write(
        tmp_path,
        {'ID': ID, 'gtboxes': [PERSON, IGNORED, MASK, {**PERSON, 'fbox': [1.5, 2, 3, 4]}]},
        {'ID': 'b', 'gtboxes': [PERSON]},
    )
    return tmp_path


def run(root, **kwargs):
    report = convert_crowdhuman(
        str(root / 'annotation_train.odgt'),
        str(root / 'Images'),
        str(root / 'out' / 'x.json'),
        force=True,
        **kwargs,
    )
    return report, json.loads((root / 'out' / 'x.json').read_text())


def test_each_person_is_an_identity_of_the_file(root):
    report, content = run(root)
    assert content['images'][0] == {
        'id': 1, 'file_name': f'{ID}.jpg', 'height': 48, 'width': 64}  # fmt: skip
    assert [(a['image_id'], a['bbox'], a['instance_id']) for a in content['annotations']] == [
        (1, [-5, 10, 20, 60], 0),
        (1, [1.5, 2, 3, 4], 1),
        (2, [-5, 10, 20, 60], 2),
    ]
    assert (report['images'], report['boxes'], report['ids']) == (2, 3, 3)
    assert report['notes'] == {'box to be ignored, left out': 2}
    assert report['skipped'] == {}


def test_detection_only_and_visible_boxes(root):
    report, content = run(root, ids='none', boxes='visible')
    assert [a['instance_id'] for a in content['annotations']] == [-1, -1, -1]
    assert content['annotations'][0]['bbox'] == [0, 10, 15, 30]
    assert (report['ids'], report['unknown']) == (0, 3)
    with pytest.raises(MMKDError, match="no choice 'viisble'. Did you mean 'visible'"):
        run(root, boxes='viisble')


def test_the_boxes_are_those_of_fairmots_rule(root):
    """The original leaves out extra.ignore == 1 and nothing else; a mask always has it."""
    records = [json.loads(line) for line in (root / 'annotation_train.odgt').open()]
    wanted = [
        box['fbox']
        for record in records
        for box in record['gtboxes']
        if not ('extra' in box and 'ignore' in box['extra'] and box['extra']['ignore'] == 1)
    ]
    assert [a['bbox'] for a in run(root)[1]['annotations']] == wanted


def test_a_mask_without_ignore_is_left_out(root):
    write(root, {'ID': 'b', 'gtboxes': [{**MASK, 'extra': {}}, PERSON]})
    report, _ = run(root)
    assert (report['boxes'], report['notes']) == (1, {'mask, left out': 1})


def test_an_image_without_people_stays(root):
    write(root, {'ID': 'b', 'gtboxes': []})
    report, _ = run(root)
    assert (report['images'], report['empty']) == (1, 1)


def test_a_turned_photograph_keeps_its_stored_size_and_is_counted(root):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new('RGB', (64, 48)).save(root / 'Images' / 'b.jpg', exif=exif.tobytes())
    report, content = run(root)
    assert (content['images'][1]['width'], content['images'][1]['height']) == (64, 48)
    assert report['notes']['image that EXIF turns: its boxes are those of the stored pixels'] == 1


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('{"ID": "b", "gtboxes": [', 'not json'),
        (2000 * '[', 'not json'),
        ('[]', 'without the ID'),
        ('{"ID": 3, "gtboxes": []}', 'without the ID'),
        ('{"ID": "b"}', 'without gtboxes'),
        ('{"ID": "gone", "gtboxes": []}', 'an image that is missing'),
        ('{"ID": "\\ud800", "gtboxes": []}', 'an image that is missing'),
        ('{"ID": "\\u0000", "gtboxes": []}', 'an image that is missing'),
        (json.dumps({'ID': 300 * 'a', 'gtboxes': []}), 'an image that is missing'),
        ('{"ID": "broken", "gtboxes": []}', 'an image that cannot be read'),
        ('{"ID": "b", "gtboxes": []}', 'an earlier line has'),
    ],
)
def test_a_bad_line_is_an_error_with_file_and_line_or_is_counted(root, line, reason):
    (root / 'Images' / 'broken.jpg').write_bytes(b'no image')
    write(root, {'ID': 'b', 'gtboxes': [PERSON]}, line)
    with pytest.raises(MMKDError, match=rf'train\.odgt, line 2: .*{reason}.*--skip-bad'):
        run(root)
    report, content = run(root, skip_bad=True)
    assert len(content['images']) == 1
    assert sum(report['skipped'].values()) == 1


@pytest.mark.parametrize(
    ('box', 'reason'),
    [
        (3, 'no dict'),
        ({**PERSON, 'tag': 'dog'}, 'neither person nor mask'),
        ({'tag': 'person'}, 'no list of 4 numbers, fbox None'),
        ({**PERSON, 'fbox': [1, 2, 3]}, 'no list of 4 numbers'),
        ({**PERSON, 'fbox': [1, 2, 3, '4']}, 'not a number'),
        ({**PERSON, 'fbox': [1, 2, 3, True]}, 'not a number'),
        ({**PERSON, 'fbox': [1, 2, 3, float('nan')]}, 'not finite or out of range'),
        ({**PERSON, 'fbox': [1, 2, 3, 10**400]}, 'not finite or out of range'),
        ({**PERSON, 'fbox': [1, 2, -3, 4]}, 'without area'),
        ({**PERSON, 'fbox': [1, 2, 3, 0]}, 'without area'),
    ],
)
def test_a_bad_box_is_an_error_or_is_counted(root, box, reason):
    write(root, {'ID': 'b', 'gtboxes': [PERSON, box]})
    with pytest.raises(MMKDError, match=rf'line 1, gtboxes\[1\]: .*{reason}.*--skip-bad'):
        run(root)
    report, content = run(root, skip_bad=True)
    assert len(content['annotations']) == 1
    assert sum(report['skipped'].values()) == 1


def test_missing_inputs_are_told(root):
    with pytest.raises(MMKDError, match='image folder .* does not exist'):
        convert_crowdhuman(str(root / 'annotation_train.odgt'), str(root / 'x'), str(root / 'y'))
    with pytest.raises(MMKDError, match='gone.odgt.* cannot be read'):
        convert_crowdhuman(str(root / 'gone.odgt'), str(root / 'Images'), str(root / 'y'))
    write(root, '')
    with pytest.raises(MMKDError, match='no usable image'):
        run(root)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(['tag', 'fbox', 'vbox', 'extra', 'ignore']), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip
records = st.fixed_dictionaries({'ID': st.just('b') | values, 'gtboxes': st.lists(values)})


@settings(max_examples=100, deadline=None)
@given(line=st.text() | values.map(json.dumps) | records.map(json.dumps))
def test_any_text_is_read_or_refused_in_a_sentence(tmp_path_factory, line):
    root = tmp_path_factory.getbasetemp() / 'odgt'
    if not root.exists():
        make_image(root / 'Images' / 'b.jpg')
    odgt = root / 'annotation_train.odgt'
    odgt.write_bytes(line.encode('utf-8', 'surrogatepass'))
    for skip_bad in (True, False):
        try:
            report, content = run(root, skip_bad=skip_bad)
        except MMKDError:
            continue
        assert all(a['bbox'][2] >= 0 for a in content['annotations'])
        assert report['ids'] == report['boxes']


@settings(max_examples=50, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(*[st.integers(-500, 5000)] * 2, *[st.integers(1, 5000)] * 2), max_size=10
    )
)
def test_what_is_written_comes_back(tmp_path_factory, boxes):
    root = tmp_path_factory.getbasetemp() / 'back'
    if not root.exists():
        make_image(root / 'Images' / 'b.jpg')
    write(root, {'ID': 'b', 'gtboxes': [{**PERSON, 'fbox': list(box)} for box in boxes]})
    assert [tuple(a['bbox']) for a in run(root)[1]['annotations']] == boxes
