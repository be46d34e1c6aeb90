import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.distill.losses.common import DistillLoss, any_valid, exact, reduce
from mmkd.errors import MMKDError


@st.composite
def values_and_weights(draw):
    """Values of 1 to 4 dimensions, and None or weights that some of them share."""
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    shared = [size if draw(st.booleans()) or k == 0 else 1 for k, size in enumerate(shape)]
    kind = draw(st.sampled_from(['none', 'bool', 'float', 'half', 'long']))
    seed = draw(st.integers(0, 2**20))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == 'none':
        return values, None
    weights = torch.rand(shared, generator=generator, dtype=torch.float64) * 3
    weights[torch.rand(shared, generator=generator) < draw(st.sampled_from([0, 0.4, 1]))] = 0
    types = {'bool': torch.bool, 'float': torch.float64, 'half': torch.float16, 'long': torch.long}
    return values, weights.to(types[kind])


def _pairs(values, weights):
    """(value, weight) of each number of one image."""
    if weights is None:
        weights = torch.ones_like(values)
    weights = weights.double().expand_as(values)
    return list(zip(values.reshape(-1).tolist(), weights.reshape(-1).tolist()))


def _mean(pairs):
    total = sum(weight for _, weight in pairs)
    return sum(v * w for v, w in pairs) / total if total else 0.0


@settings(max_examples=200, deadline=None)
@given(values_and_weights())
def test_reduce_equals_loops(case):
    values, weights = case
    images = [
        _pairs(values[n : n + 1], None if weights is None else weights[n : n + 1])
        for n in range(len(values))
    ]
    every = [pair for image in images for pair in image]
    assert reduce(values, weights, 'mean').item() == pytest.approx(_mean(every), abs=1e-9)
    total = sum(v * w for v, w in every)
    assert reduce(values, weights, 'sum').item() == pytest.approx(total, abs=1e-9)
    sample = reduce(values, weights, 'sample')
    assert sample.tolist() == pytest.approx([_mean(image) for image in images], abs=1e-9)
    none = reduce(values, weights, 'none')
    assert none.shape == values.shape
    assert none.reshape(-1).tolist() == pytest.approx([v * w for v, w in every], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(values_and_weights(), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_has_no_weight_may_be_anything(case, bad):
    values, weights = case
    if weights is None:
        return
    dirty = torch.where(weights.expand_as(values) > 0, values, torch.full_like(values, bad))
    dirty.requires_grad_()
    for reduction in ('mean', 'sum', 'sample', 'none'):
        got = reduce(dirty, weights, reduction)
        assert torch.equal(got, reduce(values, weights, reduction))
        assert torch.isfinite(torch.autograd.grad(got.sum(), dirty)[0]).all()


@settings(max_examples=50, deadline=None)
@given(values_and_weights(), st.floats(0.1, 10))
def test_a_mean_does_not_care_for_the_scale_of_weights(case, scale):
    values, weights = case
    if weights is None or weights.dtype != torch.float64:
        return
    for reduction in ('mean', 'sample'):
        torch.testing.assert_close(
            reduce(values, weights * scale, reduction), reduce(values, weights, reduction)
        )


@pytest.mark.parametrize('weights', [None, torch.zeros(0, 1, 2), torch.zeros(0, 1, 2).bool()])
def test_an_empty_batch(weights):
    values = torch.zeros(0, 3, 2, requires_grad=True)
    for reduction in ('mean', 'sum'):
        got = reduce(values, weights, reduction)
        assert got.item() == 0
        got.backward()
    assert reduce(values, weights, 'sample').shape == (0,)
    assert reduce(values, weights, 'none').shape == (0, 3, 2)


def test_weights_do_not_choose_the_precision():
    values = torch.randn(2, 3)
    for weights in (torch.ones(2, 1, dtype=torch.float64), torch.ones(2, 1).half()):
        for reduction in ('mean', 'sum', 'sample', 'none'):
            assert reduce(values, weights, reduction).dtype == torch.float32


def test_one_map_of_weights_for_all_images():
    values, weights = torch.rand(3, 2, 4), torch.rand(1, 1, 4)
    for reduction in ('mean', 'sum', 'sample', 'none'):
        torch.testing.assert_close(
            reduce(values, weights, reduction),
            reduce(values, weights.expand(3, 1, 4), reduction),
        )


class _Plain(DistillLoss):
    reductions = ('mean', 'sum')


class _Relational(DistillLoss):
    same_channels = False


def test_prepare_clears_what_has_no_weight():
    student = torch.full((1, 2, 1, 2), float('nan')).half()
    student[..., 0] = 1
    student.requires_grad_()
    mask = torch.tensor([[[[0.5, 0.0]]]], dtype=torch.float64)
    s, t, weights = DistillLoss().prepare(student, student.detach(), mask)
    assert s.dtype == t.dtype == weights.dtype == torch.float32
    assert torch.equal(s, torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]]))
    assert torch.equal(s, t)
    grad = torch.autograd.grad((s * float('inf')).sum(), student)[0]
    assert torch.equal(grad[..., 1], torch.zeros(1, 2, 1).half())


def test_prepare_keeps_float64_and_takes_vectors():
    s, t, mask = DistillLoss().prepare(torch.rand(2, 3).double(), torch.rand(2, 3).half(), None)
    assert s.dtype == torch.float64
    assert t.dtype == torch.float32
    assert s.shape == t.shape == (2, 3, 1, 1)
    assert mask is None


def test_shapes_that_do_not_fit():
    maps = torch.zeros(2, 3, 4, 5)
    for other in (maps[:1], maps[:, :2], maps[:, :, :2], maps[..., :2], maps[:, :, 0, 0], maps[0]):
        with pytest.raises(MMKDError) as caught:
            DistillLoss().prepare(maps, other, None)
        assert str(tuple(maps.shape)) in str(caught.value)
        assert str(tuple(other.shape)) in str(caught.value)
    with pytest.raises(MMKDError, match=r'mask of shape \(2, 1, 4, 5\).*\(2, 4, 5\)'):
        DistillLoss().prepare(maps, maps, torch.zeros(2, 4, 5))
    _Relational().prepare(maps, maps[:, :2], None)
    with pytest.raises(MMKDError):
        _Relational().prepare(maps, maps[:, :, :2], None)


def test_reductions_that_a_loss_lacks():
    with pytest.raises(MMKDError, match="_Plain has no reduction 'none'"):
        _Plain(reduction='none')
    assert _Plain('sum').check_reduction() == 'sum'
    with pytest.raises(MMKDError, match="no reduction 'sample'"):
        _Plain().check_reduction('sample')


def test_any_valid():
    mask = torch.zeros(2, 1, 2, 2)
    mask[1, 0, 1, 1] = 0.1
    assert any_valid(mask).tolist() == [False, True]
    assert any_valid(mask > 0).tolist() == [False, True]
    assert any_valid(None) is None


def test_exact_switches_autocast_off():
    x = torch.rand(2, 2)
    with torch.autocast('cpu', dtype=torch.bfloat16), exact(x):
        assert (x @ x).dtype == torch.float32
    with exact(x.to('meta')):
        pass
