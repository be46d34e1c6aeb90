import pytest
import torch

from mmkd.distill.cache.fidelity import compare, summarise


def test_by_hand():
    live = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    stored = torch.tensor([[[[1.0, 2.0]], [[1.0, 0.0]]]])
    found = summarise(compare(stored, live))
    # Places (1, 1) against (1, 0), and (2, 0) against (0, 2).
    assert found.cosine == pytest.approx((0.5**0.5 + 0) / 2)
    assert found.error == pytest.approx(((1 + 8) / (1 + 4)) ** 0.5)


def test_a_mask_leaves_places_out():
    live, stored = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    stored[:, :, 0] = live[:, :, 0]
    mask = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    mask[:, :, 0] = True
    found = summarise(compare(stored, live, mask))
    assert found.cosine == pytest.approx(1)
    assert found.error == 0
    mask[0] = False
    assert summarise(compare(stored, live, mask)).lowest == pytest.approx(1)


def test_zero_vectors_are_alike_and_nothing_is_perfect():
    zero = torch.zeros(1, 3, 2, 2)
    assert summarise(compare(zero, zero)) == (1.0, 1.0, 0.0)
    assert summarise(compare(zero + 1, zero)).error == float('inf')
    nothing = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert summarise(compare(zero, zero + 1, nothing)) == (1.0, 1.0, 0.0)


def test_nan_is_not_passed_over():
    live = torch.randn(2, 3)
    stored = live.clone()
    stored[0] = float('nan')
    assert summarise(compare(stored, live)).cosine != pytest.approx(1)
