import math

import pytest
import torch

from mmkd.distill.losses.temporal import TemporalRelationalLoss
from mmkd.errors import MMKDError

from .. import boxes

# Two frames of one video (one box of a person is cut off by the border) and a third image; an
# unknown box, a box without area, and an identity that is seen once.
FRAMES = [
    [(3, 4, 25, 31), (31, 11, 44, 30), (-12, -3, 17, 22), (41, 8, 41, 30)],
    [(6, 4, 29, 33), (35, 9, 48, 29), (20, 2, 31, 12)],
    [(10, 10, 30, 35), (33, 3, 59, 38)],
]
IDS = [[7, 3, -1, 3], [7, 3, -1], [7, 4]]


def _frames():
    return boxes.make(FRAMES, IDS)


def _slow(student, teacher, mask, instances, relation, contrast, distance, keys, tr=0.1, tc=0.1):
    """Per box (value, weight); None for a box that is no anchor."""
    s, t = (boxes.slow_box_mean(x, instances, mask) for x in (student, teacher))
    ids, image = instances.ids.tolist(), instances.image.tolist()
    kept = [m for m in range(len(ids)) if s[m][1] > 0 and ids[m] >= 0]
    out = [(0.0, 0.0)] * len(ids)
    for a in kept:
        elsewhere = [b for b in kept if image[b] != image[a]]
        positives = [b for b in elsewhere if ids[b] == ids[a]]
        negatives = [b for b in kept if ids[b] != ids[a]]
        if not positives:
            continue
        similar = [[boxes.cosine(x[a][0], x[b][0]) for b in elsewhere] for x in (s, t)]
        if distance == 'mse':
            value = sum((x - y) ** 2 for x, y in zip(*similar)) / len(elsewhere)
        else:
            logs = []
            for row in similar:
                total = math.log(sum(math.exp(x / tr) for x in row))
                logs.append([x / tr - total for x in row])
            value = tr**2 * sum(math.exp(y) * (y - x) for x, y in zip(*logs))
        k = t if keys == 'teacher' else s
        attract = {}
        if contrast:
            attract = {
                b: math.exp(boxes.cosine(s[a][0], k[b][0]) / tc) for b in positives + negatives
            }
        terms = [-math.log(attract[p] / sum(attract.values())) for p in positives if contrast]
        value = relation * value + contrast * sum(terms) / len(positives)
        out[a] = (value, s[a][1])
    return out


OPTIONS = [
    (1.0, 1.0, 'kl', 'teacher'),
    (2.0, 0.0, 'kl', 'teacher'),
    (0.5, 2.0, 'mse', 'student'),
    (0.0, 1.0, 'kl', 'student'),
]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('kind', ['none', 'bool', 'float'])
def test_equals_the_slow_definition(options, kind):
    relation, contrast, distance, keys = options
    equal = keys == 'teacher' and contrast > 0
    student, teacher, mask = boxes.maps(5, 5 if equal else 4)
    mask = {'none': None, 'bool': mask, 'float': mask * torch.rand(mask.shape).double()}[kind]
    instances = _frames()
    loss = TemporalRelationalLoss(relation, contrast, distance, keys=keys)

    def run(reduction):
        return loss(student, teacher, mask, reduction, instances=instances)

    expected = _slow(student, teacher, mask, instances, *options)
    weighted = [value * weight for value, weight in expected]
    weights = [weight for _, weight in expected]
    assert sum(weight > 0 for weight in weights) == 5
    assert run('none').tolist() == pytest.approx(weighted, rel=1e-5, abs=1e-9)
    assert run('sum').item() == pytest.approx(sum(weighted), rel=1e-5)
    assert run('mean').item() == pytest.approx(sum(weighted) / sum(weights), rel=1e-5)
    sample = [
        sum(weighted[k] for k in own) / sum(weights[k] for k in own)
        for own in ([0, 1], [4, 5], [7])
    ]
    assert run('sample').tolist() == pytest.approx(sample, rel=1e-5)


@pytest.mark.parametrize('options', OPTIONS)
def test_gradient(options):
    relation, contrast, distance, keys = options
    student, teacher, mask = boxes.maps(3, grid=(3, 4))
    loss = TemporalRelationalLoss(relation, contrast, distance, keys=keys)
    instances = _frames()
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher, mask, instances=instances), (student,)
    )


def test_a_step_brings_a_person_together_and_people_apart():
    student, _, _ = boxes.maps(6)
    teacher = torch.zeros(3, 6, 6, 8, dtype=torch.float64)
    two = boxes.make([[(0, 0, 30, 40), (30, 0, 60, 40)]] * 3, [[1, 2]] * 3)
    teacher[:, 0, :, :4] = teacher[:, 1, :, 4:] = 1.0

    def similarity(x):
        means = torch.stack([mean for mean, _ in boxes.slow_box_mean(x, two)])
        means = means / means.norm(dim=1, keepdim=True)
        return means @ means.T

    loss = TemporalRelationalLoss(keys='student')
    optimiser = torch.optim.SGD([student], lr=5.0)
    before = similarity(student.detach())
    for _ in range(20):
        optimiser.zero_grad()
        loss(student, teacher, instances=two).backward()
        optimiser.step()
    after = similarity(student.detach())
    same, other = ([0, 2], [2, 4], [1, 3]), ([0, 3], [2, 5], [0, 1])
    assert all(after[i, j] > before[i, j] for i, j in same)
    assert max(after[i, j] for i, j in other) < min(after[i, j] for i, j in same)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'sample', 'none'])
@pytest.mark.parametrize('case', ['no boxes', 'all masked', 'unknown', 'seen once', 'one image'])
def test_no_identity_in_two_images_is_an_exact_zero_with_a_gradient(reduction, case):
    student, teacher, mask = boxes.maps()
    instances = boxes.empty() if case == 'no boxes' else _frames()
    if case == 'all masked':
        mask = torch.zeros_like(mask)
    if case == 'unknown':
        instances = instances._replace(ids=torch.full_like(instances.ids, -1))
    if case == 'seen once':
        instances = instances._replace(ids=torch.arange(len(instances.ids)))
    if case == 'one image':
        instances = boxes.make([[FRAMES[0][0], FRAMES[1][0]], [], []], [[7, 7], [], []])
    loss = TemporalRelationalLoss(reduction=reduction)
    value = loss(student, teacher, mask, instances=instances)
    assert (value == 0).all()
    value.sum().backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_what_the_mask_hides_does_not_leak():
    student, teacher, mask = boxes.maps()
    loss, instances = TemporalRelationalLoss(), _frames()
    hidden = torch.where(mask, student.detach(), torch.full_like(student, math.nan))
    hidden.requires_grad_()
    value = loss(hidden, torch.where(mask, teacher, math.nan * teacher), mask, instances=instances)
    torch.testing.assert_close(value, loss(student, teacher, mask, instances=instances))
    value.backward()
    assert torch.isfinite(hidden.grad).all()


def test_the_order_of_images_and_names_does_not_matter():
    student, teacher, _ = boxes.maps()
    loss = TemporalRelationalLoss()
    order = [2, 0, 1]
    names = {7: 1000, 3: 0, 4: 8, -1: -1}
    turned = boxes.make(
        [FRAMES[n] for n in order], [[names[number] for number in IDS[n]] for n in order]
    )
    torch.testing.assert_close(
        loss(student[order], teacher[order], instances=turned),
        loss(student, teacher, instances=_frames()),
    )


def test_a_dead_feature_gives_no_nan():
    student = torch.zeros(3, 4, 6, 8, requires_grad=True)
    loss = TemporalRelationalLoss()(student, torch.zeros(3, 4, 6, 8), instances=_frames())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_channels_may_differ_without_the_teachers_keys():
    student, teacher, _ = boxes.maps(5, 4)
    assert TemporalRelationalLoss(contrast_weight=0)(student, teacher, instances=_frames()) > 0
    with pytest.raises(MMKDError, match='one shape'):
        TemporalRelationalLoss()(student, teacher, instances=_frames())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(keys='teach'), "Did you mean 'teacher'"),
        (dict(distance='cosine'), "no distance='cosine'"),
        (dict(pooling='boxes'), "Did you mean 'box'"),
        (dict(relation_weight=-1), '0 or more'),
        (dict(relation_weight=0, contrast_weight=0), 'nothing to distil'),
        (dict(contrast_temperature=0), 'temperature'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        TemporalRelationalLoss(**options)
