import math

import pytest
import torch

from mmkd.distill.transforms import SpatialAttentionTransform
from mmkd.errors import MMKDError


def test_is_the_slow_loop():
    torch.manual_seed(0)
    transform = SpatialAttentionTransform(3, 5, kernel_size=3)
    x = torch.randn(2, 3, 4, 6)
    out = transform(x, (4, 6))
    kernel, bias = transform.attend.weight[0], transform.attend.bias[0]
    for n in range(2):
        for j in range(4):
            for k in range(6):
                total = bias.item()
                for dj in (-1, 0, 1):
                    for dk in (-1, 0, 1):
                        if 0 <= j + dj < 4 and 0 <= k + dk < 6:
                            place = x[n, :, j + dj, k + dk]
                            total += kernel[0, dj + 1, dk + 1].item() * place.mean().item()
                            total += kernel[1, dj + 1, dk + 1].item() * place.max().item()
                weight = 1 / (1 + math.exp(-total))
                wanted = transform.project.weight[:, :, 0, 0] @ (x[n, :, j, k] * weight)
                torch.testing.assert_close(out[n, :, j, k], wanted + transform.project.bias)


def test_one_weight_per_place_in_its_range():
    transform = SpatialAttentionTransform(3, 5)
    weights = transform.attention(torch.randn(2, 3, 9, 9))
    assert weights.shape == (2, 1, 9, 9)
    assert ((weights > 0) & (weights < 1)).all()


@pytest.mark.parametrize('size', [0, 4, 'big'])
def test_even_kernels_have_no_centre(size):
    with pytest.raises(MMKDError, match='odd kernel_size='):
        SpatialAttentionTransform(3, 5, kernel_size=size)
