import math

import pytest
import torch

from mmkd.distill.losses import SPLoss

from .maps import MASKS, make_mask, maps


@pytest.mark.parametrize('kind', MASKS)
def test_equals_the_slow_definition(kind):
    student, teacher = maps(n=3, teacher_channels=5)
    mask = make_mask(kind, n=3)
    rows = []
    for x in (student, teacher):
        similar = [[0.0] * 3 for _ in range(3)]
        for a in range(3):
            for b in range(3):
                for i in range(2):
                    for j in range(3):
                        pair = 1.0
                        if mask is not None:
                            pair = math.sqrt(float(mask[a, 0, i, j]) * float(mask[b, 0, i, j]))
                        similar[a][b] += pair * (x[a, :, i, j] @ x[b, :, i, j]).item()
        lengths = [math.sqrt(sum(v * v for v in row)) for row in similar]
        rows.append([[v / length for v in row] for row, length in zip(similar, lengths)])
    expected = [[(s - t) ** 2 for s, t in zip(*pair)] for pair in zip(*rows)]
    got = SPLoss(reduction='none')(student, teacher, mask)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(SPLoss()(student, teacher, mask), got.mean())


def test_an_image_of_padding_is_left_out():
    student, teacher = maps(n=3)
    mask = torch.ones(3, 1, 2, 3, dtype=torch.bool)
    mask[1] = False
    torch.testing.assert_close(
        SPLoss()(student, teacher, mask), SPLoss()(student[[0, 2]], teacher[[0, 2]])
    )


def test_dead_features_give_no_nan():
    student = torch.zeros(2, 3, requires_grad=True)
    SPLoss()(student, torch.rand(2, 3)).backward()
    assert torch.isfinite(student.grad).all()
