import math

import pytest
import torch

from mmkd.distill.losses.masked import unit
from mmkd.distill.losses.relations import SHORTEST, compare_rows, masked_log_softmax


def test_unit_vectors_and_none_of_length_zero():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    found = unit(x, 1, SHORTEST)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    found.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad[1].tolist() == [0, 0]


def test_softmax_over_the_chosen_entries():
    x = torch.tensor([[1.0, 50.0, 2.0], [5.0, 6.0, 7.0]])
    chosen = torch.tensor([[True, False, True], [False, False, False]])
    found = masked_log_softmax(x, chosen)
    total = math.log(math.exp(1) + math.exp(2))
    assert found[0, [0, 2]].tolist() == pytest.approx([1 - total, 2 - total])
    assert found[0, 1].exp() == 0
    assert torch.isfinite(found).all()


@pytest.mark.parametrize('distance', ['kl', 'mse'])
def test_a_row_without_entries_costs_nothing(distance):
    student = torch.randn(2, 3, requires_grad=True)
    chosen = torch.tensor([[True, True, True], [False, False, False]])
    values = compare_rows(student, torch.randn(2, 3), chosen, distance, 0.5)
    assert values[0] > 0
    assert values[1] == 0
    values.sum().backward()
    assert student.grad[1].tolist() == [0, 0, 0]
