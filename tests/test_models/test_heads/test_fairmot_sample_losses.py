"""The loss of each image for itself, against the batch's and against one image at a time."""

import pytest
import torch

from mmkd.errors import MMKDError
from mmkd.models.heads import FairMOTHead
from tests.test_distill.test_losses.test_every_loss import _NoWaiting

from .test_fairmot_head import FEATS, SAMPLES, make_head, sample

CROWD = sample([[4, 4, 20, 30], [30, 20, 50, 44], [60, 10, 80, 50]], ids=[1, 2, 4])
STREET = sample([])
FLAT = sample([[4, 4, 20, 30], [50, 20, 50, 44]], ids=[1, 2])


def _feats(n):
    return (torch.randn(n, 6, 16, 24, generator=torch.Generator().manual_seed(7)),)


def _raw(losses):
    return losses['det_heatmap'] + losses['det_ltrb'] + losses['det_offset']


def test_of_one_image_it_is_the_loss_of_a_batch_of_one():
    head = make_head()
    samples = [*SAMPLES, CROWD, STREET, FLAT]
    feats = _feats(len(samples))[0]
    targets = head.get_targets(samples, (16, 24))
    found = head.sample_losses(head((feats,)), targets)
    alone = [_raw(head.loss((feats[i : i + 1],), [s])) for i, s in enumerate(samples)]
    assert found.shape == (5,)
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-4, rtol=1e-5)


def test_equally_many_objects_average_to_the_batchs_loss():
    head = make_head()
    # Two objects in each.
    targets = head.get_targets(SAMPLES, (16, 24))
    found = head.sample_losses(head(FEATS), targets)
    torch.testing.assert_close(found.mean().detach(), _raw(head.loss(FEATS, SAMPLES)))
    other = [CROWD, STREET]
    targets = head.get_targets(other, (16, 24))
    found = head.sample_losses(head(FEATS), targets)
    # A crowd beside an empty street: the batch's divisor is not theirs.
    assert abs(found.mean() - _raw(head.loss(FEATS, other))) > 0.1


@pytest.mark.parametrize('rows', [[0], [2, 0], [3, 2, 1], [3], [4]])
def test_a_part_of_a_batch_has_the_losses_that_it_has_within_it(rows):
    head = make_head()
    samples = [*SAMPLES, CROWD, STREET, FLAT]
    outputs = head(_feats(len(samples)))
    targets = head.get_targets(samples, (16, 24))
    whole = head.sample_losses(outputs, targets)
    rows = torch.tensor(rows)
    part = {name: value[rows] for name, value in outputs.items()}
    index = targets.index(rows)
    torch.testing.assert_close(head.sample_losses(part, index), whole[rows])
    # They are the targets of these images: the loss that is trained agrees.
    own = head.get_targets([samples[i] for i in rows.tolist()], (16, 24))
    assert torch.equal(index.heatmap, own.heatmap)
    for name, value in head.loss_by_targets(part, own).items():
        if own.valid.sum() > 0 or name != 'det_ltrb':
            torch.testing.assert_close(head.loss_by_targets(part, index)[name], value)


def test_another_image_never_reaches_it():
    head = make_head()
    samples = [CROWD, FLAT, STREET]
    outputs = {k: v.detach() for k, v in head(_feats(3)).items()}
    targets = head.get_targets(samples, (16, 24))
    clean = head.sample_losses(outputs, targets)
    for value in outputs.values():
        value[0] = float('nan')
    broken = head.sample_losses(outputs, targets)
    assert broken[0].isnan()
    assert torch.equal(broken[1:], clean[1:])
    part = targets.index(torch.tensor([1, 2]))
    rest = {k: v[1:].clone().requires_grad_() for k, v in outputs.items()}
    # The box without area counts for nothing, whatever is there.
    k = 4
    rest['ltrb'].data[0, :, targets.y[k], targets.x[k]] = float('nan')
    again = head.sample_losses(rest, part)
    torch.testing.assert_close(again, clean[1:])
    again.sum().backward()
    assert torch.isfinite(rest['offset'].grad).all()
    assert torch.isfinite(rest['ltrb'].grad).all()


def test_gradient_goes_to_every_map_but_the_embedding_and_no_weight():
    head = make_head()
    outputs = head(FEATS)
    targets = head.get_targets(SAMPLES, (16, 24))
    head.sample_losses(outputs, targets).sum().backward()
    assert head.ltrb[-1].weight.grad.abs().sum() > 0
    assert head.heatmap[-1].weight.grad.abs().sum() > 0
    for p in (head.s_det, head.s_id, head.embedding[-1].weight, head.id_classifier.weight):
        assert p.grad is None


def test_half_maps_are_judged_in_float32():
    head = make_head()
    outputs = {k: v.detach().half() for k, v in head(FEATS).items()}
    targets = head.get_targets(SAMPLES, (16, 24))
    found = head.sample_losses(outputs, targets)
    assert found.dtype == torch.float32
    exact = head.sample_losses({k: v.float() for k, v in outputs.items()}, targets)
    assert torch.equal(found, exact)


def test_the_host_never_waits():
    head = make_head()
    outputs = head(FEATS)
    targets = head.get_targets(SAMPLES, (16, 24))
    rows = torch.tensor([1])
    with _NoWaiting():
        head.sample_losses(outputs, targets).sum().backward(retain_graph=True)
        part = {name: value.index_select(0, rows) for name, value in outputs.items()}
        head.sample_losses(part, targets.index(rows)).sum().backward()


def test_classes_and_given_targets():
    head = FairMOTHead(in_channels=6, feat_channels=8, embed_dims=4, num_classes=3)
    samples = [sample([[10, 10, 30, 50], [40, 8, 60, 40]], labels=[0, 2]), STREET]
    targets = head.get_targets(samples, (16, 24))
    found = head.sample_losses(head(FEATS), targets)
    alone = [_raw(head.loss((FEATS[0][i : i + 1],), [s])) for i, s in enumerate(samples)]
    torch.testing.assert_close(found.detach(), torch.stack(alone), atol=1e-4, rtol=1e-5)
    given = head.loss(FEATS, [None, None], targets)
    made = head.loss(FEATS, samples)
    assert all(torch.equal(given[name], made[name]) for name in made)


def test_a_grid_that_differs_is_told():
    head = make_head()
    targets = head.get_targets(SAMPLES, (16, 23))
    with pytest.raises(MMKDError, match=r'\(2, 1, 16, 24\).*\(2, 1, 16, 23\).*pad_size_divisor=32'):
        head.sample_losses(head(FEATS), targets)
