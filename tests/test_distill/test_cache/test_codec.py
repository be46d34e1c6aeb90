import pytest
import torch

from mmkd.distill.cache.codec import Codec, join, parse_storage, places_of, share_out
from mmkd.distill.cache.fidelity import compare, summarise
from mmkd.errors import MMKDError


def _features(count=6, channels=12, rank=4, seed=0):
    """Maps whose vectors lie near a plane of a few dimensions, about a mean that is not 0."""
    random = torch.Generator().manual_seed(seed)
    basis = torch.randn(rank, channels, generator=torch.Generator().manual_seed(99))
    z = torch.randn(count, rank, 5, 7, generator=random)
    mean = torch.linspace(-3, 3, channels)[:, None, None]
    return torch.einsum('nrhw,rc->nchw', z, basis) + mean


def _fitted(storage, **kwargs):
    codec = Codec(parse_storage(storage), 12)
    explained = codec.fit(places_of(_features(**kwargs)))
    return codec, explained


@pytest.mark.parametrize(('storage', 'bits'), [('bf16', 8), ('fp16', 11), ('fp32', 24)])
def test_floats_are_rounded_and_nothing_else(storage, bits):
    codec = Codec(parse_storage(storage), 12)
    x = _features()
    y = codec.decode(codec.encode(x))
    assert torch.allclose(y.float(), x, rtol=2.0**-bits, atol=1e-6)
    assert torch.equal(codec.decode(codec.encode(y)), y)


def test_the_directions_are_those_of_most_variance():
    """Against the singular value decomposition of all values."""
    codec, explained = _fitted('pca-3')
    x = places_of(_features()).double()
    _, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    assert explained == pytest.approx(float((s[:3] ** 2).sum() / (s**2).sum()), rel=1e-5)
    assert torch.allclose((codec.basis.double() @ v[:3].T).abs(), torch.eye(3).double(), atol=1e-4)
    assert torch.allclose(codec.mean, x.mean(0).float(), atol=1e-5)


@pytest.mark.parametrize(('storage', 'error'), [('pca-4', 0.006), ('pca-4-int8', 0.015)])
def test_what_lies_in_the_plane_comes_back(storage, error):
    codec, explained = _fitted(storage)
    assert explained == pytest.approx(1.0, abs=1e-5)
    x = _features(seed=0)
    found = summarise(compare(codec.decode(codec.encode(x)), x))
    assert found.error < error
    assert found.lowest > 1 - error


def test_bytes_have_a_scale_for_each_channel():
    codec, _ = _fitted('pca-4-int8')
    stored = codec.encode(_features())
    assert stored.dtype == torch.int8
    assert stored.shape == (6, 4, 5, 7)
    # Of what it was fitted on, each direction uses the whole range.
    assert stored.abs().amax(dim=(0, 2, 3)).tolist() == [127] * 4
    far = codec.encode(100 * _features())
    assert far.min() >= -127, 'clipped, not wrapped'


def test_vectors_too():
    codec = Codec(parse_storage('pca-4'), 12)
    x = _features().flatten(2).mean(2)
    codec.fit(places_of(_features()))
    y = codec.decode(codec.encode(x))
    assert y.shape == x.shape
    assert torch.allclose(y, x, atol=0.05)


@pytest.mark.parametrize('storage', ['bf16', 'pca-4', 'pca-4-int8'])
def test_sizes_are_those_of_what_is_stored(storage):
    codec = Codec(parse_storage(storage), 12)
    stored = codec.encode(_features(count=1))
    assert codec.size((12, 5, 7)) == stored.numel() * stored.element_size()


def test_a_grid_of_43_by_77_takes_less_than_0_45_mb():
    assert Codec(parse_storage('pca-128-int8'), 768).size((768, 43, 77)) == 423_808


def test_several_codecs_in_one_file():
    codecs = {'last': _fitted('pca-4-int8')[0], 'block/11': _fitted('pca-3', seed=3)[0]}
    others = {'last': Codec(parse_storage('pca-4-int8'), 12), 'block/11': Codec(
        parse_storage('pca-3'), 12)}  # fmt: skip
    share_out(others, join(codecs))
    for name, codec in codecs.items():
        for key, value in codec.tensors().items():
            assert torch.equal(value, others[name].tensors()[key])


def test_half_a_basis_would_be_another_one():
    codec, _ = _fitted('pca-4-int8')
    before = codec.tensors()
    codec.half()
    assert all(torch.equal(before[k], v) for k, v in codec.tensors().items())
    assert not codec.state_dict(), 'a checkpoint has nothing of a cache'


@pytest.mark.parametrize('storage', ['bf-16', 'pca', 'pca-0', 'pca-8-int4', 8, None])
def test_an_unknown_storage_is_named(storage):
    with pytest.raises(MMKDError, match='storage= is'):
        parse_storage(storage)


def test_the_nearest_storage_is_named():
    with pytest.raises(MMKDError, match="Did you mean 'pca-128-int8'"):
        parse_storage('pca128-int8')


def test_more_directions_than_channels_or_values():
    with pytest.raises(MMKDError, match='has 12 channels'):
        Codec(parse_storage('pca-13'), 12)
    codec = Codec(parse_storage('pca-5'), 12)
    with pytest.raises(MMKDError, match='5 directions cannot be found from 5 places'):
        codec.fit(torch.randn(5, 12))
    with pytest.raises(MMKDError, match='NaN or Inf'):
        codec.fit(torch.full((20, 12), float('nan')))
