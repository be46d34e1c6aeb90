import copy
import math

import pytest
import torch
import torch.nn.functional as F

from mmkd.distill.losses import TargetResponseDistillLoss
from mmkd.distill.losses.target_response import _correlate
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .test_every_loss import _NoWaiting

NAN = float('nan')
N = 3


def _side(channels, template, search, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(template=template, search=search)
    return {
        name: torch.randn(N, channels, side, side, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for name, side in shapes.items()
    }


def _pair(kind='equal', dtype=torch.float64):
    student = _side(3, 5, 9, 0, dtype)
    # As an AlexNet's 6 and 22 cells against a ResNet's 15 and 31: whole and half cells apart.
    teacher = {
        'equal': lambda: _side(3, 5, 9, 1, dtype),
        'wider': lambda: _side(7, 5, 9, 1, dtype),
        'larger': lambda: _side(4, 9, 12, 1, dtype),
        'smaller': lambda: _side(4, 3, 7, 1, dtype),
    }[kind]()
    return student, teacher


# The definition, number by number.


def _q(x):
    c, h, w = len(x), len(x[0]), len(x[0][0])
    return [[sum(abs(x[k][i][j]) for k in range(c)) for j in range(w)] for i in range(h)]


def _crop(x, cells):
    """The middle of each channel; one more cell where that many have no middle."""
    out = []
    for plane in x:
        side = len(plane)
        first = max(side - cells, 0) // 2
        out.append([row[first : side - first] for row in plane[first : side - first]])
    return out


def _correlation(x, z):
    height, width, h, w = len(x[0]), len(x[0][0]), len(z[0]), len(z[0][0])
    return [
        [
            sum(
                x[k][i + a][j + b] * z[k][a][b]
                for k in range(len(x))
                for a in range(h)
                for b in range(w)
            )
            for j in range(width - w + 1)
        ]
        for i in range(height - h + 1)
    ]


def _at(plane, size, step):
    """A plane read at the cells of another grid around its centre, and which cells it reaches."""
    values, inside = [], []
    for i in range(size):
        values.append([])
        inside.append([])
        for j in range(size):
            reached, parts = True, []
            for at, length in ((i, len(plane)), (j, len(plane[0]))):
                cell = (at - (size - 1) / 2) * step + (length - 1) / 2
                reached = reached and 0 <= cell <= length - 1
                cell = min(max(cell, 0), length - 1)
                low = min(int(math.floor(cell)), length - 1)
                parts.append((low, min(low + 1, length - 1), cell - low))
            (i0, i1, a), (j0, j1, b) = parts
            values[-1].append(
                (1 - a) * (1 - b) * plane[i0][j0]
                + (1 - a) * b * plane[i0][j1]
                + a * (1 - b) * plane[i1][j0]
                + a * b * plane[i1][j1]
            )
            inside[-1].append(1.0 if reached else 0.0)
    return values, inside


def _mean(plane, counted):
    total = sum(sum(v * w for v, w in zip(a, b)) for a, b in zip(plane, counted))
    return total / sum(map(sum, counted))


def _scaled(plane, scale, channels, counted):
    by = {'sum': 1.0, 'mean': channels, 'unit': None}[scale]
    by = _mean(plane, counted) if by is None else by
    return [[value / by for value in row] for row in plane]


def _slow(student, teacher, n, weighting, scale, centre, weights, step=1.0, mask=None):
    sides = [{k: v[n].tolist() for k, v in side.items()} for side in (student, teacher)]
    channels = [len(side['search']) for side in sides]
    total = 0.0
    # The template.
    own = _q(_crop(sides[0]['template'], centre))
    theirs, counted = _at(_q(sides[1]['template']), len(own), step)
    pair = [_scaled(x, scale, c, counted) for x, c in zip((own, theirs), channels)]
    total += weights[0] * _difference(*pair, counted)
    # The search region.
    size = len(sides[0]['search'][0])
    own = _q(sides[0]['search'])
    theirs, counted = _at(_q(sides[1]['search']), size, step)
    if mask is not None:
        counted = mask[n, 0].tolist()
    pair = []
    for which, plane in enumerate((own, theirs)):
        plane = _scaled(plane, scale, channels[which], counted)
        kernel = _crop(sides[which]['template'], centre)
        if weighting == 'response':
            match = _correlation(sides[which]['search'], kernel)
            where, _ = _at(match, size, step if which else 1.0)
            least = min(v for row, seen in zip(where, counted) for v, c in zip(row, seen) if c > 0)
            where = [[v - least for v in row] for row in where]
        elif weighting == 'gaussian':
            middle = (size - 1) / 2
            where = [
                [
                    math.exp(-((i - middle) ** 2 + (j - middle) ** 2) / (2 * (0.25 * size) ** 2))
                    for j in range(size)
                ]
                for i in range(size)
            ]
        else:
            where = [[1.0] * size for _ in range(size)]
        mean = _mean(where, counted)
        pair.append([[v * w / mean for v, w in zip(*rows)] for rows in zip(plane, where)])
    return total + weights[1] * _difference(*pair, counted)


def _difference(a, b, counted):
    squares = [[(x - y) ** 2 for x, y in zip(*rows)] for rows in zip(a, b)]
    return _mean(squares, counted)


@pytest.mark.parametrize('kind', ['equal', 'wider', 'larger', 'smaller'])
@pytest.mark.parametrize('weighting', ['response', 'gaussian', None])
@pytest.mark.parametrize('scale', ['mean', 'sum', 'unit'])
def test_equals_the_slow_definition(kind, weighting, scale):
    student, teacher = _pair(kind)
    loss = TargetResponseDistillLoss(weighting, centre=3, template=0.7, search=1.3, scale=scale)
    expected = [_slow(student, teacher, n, weighting, scale, 3, (0.7, 1.3)) for n in range(N)]
    found = loss(student, teacher, reduction='sample')
    assert found.tolist() == pytest.approx(expected, rel=1e-10)
    assert loss(student, teacher).item() == pytest.approx(sum(expected) / N)
    assert loss(student, teacher, reduction='sum').item() == pytest.approx(sum(expected))


@pytest.mark.parametrize('centre', [None, 4, 20])
def test_templates_of_any_middle(centre):
    # Of 5 cells 4 have no middle: then it is 5.
    student, teacher = _pair('larger')
    loss = TargetResponseDistillLoss(centre=centre)
    expected = [
        _slow(student, teacher, n, 'response', 'mean', centre or 99, (1, 1)) for n in range(N)
    ]
    found = loss(student, teacher, reduction='sample')
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


def test_correlates_as_a_convolution_of_each_sample():
    generator = torch.Generator().manual_seed(3)
    search = torch.randn(N, 5, 8, 9, generator=generator, dtype=torch.float64)
    kernel = torch.randn(N, 5, 3, 4, generator=generator, dtype=torch.float64)
    expected = [F.conv2d(x[None], z[None]) for x, z in zip(search, kernel)]
    torch.testing.assert_close(_correlate(search, kernel), torch.cat(expected))


def test_strides_may_differ():
    student, teacher = _side(3, 5, 5, 0), _side(4, 9, 11, 1)
    loss = TargetResponseDistillLoss(centre=3, student_stride=16, teacher_stride=8)
    expected = [
        _slow(student, teacher, n, 'response', 'mean', 3, (1, 1), step=2.0) for n in range(N)
    ]
    assert loss(student, teacher, reduction='sample').tolist() == pytest.approx(expected)


@pytest.mark.parametrize('kind', ['bool', 'weights'])
def test_a_mask_leaves_places_out_whatever_they_hold(kind):
    student, teacher = _pair('wider')
    mask = torch.rand(N, 1, 9, 9, generator=torch.Generator().manual_seed(4)).double() * 2
    mask[mask < 0.6] = 0
    mask = mask > 0 if kind == 'bool' else mask
    loss = TargetResponseDistillLoss(centre=3)
    clean = [
        {**side, 'search': torch.where(mask > 0, side['search'], 0.0 * side['search'].detach())}
        for side in (student, teacher)
    ]
    expected = [
        _slow(*clean, n, 'response', 'mean', 3, (1, 1), mask=mask.double()) for n in range(N)
    ]
    found = loss(student, teacher, mask, 'sample')
    assert found.tolist() == pytest.approx(expected, rel=1e-10)
    dirty = [{k: v.detach().clone() for k, v in side.items()} for side in (student, teacher)]
    for side in dirty:
        side['search'] = torch.where(mask > 0, side['search'], NAN).requires_grad_()
    value = loss(*dirty, mask, 'sample')
    assert torch.equal(value, found)
    value.sum().backward()
    assert torch.isfinite(dirty[0]['search'].grad).all()
    assert (dirty[0]['search'].grad * ~(mask > 0) == 0).all()


@pytest.mark.parametrize('weighting', ['response', 'gaussian', None])
@pytest.mark.parametrize('scale', ['mean', 'sum', 'unit'])
def test_nothing_valid_is_an_exact_zero_with_a_gradient(weighting, scale):
    student, teacher = _pair()
    loss = TargetResponseDistillLoss(weighting, centre=3, template=0.0, scale=scale)
    mask = torch.ones(N, 1, 9, 9, dtype=torch.bool)
    mask[1] = False
    whole = loss(student, teacher, reduction='sample')
    with torch.autograd.set_detect_anomaly(True):
        value = loss(student, teacher, mask, 'sample')
        value.sum().backward()
    torch.testing.assert_close(value[[0, 2]], whole[[0, 2]])
    assert value[1].item() == 0
    assert (student['search'].grad[1] == 0).all()
    assert (student['search'].grad[0] != 0).any()


@pytest.mark.parametrize('kind', ['equal', 'larger', 'smaller'])
@pytest.mark.parametrize('weighting', ['response', 'gaussian', None])
def test_gradient(kind, weighting):
    student, teacher = _pair(kind)
    loss = TargetResponseDistillLoss(weighting, centre=3)

    def run(*maps):
        return loss(dict(template=maps[0], search=maps[1]), dict(template=maps[2], search=maps[3]))

    maps = [*student.values(), *teacher.values()]
    assert torch.autograd.gradcheck(run, maps, fast_mode=True)


@pytest.mark.parametrize('kind', ['equal', 'larger'])
def test_a_samples_value_is_its_own(kind):
    student, teacher = _pair(kind)
    loss = TargetResponseDistillLoss(centre=3)
    whole = loss(student, teacher, reduction='sample')
    rows = torch.tensor([2, 0])
    part = [{k: v[rows] for k, v in side.items()} for side in (student, teacher)]
    torch.testing.assert_close(loss(*part, reduction='sample'), whole[rows], rtol=1e-12, atol=0)
    # Not even a broken neighbour changes it.
    student['search'].data[1] = NAN
    again = loss(student, teacher, reduction='sample')
    assert again[1].isnan()
    assert torch.equal(again[[0, 2]], whole[[0, 2]])


def test_perfect_students_pay_nothing_and_a_scale_costs_nothing_in_unit():
    student, _ = _pair()
    teacher = {k: v.detach() for k, v in student.items()}
    assert TargetResponseDistillLoss(centre=3)(student, teacher).item() == 0
    twice = {k: 2 * v for k, v in teacher.items()}
    unit = TargetResponseDistillLoss(centre=3, scale='unit')
    assert unit(student, twice).item() == pytest.approx(0, abs=1e-20)
    assert TargetResponseDistillLoss(centre=3)(student, twice).item() > 0.1


def test_a_map_without_any_response_gives_no_nan():
    student, teacher = _pair()
    for side in (student, teacher):
        for value in side.values():
            value.data.zero_()
    for weighting in ('response', 'gaussian', None):
        for scale in ('mean', 'sum', 'unit'):
            value = TargetResponseDistillLoss(weighting, centre=3, scale=scale)(student, teacher)
            value.backward()
            assert value.item() == 0
            assert torch.isfinite(student['search'].grad).all()


def test_parts_are_switched_off():
    student, teacher = _pair()
    values = [
        TargetResponseDistillLoss(centre=3, template=a, search=b)(student, teacher)
        for a, b in ((1, 0), (0, 1), (2, 3))
    ]
    torch.testing.assert_close(2 * values[0] + 3 * values[1], values[2])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    student, teacher = _pair('larger', dtype)
    loss = TargetResponseDistillLoss(centre=3)
    exact = loss(*[{k: v.detach().float() for k, v in x.items()} for x in (student, teacher)])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert torch.equal(value, exact)
    value.backward()
    assert student['search'].grad.dtype == dtype


@pytest.mark.parametrize('kind', ['equal', 'larger', 'smaller'])
@pytest.mark.parametrize('weighting', ['response', 'gaussian', None])
def test_the_host_never_waits(kind, weighting):
    student, teacher = _pair(kind)
    mask = torch.ones(N, 1, 9, 9, dtype=torch.bool) if kind == 'equal' else None
    loss = TargetResponseDistillLoss(weighting, centre=3)
    for reduction in loss.reductions:
        with _NoWaiting():
            loss(student, teacher, mask, reduction).sum().backward()


def test_is_built_printed_and_copied():
    loss = MODELS.build(dict(type='mmkd.TargetResponseDistillLoss', centre=3))
    assert "weighting='response', centre=3" in repr(loss)
    student, teacher = _pair()
    assert torch.equal(copy.deepcopy(loss)(student, teacher), loss(student, teacher))


def test_mistakes():
    student, teacher = _pair('larger')
    loss = TargetResponseDistillLoss(centre=3)
    for given, found in ((None, 'NoneType'), ({'search': student['search']}, "'search'")):
        with pytest.raises(MMKDError, match=f"'template' is missing: got {found}"):
            loss(given, teacher)
    with pytest.raises(MMKDError, match='the same samples.*teacher search'):
        loss(student, {k: v[:2] for k, v in teacher.items()})
    with pytest.raises(MMKDError, match='channel by channel'):
        loss({**student, 'template': student['template'][:, :2]}, teacher)
    with pytest.raises(MMKDError, match=r'mask of shape \(3, 1, 9, 9\) where both.*one grid'):
        loss(student, teacher, torch.ones(3, 1, 9, 9))
    swapped = dict(template=student['search'], search=student['template'])
    with pytest.raises(MMKDError, match=r'target of \(9, 9\) cells in a search region of \(5, 5'):
        TargetResponseDistillLoss(centre=None)(swapped, swapped)
    for options, message in (
        (dict(weighting='respons'), "Did you mean 'response'"),
        (dict(scale='max'), "scale='max'"),
        (dict(template=0, search=0), 'not 0 for both'),
        (dict(search=-1.0), '0 or more'),
        (dict(centre=0), 'centre'),
        (dict(teacher_stride=0), 'teacher_stride'),
        (dict(reduction='none'), "no reduction 'none'"),
    ):
        with pytest.raises(MMKDError, match=message):
            TargetResponseDistillLoss(**options)
