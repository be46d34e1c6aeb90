"""Losses over anchors: the layout of SiamRPN's maps, and which anchors count."""

import math

import pytest
import torch

from mmkd.distill.losses import AnchorKLDistillLoss, AnchorRegressionDistillLoss, KLDistillLoss
from mmkd.distill.response import Response
from mmkd.errors import MMKDError

from .maps import MASKS, kl, make_mask, softmax

N, A, H, W = 3, 2, 2, 3
NAN = float('nan')


def _maps(values, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(N, values * A, H, W, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for _ in range(2)
    ]


def _response(kind='bool', teacher_cls=None):
    """Image 0 has two anchors that count, image 1 five, image 2 none."""
    generator = torch.Generator().manual_seed(2)
    weights = torch.rand(N, A, H, W, generator=generator, dtype=torch.float64) + 0.5
    keep = torch.zeros(N, A, H, W, dtype=torch.bool)
    keep[0, 0, 0, 2] = keep[0, 1, 1, 0] = True
    keep[1, :, 0, :2] = keep[1, 1, 1, 1] = True
    matched = weights * keep
    if teacher_cls is None:
        teacher_cls = torch.randn(N, 2 * A, H, W, generator=generator, dtype=torch.float64) * 2
    matched = keep if kind == 'bool' else matched
    return Response(matched=matched, positive=keep, teacher={'cls': teacher_cls})


def _slow(loss, student, teacher, counted, mask, value):
    """Anchor by anchor: (mean over the batch, mean of each sample)."""
    totals, counts = [0.0] * N, [0.0] * N
    for n in range(N):
        for a in range(A):
            for i in range(H):
                for j in range(W):
                    weight = float(counted[n, a, i, j])
                    weight *= 1.0 if mask is None else float(mask[n, 0, i, j])
                    if weight > 0:
                        pair = [
                            [x[n, v * A + a, i, j].item() for v in range(loss.values)]
                            for x in (student, teacher)
                        ]
                        totals[n] += weight * value(*pair)
                        counts[n] += weight
    mean = sum(totals) / sum(counts)
    return mean, [t / c if c else 0.0 for t, c in zip(totals, counts)]


def _compare(loss, student, teacher, mask, response, expected):
    mean, samples = expected
    found = loss(student, teacher, mask, response=response)
    assert found.item() == pytest.approx(mean, abs=1e-12)
    found = loss(student, teacher, mask, 'sample', response=response)
    assert found.tolist() == pytest.approx(samples, abs=1e-12)
    # A sample's value is its own: of a part of the batch it is the same.
    rows = torch.tensor([2, 1])
    part = Response(
        matched=response.matched[rows],
        positive=response.positive[rows],
        teacher={name: value[rows] for name, value in response.teacher.items()},
    )
    mask = None if mask is None else mask[rows]
    alone = loss(student[rows], teacher[rows], mask, 'sample', response=part)
    assert torch.equal(alone, found[rows])


def _mask(kind):
    return make_mask(kind, n=N, h=H, w=W)


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('matched', ['bool', 'weights'])
@pytest.mark.parametrize('temperature', [1.0, 3.0])
@pytest.mark.parametrize('classes', [2, 3])
def test_kl_equals_the_slow_definition(kind, matched, temperature, classes):
    student, teacher = _maps(classes)
    response = _response(matched)
    loss = AnchorKLDistillLoss(classes=classes, temperature=temperature)

    def value(s, t):
        s, t = ([x / temperature for x in v] for v in (s, t))
        return kl(softmax(t), softmax(s)) * temperature**2

    expected = _slow(loss, student, teacher, response.matched, _mask(kind), value)
    _compare(loss, student, teacher, _mask(kind), response, expected)


def test_backgrounds_come_first():
    # Background and foreground of anchor a are the channels a and A + a.
    student, teacher = _maps(2)
    got = AnchorKLDistillLoss(places='all')(student, teacher, reduction='none')
    assert got.shape == (N, A, H, W)
    for a in range(A):
        pair = [x[:, [a, A + a]] for x in (student, teacher)]
        torch.testing.assert_close(got[:, a], KLDistillLoss()(*pair, reduction='none'))


def _slow_trusted(response, trust):
    counted = response.positive.clone()
    for n in range(N):
        for a in range(A):
            for i in range(H):
                for j in range(W):
                    pair = [response.teacher['cls'][n, v * A + a, i, j].item() for v in range(2)]
                    if trust is not None and softmax(pair)[1] > trust:
                        counted[n, a, i, j] = True
    return counted


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('trust', [None, 0.9, 0.3, 0.0])
@pytest.mark.parametrize(('name', 'beta'), [('l1', 1.0), ('smooth_l1', 1.0), ('smooth_l1', 0.3)])
def test_regression_equals_the_slow_definition(kind, trust, name, beta):
    student, teacher = _maps(4)
    response = _response()
    loss = AnchorRegressionDistillLoss(kind=name, beta=beta, trust=trust)

    def value(s, t):
        total = 0.0
        for a, b in zip(s, t):
            gap = abs(a - b)
            small = name == 'smooth_l1' and gap < beta
            total += gap**2 / (2 * beta) if small else gap - (beta / 2 if name != 'l1' else 0)
        return total / 4

    counted = _slow_trusted(response, trust)
    expected = _slow(loss, student, teacher, counted, _mask(kind), value)
    _compare(loss, student, teacher, _mask(kind), response, expected)
    if trust == 0.3:
        assert counted.sum() > response.positive.sum()


def test_a_sure_teacher_adds_anchors_and_nan_does_not():
    student, teacher = _maps(4)
    cls = torch.zeros(N, 2 * A, H, W, dtype=torch.float64)
    cls[2, A + 1, 1, 2] = 5
    cls[2, A, 0, 0] = NAN
    response = _response(teacher_cls=cls)
    loss = AnchorRegressionDistillLoss(kind='l1')
    found = loss(student, teacher, reduction='sample', response=response)
    gap = (student - teacher).abs()[2, [1, 3, 5, 7], 1, 2].mean()
    torch.testing.assert_close(found[2], gap)
    assert loss(student, teacher, reduction='none', response=response).shape == (N, 4, A, H, W)


CASES = [
    (AnchorKLDistillLoss(), 2),
    (AnchorRegressionDistillLoss(trust=0.8), 4),
    (AnchorRegressionDistillLoss(kind='l1', trust=None), 4),
]


@pytest.mark.parametrize(('loss', 'values'), CASES, ids=repr)
@pytest.mark.parametrize('bad', [NAN, math.inf])
def test_anchors_that_do_not_count_may_be_anything(loss, values, bad):
    cls = torch.zeros(N, 2 * A, H, W, dtype=torch.float64)
    response = _response(teacher_cls=cls)
    keep = response.positive[:, None].expand(N, values, A, H, W).reshape(N, -1, H, W)
    found = []
    for fill in (0.0, bad):
        maps = [torch.where(keep, x, torch.full_like(x, fill)) for x in _maps(values)]
        maps = [x.detach().requires_grad_() for x in maps]
        out = loss(*maps, reduction='sample', response=response)
        out.sum().backward()
        found.append([out, maps[0].grad])
    for clean, dirty in zip(*found):
        assert torch.isfinite(dirty).all()
        assert torch.equal(clean, dirty)
    assert (found[1][1][~keep] == 0).all()
    assert found[1][0][2].item() == 0


@pytest.mark.parametrize(('loss', 'values'), CASES, ids=repr)
def test_no_anchor_at_all_is_an_exact_zero_with_a_gradient(loss, values):
    cls = torch.zeros(N, 2 * A, H, W)
    response = _response(teacher_cls=cls)
    nothing = response._replace(
        matched=torch.zeros_like(response.matched), positive=torch.zeros_like(response.positive)
    )
    for reduction in loss.reductions:
        student, teacher = _maps(values)
        with torch.autograd.set_detect_anomaly(True):
            value = loss(student, teacher, None, reduction, response=nothing)
            value.sum().backward()
        assert torch.equal(value, torch.zeros_like(value))
        assert torch.equal(student.grad, torch.zeros_like(student))


def test_half_trust_is_computed_in_float32():
    student, teacher = (x.detach() for x in _maps(4, torch.float16))
    response = _response()
    half = response._replace(teacher={'cls': response.teacher['cls'].half()})
    exact = response._replace(teacher={'cls': half.teacher['cls'].float()})
    loss = AnchorRegressionDistillLoss(trust=0.5)
    assert torch.equal(
        loss(student, teacher, response=half), loss(student, teacher, response=exact)
    )


def test_mistakes():
    student, teacher = _maps(2)
    response = _response()
    kl_loss, regression = AnchorKLDistillLoss(), AnchorRegressionDistillLoss(values=2)
    for given in (None, Response()):
        with pytest.raises(MMKDError, match="no 'matched'.*response_masks.*places='all'"):
            kl_loss(student, teacher, response=given)
        with pytest.raises(MMKDError, match="no 'positive'"):
            regression(student, teacher, response=given)
    with pytest.raises(MMKDError, match=r'matched for \(3, 1, 2, 3\).*the maps have \(3, 2, 2, 3'):
        kl_loss(student, teacher, response=response._replace(matched=response.matched[:, :1]))
    with pytest.raises(MMKDError, match=r'\(3, 4, 2, 3\), whose channels are no multiple of 3'):
        AnchorKLDistillLoss(classes=3, places='all')(student, teacher)
    with pytest.raises(MMKDError, match=r"'cls' of \(3, 4, 2, 3\).*found \[\].*trust=None"):
        regression(student, teacher, response=response._replace(teacher={}))
    small = {'cls': response.teacher['cls'][..., :2]}
    with pytest.raises(MMKDError, match=r'found \(3, 4, 2, 2\)'):
        regression(student, teacher, response=response._replace(teacher=small))
    for build, message in (
        (lambda: AnchorKLDistillLoss(classes=1), "classes=1.*'sigmoid'"),
        (lambda: AnchorKLDistillLoss(places='match'), "Did you mean 'matched'"),
        (lambda: AnchorKLDistillLoss(temperature=0), 'temperature'),
        (lambda: AnchorRegressionDistillLoss(values=0), 'values='),
        (lambda: AnchorRegressionDistillLoss(kind='l2'), "kind='l2'"),
        (lambda: AnchorRegressionDistillLoss(trust=1.0), r'probability in \[0, 1\)'),
        (lambda: AnchorRegressionDistillLoss(places='matched'), "places='matched'"),
        (lambda: AnchorRegressionDistillLoss(beta=0), 'beta'),
    ):
        with pytest.raises(MMKDError, match=message):
            build()
