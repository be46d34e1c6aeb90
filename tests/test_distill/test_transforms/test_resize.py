import math
import sys

import pytest
import torch
import torch.nn.functional as F

from mmkd.distill.transforms.resize import KERNELS, resample, resize_to_grid
from mmkd.errors import MMKDError

# Wanted grids and what they cover: a padding teacher, a cropping one, both at once, enlarging.
CASES = [
    ((4, 5), (1.2, 1.0)),
    ((3, 7), (0.9, 1.3)),
    ((2, 2), (1.05, 2.6)),
    ((11, 19), (1.01, 1.07)),
    ((7, 9), (1.5, 1.0)),
]


def _weights_of_one(length, wanted, share, kernel, j):
    """Python numbers: how much of each cell of a row is in the wanted cell j."""
    step = share * length / wanted
    if kernel == 'bilinear':
        at = min(max((j + 0.5) * step - 0.5, 0), length - 1)
        low = math.floor(at)
        weights = [0.0] * length
        weights[low] += 1 - (at - low)
        weights[min(low + 1, length - 1)] += at - low
        return weights
    weights = []
    for cell in range(length):
        if kernel == 'area':
            weights.append(max(min(cell + 1, (j + 1) * step) - max(cell, j * step), 0))
        else:
            reach = max(step, 1)
            centre = min(max((j + 0.5) * step, 0.5), length - 0.5)
            weights.append(max(1 - abs(cell + 0.5 - centre) / reach, 0))
    if sum(weights) == 0:
        weights[-1] = 1
    return [weight / sum(weights) for weight in weights]


def _slow(x, size, cover, kernel):
    n, c, height, width = x.shape
    out = x.new_zeros(n, c, *size)
    for j in range(size[0]):
        rows = _weights_of_one(height, size[0], cover[0], kernel, j)
        for k in range(size[1]):
            columns = _weights_of_one(width, size[1], cover[1], kernel, k)
            for y in range(height):
                for z in range(width):
                    out[:, :, j, k] += rows[y] * columns[z] * x[:, :, y, z]
    return out


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize(('size', 'cover'), CASES)
def test_every_kernel_is_the_slow_loop(kernel, size, cover):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(resample(x, size, cover, kernel), _slow(x, size, cover, kernel))


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize('size', [(11, 19), (43, 30), (38, 68)])
def test_without_padding_it_is_interpolate_bit_for_bit(size, antialias):
    x = torch.randn(2, 3, 38, 68)
    wanted = F.interpolate(x, size=size, mode='bilinear', align_corners=False, antialias=antialias)
    assert torch.equal(resize_to_grid(x, size, antialias=antialias), wanted)


@pytest.mark.parametrize('size', [(11, 19), (43, 30)])
def test_kernels_agree_with_torchs_where_both_exist(size):
    x = torch.randn(2, 3, 38, 68, dtype=torch.float64)
    for kernel, antialias in (('bilinear', False), ('antialias', True)):
        torch.testing.assert_close(
            resample(x, size, (1, 1), kernel), resize_to_grid(x, size, antialias=antialias)
        )
    torch.testing.assert_close(
        resample(x, (19, 17), (1, 1), 'area'), F.adaptive_avg_pool2d(x, (19, 17))
    )


def test_a_ramp_is_read_in_pixels():
    # Cells of 4 pixels that hold the x of their centre; 84 pixels padded to 98 = 7 patches of 14.
    x = (torch.arange(21) * 4.0 + 2).expand(1, 1, 21, 21)
    out = resize_to_grid(x, (7, 7), (98 / 84, 98 / 84))
    centres = torch.arange(7) * 14.0 + 7
    torch.testing.assert_close(out[0, 0, 3], centres.clamp(max=82))


def test_beyond_the_picture_is_its_border():
    x = torch.arange(4.0).expand(1, 1, 4, 4)
    for kernel in ('bilinear', 'area'):
        assert resample(x, (1, 8), (1, 4), kernel)[0, 0, 0, 3:].tolist() == [3] * 5


def test_deterministic_mode_computes_the_same():
    x = torch.randn(1, 2, 9, 7, dtype=torch.float64)
    plain = resample(x, (4, 5), (1.2, 1.1), 'bilinear')
    torch.use_deterministic_algorithms(True)
    try:
        torch.testing.assert_close(resample(x, (4, 5), (1.2, 1.1), 'bilinear'), plain)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize('kernel', KERNELS)
def test_half_precision_is_read_at_exact_places(kernel):
    x = torch.randn(1, 2, 152, 272).bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = resample(x, (44, 78), (1.01, 1.004), kernel)
    exact = resample(x.double(), (44, 78), (1.01, 1.004), kernel)
    assert out.dtype == torch.bfloat16
    # One rounding, of the result: a bfloat16 has 8 bits.
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize('kernel', KERNELS)
def test_gradient(kernel):
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resample(x, (3, 5), (1.2, 1.1), kernel), (x,))


@pytest.mark.skipif(
    sys.version_info >= (3, 11) and torch.__version__ < '2.1', reason='torch cannot compile here'
)
@pytest.mark.parametrize('kernel', KERNELS)
def test_compiles_whole(kernel):
    compiled = torch.compile(
        lambda x: resample(x, (4, 5), (1.2, 1.1), kernel), backend='eager', fullgraph=True
    )
    x = torch.randn(1, 2, 9, 7)
    torch.testing.assert_close(compiled(x), resample(x, (4, 5), (1.2, 1.1), kernel))


def test_unknown_kernel():
    with pytest.raises(MMKDError, match="Did you mean 'bilinear'"):
        resample(torch.zeros(1, 1, 2, 2), (1, 1), (1, 1), 'linear')
