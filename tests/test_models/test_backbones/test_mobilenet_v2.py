"""MobileNetV2 of Siamese trackers; its maps are compared with PySOT's in test_convert_pysot."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from mmkd.errors import MMKDError
from mmkd.models.backbones import SOTMobileNetV2

from .sot_cases import lively


@pytest.fixture(scope='module')
def theirs():
    torch.manual_seed(0)
    return lively(mobilenet_v2(weights=None))


def test_torchvisions_weights_load_and_compute_the_same(theirs):
    """Their network, given our strides, paddings and dilations, has our maps."""
    ours = SOTMobileNetV2(1.0, style='imagenet').eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing
    assert not unexpected
    blocks = copy.deepcopy(theirs.features[:18])
    convs = [[m for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (ours, blocks)]
    for mine, other in zip(*convs):
        assert mine.weight.shape == other.weight.shape
        other.stride, other.padding, other.dilation = mine.stride, mine.padding, mine.dilation
    x = y = torch.rand(1, 3, 127, 127)
    with torch.no_grad():
        expected = []
        for i, block in enumerate(blocks):
            y = block(y)
            if i in (6, 13, 17):
                expected.append(y)
        for level, other in zip(ours(x), expected):
            assert torch.allclose(level, other, rtol=1e-4, atol=1e-5)


def test_a_shorter_one_passes_over_what_is_behind(theirs):
    short = SOTMobileNetV2(1.0, out_indices=(3, 5), style='imagenet')
    missing, unexpected = short.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing
    assert not unexpected
    assert not hasattr(short, 'layer6')


def test_other_keys_stay_unknown():
    net = SOTMobileNetV2(0.25, style='imagenet')
    state = {**net.state_dict(), 'features.3.conv.9.weight': torch.zeros(1), 'x': torch.zeros(1)}
    _, unexpected = net.load_state_dict(state, strict=False)
    assert sorted(unexpected) == ['features.3.conv.9.weight', 'x']


@pytest.mark.parametrize(
    ('width', 'style', 'channels', 'count'),
    [
        (1.4, 'pysot', (44, 134, 448), 3_485_204),
        (1.0, 'pysot', (32, 96, 320), 1_812_800),
        (1.0, 'imagenet', (32, 96, 320), 1_811_712),
        (1.4, 'imagenet', (48, 136, 448), None),
    ],
)
def test_widths(width, style, channels, count):
    net = SOTMobileNetV2(width, style=style)
    assert net.out_channels == channels
    if count is not None:
        assert sum(p.numel() for p in net.parameters()) == count


def test_mistakes_are_told():
    with pytest.raises(MMKDError, match="no style 'imagenet1k'. Did you mean 'imagenet'"):
        SOTMobileNetV2(style='imagenet1k')
    with pytest.raises(MMKDError, match='out_indices is .2, 3.; expected .* stride is 8'):
        SOTMobileNetV2(out_indices=(2, 3))
    with pytest.raises(MMKDError, match='no channels'):
        SOTMobileNetV2(width_mult=0.01)
