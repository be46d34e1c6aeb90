"""ResNet of Siamese trackers: mmtrack's at depth 50, PySOT's at 18 and 34, ImageNet weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmtrack.models.backbones import SOTResNet as StockResNet
from torchvision.models import resnet18

from mmkd.errors import MMKDError
from mmkd.models.backbones import SOTResNet
from tests.test_apis.pysot_reference import Weights, resnet

from .sot_cases import lively


@pytest.mark.parametrize('out_indices', [(1, 2, 3), (1, 2)])
def test_depth_50_is_mmtracks(out_indices):
    torch.manual_seed(0)
    stock = lively(
        StockResNet(
            depth=50,
            base_channels=8,
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            out_indices=out_indices,
        )
    )
    ours = SOTResNet(50, base_channels=8, out_indices=out_indices).eval()
    missing, unexpected = ours.load_state_dict(stock.state_dict(), strict=False)
    assert not missing
    assert not unexpected
    x = torch.rand(2, 3, 127, 127) * 255
    with torch.no_grad():
        for level, other in zip(ours(x), stock(x)):
            assert torch.allclose(level, other, rtol=1e-5, atol=1e-5)
    assert ours.out_channels == tuple(64 * 2**i // 2 for i in out_indices)


@pytest.mark.parametrize('depth', [18, 34])
def test_basic_blocks_are_pysots(depth):
    weights = Weights()
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, 3, 79, 79, generator=generator, dtype=torch.float64)
    ours = SOTResNet(depth).double().eval()
    with torch.no_grad():
        resnet(weights, x.float(), depth)
        state = {
            k[9:]: v.double() if v.is_floating_point() else v for k, v in weights.state.items()
        }
        ours.load_state_dict(state, strict=True)
        expected = resnet(Weights({f'backbone.{k}': v for k, v in state.items()}), x, depth)
        for level, other in zip(ours(x), expected):
            assert torch.allclose(level, other)


def test_torchvisions_shortcuts_become_the_middle_of_ours():
    torch.manual_seed(0)
    theirs = resnet18(weights=None)
    ours = SOTResNet(18)
    state = theirs.state_dict()
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert not missing
    assert not unexpected
    assert state['layer2.0.downsample.0.weight'].shape[2:] == (1, 1)  # the caller's is untouched
    for name, middle in (
        ('layer2', (slice(None), slice(None), slice(1, -1, 2), slice(1, -1, 2))),
        ('layer3', ...),
        ('layer4', ...),
    ):
        conv = getattr(ours, name)[0].downsample[0]
        weight = getattr(theirs, name)[0].downsample[0].weight
        x = torch.rand(1, weight.shape[1], 15, 15)
        assert torch.allclose(conv(x), F.conv2d(x[middle], weight), atol=1e-6)


def test_fewer_stages_take_the_same_files():
    state = SOTResNet(18, base_channels=8).state_dict()
    short = SOTResNet(18, base_channels=8, out_indices=(1, 2))
    missing, unexpected = short.load_state_dict({**state, 'fc.bias': torch.zeros(3)}, strict=False)
    assert not missing
    assert not unexpected
    assert not hasattr(short, 'layer4')


@pytest.mark.parametrize(('depth', 'count'), [(18, 12_552_768), (34, 22_660_928), (50, 45_528_128)])
def test_the_sizes_that_were_published(depth, count):
    with torch.device('meta'):
        net = SOTResNet(depth)
    assert sum(p.numel() for p in net.parameters()) == count


def test_mistakes_are_told():
    with pytest.raises(MMKDError, match='no depth 19'):
        SOTResNet(19)
    with pytest.raises(MMKDError, match='out_indices is .0, 1.; expected'):
        SOTResNet(18, out_indices=(0, 1))
    with pytest.raises(MMKDError, match='four of each'):
        SOTResNet(18, strides=(1, 1, 1, 1))
    with pytest.raises(MMKDError, match='four of each'):
        SOTResNet(18, dilations=(1, 1, 2))
