import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmkd.distill.cache.layout import Layout
from mmkd.errors import MMKDError


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 17))
def test_every_record_has_one_place(samples, variants, per_shard):
    layout = Layout(samples, variants, per_shard)
    there = [item for number in layout.numbers for item in layout.items(number)]
    assert there == [(s, v) for s in range(samples) for v in range(variants)]
    for number in layout.numbers:
        for row, item in enumerate(layout.items(number)):
            assert layout.place(*item) == (number, row)
        assert layout.rows(number) == len(layout.items(number))
    assert layout.records == len(there)


@pytest.mark.parametrize('item', [(-1, 0), (3, 0), (0, 2), (0, -1)])
def test_what_is_outside_is_named(item):
    with pytest.raises(MMKDError, match='variant -?[0-9] of sample -?[0-9].*3 samples with 2'):
        Layout(3, 2, 4).place(*item)
