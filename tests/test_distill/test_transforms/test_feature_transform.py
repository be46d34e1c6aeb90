import pytest
import torch
import torch.nn.functional as F

from mmkd.distill import FeatureTransform
from mmkd.errors import MMKDError


@pytest.mark.parametrize('size', [(11, 19), (3, 5), (43, 30)])
def test_resizing_first_is_what_the_published_order_gives(size):
    torch.manual_seed(0)
    transform = FeatureTransform(27, 32)
    x = torch.randn(2, 27, 38, 68)
    published = F.interpolate(transform.project(x), size=size, mode='bilinear', align_corners=False)
    torch.testing.assert_close(transform(x, size), published, atol=1e-5, rtol=0)
    last = FeatureTransform(27, 32, resize='last')
    last.load_state_dict(transform.state_dict())
    torch.testing.assert_close(last(x, size), published, atol=1e-6, rtol=0)


@pytest.mark.parametrize(('width', 'parameters'), [(384, 104_064), (768, 208_128)])
def test_single_has_the_papers_parameters(width, parameters):
    transform = FeatureTransform(270, width)
    assert sum(p.numel() for p in transform.parameters()) == parameters


def test_multi_has_the_papers_parameters():
    transform = FeatureTransform(270, 768, layers='multi', last_relu=True)
    assert sum(p.numel() for p in transform.parameters()) == pytest.approx(5.52e6, rel=1e-3)


def test_only_with_its_last_relu_multi_has_no_negative_number():
    x = torch.randn(2, 8, 6, 6)
    published = FeatureTransform(8, 16, layers='multi', last_relu=True, resize='last')
    assert (published(x, (3, 4)) >= 0).all()
    out = FeatureTransform(8, 16, layers='multi')(x, (3, 4))
    assert out.shape == (2, 16, 3, 4)
    assert (out < 0).any()


def test_antialias_averages_what_is_skipped():
    x = torch.zeros(1, 1, 8, 8)
    x[..., ::4, ::4] = 1
    transform = FeatureTransform(1, 1, antialias=True)
    with torch.no_grad():
        transform.project.weight.fill_(1)
        transform.project.bias.zero_()
    assert (transform(x, (2, 2)) > 0).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'out_channels': 3}, 'needs in_channels'),
        ({'in_channels': 3, 'out_channels': 3, 'layers': 'multy'}, "Did you mean 'multi'"),
        ({'in_channels': 3, 'out_channels': 3, 'resize': 'never'}, "'first', 'last'"),
        ({'in_channels': 3, 'out_channels': 3, 'last_relu': True}, "belongs to layers='multi'"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        FeatureTransform(**options)
