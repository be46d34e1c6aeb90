import pytest
import torch

from mmkd.distill.losses import PKDLoss
from mmkd.errors import MMKDError

from .maps import MASKS, make_mask, maps, pearson, places


def _correlation(student, teacher, mask, c, images):
    seen = [(n, *place) for n in images for place in places(mask, n, student)]
    s, t = ([x[n, c, i, j].item() for n, i, j, _ in seen] for x in (student, teacher))
    return pearson(s, t, [weight for *_, weight in seen])


@pytest.mark.parametrize('kind', MASKS)
def test_is_one_minus_the_correlation(kind):
    student, teacher = maps()
    mask = make_mask(kind)
    losses = [1 - _correlation(student, teacher, mask, c, range(2)) for c in range(3)]
    got = PKDLoss()(student, teacher, mask)
    assert got.item() == pytest.approx(sum(losses) / 3, abs=1e-12)


@pytest.mark.parametrize('kind', MASKS)
def test_of_each_image_alone(kind):
    student, teacher = maps()
    mask = make_mask(kind)
    each = [
        sum(1 - _correlation(student, teacher, mask, c, [n]) for c in range(3)) / 3
        for n in range(2)
    ]
    got = PKDLoss(per_image=True)(student, teacher, mask, 'sample')
    assert got.tolist() == pytest.approx(each, abs=1e-12)
    halves = [
        PKDLoss(per_image=True)(student[n : n + 1], teacher[n : n + 1]).item() for n in range(2)
    ]
    whole = PKDLoss(per_image=True)(student, teacher)
    assert whole.item() == pytest.approx(sum(halves) / 2, abs=1e-12)


def test_scale_and_offset_do_not_matter():
    student, _ = maps()
    scaled = student * torch.rand(3, 1, 1).add(0.1) + torch.randn(3, 1, 1)
    assert PKDLoss()(student, scaled).item() == pytest.approx(0, abs=1e-12)


def test_a_constant_channel_has_no_gradient_and_no_nan():
    student, teacher = (x.detach().float() for x in maps())
    student[:, 0] = 7.3
    student[:, 1] = 0
    student.requires_grad_()
    loss = PKDLoss()(student, teacher)
    loss.backward()
    assert torch.equal(student.grad[:, :2], torch.zeros(2, 2, 2, 3))
    assert student.grad[:, 2].abs().sum() > 0
    assert 0 < loss.item() < 2


def test_one_place():
    student, teacher = (x[:, :, 0, 0] for x in maps(n=4))
    r = [pearson(student[:, c].tolist(), teacher[:, c].tolist()) for c in range(3)]
    assert PKDLoss()(student, teacher).item() == pytest.approx(1 - sum(r) / 3, abs=1e-12)
    with pytest.raises(MMKDError, match='PKDLoss compares the places'):
        PKDLoss(per_image=True)(student, teacher)
