import pytest
import torch
import torch.nn.functional as F

from mmkd.distill.teachers import picture
from mmkd.errors import MMKDError

MEAN = torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1)
STD = torch.tensor([60.0, 50.0, 40.0]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ('size', 'wanted', 'fit', 'resized', 'padded'),
    [
        ((608, 1088), None, 'resize', (602, 1078), (602, 1078)),
        ((608, 1088), None, 'pad', (608, 1088), (616, 1092)),
        ((28, 42), None, 'pad', (28, 42), (28, 42)),
        ((608, 1088), 0.5, 'resize', (294, 532), (294, 532)),
        ((608, 1088), 0.5, 'pad', (304, 544), (308, 546)),
        ((608, 1088), (100, 50), 'pad', (100, 50), (112, 56)),
        ((5, 5), None, 'resize', (14, 14), (14, 14)),
        ((5, 5), 0.01, 'pad', (1, 1), (14, 14)),
    ],
)
def test_sizes(size, wanted, fit, resized, padded):
    found = picture.picture_size(size, wanted, 14, fit)
    assert found == resized
    assert picture.padded_size(found, 14) == padded


def _images(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2, 3, 6, 8, generator=generator) * 255).round().to(dtype)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.uint8, torch.float16])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('size', [(6, 8), (4, 8), (9, 12)])
def test_input_step_by_step(dtype, order, size):
    images = _images(dtype)
    padded = (size[0] + 1, size[1] + 2)
    x = picture.prepare(images, size, padded, MEAN, STD, order)
    assert x.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wide = images.to(x.dtype)
    if size != (6, 8):
        wide = F.interpolate(wide, size=size, mode='bilinear', antialias=size < (6, 8))
    expected = torch.zeros(2, 3, *padded, dtype=x.dtype)
    for channel in range(3):
        source = channel if order == 'rgb' else 2 - channel
        plane = (wide[:, source] - MEAN[0, channel, 0, 0]) / STD[0, channel, 0, 0]
        expected[:, channel, : size[0], : size[1]] = plane
    torch.testing.assert_close(x, expected, atol=2e-6, rtol=2e-6)


def test_padding_is_the_mean_colour():
    colour = MEAN.expand(1, 3, 2, 2)
    x = picture.prepare(colour, (2, 2), (4, 4), MEAN, STD)
    assert x.abs().max() < 1e-6


def test_images_are_left_as_they_are():
    images = _images()
    before = images.clone()
    picture.prepare(images, (6, 8), (6, 8), MEAN, STD, 'bgr')
    assert torch.equal(images, before)


@pytest.mark.parametrize('value', [0, -0.5, True, (1,), (1.5, 2), 'half'])
def test_no_size(value):
    with pytest.raises(MMKDError, match='T takes input_size='):
        picture.check_input_size(value, 'T')


def test_choices():
    with pytest.raises(MMKDError, match="T has no fit='pat'. Did you mean 'pad'?"):
        picture.check_choice('fit', 'pat', picture.FITS, 'T')
