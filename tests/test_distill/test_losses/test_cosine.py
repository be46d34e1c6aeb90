import pytest
import torch

from mmkd.distill import CosineDistillLoss
from mmkd.errors import MMKDError


def _maps(dtype=torch.float64, n=3, c=5, h=4, w=6):
    torch.manual_seed(0)
    student = torch.randn(n, c, h, w, dtype=dtype, requires_grad=True)
    mask = torch.rand(n, 1, h, w) > 0.4
    mask[1] = False
    return student, torch.randn(n, c, h, w, dtype=dtype), mask


def _cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def _slow(student, teacher, mask, flatten):
    """(loss, weight) of each location or image."""
    losses = []
    for n in range(len(student)):
        places = [
            (
                student[n, :, i, j],
                teacher[n, :, i, j],
                1.0 if mask is None else float(mask[n, 0, i, j]),
            )
            for i in range(student.shape[2])
            for j in range(student.shape[3])
        ]
        places = [place for place in places if place[2] > 0]
        if flatten and places:
            s, t = (torch.cat([p[k] * p[2] ** 0.5 for p in places]) for k in (0, 1))
            losses.append((1 - _cosine(s, t), 1.0))
        elif not flatten:
            losses.extend((1 - _cosine(s, t), weight) for s, t, weight in places)
    return losses


@pytest.mark.parametrize('flatten', [False, True])
@pytest.mark.parametrize('kind', [None, 'bool', 'weights'])
def test_equals_the_slow_definition(flatten, kind):
    student, teacher, mask = _maps()
    mask = None if kind is None else mask if kind == 'bool' else mask * torch.rand(mask.shape)
    expected = _slow(student, teacher, mask, flatten)
    total = sum(loss * weight for loss, weight in expected)
    loss = CosineDistillLoss(flatten=flatten)(student, teacher, mask)
    assert loss.item() == pytest.approx(total / sum(w for _, w in expected), abs=1e-7)
    got = CosineDistillLoss(flatten=flatten, reduction='sum')(student, teacher, mask)
    assert got.item() == pytest.approx(total, abs=1e-6)


def test_large_features_do_not_overflow():
    student = torch.full((1, 2, 1, 1), 1e15)
    assert CosineDistillLoss()(student, student).item() == pytest.approx(0, abs=1e-6)


def test_flattened_is_torchs_loss_of_the_published_code():
    student, teacher, _ = _maps()
    published = torch.nn.CosineEmbeddingLoss()(
        student.flatten(1), teacher.flatten(1), torch.ones(len(student))
    )
    torch.testing.assert_close(CosineDistillLoss(flatten=True)(student, teacher), published)


def test_only_flattened_cares_for_norms():
    _, teacher, _ = _maps()
    student = teacher * torch.rand(teacher.shape[0], 1, *teacher.shape[2:]).double().add(0.1)
    assert CosineDistillLoss()(student, teacher).item() == pytest.approx(0, abs=1e-12)
    assert CosineDistillLoss(flatten=True)(student, teacher) > 0.01


@pytest.mark.parametrize('flatten', [False, True])
@pytest.mark.parametrize('masked', [False, True])
def test_gradient(flatten, masked):
    student, teacher, mask = _maps(n=2, c=3, h=2, w=2)
    mask = mask if masked else None
    loss = CosineDistillLoss(flatten=flatten)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, mask), (student,))


@pytest.mark.parametrize('flatten', [False, True])
def test_nothing_valid_is_an_exact_zero_with_a_gradient(flatten):
    student, teacher, mask = _maps()
    loss = CosineDistillLoss(flatten=flatten)(student, teacher, torch.zeros_like(mask))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize('flatten', [False, True])
def test_zero_vectors_give_no_nan(flatten):
    student = torch.zeros(1, 3, 2, 2, requires_grad=True)
    CosineDistillLoss(flatten=flatten)(student, torch.zeros(1, 3, 2, 2)).backward()
    assert torch.isfinite(student.grad).all()


def test_float32_inside_autocast_and_from_half():
    student, teacher, _ = _maps(torch.float32)
    expected = CosineDistillLoss()(student, teacher)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(CosineDistillLoss()(student, teacher), expected)
    assert CosineDistillLoss()(student.bfloat16(), teacher.bfloat16()).dtype == torch.float32


def test_shapes_of_none():
    student, teacher, mask = _maps()
    assert CosineDistillLoss(reduction='none')(student, teacher, mask).shape == (3, 4, 6)
    assert CosineDistillLoss(flatten=True, reduction='none')(student, teacher).shape == (3,)


def test_mistakes_are_told():
    student, teacher, mask = _maps()
    with pytest.raises(MMKDError, match=r'\(3, 5, 4, 6\).*\(3, 5, 2, 6\)'):
        CosineDistillLoss()(student, teacher[:, :, :2])
    with pytest.raises(MMKDError, match=r'mask of shape \(3, 1, 4, 6\).*\(3, 4, 6\)'):
        CosineDistillLoss()(student, teacher, mask[:, 0])
    with pytest.raises(MMKDError, match="Did you mean 'mean'"):
        CosineDistillLoss(reduction='meen')
