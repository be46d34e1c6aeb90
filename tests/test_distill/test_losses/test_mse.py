import pytest
import torch

from mmkd.distill import MSEDistillLoss
from mmkd.errors import MMKDError


def _maps(dtype=torch.float64):
    torch.manual_seed(0)
    student = torch.randn(3, 5, 4, 6, dtype=dtype, requires_grad=True)
    return student, torch.randn(3, 5, 4, 6, dtype=dtype), torch.rand(3, 1, 4, 6) > 0.4


def test_equals_torchs_without_and_the_chosen_places_with_a_mask():
    student, teacher, mask = _maps()
    torch.testing.assert_close(
        MSEDistillLoss()(student, teacher), torch.nn.functional.mse_loss(student, teacher)
    )
    chosen = mask.expand_as(student)
    expected = torch.nn.functional.mse_loss(student[chosen], teacher[chosen])
    torch.testing.assert_close(MSEDistillLoss()(student, teacher, mask), expected)


def test_gradient():
    student, teacher, mask = _maps()
    assert torch.autograd.gradcheck(lambda s: MSEDistillLoss()(s, teacher, mask), (student,))


def test_nothing_valid_is_an_exact_zero_with_a_gradient():
    student, teacher, mask = _maps()
    loss = MSEDistillLoss()(student, teacher, torch.zeros_like(mask))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_half_precision_does_not_overflow():
    student = torch.full((1, 1, 2, 2), 400.0, dtype=torch.float16)
    assert MSEDistillLoss()(student, -student).item() == 800.0**2


def test_shapes_differ():
    student, teacher, _ = _maps()
    with pytest.raises(MMKDError, match=r'\(3, 5, 4, 6\).*\(3, 4, 4, 6\)'):
        MSEDistillLoss()(student, teacher[:, :4])
