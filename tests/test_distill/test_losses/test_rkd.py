import math

import pytest
import torch

from mmkd.distill.losses.rkd import RKDLoss
from mmkd.errors import MMKDError


def _maps(n=5, grid=(4, 6), dtype=torch.float64):
    torch.manual_seed(0)
    student = torch.randn(n, 3, *grid, dtype=dtype, requires_grad=True)
    mask = torch.rand(n, 1, *grid) > 0.4
    mask[1] = False
    return student, torch.randn(n, 4, *grid, dtype=dtype), mask


def _huber(a, b):
    gap = abs(a - b)
    return gap**2 / 2 if gap < 1 else gap - 0.5


def _slow(student, teacher):
    """(the terms of the pairs, of the triples) of lists of vectors, by the first / the corner."""
    count = len(student)
    distances = []
    for x in (student, teacher):
        table = {
            (i, j): (x[i] - x[j]).norm().item()
            for i in range(count)
            for j in range(count)
            if i != j
        }
        mean = sum(table.values()) / len(table) if table else 1
        distances.append({key: value / mean for key, value in table.items()})
    pairs = {key: _huber(value, distances[1][key]) for key, value in distances[0].items()}
    triples = {}
    for j in range(count):
        for i in range(count):
            for k in range(count):
                if len({i, j, k}) == 3:
                    cosines = []
                    for x in (student, teacher):
                        a, b = x[i] - x[j], x[k] - x[j]
                        cosines.append((a @ b / (a.norm() * b.norm())).item())
                    triples[j, i, k] = _huber(*cosines)
    return pairs, triples


def _mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def _vectors(x, mask):
    return [
        sum(x[n, :, i, j] for i, j in zip(*torch.where(mask[n, 0]))) / mask[n].sum()
        for n in range(len(x))
        if mask[n].any()
    ]


def test_two_images_have_no_relation_but_parts_of_one_do():
    student, teacher, _ = _maps()
    assert RKDLoss()(student[:2], teacher[:2]).item() == pytest.approx(0, abs=1e-12)
    assert RKDLoss()(student[:3], teacher[:3]).item() > 0.1
    assert RKDLoss(over='grid')(student[:1], teacher[:1]).item() > 0.1


@pytest.mark.parametrize(('distance', 'angle'), [(25.0, 50.0), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize('masked', [False, True])
def test_images_equal_the_slow_definition(distance, angle, masked):
    student, teacher, mask = _maps()
    everything = torch.ones_like(mask)
    pairs, triples = _slow(
        *(_vectors(x, mask if masked else everything) for x in (student, teacher))
    )
    loss = RKDLoss(distance, angle)
    mask = mask if masked else None
    expected = distance * _mean(pairs.values()) + angle * _mean(triples.values())
    assert loss(student, teacher, mask).item() == pytest.approx(expected, abs=1e-10)
    sample = loss(student, teacher, mask, reduction='sample')
    kept = [0, 2, 3, 4] if masked else range(5)
    expected = [0.0] * 5
    for position, n in enumerate(kept):
        own = [v for key, v in pairs.items() if key[0] == position]
        corner = [v for key, v in triples.items() if key[0] == position]
        expected[n] = distance * _mean(own) + angle * _mean(corner)
    assert sample.tolist() == pytest.approx(expected, abs=1e-10)
    total = loss(student, teacher, mask, reduction='sum')
    assert total.item() == pytest.approx(sum(expected), abs=1e-10)


def test_parts_of_a_map_equal_the_slow_definition():
    student, teacher, mask = _maps(3)
    loss = RKDLoss(2.0, 3.0, over='grid', grid=(2, 3))
    samples, all_pairs, all_triples = [], [], []
    for n in range(3):
        parts = []
        for x in (student, teacher):
            cells = []
            for i in range(2):
                for j in range(3):
                    chosen = mask[n, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                    if chosen.any():
                        part = x[n, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                        cells.append((part * chosen).sum((1, 2)) / chosen.sum())
            parts.append(cells)
        pairs, triples = _slow(*parts)
        samples.append(2 * _mean(pairs.values()) + 3 * _mean(triples.values()))
        all_pairs.extend(pairs.values())
        all_triples.extend(triples.values())
    found = loss(student, teacher, mask, reduction='sample')
    assert found.tolist() == pytest.approx(samples, abs=1e-10)
    expected = 2 * _mean(all_pairs) + 3 * _mean(all_triples)
    assert loss(student, teacher, mask).item() == pytest.approx(expected, abs=1e-10)


def test_a_weighted_mask_is_a_weighted_mean():
    student, teacher, mask = _maps()
    weights = mask * torch.rand(mask.shape).double()
    weights[1] = 1
    vectors = [(x * weights).sum((2, 3)) / weights.sum((2, 3)) for x in (student, teacher)]
    torch.testing.assert_close(RKDLoss()(student, teacher, weights), RKDLoss()(*vectors))


def test_turned_moved_and_scaled_vectors_cost_nothing():
    torch.manual_seed(0)
    teacher = torch.randn(6, 4, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert RKDLoss()(3 * teacher @ turn + 7, teacher).item() == pytest.approx(0, abs=1e-20)
    assert RKDLoss()(teacher.flip(0), teacher).item() > 0.1


@pytest.mark.parametrize('over', ['images', 'grid'])
@pytest.mark.parametrize('reduction', ['mean', 'sample'])
def test_gradient(over, reduction):
    student, teacher, mask = _maps(3, (2, 3))
    loss = RKDLoss(over=over, grid=(2, 3), reduction=reduction)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, mask), (student,))


@pytest.mark.parametrize('over', ['images', 'grid'])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'sample'])
def test_too_few_examples_are_an_exact_zero_with_a_gradient(over, reduction):
    student, teacher, mask = _maps()
    mask[:] = False
    mask[0, 0, 0, 0] = True
    value = RKDLoss(over=over, reduction=reduction)(student, teacher, mask)
    assert (value == 0).all()
    value.sum().backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_equal_images_have_no_enormous_gradient():
    student, teacher, _ = _maps(4, dtype=torch.float32)
    twice = student.detach().clone()
    twice[1] = twice[0]
    twice.requires_grad_()
    RKDLoss()(twice, teacher).backward()
    assert twice.grad.abs().max() < 100


def test_what_the_mask_hides_does_not_leak():
    student, teacher, mask = _maps()
    hidden = torch.where(mask, student.detach(), torch.full_like(student, math.nan))
    hidden.requires_grad_()
    value = RKDLoss()(hidden, torch.where(mask, teacher, math.inf * teacher), mask)
    torch.testing.assert_close(value, RKDLoss()(student, teacher, mask))
    value.backward()
    assert torch.isfinite(hidden.grad).all()


def test_float32_inside_autocast():
    student, teacher, _ = _maps(dtype=torch.float32)
    expected = RKDLoss()(student, teacher)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(RKDLoss()(student, teacher), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(over='image'), "Did you mean 'images'"),
        (dict(distance_weight=-1), 'distance_weight'),
        (dict(distance_weight=0, angle_weight=0), 'above'),
        (dict(reduction='none'), "no reduction 'none'"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        RKDLoss(**options)
