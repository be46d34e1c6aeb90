"""Networks of timm as backbones of Siamese trackers."""

from __future__ import annotations

import pytest
import timm
import torch

from mmkd.errors import MMKDError
from mmkd.models.backbones import SOTTimmBackbone

from .sot_cases import lively


def test_the_maps_are_timms_on_a_padded_image():
    torch.manual_seed(0)
    ours = SOTTimmBackbone('resnet18', input_norm=None)
    lively(ours)
    theirs = timm.create_model(
        'resnet18', features_only=True, output_stride=8, out_indices=(2, 3, 4)
    )
    theirs.load_state_dict(ours.net.state_dict())
    x = torch.rand(1, 3, 127, 127)
    with torch.no_grad():
        expected = theirs.eval()(torch.nn.functional.pad(x, (1, 1, 1, 1)))
        for level, other in zip(ours(x), expected):
            assert torch.equal(level, other[..., 1:-1, 1:-1])
    assert ours.out_channels == (128, 256, 512)


def test_the_normalisation_is_the_networks():
    net = SOTTimmBackbone('tf_mobilenetv3_small_minimal_100')
    assert net.input_norm.mean.flatten().tolist() == pytest.approx([127.5] * 3)  # not ImageNet's
    net = SOTTimmBackbone('lcnet_035')
    assert net.input_norm.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert net.input_norm.std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])
    assert net.input_norm.to_rgb
    assert not hasattr(SOTTimmBackbone('lcnet_035', input_norm=None).input_norm, 'mean')


@pytest.mark.parametrize(('size', 'cells'), [(127, 15), (255, 31), (287, 35)])
def test_patches_are_as_many_as_cells_and_equally_placed(size, cells):
    net = SOTTimmBackbone('test_convnext', input_norm=None).eval()
    assert not net.padded
    x = torch.zeros(1, 1, size, size)
    x[..., 3, 3] = 1
    fitted = net._fit(x)
    assert fitted.shape[-2:] == (8 * cells, 8 * cells)
    assert fitted[0, 0, 0, 0] == 1  # three pixels are cut off at the left, whatever the size
    with torch.no_grad():
        assert {level.shape[-1] for level in net(torch.rand(1, 3, size, size))} == {cells}


def test_what_is_behind_the_last_map_is_not_kept():
    whole = SOTTimmBackbone('lcnet_035')
    short = SOTTimmBackbone('lcnet_035', out_indices=(2, 3)).train()
    assert set(short.state_dict()) < set(whole.state_dict())
    maps = short(torch.rand(2, 3, 127, 127))
    sum(level.sum() for level in maps).backward()
    assert [name for name, p in short.named_parameters() if p.grad is None] == []


def test_weights_come_from_a_file_when_training_starts(tmp_path):
    torch.manual_seed(0)
    source = timm.create_model('lcnet_035')
    torch.save(source.state_dict(), tmp_path / 'lcnet.pth')
    net = SOTTimmBackbone('lcnet_035', out_indices=(2, 3), weights=str(tmp_path / 'lcnet.pth'))
    assert not torch.equal(net.net.conv_stem.weight, source.conv_stem.weight)
    net.init_weights()
    own = net.net.state_dict()
    theirs = source.state_dict()
    assert {key for key in own if key in theirs} == set(own)
    assert all(torch.equal(own[key], theirs[key]) for key in own)


def test_weights_that_are_not_there(tmp_path):
    net = SOTTimmBackbone('lcnet_035', weights=str(tmp_path / 'none.pth'))
    with pytest.raises(MMKDError, match='could not get the weights'):
        net.init_weights()


def test_options_reach_timm():
    net = SOTTimmBackbone('mnasnet_small', options=dict(drop_path_rate=0.5))
    assert any(type(m).__name__ == 'DropPath' for m in net.modules())


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(name='lcnet_53'), "no network 'lcnet_53'. Did you mean 'lcnet_"),
        (dict(name='ghostnet_050'), 'backbone of stride 8'),
        (dict(name='vit_tiny_patch16_224'), 'Networks that it can dilate'),
        (dict(name='lcnet_035', out_indices=(1, 2)), r'different numbers of \(2, 3, 4\)'),
        (dict(name='lcnet_035', input_norm='imagenet'), "expected 'timm', None or a dict"),
        (dict(name='lcnet_035', options=dict(colour=1)), 'backbone of stride 8'),
    ],
)
def test_mistakes_are_told(arguments, words):
    with pytest.raises(MMKDError, match=words):
        SOTTimmBackbone(**arguments)
