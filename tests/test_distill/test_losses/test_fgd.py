import pytest
import torch

from mmkd.distill.losses import FGDLoss
from mmkd.errors import MMKDError

from ..boxes import make
from .maps import MASKS, make_mask, maps, places, softmax

# x1, y1, x2, y2 in pixels; a cell of the 4 x 6 grid is 10 by 10.
BOXES = [(0, [10, 0, 40, 20]), (0, [20, 0, 30, 40]), (1, [2, 3, 9, 9]), (1, [0, 0, 60, 10])]


def instances(boxes=BOXES, n=2, size=(40, 60)):
    rows = [[box for image, box in boxes if image == k] for k in range(n)]
    return make(rows, [[-1] * len(row) for row in rows], size)


def _loss(channels=3, **kwargs):
    torch.manual_seed(0)
    loss = FGDLoss(channels, **kwargs).double()
    for p in loss.parameters():
        # The blocks start as the identity.
        torch.nn.init.normal_(p, std=0.5)
    return loss


def _cells(box):
    x1, y1, x2, y2 = box
    return [
        (i, j)
        for i in range(4)
        for j in range(6)
        if x1 <= 10 * j + 5 < x2 and y1 <= 10 * i + 5 < y2
    ]


def _attention(x, n, valid, temperature):
    """Of each valid place and of each channel."""
    weights = [w for _, _, w in valid]
    sizes = [[abs(x[n, c, i, j].item()) for c in range(3)] for i, j, _ in valid]
    spatial = softmax([sum(v) / 3 / temperature for v in sizes], weights)
    spatial = [p * sum(weights) / w for p, w in zip(spatial, weights)]
    means = [sum(v[c] * w for v, w in zip(sizes, weights)) / sum(weights) for c in range(3)]
    return spatial, [3 * p for p in softmax([m / temperature for m in means])]


def _global(block, x, n, valid):
    weights = [w for _, _, w in valid]
    columns = [x[n, :, i, j] for i, j, _ in valid]
    logits = [(block.attend.weight[0, :, 0, 0] @ v).item() for v in columns]
    context = sum(p * v for p, v in zip(softmax(logits, weights), columns))
    return [v + block.add(context) for v in columns]


def _slow(loss, student, teacher, mask, n):
    valid = places(mask, n, student)
    spatial_s, channel_s = _attention(student, n, valid, loss.temperature)
    spatial_t, channel_t = _attention(teacher, n, valid, loss.temperature)
    foreground = background = outside = attention = relation = 0.0
    context_s = _global(loss.context_student, student, n, valid)
    context_t = _global(loss.context_teacher, teacher, n, valid)
    for k, (i, j, weight) in enumerate(valid):
        squared = 0.0
        for c in range(3):
            d = student[n, c, i, j].item() - teacher[n, c, i, j].item()
            squared += d * d * spatial_t[k] * channel_t[c]
        owners = [_cells(box) for image, box in BOXES if image == n]
        scales = [1 / len(cells) for cells in owners if (i, j) in cells]
        if scales:
            foreground += weight * max(scales) * squared
        else:
            background += weight * squared
            outside += weight
        attention += weight * abs(spatial_s[k] - spatial_t[k])
        relation += weight * (context_s[k] - context_t[k]).square().sum().item()
    attention += sum(abs(a - b) for a, b in zip(channel_s, channel_t))
    background /= outside
    return (
        loss.alpha * foreground
        + loss.beta * background
        + loss.gamma * attention
        + loss.lambda_ * relation
    )


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('part', ['alpha', 'beta', 'gamma', 'lambda_', 'all'])
def test_equals_the_slow_definition(kind, part):
    student, teacher = (x.detach() for x in maps(h=4, w=6))
    mask = make_mask(kind, h=4, w=6)
    weights = {'alpha': 0.5, 'beta': 0.7, 'gamma': 1.1, 'lambda_': 0.3}
    if part != 'all':
        weights = {key: value * (key == part) for key, value in weights.items()}
        weights['lambda_'] = weights['lambda_'] or 1e-30
    loss = _loss(**weights)
    expected = [_slow(loss, student, teacher, mask, n) for n in range(2)]
    got = loss(student, teacher, mask, 'sample', instances=instances())
    assert got.tolist() == pytest.approx(expected, rel=1e-6)
    got = loss(student, teacher, mask, instances=instances())
    assert got.item() == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_without_boxes_all_is_background():
    student, teacher = maps(h=4, w=6)
    focal = dict(gamma=0, lambda_=0)
    nothing = FGDLoss(3, alpha=1, beta=0, **focal)(student, teacher, instances=instances([]))
    assert nothing.item() == 0
    background = FGDLoss(3, alpha=0, beta=1, **focal)(student, teacher, instances=instances([]))
    assert background.item() > 0


def test_a_box_over_everything_leaves_no_background():
    student, teacher = maps(n=1, h=4, w=6)
    loss = FGDLoss(3, alpha=0, beta=1, gamma=0, lambda_=0)
    got = loss(student, teacher, instances=instances([(0, [0, 0, 60, 40])], n=1))
    assert got.item() == 0


def test_a_map_that_reaches_beyond_the_picture():
    """The size is what the map covers: twice as large, boxes lie in its first quarter."""
    student, teacher = maps(n=1, h=4, w=6)
    loss = FGDLoss(3, alpha=1, beta=0, gamma=0, lambda_=0)
    small = loss(student, teacher, instances=instances([(0, [0, 0, 30, 20])], n=1))
    large = loss(student, teacher, instances=instances([(0, [0, 0, 60, 40])], 1, (80, 120)))
    torch.testing.assert_close(small, large)


def test_large_features_do_not_overflow():
    student = torch.full((2, 3, 4, 6), 6e4, requires_grad=True)
    loss = FGDLoss(3)(
        student, -student.detach(), make_mask('bool', h=4, w=6), instances=instances()
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_starts_with_blocks_that_do_nothing():
    student, teacher = maps(h=4, w=6)
    loss = FGDLoss(3, alpha=0, beta=0, gamma=0, lambda_=1).double()
    expected = (student - teacher).square().sum() / 2
    torch.testing.assert_close(loss(student, teacher, instances=instances()), expected)


def test_every_parameter_is_reached():
    student, teacher = maps(c=6, h=4, w=6)
    loss = _loss(channels=6)
    loss(student, teacher, instances=instances()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())
    assert not list(FGDLoss(3, lambda_=0).parameters())


def test_mistakes():
    student, teacher = maps(h=4, w=6)
    with pytest.raises(MMKDError, match='instances of its 2 images, but got none'):
        FGDLoss(3)(student, teacher)
    with pytest.raises(MMKDError, match='2 images, but got those of 5'):
        FGDLoss(3)(student, teacher, instances=instances(n=5))
    with pytest.raises(MMKDError, match='needs channels='):
        FGDLoss()
    with pytest.raises(MMKDError, match='channels=4'):
        FGDLoss(4)(student, teacher, instances=instances())
