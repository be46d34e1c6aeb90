import math

import pytest
import torch

from mmkd.distill.losses.heatmap import HeatmapDistillLoss
from mmkd.errors import MMKDError


def _maps(dtype=torch.float64):
    torch.manual_seed(0)
    student = (torch.randn(3, 2, 4, 5, dtype=dtype) * 2 - 1).requires_grad_()
    teacher = torch.randn(3, 2, 4, 5, dtype=dtype) * 3 - 2
    return student, teacher, torch.rand(3, 1, 4, 5) > 0.4


def _sigmoid(x):
    return 1 / (1 + math.exp(-x))


def _entropy(q, p):
    return -q * math.log(p) - (1 - q) * math.log(1 - p)


def _slow(student, teacher, mask, mode, gamma, power, background, temperature):
    """Per image (sum of weight * value, sum of weights)."""
    out = []
    for n in range(3):
        total = weight = 0.0
        for c in range(2):
            for i in range(4):
                for j in range(5):
                    m = 1.0 if mask is None else float(mask[n, 0, i, j])
                    s, t = student[n, c, i, j].item(), teacher[n, c, i, j].item()
                    p, q = _sigmoid(s / temperature), _sigmoid(t / temperature)
                    value = {
                        'focal': abs(q - p) ** gamma * (_entropy(q, p) - _entropy(q, q)),
                        'probability': (p - q) ** 2,
                        'logit': (s - t) ** 2,
                    }[mode]
                    w = m * (background + _sigmoid(t) ** power)
                    total, weight = total + w * value, weight + w
        out.append((total, weight))
    return out


@pytest.mark.parametrize('mode', ['focal', 'probability', 'logit'])
@pytest.mark.parametrize('kind', ['none', 'bool', 'float'])
@pytest.mark.parametrize(
    ('gamma', 'power', 'background', 'temperature'),
    [(2.0, 1.0, 0.01, 1.0), (0.0, 0.0, 0.0, 1.0), (1.0, 3.0, 0.2, 2.0)],
)
def test_equals_the_slow_definition(mode, kind, gamma, power, background, temperature):
    student, teacher, mask = _maps()
    mask = {'none': None, 'bool': mask, 'float': mask * torch.rand(mask.shape).double()}[kind]
    options = mode, gamma, power, background, temperature
    expected = _slow(student, teacher, mask, *options)
    loss = HeatmapDistillLoss(*options)
    totals, weights = zip(*expected)
    value = loss(student, teacher, mask).item()
    assert value == pytest.approx(sum(totals) / sum(weights), rel=1e-6)
    assert loss(student, teacher, mask, 'sum').item() == pytest.approx(sum(totals), rel=1e-6)
    sample = loss(student, teacher, mask, 'sample').tolist()
    assert sample == pytest.approx([a / b for a, b in expected], rel=1e-6)
    assert loss(student, teacher, mask, 'none').shape == student.shape


def test_scores_are_taken_like_logits():
    student, teacher, mask = _maps()
    expected = HeatmapDistillLoss()(student, teacher, mask)
    found = HeatmapDistillLoss(logits=False)(student.sigmoid(), teacher.sigmoid(), mask)
    torch.testing.assert_close(found, expected)
    sure = HeatmapDistillLoss(logits=False)(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert torch.isfinite(sure)


@pytest.mark.parametrize('mode', ['focal', 'probability', 'logit'])
@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0])
def test_equal_heatmaps_cost_nothing_and_stay(mode, gamma):
    _, teacher, _ = _maps()
    student = teacher.clone().requires_grad_()
    value = HeatmapDistillLoss(mode, gamma)(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert student.grad.abs().max().item() < 1e-12


def test_what_the_teacher_sees_counts_more_than_background():
    teacher = torch.full((1, 1, 8, 8), -9.0)
    teacher[0, 0, 3, 4] = 4.0
    missed, ghost = torch.full_like(teacher, -9.0), teacher.clone()
    ghost[0, 0, 6, 1] = 4.0
    loss = HeatmapDistillLoss(background=0.01)
    assert loss(missed, teacher) > 50 * loss(ghost, teacher) > 0


@pytest.mark.parametrize('mode', ['focal', 'probability', 'logit'])
@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0])
def test_gradient(mode, gamma):
    student, teacher, mask = _maps()
    loss = HeatmapDistillLoss(mode, gamma)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, mask), (student,))


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'sample', 'none'])
def test_nothing_valid_is_an_exact_zero_with_a_gradient(reduction):
    student, teacher, mask = _maps()
    value = HeatmapDistillLoss(reduction=reduction)(student, teacher, torch.zeros_like(mask))
    assert (value == 0).all()
    value.sum().backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize('mode', ['focal', 'probability', 'logit'])
def test_what_the_mask_hides_does_not_leak(mode):
    student, teacher, mask = _maps()
    expected = HeatmapDistillLoss(mode)(student, teacher, mask)
    hidden = torch.where(mask, student.detach(), torch.full_like(student, math.nan))
    hidden.requires_grad_()
    value = HeatmapDistillLoss(mode)(hidden, torch.where(mask, teacher, math.nan * teacher), mask)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert torch.isfinite(hidden.grad).all()


def test_float32_inside_autocast_and_from_half():
    student, teacher, _ = _maps(torch.float32)
    expected = HeatmapDistillLoss()(student, teacher)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(HeatmapDistillLoss()(student, teacher), expected)
    assert HeatmapDistillLoss()(student.half(), teacher.half()).dtype == torch.float32


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='focl'), "Did you mean 'focal'"),
        (dict(gamma=-1), 'gamma'),
        (dict(power=-1), 'power'),
        (dict(background=-1), 'background'),
        (dict(temperature=0), 'temperature'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        HeatmapDistillLoss(**options)
