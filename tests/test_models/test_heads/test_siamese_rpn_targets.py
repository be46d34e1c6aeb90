"""Targets of a batch against mmtrack's loop over samples."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmkd.errors import MMKDError
from mmkd.models.heads.siamese_rpn_decode import decode
from mmkd.models.heads.siamese_rpn_targets import encode, overlaps
from mmkd.registry import MODELS
from tests.test_distill.test_losses.test_objects_no_sync import NoWaiting
from tests.test_models.test_sot.toys import pairs, random_pairs, siamrpn_cfg

SEARCH_AND_MAP = [(255, 25), (255, 17), (287, 21)]


def heads(search=255, **changes):
    """mmtrack's head and ours; ``sampler__num=3`` changes train_cfg.sampler.num."""
    made = []
    for ours in (False, True):
        model = siamrpn_cfg(ours, search_size=search)
        rpn = copy.deepcopy(model.train_cfg.rpn)
        head = model.head
        for key, value in changes.items():
            part, _, name = key.rpartition('__')
            if part == 'head':
                if ours:
                    head[name] = value
            else:
                (rpn[part] if part else rpn)[name] = value
        head.update(train_cfg=ConfigDict(rpn), test_cfg=model.test_cfg.rpn)
        with DefaultScope.overwrite_default_scope('mmtrack'):
            made.append(MODELS.build(head))
    return made


def search_instances(samples):
    return [sample.search_gt_instances for sample in samples]


@pytest.mark.parametrize(('search', 'side'), SEARCH_AND_MAP)
@pytest.mark.parametrize('low_quality', [False, 'all', 'first'])
def test_where_nothing_is_left_to_chance_they_are_mmtracks(search, side, low_quality):
    # Budgets that no pair exhausts: everything that may be sampled is.
    stock, ours = heads(
        search,
        sampler__num=20000,
        num_neg=1000,
        assigner__match_low_quality=bool(low_quality),
        assigner__gt_max_assign_all=low_quality != 'first',
        assigner__min_pos_iou=0.1,
    )
    samples = search_instances(random_pairs(40, search=search))
    expected = stock.get_targets(samples, (side, side))
    found = ours.get_targets(samples, (side, side))
    assert found[0].dtype == torch.long
    for name, a, b in zip(('labels', 'weights', 'boxes', 'box weights'), found, expected):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f'{n}: {m}')
    assert (expected[0] == 1).any()
    assert (expected[1] > 0).any(dim=1).all()


def test_a_head_serves_maps_of_several_sizes():
    # mmtrack keeps the anchors of the first size that it sees.
    _, ours = heads(sampler__num=20000, num_neg=1000)
    samples = search_instances(random_pairs(8))
    for side in (25, 17, 25):
        stock, _ = heads(sampler__num=20000, num_neg=1000)
        for a, b in zip(
            ours.get_targets(samples, (side, side)), stock.get_targets(samples, (side, side))
        ):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


# A target that many anchors overlap, one that few do, one that none does, and a negative pair.
BOXES = [[95, 95, 160, 160], [100, 100, 162, 140], [120, 120, 126, 126], [60, 90, 130, 170]]
FLAGS = [True, True, True, False]


def rates(head, times, ours, side=15):
    """How often each anchor is sampled, (pairs, K), and the set of (positive, negative) counts."""
    chosen, counts = [], []
    for box, flag in zip(BOXES, FLAGS):
        if ours:
            samples = search_instances(pairs([box] * times, [flag] * times))
            labels, weights, *_ = head.get_targets(samples, (side, side))
        else:
            one = search_instances(pairs([box], [flag]))
            made = [head.get_targets(one, (side, side)) for _ in range(times)]
            labels, weights = (torch.cat([m[i] for m in made]) for i in (0, 1))
        sampled = weights > 0
        chosen.append(sampled.float().mean(dim=0))
        positive = (sampled & (labels == 1)).sum(dim=1)
        negative = (sampled & (labels == 0)).sum(dim=1)
        counts.append({(int(p), int(n)) for p, n in zip(positive, negative)})
    return torch.stack(chosen), counts


def test_chance_is_distributed_as_mmtracks():
    torch.manual_seed(0)
    stock, ours = heads()
    times = 250
    expected, expected_counts = rates(stock, times, ours=False)
    found, counts = rates(ours, times * 10, ours=True)
    assert counts == expected_counts
    error = (found * (1 - found) / times).sqrt() + 0.5 / times
    assert ((found - expected).abs() / error).max() < 6
    # The mean over many anchors is known better: rows, where mmtrack prefers the upper ones.
    by_row = [x.view(4, 15, -1).mean(dim=2) for x in (found, expected)]
    torch.testing.assert_close(by_row[0], by_row[1], atol=0.008, rtol=0)


def test_negatives_can_be_drawn_evenly():
    torch.manual_seed(0)
    _, ours = heads()
    _, even = heads(head__uniform_negatives=True)
    for head, is_even in ((ours, False), (even, True)):
        chosen, counts = rates(head, 1000, ours=True)
        rows = chosen[2].view(15, -1).mean(dim=1)  # the pair without positive anchors
        assert counts[2] == {(0, 48)}
        assert bool(rows[:5].mean() / rows[-5:].mean() < 1.1) is is_even


def test_pairs_do_not_share_their_draws():
    torch.manual_seed(0)
    _, ours = heads()
    samples = search_instances(pairs([BOXES[3]] * 2, [False] * 2))
    weights = ours.get_targets(samples, (25, 25))[1]
    assert not torch.equal(weights[0], weights[1])
    torch.manual_seed(7)
    first = ours.get_targets(samples, (25, 25))[1]
    torch.manual_seed(7)
    torch.testing.assert_close(ours.get_targets(samples, (25, 25))[1], first, atol=0, rtol=0)


@pytest.mark.parametrize('ratio', [0, 0.5, 2])
def test_a_bound_of_negatives_per_positive(ratio):
    stock, ours = heads(sampler__neg_pos_ub=ratio)
    assert rates(ours, 50, ours=True)[1] == rates(stock, 3, ours=False)[1]


def test_a_box_without_area_gives_numbers():
    _, ours = heads()
    samples = search_instances(pairs([[100, 100, 100, 100]], [True]))
    labels, weights, targets, box_weights = ours.get_targets(samples, (25, 25))
    assert labels.sum() == 0
    assert box_weights.sum() == 0
    assert torch.isfinite(targets).all()
    torch.testing.assert_close(weights.sum(), torch.tensor(0.5))


def random_boxes(n, generator):
    low = torch.rand(n, 2, generator=generator) * 200
    return torch.cat([low, low + torch.rand(n, 2, generator=generator) * 90 + 1], dim=1)


def test_overlaps_and_codes_are_mmdets():
    generator = torch.Generator().manual_seed(0)
    boxes, anchors = random_boxes(7, generator), random_boxes(50, generator)
    torch.testing.assert_close(overlaps(boxes, anchors), bbox_overlaps(boxes, anchors))
    for means, stds in (([0.0] * 4, [1.0] * 4), ([0.1, 0.2, -0.3, 0.4], [0.1, 0.2, 0.3, 0.4])):
        coder = DeltaXYWHBBoxCoder(target_means=means, target_stds=stds)
        codes = encode(anchors, boxes, means, stds)
        for box, code in zip(boxes, codes):
            torch.testing.assert_close(code, coder.encode(anchors, box.expand(50, 4)))
        # far beyond what a box may change, too
        deltas = torch.randn(50, 4, generator=generator) * 4
        centre, size = decode(anchors, deltas.t(), means, stds)
        found = torch.cat([centre - size / 2, centre + size / 2], dim=1)
        torch.testing.assert_close(found, coder.decode(anchors, deltas), atol=1e-2, rtol=1e-5)


def test_nothing_waits():
    _, ours = heads()
    samples = search_instances(random_pairs(6))
    ours.grid((25, 25), 'cpu')
    maps = torch.randn(6, 10, 25, 25), torch.randn(6, 20, 25, 25)
    with NoWaiting():
        targets = ours.sample_targets(samples, (25, 25))
        ours.sample_losses(*maps, targets.index(torch.tensor([0, 4, 1, 2, 3, 5])))
        ours.response_masks(targets)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(sampler__add_gt_as_proposals=True), 'add_gt_as_proposals=False'),
        (dict(sampler__type='mmdet.PseudoSampler'), 'mmdet.RandomSampler'),
        (dict(head__loss_cls=dict(type='mmdet.CrossEntropyLoss')), "reduction='sum'"),
        (
            dict(head__bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder', add_ctr_clamp=True)),
            'add_ctr_clamp',
        ),
    ],
)
def test_what_it_cannot_do_is_told(changes, message):
    with pytest.raises(MMKDError, match=message):
        heads(**changes)


def test_two_boxes_in_a_search_image_are_told():
    _, ours = heads()
    (found,) = search_instances(random_pairs(1))
    with pytest.raises(MMKDError, match='one box'):
        ours.sample_targets([InstanceData.cat([found, found])], (25, 25))
