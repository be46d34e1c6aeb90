"""AlexNet of Siamese trackers; its maps are compared with PySOT's in test_convert_pysot."""

from __future__ import annotations

import pytest
import torch

from mmkd.errors import MMKDError
from mmkd.models.backbones import SOTAlexNet
from tests.test_apis.pysot_reference import Weights, alexnet

# Of 'alexnetlegacy': place in the sequence, our layer.
PLACES = {0: 1, 4: 2, 8: 3, 11: 4, 14: 5}


@pytest.fixture(scope='module')
def legacy():
    """The backbone of a file of PySOT, and what it makes of a picture."""
    weights = Weights()
    x = torch.rand(1, 3, 127, 127) * 255
    with torch.no_grad():
        (expected,) = alexnet(weights, x, legacy=True)
        (expected,) = alexnet(Weights(weights.state), x, legacy=True)
    state = {key[len('backbone.') :]: value for key, value in weights.state.items()}
    return state, x, expected


@pytest.mark.parametrize('prefix', ['features.', ''])
def test_the_imagenet_weights_load_under_their_names(legacy, prefix, tmp_path):
    state, x, expected = legacy
    renamed = {prefix + key[len('features.') :]: value for key, value in state.items()}
    torch.save(renamed, tmp_path / 'alexnet-bn.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'alexnet-bn.pth'))
    net = SOTAlexNet(init_cfg=init_cfg)
    net.init_weights()
    assert torch.equal(net.layer3[0].weight, state['features.8.weight'])
    with torch.no_grad():
        assert torch.allclose(net.eval()(x)[0], expected, rtol=1e-4, atol=1e-4)
    missing, unexpected = SOTAlexNet().load_state_dict(renamed, strict=False)
    assert not missing
    assert not unexpected


def test_a_place_without_weights_stays_unknown(legacy):
    state, *_ = legacy
    _, unexpected = SOTAlexNet().load_state_dict(
        {**state, 'features.6.weight': torch.zeros(1)}, False
    )
    assert unexpected == ['features.6.weight']


@pytest.mark.parametrize(('size', 'cells'), [(127, 6), (255, 22), (287, 26)])
def test_sizes(size, cells):
    net = SOTAlexNet(width_mult=0.125).eval()
    (level,) = net(torch.rand(1, 3, size, size))
    assert level.shape == (1, 32, cells, cells)


def test_the_size_that_was_published():
    assert sum(p.numel() for p in SOTAlexNet().parameters()) == 3_749_952


def test_no_channels():
    with pytest.raises(MMKDError, match='leaves no channels'):
        SOTAlexNet(width_mult=0.001)
