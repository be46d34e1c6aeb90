from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmkd.datasets.converters.badlines import BadLines
from mmkd.datasets.converters.jde import convert_jde, label_path, read_label
from mmkd.errors import MMKDError

from ..mot_folder import make_jde_image

GOOD = '0 7 0.5 0.5 0.25 0.5'


@pytest.fixture
def root(tmp_path):
    """Three of the forms that the lists of JDE have."""
    root = tmp_path / 'JDE'
    make_jde_image(root, 'PRW/images/c1s1_000151.jpg', [GOOD, '0 -1 0.0 0.1 0.5 0.5'])
    make_jde_image(root, 'ETHZ/eth01/images/image_00000001_0.png', [], (32, 24))
    make_jde_image(root, 'Cityscapes/images/train/jena/jena_0.png', ['0 0 0.9 0.5 0.5 1.5'])
    (tmp_path / 'mix.train').write_text(
        'PRW/images/c1s1_000151.jpg\n\nETHZ/eth01/images/image_00000001_0.png\n'
        f'{root}/Cityscapes/images/train/jena/jena_0.png\n'
    )
    return root


def load(path):
    return json.loads(path.read_text())


def run(root, **kwargs):
    out = root.parent / 'out' / 'x.json'
    kwargs.setdefault('list_file', str(root.parent / 'mix.train'))
    report = convert_jde(str(root), str(out), force=True, **kwargs)
    return report, load(out)


def test_boxes_are_pixels_and_may_leave_the_image(root):
    report, content = run(root)
    assert 'videos' not in content
    assert content['categories'] == [{'id': 1, 'name': 'pedestrian'}]
    assert content['images'] == [
        {'id': 1, 'file_name': 'PRW/images/c1s1_000151.jpg', 'height': 48, 'width': 64},
        {'id': 2, 'file_name': 'ETHZ/eth01/images/image_00000001_0.png', 'height': 24,
         'width': 32},
        {'id': 3, 'file_name': 'Cityscapes/images/train/jena/jena_0.png', 'height': 48,
         'width': 64},
    ]  # fmt: skip
    # 64 x 48 pixels: the centre 0.5, 0.5 is 32, 24 and the size 0.25, 0.5 is 16, 24.
    assert [(a['image_id'], a['bbox'], a['instance_id']) for a in content['annotations']] == [
        (1, [24, 12, 16, 24], 7),
        (1, [-16, -7.2, 32, 24], -1),
        (3, [41.6, -12, 32, 72], 0),
    ]
    assert content['annotations'][0]['area'] == 16 * 24
    assert report['images'] == 3
    assert (report['boxes'], report['ids'], report['unknown'], report['empty']) == (3, 2, 1, 1)
    assert (report['skipped'], report['notes']) == ({}, {})


def test_converting_twice_gives_the_same_bytes(root):
    out = [root.parent / '1.json', root.parent / '2.json']
    for path in out:
        convert_jde(str(root), str(path))
    assert out[0].read_bytes() == out[1].read_bytes()


def test_without_a_list_all_labelled_images_are_taken(root):
    make_jde_image(root, 'PRW/images/a.jpg', None)
    make_jde_image(root, 'PRW/other/b.jpg', None)
    report, content = run(root, list_file=None)
    assert [i['file_name'].split('/')[0] for i in content['images']] == [
        'Cityscapes', 'ETHZ', 'PRW']  # fmt: skip
    assert report['notes'] == {'image without a label file, left out': 1}


def test_only_folders_named_images_lead_to_labels():
    assert label_path('a/images/b/images.v2.jpg') == 'a/labels_with_ids/b/images.v2.txt'


def test_an_image_without_labels_stops_a_list_unless_told(root):
    (root / 'PRW/labels_with_ids/c1s1_000151.txt').unlink()
    with pytest.raises(MMKDError, match=r'train, line 1: .*no label file.*--unlabelled empty'):
        run(root)
    report, _ = run(root, unlabelled='empty')
    assert (report['images'], report['empty']) == (3, 2)
    assert report['notes'] == {'image without a label file, taken as empty': 1}
    report, _ = run(root, unlabelled='skip')
    assert report['images'] == 2
    with pytest.raises(MMKDError, match="Did you mean 'empty'"):
        run(root, unlabelled='emtpy')


def test_a_root_without_any_labels_is_told(tmp_path):
    make_jde_image(tmp_path / 'x', 'images/a.jpg', None)
    with pytest.raises(MMKDError, match="'labels_with_ids' beside"):
        convert_jde(str(tmp_path / 'x'), str(tmp_path / 'x.json'))
    with pytest.raises(MMKDError, match="gone' does not exist"):
        convert_jde(str(tmp_path / 'gone'), str(tmp_path / 'x.json'))
    assert not (tmp_path / 'x.json').exists()


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('0 1 0.5 0.5 0.1', '5 columns where 6'),
        ('0 1 0.5 0.5 0.1 0.1 1', '7 columns'),
        ('0 1 0.5 x 0.1 0.1', 'not a number'),
        ('0 1 0.5 nan 0.1 0.1', 'not finite'),
        ('0 inf 0.5 0.5 0.1 0.1', 'not finite'),
        ('0 1.5 0.5 0.5 0.1 0.1', 'whole number'),
        ('0 4294967296 0.5 0.5 0.1 0.1', 'below 2'),
        ('0 1 0.5 0.5 -0.1 0.1', 'without area'),
        ('0 1 0.5 0.5 0.1 0', 'without area'),
        ('0 1 320 240 64 128', 'no fraction of the image'),
        ('0 7 0.6 0.5 0.1 0.1', 'same identity as an earlier line'),
    ],
)
def test_a_bad_line_is_an_error_with_file_and_line_or_is_counted(root, line, reason):
    make_jde_image(root, 'PRW/images/c1s1_000151.jpg', [GOOD, line])
    with pytest.raises(MMKDError, match=rf'c1s1_000151\.txt, line 2: .*{reason}.*--skip-bad'):
        run(root)
    report, content = run(root, skip_bad=True)
    assert [a['instance_id'] for a in content['annotations']] == [7, 0]
    assert sum(report['skipped'].values()) == 1


def test_unknown_people_are_copies_only_where_their_boxes_are(root):
    box = '0 -1 0.5 0.5 0.25 0.5'
    make_jde_image(root, 'PRW/images/c1s1_000151.jpg', [box, '0 -2 0.5 0.5 0.2 0.5', box])
    with pytest.raises(MMKDError, match='line 3: a copy of an earlier line'):
        run(root)
    report, content = run(root, skip_bad=True)
    assert [a['instance_id'] for a in content['annotations']] == [-1, -1, 0]
    assert report['skipped'] == {'a copy of an earlier line of the image': 1}


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('PRW/images/gone.jpg', 'is missing'),
        ('PRW/images/broken.jpg', 'cannot be read'),
        ('PRW/c1s1_000151.jpg', "without a folder 'images'"),
        ('images.jpg', "without a folder 'images'"),
        ('PRW/images/../images/c1s1_000151.jpg', 'an earlier line lists'),
        ('../elsewhere/images/a.jpg', 'does not lie below --root'),
        ('/home/somebody/PRW/images/a.jpg', 'does not lie below --root'),
        ('PRW/images/\0.jpg', 'is missing'),
        ('PRW/images/' + 300 * 'a' + '.jpg', 'is missing'),
    ],
)
def test_a_bad_line_of_a_list_is_an_error_or_is_counted(root, line, reason):
    (root / 'PRW/images/broken.jpg').write_bytes(b'no image')
    with (root.parent / 'mix.train').open('a') as file:
        file.write(line + '\n')
    with pytest.raises(MMKDError, match=rf'mix\.train, line 5: .*{reason}.*--skip-bad'):
        run(root)
    report, content = run(root, skip_bad=True)
    assert len(content['images']) == 3
    assert sum(report['skipped'].values()) == 1


def test_files_that_are_no_text_are_told(root):
    (root / 'PRW/labels_with_ids/c1s1_000151.txt').write_bytes(b'\xff\xfe')
    with pytest.raises(MMKDError, match='c1s1_000151.txt: a label file that is not text'):
        run(root)
    assert run(root, skip_bad=True)[0]['boxes'] == 1
    with pytest.raises(MMKDError, match='list of images.*cannot be read'):
        run(root, list_file=str(root / 'gone.train'))


def test_a_photograph_on_its_side_has_the_size_in_which_it_is_loaded(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (64, 48)).save(root / 'PRW/images/c1s1_000151.jpg', exif=exif.tobytes())
    _, content = run(root)
    assert (content['images'][0]['width'], content['images'][0]['height']) == (48, 64)
    assert content['annotations'][0]['bbox'] == [18, 16, 12, 32]


def test_a_file_of_the_user_is_not_overwritten(root):
    (root / 'x.json').write_text('mine')
    with pytest.raises(MMKDError, match='exists.*--force'):
        convert_jde(str(root), str(root / 'x.json'))
    assert (root / 'x.json').read_text() == 'mine'


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.text(alphabet='0123456789.- einf\n\t', max_size=80))
def test_any_text_is_read_or_refused_in_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / 'any.txt'
    path.write_bytes(text.encode('utf-8', 'surrogatepass'))
    bad = BadLines(skip=True)
    boxes = read_label(path, (64, 48), bad)
    lines = [line for line in text.splitlines() if line.strip()]
    if 'a label file that is not text' not in bad.counts:
        assert len(boxes) + sum(bad.counts.values()) == len(lines)
    if bad.counts:
        with pytest.raises(MMKDError, match='any.txt'):
            read_label(path, (64, 48), BadLines())


fraction = st.floats(-2, 3, width=32)
part = st.floats(2**-10, 3, width=32)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-1, 2**31 - 1), fraction, fraction, part, part),
        max_size=8,
        unique_by=lambda row: row[0] if row[0] >= 0 else row[1:],
    ),
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_what_fairmot_writes_comes_back(tmp_path_factory, rows, size):
    """Written with the fractions' formula, read with the pixels'."""
    width, height = size
    path = tmp_path_factory.getbasetemp() / 'round.txt'
    lines, expected = [], []
    for identity, x, y, w, h in rows:
        expected.append((identity, (x * width, y * height, w * width, h * height)))
        lines.append(f'0 {identity} {x + w / 2!r} {y + h / 2!r} {w!r} {h!r}')
    path.write_text('\n'.join(lines))
    found = read_label(path, size, BadLines())
    assert [identity for identity, _ in found] == [identity for identity, _ in expected]
    for (_, box), (_, wanted) in zip(found, expected):
        assert box == pytest.approx(wanted, abs=1e-6)
