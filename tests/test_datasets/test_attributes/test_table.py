"""The table of attributes: names, spellings, subsets, our own json."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.datasets.attributes import GROUPS, AttributeTable, groups_of, load_attributes
from mmkd.datasets.attributes.groups import check_groups, group_of
from mmkd.datasets.attributes.text_files import LAYOUTS
from mmkd.errors import MMKDError

NAMES = ('POC', 'FOC', 'FM', 'XX')
TABLE = AttributeTable(
    NAMES, {'cat-1': ('FM', 'POC'), 'cat-2': (), 'Jogging.1': ('FOC',)}, source='here'
)


def test_attributes_come_in_the_tables_order():
    assert TABLE.of('cat-1') == ('POC', 'FM')
    assert TABLE.groups_of('cat-1') == ('occlusion', 'fast_motion')
    assert TABLE.of('cat-2') == TABLE.groups_of('cat-2') == ()


@pytest.mark.parametrize('video', ['Jogging.1', 'jogging-1', 'JOGGING_1'])
def test_spellings(video):
    assert video in TABLE
    assert TABLE.of(video) == ('FOC',)


def test_an_unknown_video_is_named_with_its_neighbours():
    assert 'cat-3' not in TABLE
    with pytest.raises(MMKDError, match=r"'here' has no attributes of the video 'cat-3'.*'cat-1'"):
        TABLE.of('cat-3')


def test_names_that_are_alike():
    same = AttributeTable(NAMES, {'a_1': ('FM',), 'A-1': ('FM',)})
    assert same.of('a.1') == ('FM',)
    differ = AttributeTable(NAMES, {'a_1': ('FM',), 'A-1': ()})
    assert differ.of('a_1') == ('FM',)
    assert differ.of('A-1') == ()
    with pytest.raises(MMKDError, match="may be any of 'a_1', 'A-1'"):
        differ.of('a.1')


def test_a_table_refuses_what_it_does_not_know():
    with pytest.raises(MMKDError, match="video 'v' has an attribute 'PCO'.*'POC'"):
        AttributeTable(NAMES, {'v': ('PCO',)})
    with pytest.raises(MMKDError, match="'FM' is there twice"):
        AttributeTable(('FM', 'FM'), {})


@pytest.mark.parametrize(
    ('only', 'groups', 'videos'),
    [
        ((), (), ['cat-1', 'cat-2', 'Jogging.1']),
        (('fm',), (), ['cat-1']),
        ((), ('occlusion',), ['cat-1', 'Jogging.1']),
        (('FM',), ('occlusion',), ['cat-1', 'Jogging.1']),
        ('FOC', (), ['Jogging.1']),
    ],
)
def test_subsets(only, groups, videos):
    assert list(filter(TABLE.chooser(only, groups), TABLE.videos)) == videos


def test_a_subset_of_nothing_known_is_refused():
    with pytest.raises(MMKDError, match="has no attribute 'FMM'. Did you mean 'FM'"):
        TABLE.chooser(only=['FMM'])
    with pytest.raises(MMKDError, match="no group 'oclusion'. Did you mean 'occlusion'"):
        TABLE.chooser(groups=['oclusion'])
    assert check_groups('occlusion', 'x') == ('occlusion',)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8), st.lists(st.sampled_from(NAMES), max_size=6), max_size=6
    )
)
def test_our_own_json_gives_the_table_back(tmp_path_factory, videos):
    table = AttributeTable(NAMES, {name: tuple(found) for name, found in videos.items()}, 'x')
    path = tmp_path_factory.mktemp('table') / 'sub' / 'attributes.json'
    table.save(str(path))
    again = load_attributes(str(path))
    assert (again.names, again.videos) == (table.names, table.videos)
    assert json.loads(path.read_text())['source'] == 'x'


def test_groups_know_all_attributes_of_the_benchmarks():
    for kind in ('lasot', 'otb', 'uav123'):
        for name in LAYOUTS[kind].names:
            assert group_of(name) in GROUPS
    assert group_of('NATURAL') is None
    assert group_of('Occlusion') == 'occlusion'


def test_no_name_is_in_two_groups():
    names = [name.lower() for group, found in GROUPS.items() for name in (group, *found)]
    assert len(names) == len(set(names))


def test_groups_come_once_and_in_order():
    assert groups_of(['FM', 'FOC', 'POC', 'nothing', 'BRIGHTNESS_LOW']) == (
        'occlusion',
        'fast_motion',
    )


def test_the_file_tells_the_groups(tmp_path):
    table = AttributeTable(('POC', 'FOC', 'FM', 'mine'), {'a': ('POC',)}, 'here')
    table.save(str(tmp_path / 'table.json'))
    content = json.loads((tmp_path / 'table.json').read_text())
    assert content['groups'] == {'occlusion': ['POC', 'FOC'], 'fast_motion': ['FM']}
