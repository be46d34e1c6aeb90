"""What all transforms have in common."""

import pytest
import torch

from mmkd.distill.transforms import resize_to_grid
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

CONFIGS = [
    dict(type='mmkd.FeatureTransform'),
    dict(type='mmkd.FeatureTransform', layers='multi', resize='last'),
    dict(type='mmkd.MLPTransform'),
    dict(type='mmkd.SpatialAttentionTransform'),
    dict(type='mmkd.AlignedResize', in_channels=6, out_channels=6),
    dict(type='mmkd.AlignedResize', in_channels=6, out_channels=6, mode='bilinear'),
]


def _build(config):
    torch.manual_seed(0)
    return MODELS.build(dict(dict(in_channels=6, out_channels=10), **config))


@pytest.mark.parametrize('config', CONFIGS)
def test_grid_channels_and_gradient(config):
    transform = _build(config)
    x = torch.randn(2, 6, 9, 12, requires_grad=True)
    for cover in ((1.0, 1.0), (1.2, 1.05)):
        out = transform(x, (4, 5), cover)
        assert out.shape == (2, transform.out_channels, 4, 5)
    out.sum().backward()
    assert all(p.grad is not None for p in transform.parameters())
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize('config', CONFIGS)
def test_cover_moves_what_is_read(config):
    """A map that is zero but in its last column, read by a grid whose last cells lie beyond."""
    transform = _build(config).eval()
    x = torch.zeros(1, 6, 4, 8)
    x[..., -1] = 1
    with torch.no_grad():
        plain, covered = transform(x, (4, 8)), transform(x, (4, 8), (1.0, 2.0))
        background = transform(torch.zeros_like(x), (4, 8))
    differs = (covered - background).abs().amax((0, 1, 2)) > 1e-6
    assert differs[5:].all()
    assert not torch.allclose(plain, covered)


@pytest.mark.parametrize('config', CONFIGS)
def test_a_vector_is_a_map_of_one_place(config):
    transform = _build(config).eval()
    x = torch.randn(3, 6)
    out = transform(x, (1, 1))
    assert out.shape == (3, transform.out_channels)
    torch.testing.assert_close(out, transform(x[:, :, None, None], (1, 1))[:, :, 0, 0])
    with pytest.raises(MMKDError, match=r'\(3, 6\) for a grid of \(2, 2\)'):
        transform(x, (2, 2))


@pytest.mark.parametrize('name', ['FeatureTransform', 'MLPTransform', 'SpatialAttentionTransform'])
def test_channels_are_needed(name):
    with pytest.raises(MMKDError, match=f'{name} needs in_channels and out_channels'):
        MODELS.build(dict(type=f'mmkd.{name}', in_channels=3))


def test_feature_transform_resizes_as_told():
    transform = _build(CONFIGS[0])
    x = torch.randn(2, 6, 9, 12)
    wanted = resize_to_grid(transform.project(x), (4, 5), (1.2, 1.05))
    torch.testing.assert_close(transform(x, (4, 5), (1.2, 1.05)), wanted)
    assert list(transform.state_dict()) == ['project.weight', 'project.bias']
