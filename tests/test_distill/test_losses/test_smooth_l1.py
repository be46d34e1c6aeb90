import pytest

from mmkd.distill.losses import SmoothL1DistillLoss
from mmkd.errors import MMKDError

from .maps import MASKS, make_mask, maps, places


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('beta', [0.3, 1.0])
def test_equals_the_slow_definition(kind, beta):
    student, teacher = maps()
    mask = make_mask(kind)
    total = count = 0.0
    for n in range(2):
        for i, j, weight in places(mask, n, student):
            for c in range(3):
                d = abs(student[n, c, i, j].item() - teacher[n, c, i, j].item())
                total += weight * (d * d / 2 / beta if d < beta else d - beta / 2)
                count += weight
    loss = SmoothL1DistillLoss(beta=beta)
    assert loss(student, teacher, mask).item() == pytest.approx(total / count, abs=1e-12)
    assert loss(student, teacher, mask, 'sum').item() == pytest.approx(total, abs=1e-10)


def test_beta_is_positive():
    with pytest.raises(MMKDError, match='beta that is more than 0, but got 0'):
        SmoothL1DistillLoss(beta=0)
