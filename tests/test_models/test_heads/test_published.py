"""Targets and losses against plain loops, to 1e-5, in the cases that trainings stumble over."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from mmkd.errors import MMKDError
from mmkd.models.heads import FairMOTHead
from mmkd.models.heads.fairmot_targets import fairmot_targets

from .published import Thing, losses_of, radius_of, targets_of

ROWS, COLUMNS = 16, 24  # of 64 x 96 pixels
PEDESTRIAN = Thing((20, 10, 32, 46), 0, 2)

CASES = {
    'one each': [[PEDESTRIAN], [Thing((50.5, 3.25, 61, 40), 0, 4)]],
    'half outside': [
        [Thing((-16, 8, 12, 60), 0, 0), Thing((88, -20, 120, 12), 0, 1)],
        [Thing((30, 50, 44, 90), 0, 3)],
    ],
    'wholly outside': [[Thing((-60, -60, -20, -20), 0, 1)], [Thing((120, 80, 160, 130), 0, 2)]],
    'two in one cell': [[PEDESTRIAN, Thing((21, 11, 33, 47), 0, 4)], []],
    'two classes in one cell': [[PEDESTRIAN, PEDESTRIAN._replace(label=1, identity=0)], []],
    'an empty image': [[PEDESTRIAN], []],
    'no object at all': [[], []],
    'no identity is known': [[PEDESTRIAN._replace(identity=-1)], [Thing((60, 8, 70, 40))]],
    'some are': [[PEDESTRIAN, Thing((60, 8, 70, 40), 1, -1)], [Thing((40, 8, 60, 40), 1, 3)]],
    'no area': [[Thing((10, 10, 10, 40), 0, 3), PEDESTRIAN], [Thing((30, 30, 40, 30), 0, 1)]],
    'larger than the image': [[Thing((-300, -200, 400, 300), 0, 1), PEDESTRIAN], []],
    'odd sizes': [[Thing((3, 5, 24, 52), 0, 0), Thing((41.1, 7.7, 60.2, 59.9), 0, 1)], []],
}


def sample(things) -> BaseDataElement:
    element = BaseDataElement()
    element.gt_instances = InstanceData(
        bboxes=torch.tensor([thing.box for thing in things], dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([thing.label for thing in things], dtype=torch.long),
        instances_id=torch.tensor([thing.identity for thing in things], dtype=torch.long),
    )
    return element


def make_head(**kwargs) -> FairMOTHead:
    torch.manual_seed(0)
    head = FairMOTHead(in_channels=2, feat_channels=2, embed_dims=5, num_classes=2, **kwargs)
    head.set_num_ids(7)
    return head


def make_outputs() -> dict:
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.randn(2, channels, ROWS, COLUMNS, generator=generator).requires_grad_()
        for name, channels in (('heatmap', 2), ('ltrb', 4), ('offset', 2), ('embedding', 5))
    }


@pytest.mark.parametrize('case', CASES)
def test_targets(case):
    images = CASES[case]
    targets = make_head().get_targets([sample(things) for things in images], (ROWS, COLUMNS))
    rows = []
    for n, things in enumerate(images):
        heatmap, objects = targets_of(things, 2, ROWS, COLUMNS)
        np.testing.assert_allclose(targets.heatmap[n].numpy(), heatmap, atol=1e-5)
        rows += [(n, *found) for found in objects]
    kept = targets.valid.bool()
    assert int(kept.sum()) == len(rows)
    for i, (n, row, column, sides, offset, identity) in zip(kept.nonzero(), rows):
        place = [int(t[i]) for t in (targets.batch_index, targets.y, targets.x, targets.ids)]
        assert place == [n, row, column, identity]
        np.testing.assert_allclose(targets.ltrb[i].numpy(), [sides], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(targets.offset[i].numpy(), [offset], atol=1e-5)


@pytest.mark.parametrize('loss_id', ['cross_entropy', 'focal'])
@pytest.mark.parametrize('case', CASES)
def test_losses(case, loss_id):
    head, outputs = make_head(loss_id=loss_id), make_outputs()
    targets = head.get_targets([sample(things) for things in CASES[case]], (ROWS, COLUMNS))
    losses = head.loss_by_targets(outputs, targets)
    expected = losses_of(
        {name: value.tolist() for name, value in outputs.items()},
        CASES[case],
        (head.id_classifier.weight.tolist(), head.id_classifier.bias.tolist()),
        7,
        -1.85,
        -1.05,
        loss_id,
    )
    raw_id = {'cross_entropy': 'id_ce', 'focal': 'id_focal'}[loss_id]
    close = lambda value: pytest.approx(value, rel=1e-5, abs=1e-5)  # noqa: E731
    assert losses['det_heatmap'].item() == close(expected['heat'])
    assert losses['det_ltrb'].item() == close(0.1 * expected['ltrb'])
    assert losses['det_offset'].item() == close(expected['offset'])
    assert losses[raw_id].item() == close(expected['identity'])
    total = losses['loss_det'] + losses['loss_id']
    assert total.item() == close(expected['total'])

    total.backward()
    for name, value in outputs.items():
        assert torch.isfinite(value.grad).all(), name
    trained = [t for things in CASES[case] for t in things if t.box[0] < t.box[2]]
    if not any(thing.identity >= 0 for thing in trained):
        # The original's cross entropy is NaN here: a mean over no object.
        assert losses['loss_id'].item() == 0
        assert not outputs['embedding'].grad.any()


def test_a_box_half_outside_by_hand():
    # Centre (-2, 34) pixels is (-0.5, 8.5) cells, clipped to (0, 8.5); the sides stay where they
    # are, so the left one is 3.5 cells + 0.5 away and the right one 3.5 - 0.5. The radius of
    # 13 x 7 cells is the third root, (-28 + sqrt(784 + 305.76)) / 2 = 2.5, of which 2 is whole.
    targets = make_head().get_targets([sample([Thing((-16, 8, 12, 60), 0, 0)])], (ROWS, COLUMNS))
    assert (targets.y.item(), targets.x.item()) == (8, 0)
    assert targets.ltrb.tolist() == [[4.0, 6.5, 3.0, 6.5]]
    assert targets.offset.tolist() == [[0.0, 0.5]]
    row = targets.heatmap[0, 0, 8]
    sigma = 5 / 6
    np.testing.assert_allclose(
        row[:4].numpy(), [1, math.exp(-0.5 / sigma**2), math.exp(-2 / sigma**2), 0], atol=1e-6
    )


def test_two_objects_in_one_cell_are_two_objects_and_one_peak():
    targets = make_head().get_targets([sample(CASES['two in one cell'][0])], (ROWS, COLUMNS))
    assert targets.heatmap.eq(1).sum() == 1
    assert targets.y.tolist() == [7, 7]
    assert targets.x.tolist() == [6, 6]
    assert targets.ids.tolist() == [2, 4]


def test_objects_beyond_500_are_left_out():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(517, 2, generator=generator) * torch.tensor([90.0, 60.0])
    boxes = torch.cat([corner, corner + 3 + torch.rand(517, 2, generator=generator) * 9], dim=1)
    things = [Thing(tuple(box), 0, i % 7) for i, box in enumerate(boxes.tolist())]
    targets = make_head().get_targets([sample(things), sample([PEDESTRIAN])], (ROWS, COLUMNS))
    heatmap, objects = targets_of(things, 2, ROWS, COLUMNS)
    assert len(objects) == 500
    assert targets.batch_index.tolist() == [0] * 500 + [1]
    np.testing.assert_allclose(targets.heatmap[0].numpy(), heatmap, atol=1e-5)
    np.testing.assert_allclose(
        targets.ltrb[:500].numpy(), [found[2] for found in objects], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('size', [(15, 70), (70, 15), (30, 140), (7, 7), (122, 682), (1, 1)])
def test_rounding_does_not_take_a_radius_down(size):
    # 15 x 70 cells have a radius of exactly 7: sqrt(119^2 + 3528) = 133, (133 - 119) / 2.
    height, width = size
    box = torch.tensor([[0.0, 0.0, 4.0 * width, 4.0 * height]])
    none = torch.zeros(1, dtype=torch.long)
    targets = fairmot_targets([box], [none], [none], 1, (200, 800), 4)
    reach = int((targets.heatmap[0, 0, targets.y[0]] > 0).sum() - 1) // 2
    assert reach == radius_of(height, width)
    if set(size) == {15, 70}:
        assert reach == 7


@pytest.mark.parametrize('map_size', [(11, 17), (1, 9), (9, 1), (38, 23)])
def test_maps_of_odd_sizes(map_size):
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(9, 2, generator=generator) * 4 * torch.tensor(map_size[::-1]) - 10
    boxes = torch.cat([corner, corner + 2 + torch.rand(9, 2, generator=generator) * 60], dim=1)
    none = torch.zeros(9, dtype=torch.long)
    targets = fairmot_targets([boxes], [none], [none], 1, map_size, 4)
    expected, _ = targets_of([Thing(tuple(box)) for box in boxes.tolist()], 1, *map_size)
    np.testing.assert_allclose(targets.heatmap[0].numpy(), expected, atol=1e-5)


def test_a_focal_classifier_starts_with_a_small_prior():
    head = make_head(loss_id='focal')
    bias = head.id_classifier.bias
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.01))
    assert head.id_classifier.weight.std() < 0.02
    assert make_head().id_classifier.bias.abs().max() < 1  # torch's own start


def test_unknown_loss_id_names_the_nearest():
    with pytest.raises(MMKDError, match="unknown loss_id 'focl'.*'focal'"):
        make_head(loss_id='focl')
