import math

import pytest
import torch

from mmkd.distill.losses.embedding import EmbeddingDistillLoss
from mmkd.errors import MMKDError

from .. import boxes

SLOW_POOL = {'box': boxes.slow_box_mean, 'centre': boxes.slow_centre}


def _softmax(values, temperature):
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def _slow(student, teacher, mask, instances, mode, pooling, distance, temperature, known_only):
    """Per box (value, weight)."""
    s, t = (SLOW_POOL[pooling](x, instances, mask) for x in (student, teacher))
    ids = instances.ids.tolist()
    kept = [m for m in range(len(ids)) if s[m][1] > 0 and (ids[m] >= 0 or not known_only)]
    out = [(0.0, 0.0)] * len(ids)
    for m in kept:
        others = [k for k in kept if k != m]
        if mode == 'cosine':
            out[m] = (1 - boxes.cosine(s[m][0], t[m][0]), s[m][1])
            continue
        if not others:
            continue
        a, b = ([boxes.cosine(x[m][0], x[k][0]) for k in others] for x in (s, t))
        if distance == 'mse':
            value = sum((x - y) ** 2 for x, y in zip(a, b)) / len(others)
        else:
            p, q = _softmax(b, temperature), _softmax(a, temperature)
            value = temperature**2 * sum(x * math.log(x / y) for x, y in zip(p, q))
        out[m] = (value, s[m][1])
    return out


OPTIONS = [
    ('cosine', 'centre', 'kl', 0.1, False),
    ('cosine', 'box', 'kl', 0.1, True),
    ('relational', 'box', 'kl', 0.3, False),
    ('relational', 'box', 'mse', 0.1, True),
    ('relational', 'centre', 'kl', 0.5, True),
]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('kind', ['none', 'bool', 'float'])
def test_equals_the_slow_definition(options, kind):
    student, teacher, mask = boxes.maps(5, 5 if options[0] == 'cosine' else 4)
    mask = {'none': None, 'bool': mask, 'float': mask * torch.rand(mask.shape).double()}[kind]
    instances = boxes.make()
    mode, pooling, distance, temperature, known_only = options
    expected = _slow(student, teacher, mask, instances, *options)
    loss = EmbeddingDistillLoss(mode, pooling, distance, temperature, known_only)

    def run(reduction):
        return loss(student, teacher, mask, reduction, instances=instances)

    weighted = [value * weight for value, weight in expected]
    weights = [weight for _, weight in expected]
    assert sum(weight > 0 for weight in weights) >= 2
    assert run('none').tolist() == pytest.approx(weighted, rel=1e-5, abs=1e-9)
    assert run('sum').item() == pytest.approx(sum(weighted), rel=1e-5)
    assert run('mean').item() == pytest.approx(sum(weighted) / sum(weights), rel=1e-5)
    image = instances.image.tolist()
    sample = []
    for n in range(3):
        own = [m for m in range(len(image)) if image[m] == n]
        weight = sum(weights[m] for m in own)
        sample.append(sum(weighted[m] for m in own) / weight if weight else 0.0)
    assert run('sample').tolist() == pytest.approx(sample, rel=1e-5)


@pytest.mark.parametrize('options', OPTIONS)
def test_gradient(options):
    student, teacher, mask = boxes.maps(3, grid=(3, 4))
    mode, pooling, distance, temperature, known_only = options
    loss = EmbeddingDistillLoss(mode, pooling, distance, temperature, known_only)
    instances = boxes.make()
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher, mask, instances=instances), (student,)
    )


@pytest.mark.parametrize('mode', ['cosine', 'relational'])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'sample', 'none'])
@pytest.mark.parametrize('case', ['no boxes', 'all masked', 'all unknown'])
def test_nothing_valid_is_an_exact_zero_with_a_gradient(mode, reduction, case):
    student, teacher, mask = boxes.maps()
    instances = boxes.empty() if case == 'no boxes' else boxes.make()
    if case == 'all masked':
        mask = torch.zeros_like(mask)
    if case == 'all unknown':
        instances = instances._replace(ids=torch.full_like(instances.ids, -1))
    loss = EmbeddingDistillLoss(mode, known_only=case == 'all unknown', reduction=reduction)
    value = loss(student, teacher, mask, instances=instances)
    assert (value == 0).all()
    value.sum().backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_a_lone_box_has_no_relations():
    student, teacher, _ = boxes.maps()
    instances = boxes.make([[(3, 3, 20, 20)], [], []], [[1], [], []])
    value = EmbeddingDistillLoss('relational')(student, teacher, instances=instances)
    value.backward()
    assert value.item() == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize('mode', ['cosine', 'relational'])
@pytest.mark.parametrize('pooling', ['centre', 'box'])
def test_what_the_mask_hides_does_not_leak(mode, pooling):
    student, teacher, mask = boxes.maps()
    loss, instances = EmbeddingDistillLoss(mode, pooling), boxes.make()
    hidden = torch.where(mask, student.detach(), torch.full_like(student, math.nan))
    hidden.requires_grad_()
    value = loss(hidden, torch.where(mask, teacher, math.nan * teacher), mask, instances=instances)
    torch.testing.assert_close(value, loss(student, teacher, mask, instances=instances))
    value.backward()
    assert torch.isfinite(hidden.grad).all()


def test_channels_may_differ_only_in_relations():
    student, teacher, _ = boxes.maps(5, 4)
    assert EmbeddingDistillLoss('relational')(student, teacher, instances=boxes.make()) > 0
    with pytest.raises(MMKDError, match='one shape'):
        EmbeddingDistillLoss('cosine')(student, teacher, instances=boxes.make())


def test_float32_inside_autocast():
    student, teacher, mask = boxes.maps(dtype=torch.float32)
    for mode in ('cosine', 'relational'):
        loss = EmbeddingDistillLoss(mode, 'box')
        expected = loss(student, teacher, mask, instances=boxes.make())
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(loss(student, teacher, mask, instances=boxes.make()), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='relation'), "Did you mean 'relational'"),
        (dict(pooling='center'), "Did you mean 'centre'"),
        (dict(distance='cosine'), "no distance='cosine'"),
        (dict(temperature=0), 'temperature'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        EmbeddingDistillLoss(**options)
