import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.distill.transforms import CentreAlign, centre_align
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..test_losses.test_every_loss import _NoWaiting

STRIDES = [(8, 8), (8, 16), (16, 8), (4, 6)]


def _map(h, w, n=2, c=3, dtype=torch.float64):
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _slow(x, size, stride_teacher, stride_student):
    """Cell by cell; bilinear, border repeated, and whether a cell lies within."""
    n, c, height, width = x.shape
    out = torch.zeros(n, c, *size, dtype=x.dtype)
    valid = torch.zeros(1, 1, *size, dtype=torch.bool)
    for i in range(size[0]):
        for j in range(size[1]):
            inside, parts = True, []
            for at, wanted, length in ((i, size[0], height), (j, size[1], width)):
                pixels = (at - (wanted - 1) / 2) * stride_student
                cell = pixels / stride_teacher + (length - 1) / 2
                inside = inside and -1e-6 <= cell <= length - 1 + 1e-6
                cell = min(max(cell, 0), length - 1)
                low = min(math.floor(cell + 1e-9), length - 1)
                high = min(low + 1, length - 1)
                parts.append(((low, 1 - (cell - low)), (high, cell - low)))
            for row, a in parts[0]:
                for column, b in parts[1]:
                    out[:, :, i, j] += a * b * x[:, :, row, column]
            valid[0, 0, i, j] = inside
    return out, valid


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(STRIDES),
)
def test_equals_the_slow_definition(given_size, wanted, strides):
    x = _map(*given_size)
    out, valid = centre_align(x, wanted, *strides)
    expected, inside = _slow(x, wanted, *strides)
    torch.testing.assert_close(out, expected)
    if valid is None:
        assert inside.all()
    else:
        assert torch.equal(valid, inside)
        assert not inside.all()


@pytest.mark.parametrize(('length', 'wanted'), [(25, 17), (31, 23), (15, 7), (6, 6)])
def test_whole_cells_are_a_crop(length, wanted):
    x = _map(length, length, dtype=torch.float16)
    out, valid = centre_align(x, (wanted, wanted))
    first = (length - wanted) // 2
    assert valid is None
    assert torch.equal(out, x[:, :, first : first + wanted, first : first + wanted])
    # Of the very same memory.
    assert out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_half_cells_are_the_mean_of_two():
    x = _map(31, 31)
    out, valid = centre_align(x, (22, 22))
    assert valid is None
    between = (x[:, :, 1:] + x[:, :, :-1]) / 2
    between = (between[..., 1:] + between[..., :-1]) / 2
    torch.testing.assert_close(out, between[:, :, 4:26, 4:26])


def test_a_gradient_over_the_image_is_read_where_the_student_looks():
    # Values are pixels from the centre; a stretched map would have others.
    for length, wanted in ((25, 17), (31, 22), (13, 12)):
        pixels = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2) * 8
        x = pixels.expand(1, 1, length, length)
        out, _ = centre_align(x, (wanted, wanted))
        own = (torch.arange(wanted, dtype=torch.float64) - (wanted - 1) / 2) * 8
        torch.testing.assert_close(out, own.expand(1, 1, wanted, wanted))


def test_beyond_the_teachers_map_nothing_is_valid():
    out, valid = centre_align(_map(17, 25), (25, 17))
    assert valid.shape == (1, 1, 25, 17)
    assert valid[0, 0, :, 0].tolist() == [False] * 4 + [True] * 17 + [False] * 4
    assert valid.all(dim=3).sum() == 17
    assert torch.isfinite(out).all()


def test_nan_stays_with_the_cells_that_read_it():
    x = _map(9, 9)
    x[:, :, 4, 5] = float('nan')
    # Every second cell is hit, the others are half-way.
    out, _ = centre_align(x, (9, 9), 8, 4)
    expected, _ = _slow(torch.nan_to_num(x), (9, 9), 8, 4)
    bad = out.isnan().any(0).any(0)
    assert bad.nonzero().tolist() == [[i, j] for i in (3, 4, 5) for j in (5, 6, 7)]
    torch.testing.assert_close(out[:, :, ~bad], expected[:, :, ~bad])


def test_gradient_and_half_precision():
    x = _map(6, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: centre_align(v, (4, 3), 8, 6)[0], x)
    half = _map(6, 6, dtype=torch.bfloat16)
    out, _ = centre_align(half, (5, 5))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, centre_align(half.float(), (5, 5))[0].bfloat16())


@pytest.mark.parametrize('case', [((25, 25), (17, 17)), ((9, 9), (6, 8)), ((5, 5), (7, 8))])
def test_the_host_never_waits(case):
    x = _map(*case[0]).requires_grad_()
    with _NoWaiting():
        centre_align(x, case[1])[0].sum().backward()
    assert centre_align(x.detach().to('meta'), case[1])[0].shape[2:] == case[1]


def test_as_a_transform():
    align = MODELS.build(dict(type='mmkd.CentreAlign', in_channels=3, out_channels=3))
    x = _map(25, 25)
    assert torch.equal(align(x, (17, 17)), centre_align(x, (17, 17))[0])
    assert align(x[:, :, 0, 0], (1, 1)).shape == (2, 3)
    coarse = CentreAlign(in_stride=8, out_stride=16)
    assert torch.equal(coarse(x, (9, 9)), centre_align(x, (9, 9), 8, 16)[0])
    border = CentreAlign(outside='border')
    assert border(x, (27, 27)).shape == (2, 3, 27, 27)
    assert CentreAlign(4, 5, same_channels=False).in_channels == 4


def test_mistakes():
    x = _map(5, 5)
    for wrong in (
        lambda: centre_align(x[0], (3, 3)),
        lambda: centre_align(x, (0, 3)),
        lambda: centre_align(x, (3, 3), 0, 8),
    ):
        with pytest.raises(MMKDError, match='centre_align takes'):
            wrong()
    with pytest.raises(MMKDError, match=r'\(5, 5\) cells of stride 8 does not reach all of \(7, 7'):
        CentreAlign()(x, (7, 7))
    with pytest.raises(MMKDError, match='pads its input'):
        CentreAlign()(x, (3, 3), (1.0, 0.9))
    with pytest.raises(MMKDError, match='leaves channels alone, but 4 shall become 5'):
        CentreAlign(4, 5)
    with pytest.raises(MMKDError, match="Did you mean 'border'"):
        CentreAlign(outside='boarder')
    with pytest.raises(MMKDError, match='strides'):
        CentreAlign(in_stride=-1)
