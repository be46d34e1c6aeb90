import math

import pytest
import torch

from mmkd.distill.losses.masked import (
    log_softmax_over_places,
    root_weighted,
    standardise,
    unit,
    weighted_mean,
)

from .maps import MASKS, make_mask, maps, places, softmax


@pytest.mark.parametrize('kind', MASKS)
def test_weighted_mean(kind):
    x, _ = maps()
    mask = make_mask(kind)
    got = weighted_mean(x, mask, (2, 3))
    assert got.shape == (2, 3, 1, 1)
    for n in range(2):
        valid = places(mask, n, x)
        for c in range(3):
            total = sum(x[n, c, i, j].item() * w for i, j, w in valid)
            assert got[n, c].item() == pytest.approx(total / sum(w for *_, w in valid))
    assert torch.equal(weighted_mean(x, torch.zeros(2, 1, 2, 3), (2, 3)), torch.zeros_like(got))


@pytest.mark.parametrize('kind', MASKS)
def test_standardised_has_mean_zero_and_variance_one(kind):
    x, _ = maps()
    mask = make_mask(kind)
    z = standardise(x * 100 + 7, (0, 2, 3), mask)
    for c in range(3):
        pairs = [(z[n, c, i, j].item(), w) for n in range(2) for i, j, w in places(mask, n, x)]
        total = sum(w for _, w in pairs)
        assert sum(v * w for v, w in pairs) / total == pytest.approx(0, abs=1e-9)
        assert sum(v * v * w for v, w in pairs) / total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize('value', [0.0, 3.7, 1e-6, 12345.678])
def test_constants_become_zero_without_a_gradient(value):
    x = torch.full((2, 3, 5, 7), value, requires_grad=True)
    z = standardise(x, (0, 2, 3))
    assert torch.equal(z, torch.zeros_like(z))
    grad = torch.autograd.grad((z * torch.randn(z.shape)).sum(), x)[0]
    assert torch.equal(grad, torch.zeros_like(x))


def test_small_spreads_are_no_constants():
    torch.manual_seed(0)
    x = 1 + 1e-4 * torch.randn(2, 3, 50)
    expected = (x.double() - x.double().mean(2, keepdim=True)) / x.double().std(
        2, keepdim=True, unbiased=False
    )
    torch.testing.assert_close(standardise(x, 2).double(), expected, atol=1e-2, rtol=0)
    assert standardise(x * 1e-12, 2).square().mean().item() == pytest.approx(1, rel=1e-3)


def test_unit():
    x, _ = maps()
    lengths = unit(x, (1, 2, 3)).square().sum((1, 2, 3))
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    zero = torch.zeros(2, 3, requires_grad=True)
    assert torch.equal(unit(zero, 1), zero)
    grad = torch.autograd.grad(unit(zero, 1).sum(), zero)[0]
    assert torch.equal(grad, torch.zeros_like(zero))


@pytest.mark.parametrize('size', [1e-20, 1e-15, 1e-11, 1e-3, 1e9])
def test_short_vectors_have_a_finite_gradient(size):
    x = (torch.tensor([[3.0, 4.0]]) * size).requires_grad_()
    out = unit(x, 1)
    expected = [[0.6, 0.8]] if size > 1e-12 else [[0.0, 0.0]]
    torch.testing.assert_close(out, torch.tensor(expected))
    out[0, 0].backward()
    # That of x / |x| is (16, -12) / 125 at (3, 4).
    slope = torch.tensor([[16.0, -12.0]]) / (125 * size) * (size > 1e-12)
    torch.testing.assert_close(x.grad, slope, rtol=1e-3, atol=0)


def test_root_weighted():
    x, y = maps()
    weights = make_mask('weights')
    got = (root_weighted(x, weights) * root_weighted(y, weights)).sum()
    torch.testing.assert_close(got, (x * y * weights).sum())
    assert root_weighted(x, None) is x
    assert root_weighted(x, weights > 0) is x


@pytest.mark.parametrize('kind', MASKS)
def test_log_softmax_over_places(kind):
    x, _ = maps()
    mask = make_mask(kind)
    got = log_softmax_over_places(x, mask).reshape(x.shape)
    for n in range(2):
        valid = places(mask, n, x)
        for c in range(3):
            values = [x[n, c, i, j].item() for i, j, _ in valid]
            shares = softmax(values, [w for *_, w in valid])
            found = torch.zeros(2, 3, dtype=torch.float64)
            for (i, j, _), share in zip(valid, shares):
                found[i, j] = math.log(share)
            torch.testing.assert_close(got[n, c], found)


def test_log_softmax_of_nothing_is_finite():
    x = torch.zeros(1, 2, 2, 2, requires_grad=True)
    for mask in (torch.zeros(1, 1, 2, 2).bool(), torch.zeros(1, 1, 2, 2)):
        out = log_softmax_over_places(x, mask)
        assert torch.isfinite(out).all()
        assert torch.isfinite(torch.autograd.grad(out.sum(), x)[0]).all()
