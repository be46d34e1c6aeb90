"""The head's losses against hand-written formulas, its classifier, and odd but ordinary input."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from mmengine.structures import BaseDataElement, InstanceData

from mmkd.errors import MMKDError
from mmkd.models.heads import FairMOTHead, fairmot_head


def sample(boxes, ids=None, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    gt = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    if labels is not None:
        gt.labels = torch.tensor(labels)
    if ids is not None:
        gt.instances_id = torch.tensor(ids, dtype=torch.int32)
    element = BaseDataElement()
    element.gt_instances = gt
    return element


def make_head(num_ids=5, **kwargs):
    torch.manual_seed(0)
    head = FairMOTHead(in_channels=6, feat_channels=8, embed_dims=4, **kwargs)
    head.set_num_ids(num_ids)
    head.init_weights()
    return head


FEATS = (torch.randn(2, 6, 16, 24, generator=torch.Generator().manual_seed(3)),)
SAMPLES = [
    sample([[10, 10, 30, 50], [40, 8, 60, 40]], ids=[0, 3]),
    sample([[-10, 20, 14, 60], [70, 30, 90, 60]], ids=[-1, 2]),
]


def slow_losses(head, feats, samples):
    """Every term by the published formulas, one object at a time."""
    out = head(feats)
    targets = head.get_targets(samples, (16, 24))
    score = out['heatmap'].sigmoid().clamp(1e-4, 1 - 1e-4)
    gt = targets.heatmap
    positive = gt == 1
    pos = (score.log() * (1 - score) ** 2)[positive].sum()
    neg = ((1 - score).log() * score**2 * (1 - gt) ** 4)[~positive].sum()
    heatmap = -(pos + neg) / positive.sum() if positive.any() else -neg

    ltrb = offset = identity = 0.0
    objects = known = 0
    for k in range(len(targets.x)):
        n, y, x = targets.batch_index[k], targets.y[k], targets.x[k]
        objects += 1
        ltrb = ltrb + (out['ltrb'][n, :, y, x] - targets.ltrb[k]).abs().sum()
        offset = offset + (out['offset'][n, :, y, x] - targets.offset[k]).abs().sum()
        if targets.ids[k] >= 0:
            known += 1
            scale = math.sqrt(2) * math.log(head.num_ids - 1)
            vector = out['embedding'][n, :, y, x]
            logits = head.id_classifier(scale * vector / vector.norm())
            identity = identity - F.log_softmax(logits, 0)[targets.ids[k]]
    ltrb, offset = ltrb / (objects * 4 + 1e-4), offset / (objects * 2 + 1e-4)
    identity = identity / known
    det = heatmap + 0.1 * ltrb + offset
    total = 0.5 * (
        torch.exp(-head.s_det) * det + torch.exp(-head.s_id) * identity + head.s_det + head.s_id
    )
    return heatmap, 0.1 * ltrb, offset, identity, total


def test_losses_equal_the_published_formulas():
    head = make_head()
    losses = head.loss(FEATS, SAMPLES)
    heatmap, ltrb, offset, identity, total = slow_losses(head, FEATS, SAMPLES)
    torch.testing.assert_close(losses['det_heatmap'], heatmap)
    torch.testing.assert_close(losses['det_ltrb'], ltrb)
    torch.testing.assert_close(losses['det_offset'], offset)
    torch.testing.assert_close(losses['id_ce'], identity)
    torch.testing.assert_close(losses['loss_det'] + losses['loss_id'], total)


def test_only_the_weighted_sum_is_trained():
    losses = make_head().loss(FEATS, SAMPLES)
    assert {k for k in losses if 'loss' in k} == {'loss_det', 'loss_id'}
    assert not any(v.requires_grad for k, v in losses.items() if 'loss' not in k)


def test_fixed_weights():
    losses = make_head(multi_loss='fixed').loss(FEATS, SAMPLES)
    det = losses['det_heatmap'] + losses['det_ltrb'] + losses['det_offset']
    torch.testing.assert_close(losses['loss_det'].detach(), det)
    torch.testing.assert_close(losses['loss_id'].detach(), 0.1 * losses['id_ce'])


@pytest.mark.parametrize(
    'samples',
    [
        [sample([], ids=[]), sample([], ids=[])],
        [sample([[8, 8, 20, 30]], ids=[-1]), sample([], ids=[])],
        [sample([[8, 8, 20, 30]]), sample([[200, 200, 230, 240]])],
        [sample([[-90, -90, -50, -50]], ids=[1]), sample([[8, 8, 8, 8]], ids=[1])],
    ],
    ids=['no objects', 'no identities', 'no id field, box outside', 'outside and no area'],
)
def test_ordinary_but_odd_batches(samples):
    head = make_head()
    losses = head.loss(FEATS, samples)
    total = losses['loss_det'] + losses['loss_id']
    assert torch.isfinite(total)
    total.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, f'{name} would need find_unused_parameters'
        assert torch.isfinite(parameter.grad).all(), name


def test_a_batch_without_identities_leaves_s_id_alone():
    head = make_head()
    losses = head.loss(FEATS, [sample([[8, 8, 20, 30]], ids=[-1]), sample([], ids=[])])
    assert losses['loss_id'] == 0
    (losses['loss_det'] + losses['loss_id']).backward()
    assert head.s_id.grad == 0


@pytest.mark.parametrize('num_ids', [0, 1, 2])
def test_few_identities_give_finite_losses_and_full_gradients(num_ids):
    head = make_head(num_ids=num_ids)
    losses = head.loss(FEATS, [sample([[8, 8, 20, 30]], ids=[0 if num_ids else -1])] * 2)
    total = losses['loss_det'] + losses['loss_id']
    assert torch.isfinite(total)
    total.backward()
    assert all(p.grad is not None for p in head.parameters())


def test_initial_scores_are_low():
    head = make_head()
    assert head.heatmap[-1].bias.item() == pytest.approx(-2.19)
    assert head.embedding[-1].bias.abs().sum() == 0


def test_half_precision_input_gives_float32_losses():
    head = make_head()
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(FEATS, SAMPLES)
    assert losses['loss_det'].dtype == torch.float32
    assert torch.isfinite(losses['loss_det'] + losses['loss_id'])


# -- the identity classifier -------------------------------------------------------------------


def test_without_a_classifier_a_checkpoint_brings_its_own():
    source, target = make_head(num_ids=7), make_head(num_ids=0)
    target.load_state_dict(source.state_dict(), strict=True)
    assert target.num_ids == 7
    torch.testing.assert_close(target.id_classifier.weight, source.id_classifier.weight)


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
def test_a_checkpoint_of_another_size_loads_everything_else_and_says_so(load, monkeypatch):
    said = []
    monkeypatch.setattr(fairmot_head, 'print_log', lambda text, **_: said.append(text))
    source, target = make_head(num_ids=7), make_head(num_ids=5)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1.0)
    before = target.id_classifier.weight.clone()
    stored = source.state_dict()
    if load == 'torch':
        target.load_state_dict(stored, strict=True)
    else:
        mmengine_load(target, stored, strict=True)
    assert target.num_ids == 5
    torch.testing.assert_close(target.id_classifier.weight, before)
    torch.testing.assert_close(target.heatmap[0].weight, source.heatmap[0].weight)
    assert stored['id_classifier.weight'].shape[0] == 7, "the caller's dict was changed"
    (text,) = said
    assert '7 identities' in text
    assert 'has 5' in text


def test_resizing_keeps_a_classifier_of_the_right_size():
    head = make_head(num_ids=5)
    weight = head.id_classifier.weight
    head.set_num_ids(5)
    assert head.id_classifier.weight is weight


# -- prediction --------------------------------------------------------------------------------


def test_predict_leads_boxes_back_to_the_original_image():
    head = make_head()
    element = sample([])
    element.set_metainfo(dict(homography_matrix=[[0.5, 0, 8.0], [0, 0.5, 2.0], [0, 0, 1.0]]))
    feats = (FEATS[0][:1],)
    head.score_thr = 0.0
    (raw,) = head.predict(feats, [element], rescale=False)
    (back,) = head.predict(feats, [element], rescale=True)
    shift = torch.tensor([8.0, 2.0, 8.0, 2.0])
    torch.testing.assert_close(back.bboxes * 0.5 + shift, raw.bboxes)
    torch.testing.assert_close(back.embeddings.norm(dim=1), torch.ones(len(back)))


def test_scores_below_the_threshold_are_left_out():
    head = make_head()
    head.score_thr = 0.999
    (found,) = head.predict((FEATS[0][:1],), [sample([])])
    assert len(found) == 0
    assert found.bboxes.shape == (0, 4)


# -- errors ------------------------------------------------------------------------------------


def test_unknown_multi_loss_names_the_nearest():
    with pytest.raises(MMKDError, match="'uncertainty'"):
        FairMOTHead(in_channels=4, multi_loss='uncertain')


def test_missing_in_channels_says_where_they_come_from():
    with pytest.raises(MMKDError, match='in_channels'):
        FairMOTHead()


def test_a_negative_number_of_identities():
    with pytest.raises(MMKDError, match='-3'):
        make_head().set_num_ids(-3)
