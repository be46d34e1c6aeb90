import pytest
import torch
import torch.nn.functional as F

from mmkd.distill.transforms import MLPTransform
from mmkd.errors import MMKDError


def test_is_the_slow_loop_over_places():
    torch.manual_seed(0)
    transform = MLPTransform(3, 5, hidden_ratio=2, depth=2)
    x = torch.randn(2, 3, 4, 6)
    out = transform(x, (4, 6))
    first, norm, _, second, norm2, _, last = transform.layers
    assert first.out_features == 6
    for n in range(2):
        for j in range(4):
            for k in range(6):
                place = F.gelu(norm(first(x[n, :, j, k])))
                place = last(F.gelu(norm2(second(place))))
                torch.testing.assert_close(out[n, :, j, k], place)


def test_without_hidden_layers_it_is_linear():
    transform = MLPTransform(3, 5, depth=0)
    x = torch.randn(1, 3, 2, 2)
    linear = F.conv2d(x, transform.layers[0].weight[:, :, None, None], transform.layers[0].bias)
    torch.testing.assert_close(transform(x, (2, 2)), linear)


def test_batch_norm_is_over_all_places():
    transform = MLPTransform(3, 5, norm='batch', activation='relu')
    hidden = []
    transform.layers[1].register_forward_hook(lambda m, args, out: hidden.append(out))
    # One image whose map has many places is enough to train with.
    transform(torch.randn(1, 3, 8, 8), (8, 8))
    torch.testing.assert_close(hidden[0].mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    assert isinstance(transform.layers[2], torch.nn.ReLU)


def test_norm_can_be_left_out():
    assert len(MLPTransform(3, 5, norm=None).layers) == 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'norm': 'lyer'}, "Did you mean 'layer'"),
        ({'activation': 'gulu'}, "Did you mean 'gelu'"),
        ({'depth': -1}, 'depth= 0, 1, 2'),
        ({'hidden_ratio': 0}, 'hidden_ratio above 0'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        MLPTransform(3, 5, **options)
