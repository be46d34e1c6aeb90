import pytest
import torch

from mmkd.distill.losses import CWDLoss
from mmkd.errors import MMKDError

from .maps import MASKS, kl, make_mask, maps, places, softmax


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_equals_the_slow_definition(kind, temperature):
    student, teacher = maps()
    mask = make_mask(kind)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for n in range(2):
        valid = places(mask, n, student)
        weights = [weight for _, _, weight in valid]
        for c in range(3):
            s, t = (
                softmax([x[n, c, i, j].item() / temperature for i, j, _ in valid], weights)
                for x in (student, teacher)
            )
            expected[n, c] = kl(t, s) * temperature**2
    loss = CWDLoss(temperature=temperature)
    torch.testing.assert_close(loss(student, teacher, mask, 'none'), expected)
    torch.testing.assert_close(loss(student, teacher, mask), expected.mean())


def test_an_offset_of_a_channel_does_not_matter():
    student, _ = maps()
    assert CWDLoss()(student, student + torch.randn(2, 3, 1, 1)).item() == pytest.approx(0)


def test_wide_features_are_no_nan():
    student, teacher = (x.detach().float() * 1e4 for x in maps())
    student.requires_grad_()
    loss = CWDLoss()(student, teacher, make_mask('bool'))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_one_place_would_always_be_zero():
    with pytest.raises(MMKDError, match=r'CWDLoss.*\(2, 3, 1, 1\)'):
        CWDLoss()(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(MMKDError, match='temperature'):
        CWDLoss(temperature=0)
