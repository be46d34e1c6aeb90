import math

import pytest
import torch

from mmkd.distill.losses import ATLoss
from mmkd.errors import MMKDError

from .maps import MASKS, make_mask, maps, places


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('p', [1.0, 2.0, 3.0])
def test_equals_the_slow_definition(kind, p):
    student, teacher = maps(teacher_channels=5)
    mask = make_mask(kind)
    each = []
    for n in range(2):
        valid = places(mask, n, student)
        directions = []
        for x in (student, teacher):
            q = [sum(abs(v.item()) ** p for v in x[n, :, i, j]) for i, j, _ in valid]
            length = math.sqrt(sum(w * v * v for v, (_, _, w) in zip(q, valid)))
            directions.append([v / length for v in q])
        each.append(sum(w * (a - b) ** 2 for a, b, (_, _, w) in zip(*directions, valid)))
    loss = ATLoss(p=p)
    assert loss(student, teacher, mask, 'sample').tolist() == pytest.approx(each, abs=1e-12)
    assert loss(student, teacher, mask).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_is_the_published_code_but_for_the_number_of_places():
    student, teacher = maps()

    def attention(x):
        return torch.nn.functional.normalize(x.pow(2).mean(1).flatten(1))

    published = (attention(student) - attention(teacher)).pow(2).mean()
    torch.testing.assert_close(ATLoss()(student, teacher), published * 6)


def test_dead_features_give_no_nan():
    student = torch.zeros(1, 3, 2, 2, requires_grad=True)
    ATLoss()(student, torch.rand(1, 3, 2, 2)).backward()
    assert torch.isfinite(student.grad).all()


def test_mistakes():
    with pytest.raises(MMKDError, match='p of 1 or more'):
        ATLoss(p=0.5)
    with pytest.raises(MMKDError, match='compares the places'):
        ATLoss()(torch.zeros(2, 3), torch.zeros(2, 3))
