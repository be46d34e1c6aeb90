"""Files of attributes as the benchmarks ship them, right and wrong."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkd.datasets.attributes import load_attributes
from mmkd.datasets.attributes.text_files import LAYOUTS, parse_values
from mmkd.errors import MMKDError

SAMPLES = Path(__file__).parents[4] / 'shared' / 'data' / 'LaSOT_annos'
LASOT_ROW = '1,0,0,0,0,0,0,0,1,0,0,0,0,1'


def write(folder: Path, rows: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for video, row in rows.items():
        (folder / f'{video}.txt').write_text(row)
    return folder


@pytest.mark.parametrize('place', ['', 'att', 'annos/att'])
def test_lasot_by_its_folder_or_the_toolkits(tmp_path, place):
    write(tmp_path / place, {'cat-2': LASOT_ROW + '\n', 'cat-10': LASOT_ROW.replace('1', '0')})
    table = load_attributes(str(tmp_path))
    assert list(table.videos) == ['cat-2', 'cat-10']
    assert table.of('cat-2') == ('IV', 'SV', 'ARC')
    assert table.of('cat-10') == ()
    assert table.source == str(tmp_path / place)


@pytest.mark.parametrize(
    'row', ['1,0,0,1,0,0,0,0,0,0,1', '1 0\t0 1, 0 0 0 0 0 0 1', '1;0;0;1;0;0;0;0;0;0;1\n\n']
)
def test_otb_has_eleven_values_and_any_separators(tmp_path, row):
    table = load_attributes(str(write(tmp_path / 'anno' / 'att', {'Jogging.1': row}).parents[1]))
    assert table.of('jogging-1') == ('IV', 'OCC', 'LR')


def test_uav123_in_its_order(tmp_path):
    write(tmp_path / 'anno' / 'UAV123' / 'att', {'bird1_1': '1,0,0,1,0,0,0,0,0,0,0,1'})
    assert load_attributes(str(tmp_path)).of('bird1_1') == ('SV', 'FM', 'SOB')


@pytest.mark.parametrize('place', ['', 'VL-SOT230'])
def test_vl_sot500_has_seventeen_values_of_which_two_have_levels(tmp_path, place):
    folder = tmp_path / place / 'boat_01'
    folder.mkdir(parents=True)
    (folder / 'attributes.txt').write_text('1,0,0,1,0,0,0,1,0,0,1,0,2,1,0,0,0\n')
    table = load_attributes(str(tmp_path))
    assert table.of('boat_01') == (
        *('CM', 'FO', 'SD', 'ARTIFICIAL', 'BRIGHTNESS_HIGH', 'FM', 'LENGTH_SHORT'),
    )
    assert len(table.names) == 22
    assert table.groups_of('boat_01') == (
        *('occlusion', 'fast_motion', 'camera_motion', 'similar_object'),
    )


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('1,0,0,0,0,0,0,0,1,0,0,0,0', r"cat-1.txt', line 1: 13 values; LaSOT has .* 14 values"),
        ('\n\n1,0,0', r"cat-1.txt', line 3: 3 values"),
        (LASOT_ROW + '\n' + LASOT_ROW, r"cat-1.txt', line 2: a second line"),
        (LASOT_ROW[:-1] + '2', r"line 1: value 14 is '2'; LaSOT has one of 0, 1 there \(ARC\)"),
        (LASOT_ROW[:-1] + 'x', r"value 14 is 'x'"),
        (LASOT_ROW.replace(',', ' '), r'line 1: 1 values'),
        ('', r"cat-1.txt' is empty"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, row, message):
    write(tmp_path, {'cat-1': row, 'cat-2': LASOT_ROW})
    with pytest.raises(MMKDError, match=message):
        load_attributes(str(tmp_path))
    with pytest.raises(MMKDError, match=message):
        load_attributes(str(tmp_path), kind='lasot')


def rows_of(kind: str, order=None) -> dict:
    """A set as large as the benchmark, with its sums, columns in another order if one is given."""
    layout = LAYOUTS[kind]
    count = layout.sums.videos[1]
    columns = [[1] * total + [0] * (count - total) for total in layout.sums.counts]
    for column in columns:
        random.Random(0).shuffle(column)
    columns = [columns[layout.names.index(name)] for name in order or layout.names]
    return {f'v{i}': ','.join(map(str, row)) for i, row in enumerate(zip(*columns))}


@pytest.mark.parametrize('kind', ['uav123', 'otb'])
def test_whole_benchmarks_are_checked_by_their_columns(tmp_path, kind):
    write(tmp_path / 'right', rows_of(kind))
    assert len(load_attributes(str(tmp_path / 'right'))) == LAYOUTS[kind].sums.videos[1]
    order = sorted(LAYOUTS[kind].names)
    write(tmp_path / 'wrong', rows_of(kind, order))
    with pytest.raises(MMKDError, match=r'wrong.*videos have .*in another order than'):
        load_attributes(str(tmp_path / 'wrong'))


def test_the_message_says_which_attribute_stands_there(tmp_path):
    # One of the two public scripts that assume another order: alphabetical.
    write(tmp_path, rows_of('uav123', sorted(LAYOUTS['uav123'].names)))
    with pytest.raises(MMKDError, match='68 of 123 videos have SV, where .* 109, as many as ARC'):
        load_attributes(str(tmp_path))


@pytest.mark.parametrize('kind', ['lasot', 'uav123', 'otb'])
def test_any_two_columns_changed_are_seen(kind):
    """Or are so alike that the sums cannot tell; those are few, and known."""
    from mmkd.datasets.attributes.text_files import Layout, _check_sums

    layout: Layout = LAYOUTS[kind]
    rows = [tuple(map(int, row.split(','))) for row in rows_of(kind).values()]
    _check_sums(rows, layout, 'x')
    unseen = []
    for i in range(len(layout.names)):
        for j in range(i):
            order = list(range(len(layout.names)))
            order[i], order[j] = j, i
            try:
                _check_sums([tuple(row[k] for k in order) for row in rows], layout, 'x')
                unseen.append((i, j))
            except MMKDError:
                pass
    assert len(unseen) <= (0 if kind != 'otb' else 15)


@settings(max_examples=80)
@given(st.sampled_from(sorted(LAYOUTS)), st.data())
def test_every_valid_row_means_what_it_says(kind, data):
    layout = LAYOUTS[kind]
    values = [data.draw(st.integers(0, len(column) - 1)) for column in layout.columns]
    text = data.draw(st.sampled_from(['', '\n', ' \n']))
    row = ','.join(f'{data.draw(st.sampled_from(["", " "]))}{value}' for value in values)
    assert parse_values(text + row + text, 'f', layout)[0] == tuple(values)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet='01,2 \n;x-.', max_size=60), st.sampled_from(sorted(LAYOUTS)))
def test_no_text_is_taken_for_something_else(text, kind):
    layout = LAYOUTS[kind]
    # A text of one line with the right values is read; anything else is refused by name.
    lines = [line for line in text.splitlines() if line.strip()]
    parts = re.split(r'[,;\s]+', lines[0].strip(',; ')) if len(lines) == 1 else []
    try:
        values, where = parse_values(text, 'file', layout)
    except MMKDError as error:
        message = str(error)
    else:
        message = ''
        assert values == tuple(map(int, parts))
        assert len(values) == len(layout.columns)
        assert where.startswith("'file', line ")
    assert not message or message.startswith("'file'")


def test_pytrackings_json(tmp_path):
    content = {
        'att_name_long': ['Partial Occlusion', 'Fast Motion'],
        'att_name_short': ['POC', 'FM'],
        'cat-1': ['POC'],
        'Walking': [''],
    }
    path = tmp_path / 'LaSOT_attributes.json'
    path.write_text(json.dumps(content))
    for kind in (None, 'pytracking'):
        table = load_attributes(str(path), kind)
        assert table.videos == {'cat-1': ('POC',), 'Walking': ()}
    for key, value, message in [
        ('cat-1', 'POC', "video 'cat-1' must have a list"),
        ('cat-1', ['PCO'], "'cat-1' has an attribute 'PCO'.*'POC'"),
        ('att_name_long', ['one'], "'att_name_long' must have one name for each of the 2"),
    ]:
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(MMKDError, match=message):
            load_attributes(str(path))


def test_pysots_json(tmp_path):
    path = tmp_path / 'UAV123.json'
    path.write_text(json.dumps({'boat1': {'attr': ['SV', 'FM'], 'gt_rect': []}}))
    for kind in (None, 'pysot'):
        table = load_attributes(str(path), kind)
        assert table.names == ('FM', 'SV')
        assert table.of('boat1') == ('FM', 'SV')
    path.write_text(json.dumps({'boat1': {'attr': 3}}))
    with pytest.raises(MMKDError, match="video 'boat1' must have a list"):
        load_attributes(str(path))


@pytest.mark.parametrize(
    ('text', 'kind', 'message'),
    [
        ('{"a": 1}', None, 'holds no attributes that are known'),
        ('[]', None, 'holds no attributes that are known'),
        ('{', None, 'is not a json file.*line 1 column 2'),
        ('{"a": 1}', 'mmkd', 'has no "schema"'),
        ('{"a": 1}', 'pysot', "is not PySOT's"),
        ('{"a": 1}', 'pytracking', "is not pytracking's"),
        ('{"a": 1}', 'lasot', 'is a file; attributes of kind'),
        ('{"schema": "mmkd-attributes-7"}', None, "schema 'mmkd-attributes-7'"),
        ('{"schema": "mmkd-attributes-1", "names": "x"}', None, "'names' must be a list"),
        ('{"schema": "mmkd-attributes-1", "names": [], "videos": []}', None, "'videos' must be"),
        (
            '{"schema": "mmkd-attributes-1", "names": ["FM"], "videos": {"a": "FM"}}',
            None,
            "video 'a' must have a list",
        ),
        ('{}', 'lasott', "no kind of attributes 'lasott'.*'lasot'"),
    ],
)
def test_other_jsons_are_refused(tmp_path, text, kind, message):
    path = tmp_path / 'x.json'
    path.write_text(text)
    with pytest.raises(MMKDError, match=message):
        load_attributes(str(path), kind)


def test_what_is_not_there(tmp_path):
    with pytest.raises(MMKDError, match='does not exist. Attributes are'):
        load_attributes(str(tmp_path / 'x'))
    with pytest.raises(MMKDError, match=r'has no attributes: .* 14 \(LaSOT\), 11 \(OTB\)'):
        load_attributes(str(tmp_path))
    with pytest.raises(MMKDError, match='is a folder; attributes of kind'):
        load_attributes(str(tmp_path), 'pysot')
    # Boxes are no attributes.
    write(tmp_path / 'annos', {'cat-1': '1,2,3,4\n5,6,7,8\n'})
    with pytest.raises(MMKDError, match='has no attributes: looked for'):
        load_attributes(str(tmp_path / 'annos'))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='no samples of LaSOT beside the repository')
def test_lasots_own_files():
    table = load_attributes(str(SAMPLES))
    order = [
        'IV',
        'POC',
        'DEF',
        'MB',
        'CM',
        'ROT',
        'BC',
        'VC',
        'SV',
        'FOC',
        'FM',
        'OV',
        'LR',
        'ARC',
    ]
    for path in (SAMPLES / 'att').iterdir():
        values = path.read_text().split(',')
        assert table.of(path.stem) == tuple(n for n, v in zip(order, values) if int(v))
    assert len(table) == len(list((SAMPLES / 'att').iterdir()))
