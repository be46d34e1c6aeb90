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


def people(ann_file, *keys):
    """A dataset as MOTDataset is one: of the people (scene, id)."""
    return SimpleNamespace(
        num_ids=len(keys),
        id_offset=0,
        ann_file=ann_file,
        scenes=frozenset(scene for scene, _ in keys),
        people_hash=hash(frozenset(keys)),
    )


def offsets(*datasets):
    total = assign_id_offsets(SimpleNamespace(datasets=datasets))
    return [dataset.id_offset for dataset in datasets], total


@pytest.fixture
def log(monkeypatch):
    lines = []
    logger = SimpleNamespace(info=lines.append, warning=lambda text: lines.append('! ' + text))
    monkeypatch.setattr(
        'mmkd.engine.identities.MMLogger', SimpleNamespace(get_current_instance=lambda: logger)
    )
    return lines


def test_the_same_file_twice_is_the_same_people(log):
    a, b, c = (people(name, ('x', 1), ('x', 2)) for name in ('a.json', 'b.json', './a.json'))
    assert offsets(a, b, c) == ([0, 2, 0], 4)
    assert not [line for line in log if line.startswith('!')]


def test_three_copies_of_mot17_are_the_same_people(log):
    keys = [('MOT17-02', 1), ('MOT17-02', 2), ('MOT17-04', 1)]
    copies = [people(f'{name}.json', *keys) for name in ('DPM', 'FRCNN', 'SDP')]
    assert offsets(people('x.json', ('x', 1)), *copies) == ([0, 1, 1, 1], 4)
    assert not [line for line in log if line.startswith('!')]


def test_scenes_of_other_names_are_of_other_people_though_they_look_alike(log):
    assert offsets(people('a.json', ('cam1', 1)), people('b.json', ('cam1', 1))) == ([0, 1], 2)
    # Two sets of single images, whose people have no scene.
    assert offsets(people('a.json', ('', 0)), people('b.json', ('', 0))) == ([0, 1], 2)
    other_scene = people('a.json', ('MOT17-02', 1)), people('b.json', ('MOT17-04', 1))
    assert offsets(*other_scene) == ([0, 1], 2)
    assert not [line for line in log if line.startswith('!')]


def test_halves_that_share_some_people_are_told(log):
    train = people('half-train.json', ('MOT17-02', 1), ('MOT17-02', 2))
    val = people('half-val.json', ('MOT17-02', 2), ('MOT17-02', 3))
    assert offsets(train, val) == ([0, 2], 4)
    (warning,) = [line for line in log if line.startswith('!')]
    assert 'dataset.datasets[1] and dataset.datasets[0] hold some of the same people' in warning


def test_the_table_at_the_start(log):
    class Sized(SimpleNamespace):
        def __len__(self):
            return 15000

    known, unknown = leaf(7), Sized(num_ids=0, id_offset=0, ann_file='crowd.json')
    offsets(leaf(3), unknown, known)
    assert log == [
        'identities of the training data\n'
        'dataset              annotation file  images  ids  labels\n'
        'dataset.datasets[0]  a.json                ?    3  0 to 2\n'
        'dataset.datasets[1]  crowd.json        15000    0  -\n'
        'dataset.datasets[2]  a.json                ?    7  3 to 9\n'
        'in all                                         10'
    ]
