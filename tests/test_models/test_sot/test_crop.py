"""Both ways of cropping against mmtrack's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtrack.models.sot import SiamRPN as StockSiamRPN

from mmkd.models.sot.crop import crop, crop_gathered, crop_slices
from tests.test_distill.test_losses.test_objects_no_sync import NoWaiting

FILL = torch.tensor([104.25, 117.5, 123.75])


def stock(img, centre, size, target):
    return StockSiamRPN.get_cropped_img(None, img.float(), centre, target, size, FILL)


def smooth_frame(height, width):
    """Bytes that change by some units from pixel to pixel, as those of a photograph do."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    waves = [torch.sin(x / a + y / b) for a, b in ((7, 11), (5, -9), (13, 6))]
    return (127 + 120 * torch.stack(waves)).to(torch.uint8)[None]


FRAME = smooth_frame(60, 84)


@pytest.mark.parametrize('way', [crop_slices, crop_gathered])
@settings(max_examples=150, deadline=None)
@given(
    x=st.floats(0, 84, width=32),
    y=st.floats(0, 60, width=32),
    size=st.integers(2, 200),
    target=st.sampled_from([15, 31]),
)
def test_crops_are_mmtracks(way, x, y, size, target):
    centre, side = torch.tensor([x, y]), torch.tensor(float(size))
    corners = torch.stack([centre - side / 2, centre + side / 2]).trunc()
    try:
        expected = stock(FRAME, centre, side, target)
    except RuntimeError:
        return  # it cannot resize a crop without pixels
    found = way(FRAME, corners, target, FILL)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize('way', [crop_slices, crop_gathered])
@pytest.mark.parametrize(
    ('x', 'y', 'size'), [(84, 60, 40), (64, 40, 40), (0, 0, 40), (63.5, 39.5, 40), (42, 30, 84)]
)
def test_squares_that_end_where_the_frame_does(way, x, y, size):
    # mmtrack loses the last row or column of pixels from there on.
    centre, side = torch.tensor([float(x), float(y)]), torch.tensor(float(size))
    corners = torch.stack([centre - side / 2, centre + side / 2]).trunc()
    found = way(FRAME, corners, 31, FILL)
    torch.testing.assert_close(found, stock(FRAME, centre, side, 31), atol=1e-3, rtol=0)


@pytest.mark.parametrize('way', [crop_slices, crop_gathered])
@pytest.mark.parametrize(
    ('x', 'y'), [(-60, 30), (-21, 30), (160, 30), (40, -60), (40, 81), (40, 200), (-50, -50)]
)
def test_squares_that_miss_the_frame(way, x, y):
    """A first box may lie beyond the border."""
    centre, side = torch.tensor([float(x), float(y)]), torch.tensor(40.0)
    corners = torch.stack([centre - side / 2, centre + side / 2]).trunc()
    found = way(FRAME, corners, 31, FILL)
    torch.testing.assert_close(found, stock(FRAME, centre, side, 31), atol=1e-3, rtol=0)


def test_frames_of_floats():
    frame = torch.rand(1, 3, 60, 84) * 255
    centre, side = torch.tensor([30.0, 20.0]), torch.tensor(70.0)
    expected = stock(frame, centre, side, 31)
    torch.testing.assert_close(crop(frame, centre, side, 31, FILL), expected, atol=1e-3, rtol=0)


def test_gathering_never_waits():
    corners = torch.tensor([[-5.0, 3.0], [50.0, 58.0]])
    with NoWaiting():
        crop_gathered(FRAME, corners, 31, FILL)
