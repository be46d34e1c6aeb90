import pytest
import torch

from mmkd.distill.losses import DKDLoss, KLDistillLoss
from mmkd.errors import MMKDError

from .maps import MASKS, kl, make_mask, maps, places, softmax


def _slow(s, t, label, alpha, beta, temperature):
    p, q = (softmax([v / temperature for v in x]) for x in (t, s))
    target = kl((p[label], 1 - p[label]), (q[label], 1 - q[label]))
    others = []
    for probabilities in (p, q):
        rest = [v for k, v in enumerate(probabilities) if k != label]
        others.append([v / sum(rest) for v in rest])
    return (alpha * target + beta * kl(*others)) * temperature**2


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('per_place', [False, True])
def test_equals_the_slow_definition(kind, per_place):
    student, teacher = maps(c=4)
    mask = make_mask(kind)
    labels = torch.tensor([2, 0])
    if per_place:
        labels = torch.randint(4, (2, 2, 3), generator=torch.Generator().manual_seed(0))
    total = count = 0.0
    for n in range(2):
        for i, j, weight in places(mask, n, student):
            label = labels[n, i, j].item() if per_place else labels[n].item()
            s, t = (x[n, :, i, j].tolist() for x in (student, teacher))
            total += weight * _slow(s, t, label, 0.7, 5.0, 2.0)
            count += weight
    loss = DKDLoss(alpha=0.7, beta=5.0, temperature=2.0)
    got = loss(student, teacher, mask, labels=labels)
    assert got.item() == pytest.approx(total / count, abs=1e-12)


def test_puts_together_what_kl_is_made_of():
    student, teacher = (x[:, :, 0, 0].detach() for x in maps(n=1, c=4))
    doubt = 1 - teacher.softmax(1)[0, 2].item()
    loss = DKDLoss(alpha=1, beta=doubt, temperature=1.0)
    torch.testing.assert_close(
        loss(student, teacher, labels=torch.tensor([2])), KLDistillLoss()(student, teacher)
    )


def test_unknown_labels_are_left_out():
    student, teacher = (x[:, :, 0, 0] for x in maps(n=4, c=4))
    loss = DKDLoss()
    got = loss(student, teacher, labels=torch.tensor([1, -1, 255, 3]))
    torch.testing.assert_close(
        got, loss(student[[0, 3]], teacher[[0, 3]], labels=torch.tensor([1, 3]))
    )
    mask = torch.tensor([0.5, 1.0, 2.0, 0.0])[:, None, None, None]
    torch.testing.assert_close(
        loss(student, teacher, mask, labels=torch.tensor([1, -1, 255, 3])),
        loss(student[:1], teacher[:1], labels=torch.tensor([1])),
    )
    nothing = loss(student, teacher, labels=torch.full((4,), -1))
    grad = torch.autograd.grad(nothing, student)[0]
    assert nothing.item() == 0
    assert torch.equal(grad, torch.zeros_like(grad))


def test_a_sure_teacher_gives_no_nan():
    student = torch.tensor([[-200.0, 200.0, 0.0]], requires_grad=True)
    loss = DKDLoss(temperature=1)(student, -student.detach(), labels=torch.tensor([0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_mistakes():
    student, teacher = maps()
    with pytest.raises(MMKDError, match='DKDLoss needs labels='):
        DKDLoss()(student, teacher)
    with pytest.raises(MMKDError, match=r'\(2,\) or \(2, 2, 3\), but got \(3,\)'):
        DKDLoss()(student, teacher, labels=torch.zeros(3).long())
    with pytest.raises(MMKDError, match='no others'):
        DKDLoss()(student[:, :1], teacher[:, :1], labels=torch.zeros(2).long())
