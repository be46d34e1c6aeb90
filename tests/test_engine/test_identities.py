from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmkd.engine.identities import assign_id_offsets
from mmkd.errors import MMKDError


def leaf(count):
    return SimpleNamespace(num_ids=count, id_offset=0, ann_file='a.json')


def test_one_dataset_starts_at_zero():
    dataset = leaf(7)
    assert assign_id_offsets(dataset) == 7
    assert dataset.id_offset == 0


def test_ranges_of_a_nested_mixture_are_disjoint_and_in_the_order_of_the_config():
    a, b, c = leaf(3), leaf(0), leaf(5)
    repeat = SimpleNamespace(dataset=SimpleNamespace(datasets=[b, c]))
    assert assign_id_offsets(SimpleNamespace(datasets=[a, repeat])) == 8
    assert [x.id_offset for x in (a, b, c)] == [0, 3, 3]


def test_a_dataset_that_appears_twice_keeps_one_range():
    a, b = leaf(3), leaf(2)
    assert assign_id_offsets(SimpleNamespace(datasets=[a, b, a])) == 5
    assert (a.id_offset, b.id_offset) == (0, 3)


def test_assigning_again_changes_nothing():
    mixture = SimpleNamespace(datasets=[leaf(3), leaf(2)])
    assert assign_id_offsets(mixture) == assign_id_offsets(mixture) == 5
    assert [x.id_offset for x in mixture.datasets] == [0, 3]


def test_a_dataset_without_ids_is_named():
    class Plain:
        pass

    with pytest.raises(MMKDError, match=r'dataset\.datasets\[1\] is a Plain.*mmkd\.MOTDataset'):
        assign_id_offsets(SimpleNamespace(datasets=[leaf(1), Plain()]))
