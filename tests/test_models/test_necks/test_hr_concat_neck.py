"""The neck keeps the finest branch as it is and resizes the others to its exact size."""

import torch
import torch.nn.functional as F

from mmkd.models.necks import HRConcatNeck


def test_resizes_to_the_exact_size_of_the_finest_branch():
    neck = HRConcatNeck((18, 36, 72, 144))
    # Odd sizes: 2x of 7 rows is 14, not 13.
    sizes = [(13, 27), (7, 14), (4, 7), (2, 4)]
    inputs = [torch.randn(2, c, *size) for c, size in zip(neck.in_channels, sizes)]
    (out,) = neck(inputs)
    assert out.shape == (2, 270, 13, 27)
    assert neck.out_channels == 270
    torch.testing.assert_close(out[:, :18], inputs[0])
    expected = F.interpolate(inputs[2], size=(13, 27), mode='bilinear', align_corners=False)
    torch.testing.assert_close(out[:, 54:126], expected)


def test_has_no_parameter():
    assert sum(p.numel() for p in HRConcatNeck((4, 8)).parameters()) == 0
