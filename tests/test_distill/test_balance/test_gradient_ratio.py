import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmkd.distill.balance import GradientRatio
from mmkd.errors import MMKDError
from mmkd.registry import MODELS


class Student(nn.Module):
    """A trunk that both losses reach, and a head for each."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
        self.head = nn.Linear(5, 1)
        self.transform = nn.Linear(5, 7)
        self.to(dtype)

    def losses(self, x):
        features = self.trunk(x)
        return self.head(features).square().mean() * 3, self.transform(features).abs().mean()


def _batch(seed=0, dtype=torch.float32):
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _slow(student, x):
    """Norms and cosine over the trunk, one number at a time, from two backward passes."""
    found = []
    for which in (0, 1):
        student.zero_grad()
        student.losses(x)[which].backward()
        found.append([v for p in student.trunk.parameters() for v in p.grad.flatten().tolist()])
    student.zero_grad(set_to_none=True)
    task, kd = (math.sqrt(sum(v * v for v in grads)) for grads in found)
    dot = sum(a * b for a, b in zip(*found))
    return task, kd, dot / (task * kd)


def _gradient_norm(loss, params):
    grads = torch.autograd.grad(loss, params, retain_graph=True)
    return torch.cat([g.flatten() for g in grads]).norm().item()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_measures_what_two_backward_passes_give(dtype):
    student, x = Student(dtype), _batch(dtype=dtype)
    task, kd, cosine = _slow(student, x)
    balance = GradientRatio(ratio=0.25)
    balance.measure(*student.losses(x), list(student.parameters()))
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    assert balance.ratio.item() == pytest.approx(kd / task, rel=tolerance)
    assert balance.cosine.item() == pytest.approx(cosine, rel=tolerance, abs=tolerance)
    assert balance.scale.item() == pytest.approx(0.25 * task / kd, rel=tolerance)
    assert balance.scale.dtype == torch.float32


def test_afterwards_the_gradients_have_the_ratio():
    student, x = Student(), _batch()
    balance = GradientRatio(ratio=0.1)
    task, kd = student.losses(x)
    balance.measure(task, kd, list(student.parameters()))
    trunk = list(student.trunk.parameters())
    assert _gradient_norm(balance(kd), trunk) == pytest.approx(
        0.1 * _gradient_norm(task, trunk), rel=1e-5
    )


def test_leaves_no_trace_and_the_graph_alive():
    student, x = Student(), _batch()
    plain = copy.deepcopy(student)
    sum(plain.losses(x)).backward()
    task, kd = student.losses(x)
    GradientRatio().measure(task, kd, list(student.parameters()))
    assert all(p.grad is None for p in student.parameters())
    (task + kd).backward()
    for ours, theirs in zip(student.parameters(), plain.parameters()):
        assert torch.equal(ours.grad, theirs.grad)


def test_mean_is_geometric_and_starts_with_the_first():
    student = Student()
    balance = GradientRatio(ratio=0.3, momentum=0.8)
    wanted = None
    for seed in range(4):
        x = _batch(seed)
        task, kd, cosine = _slow(student, x)
        new = 0.3 * task / kd
        wanted = new if wanted is None else wanted**0.8 * new**0.2
        balance.measure(*student.losses(x), list(student.parameters()))
        assert balance.scale.item() == pytest.approx(wanted, rel=1e-4)
        # These two are those of the last step.
        assert balance.ratio.item() == pytest.approx(kd / task, rel=1e-4)
        assert balance.cosine.item() == pytest.approx(cosine, rel=1e-4)


@pytest.mark.parametrize('factor', [0.0, float('nan'), float('inf')])
@pytest.mark.parametrize('which', [0, 1])
def test_useless_gradients_change_nothing(which, factor):
    student, x = Student(), _batch()
    balance = GradientRatio()
    params = list(student.parameters())
    losses = list(student.losses(x))
    for _ in range(2):  # before the first good measurement, and after it
        before = {name: b.clone() for name, b in balance.named_buffers() if name != 'loss_scales'}
        bad = list(losses)
        bad[which] = losses[which] * factor
        balance.measure(*bad, params)
        for name, value in before.items():
            assert torch.equal(getattr(balance, name), value), name
        balance.measure(*losses, params)
        assert balance.measured


def test_losses_without_a_graph_change_nothing():
    student, x = Student(), _batch()
    balance = GradientRatio()
    task, kd = student.losses(x)
    balance.measure(task, kd.detach(), list(student.parameters()))
    assert balance.scale == 1


def test_limit():
    student, x = Student(), _batch()
    balance = GradientRatio(max_scale=50)
    task, kd = student.losses(x)
    balance.measure(task, kd * 1e-6, list(student.parameters()))
    assert balance.scale.item() == pytest.approx(50)


class _HalfGate(torch.autograd.Function):
    """Its gradient passes through float16, as within autocast."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.half().to(grad.dtype)


@pytest.mark.parametrize('size', [1e-7, 1.0, 1e4])
def test_half_precision_neither_swallows_nor_overflows(size):
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    balance = GradientRatio(ratio=0.1, max_scale=1e9)
    for _ in range(6):
        balance.measure((weight * 3).sum(), (_HalfGate.apply(weight) * size).sum(), [weight])
    assert balance.scale.item() == pytest.approx(0.1 * 3 / size, rel=0.01)
    assert balance.ratio.item() == pytest.approx(size / 3, rel=0.01)


def test_loss_scale_recovers():
    weight = nn.Parameter(torch.ones(1))
    balance = GradientRatio()
    balance.measure(weight.sum(), weight.sum() * float('inf'), [weight])
    assert balance.loss_scales.tolist() == [2**16, 2**12]
    for _ in range(5):
        balance.measure(weight.sum(), weight.sum(), [weight])
    assert balance.loss_scales.tolist() == [2**16, 2**16]
    for _ in range(9):
        balance.measure(weight.sum(), weight.sum() * float('nan'), [weight])
    assert balance.loss_scales.tolist() == [2**16, 1]


def test_measures_on_schedule():
    balance = GradientRatio(interval=10)
    assert [step for step in range(35) if balance.due(step)] == [0, 1, 2, 4, 8, 10, 20, 30]
    assert all(GradientRatio(interval=1).due(step) for step in range(5))


def test_frozen_parameters_are_left_out():
    student, x = Student(), _batch()
    student.trunk[0].requires_grad_(False)
    balance = GradientRatio()
    task, kd = student.losses(x)
    balance.measure(task, kd, list(student.parameters()))
    last = list(student.trunk[2].parameters())
    wanted = 0.1 * _gradient_norm(task, last) / _gradient_norm(kd, last)
    assert balance.scale.item() == pytest.approx(wanted, rel=1e-5)


def test_nothing_shared_is_told():
    student, x = Student(), _batch()
    with pytest.raises(MMKDError, match='none of the 2 parameters .* is reached by both'):
        GradientRatio().measure(*student.losses(x), list(student.head.parameters()))


def test_reentrant_checkpointing_is_told():
    student, x = Student(), _batch()
    middle = student.trunk[0](x)
    features = checkpoint(student.trunk[2], middle.tanh(), use_reentrant=True)
    losses = student.head(features).mean(), student.transform(features).mean()
    with pytest.raises(MMKDError, match='with_cp=True'):
        GradientRatio().measure(*losses, list(student.parameters()))


def test_other_checkpointing_works():
    student, x = Student(), _batch()
    plain, balance = GradientRatio(), GradientRatio()
    plain.measure(*student.losses(x), list(student.parameters()))
    features = checkpoint(student.trunk, x, use_reentrant=False)
    losses = student.head(features).square().mean() * 3, student.transform(features).abs().mean()
    balance.measure(*losses, list(student.parameters()))
    torch.testing.assert_close(balance.scale, plain.scale)


def test_foreign_errors_stay():
    weight = nn.Parameter(torch.ones(1))
    loss = weight.square().sum()
    loss.backward()
    with pytest.raises(RuntimeError, match='second time'):
        GradientRatio().measure(loss, loss, [weight])


def test_measuring_between_forward_and_backward_is_allowed():
    student, x = Student(), _batch()
    balance = GradientRatio()
    task, kd = student.losses(x)
    scaled = balance(kd)
    balance.measure(task, kd, list(student.parameters()))
    scaled.backward()
    assert all(p.grad is not None for p in student.transform.parameters())


def test_is_saved_and_logged():
    student, x = Student(), _batch()
    balance = MODELS.build(dict(type='mmkd.GradientRatio', shared='trunk'))
    balance.measure(*student.losses(x), list(student.parameters()))
    twin = GradientRatio()
    twin.load_state_dict(balance.state_dict())
    for model in (balance, twin):
        model.measure(*student.losses(_batch(1)), list(student.parameters()))
    assert torch.equal(balance.scale, twin.scale)
    logs = balance.logs()
    assert set(logs) == {'kd_scale', 'kd_gradient_ratio', 'kd_gradient_cosine'}
    assert not any('loss' in name for name in logs)
    assert torch.equal(logs['kd_scale'], balance.scale)
    assert not any(value.requires_grad for value in logs.values())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'ratio': 0}, 'ratio= above 0, but got 0'),
        ({'ratio': float('inf')}, 'ratio= above 0'),
        ({'momentum': 1}, 'momentum= 0 or more and below 1'),
        ({'momentum': -0.1}, 'momentum= 0 or more'),
        ({'max_scale': 0}, 'max_scale= above 0'),
        ({'interval': 0}, 'interval= 1, 2'),
        ({'interval': 2.5}, 'interval= 1, 2'),
        ({'shared': ['a']}, 'dotted path'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        GradientRatio(**options)
