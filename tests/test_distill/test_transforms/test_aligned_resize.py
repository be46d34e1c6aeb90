import pytest
import torch
import torch.nn.functional as F

from mmkd.distill.transforms import AlignedResize, resize_to_grid
from mmkd.errors import MMKDError


def test_area_is_the_mean_over_each_patch():
    x = torch.randn(2, 3, 12, 18)
    out = AlignedResize(3, 3)(x, (3, 6))
    torch.testing.assert_close(out, F.avg_pool2d(x, (4, 3)))
    pooled = AlignedResize(3, 3)(x, (1, 1))
    torch.testing.assert_close(pooled, x.mean((2, 3), keepdim=True))


def test_a_patch_that_reaches_into_the_padding_is_the_mean_over_its_real_part():
    x = torch.randn(1, 1, 6, 6)
    # 8 rows and columns are covered: the second patch has rows 4 and 5, and two of padding.
    out = AlignedResize(1, 1)(x, (2, 2), (8 / 6, 8 / 6))
    torch.testing.assert_close(out[0, 0, 1, 1], x[0, 0, 4:, 4:].mean())
    torch.testing.assert_close(out[0, 0, 0, 0], x[0, 0, :4, :4].mean())


def test_bilinear_is_the_shared_resize():
    x = torch.randn(2, 3, 12, 18)
    out = AlignedResize(3, 3, mode='bilinear')(x, (5, 7), (1.1, 1.0))
    assert torch.equal(out, resize_to_grid(x, (5, 7), (1.1, 1.0)))


def test_nothing_to_train_or_save():
    assert not AlignedResize(3, 3).state_dict()


def test_channels_are_equal_or_asked_not_to_be():
    with pytest.raises(MMKDError, match=r'3 shall become 5.*FeatureTransform'):
        AlignedResize(3, 5)
    out = AlignedResize(3, 5, same_channels=False)(torch.randn(1, 3, 4, 4), (2, 2))
    assert out.shape == (1, 3, 2, 2)


def test_unknown_mode():
    with pytest.raises(MMKDError, match="Did you mean 'area'"):
        AlignedResize(3, 3, mode='areas')
