import copy

import pytest
import torch

from mmkd.distill.balance import EMAStandardize
from mmkd.errors import MMKDError
from mmkd.registry import MODELS


def _batches(count=4, dtype=torch.float32):
    torch.manual_seed(0)
    scale = torch.tensor([1.0, 30.0, 0.01]).reshape(1, 3, 1, 1)
    offset = torch.tensor([0.0, -100.0, 2.0]).reshape(1, 3, 1, 1)
    return [((torch.randn(2, 3, 4, 5) + i) * scale + offset).to(dtype) for i in range(count)]


def _slow(batches, masks, momentum):
    """Mean and variance over all values seen, each with the weight that its batch still has."""
    means, variances = [], []
    for channel in range(3):
        values, weights = [], []
        for number, (batch, mask) in enumerate(zip(batches, masks)):
            left = (1 - momentum) ** (len(batches) - 1 - number)
            share = left * (1 if number == 0 else momentum)
            places = [
                (batch[n, channel, j, k].item(), mask[n, 0, j, k].item())
                for n in range(2)
                for j in range(4)
                for k in range(5)
            ]
            total = sum(weight for _, weight in places)
            values += [value for value, _ in places]
            weights += [share * weight / total for _, weight in places]
        mean = sum(w * v for w, v in zip(weights, values))
        means.append(mean)
        variances.append(sum(w * (v - mean) ** 2 for w, v in zip(weights, values)))
    return torch.tensor(means), torch.tensor(variances)


@pytest.mark.parametrize('kind', [None, 'bool', 'float'])
def test_is_the_slow_mean_over_all_that_was_seen(kind):
    batches = _batches()
    masks = [torch.ones(2, 1, 4, 5) for _ in batches]
    if kind == 'bool':
        masks = [torch.rand(2, 1, 4, 5) > 0.4 for _ in batches]
    elif kind == 'float':
        masks = [torch.rand(2, 1, 4, 5) * (torch.rand(2, 1, 4, 5) > 0.4) for _ in batches]
    standardize = EMAStandardize(3, momentum=0.3)
    for number in range(len(batches)):
        out = standardize(batches[number], None if kind is None else masks[number])
        mean, var = _slow(batches[: number + 1], masks[: number + 1], 0.3)
        torch.testing.assert_close(standardize.mean, mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(standardize.var, var, rtol=1e-3, atol=1e-7)
        shape = (1, 3, 1, 1)
        wanted = (batches[number] - mean.reshape(shape)) / (var + 1e-6).sqrt().reshape(shape)
        torch.testing.assert_close(out, wanted, rtol=1e-3, atol=1e-3)


def test_the_first_batch_comes_out_standardised():
    out = EMAStandardize(3)(_batches(1)[0])
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3), unbiased=False), torch.ones(3), rtol=0.02, atol=0)


def test_masked_places_may_hold_nan():
    batch, mask = _batches(1)[0], torch.ones(2, 1, 4, 5, dtype=torch.bool)
    mask[:, :, :, 3:] = False
    clean, dirty = EMAStandardize(3), EMAStandardize(3)
    clean(batch, mask)
    batch[:, :, :, 3:] = float('nan')
    out = dirty(batch, mask)
    assert torch.equal(clean.mean, dirty.mean)
    assert torch.equal(clean.var, dirty.var)
    assert out[..., :3].isfinite().all()


def test_nothing_valid_or_not_finite_changes_nothing():
    standardize = EMAStandardize(3)
    first, second = _batches(2)
    for _ in range(2):  # before the first batch, and after it
        before = copy.deepcopy(standardize.state_dict())
        standardize(second, torch.zeros(2, 1, 4, 5, dtype=torch.bool))
        standardize(second * float('inf'))
        for name, value in standardize.state_dict().items():
            assert torch.equal(value, before[name]), name
        standardize(first)
        assert standardize.seen


def test_eval_uses_what_training_saw():
    standardize = EMAStandardize(3)
    first, second = _batches(2)
    assert torch.equal(EMAStandardize(3, eps=0).eval()(second), second)
    standardize(first)
    before = copy.deepcopy(standardize.state_dict())
    out = standardize.eval()(second)
    for name, value in standardize.state_dict().items():
        assert torch.equal(value, before[name])
    wanted = (second - before['mean'].reshape(1, 3, 1, 1)) / before['var'].sqrt().reshape(
        1, 3, 1, 1
    )
    torch.testing.assert_close(out, wanted, rtol=1e-2, atol=1e-3)


def test_vectors_are_maps_of_one_place():
    torch.manual_seed(0)
    vectors = torch.randn(6, 3)
    ours, theirs = EMAStandardize(3), EMAStandardize(3)
    torch.testing.assert_close(ours(vectors), theirs(vectors[:, :, None, None])[:, :, 0, 0])
    torch.testing.assert_close(ours.var, vectors.var(0, unbiased=False))


def test_half_precision_is_left_behind():
    batch = _batches(1, torch.bfloat16)[0]
    ours, exact = EMAStandardize(3), EMAStandardize(3)
    out = ours(batch)
    assert out.dtype == torch.float32
    assert torch.equal(out, exact(batch.float()))
    assert exact(batch.double()).dtype == torch.float64


def test_gradients_pass_and_later_batches_do_not_disturb_them():
    batch = _batches(1)[0].requires_grad_()
    standardize = EMAStandardize(3)
    out = standardize(batch)
    standardize(batch.detach() + 1)
    scale = out.grad_fn is not None
    assert scale
    out.sum().backward()
    assert batch.grad.isfinite().all()
    assert (batch.grad > 0).all()


@pytest.mark.parametrize('shape', [(2, 4, 4, 5), (2, 3, 4), (4,)])
def test_shapes_are_told(shape):
    with pytest.raises(MMKDError, match=r'takes \(N, 3, h, w\)'):
        MODELS.build(dict(type='mmkd.EMAStandardize', channels=3))(torch.zeros(shape))


@pytest.mark.parametrize('momentum', [0, 1.5, None, True])
def test_momentum_is_a_share(momentum):
    with pytest.raises(MMKDError, match='share of a new batch'):
        EMAStandardize(3, momentum=momentum)
