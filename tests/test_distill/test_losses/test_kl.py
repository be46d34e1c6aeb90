import math

import pytest
import torch
import torch.nn.functional as F

from mmkd.distill.losses import KLDistillLoss
from mmkd.errors import MMKDError

from .maps import MASKS, kl, make_mask, maps, places, softmax


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('mode', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_equals_the_slow_definition(kind, mode, temperature):
    student, teacher = maps()
    mask = make_mask(kind)
    total = count = 0.0
    for n in range(2):
        for i, j, weight in places(mask, n, student):
            s, t = ([v.item() / temperature for v in x[n, :, i, j]] for x in (student, teacher))
            if mode == 'softmax':
                value = kl(softmax(t), softmax(s))
            else:
                p, q = ([1 / (1 + math.exp(-v)) for v in x] for x in (t, s))
                value = sum(kl((a, 1 - a), (b, 1 - b)) for a, b in zip(p, q)) / 3
            total += weight * value * temperature**2
            count += weight
    loss = KLDistillLoss(temperature=temperature, mode=mode)
    assert loss(student, teacher, mask).item() == pytest.approx(total / count, abs=1e-12)


def test_is_torchs_batchmean_on_vectors():
    student, teacher = (x[:, :, 0, 0] for x in maps(n=4))
    expected = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction='batchmean')
    torch.testing.assert_close(KLDistillLoss()(student, teacher), expected)


def test_a_question_is_a_choice_of_two():
    student, teacher = maps(c=1)
    two = [torch.cat([x, torch.zeros_like(x)], 1) for x in (student, teacher)]
    torch.testing.assert_close(
        KLDistillLoss(mode='sigmoid')(student, teacher), KLDistillLoss()(*two)
    )


def test_sure_teachers_give_no_nan():
    for mode in ('softmax', 'sigmoid'):
        student = torch.tensor([[300.0, -300.0]], requires_grad=True)
        loss = KLDistillLoss(mode=mode)(student, -student.detach())
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(student.grad).all()


def test_mistakes():
    with pytest.raises(MMKDError, match=r"\(2, 1, 2, 3\) has one only.*mode='sigmoid'"):
        KLDistillLoss()(*maps(c=1))
    with pytest.raises(MMKDError, match="Did you mean 'sigmoid'"):
        KLDistillLoss(mode='sigmod')
    with pytest.raises(MMKDError, match='temperature'):
        KLDistillLoss(temperature=-1)
