"""Normalisation inside a backbone."""

from __future__ import annotations

import pytest
import torch

from mmkd.errors import MMKDError
from mmkd.models.backbones import SOTAlexNet
from mmkd.models.backbones.input_norm import InputNorm, build_input_norm

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def test_it_is_what_mmtracks_preprocessor_does():
    from mmtrack.models.data_preprocessors import TrackDataPreprocessor
    from mmtrack.structures import TrackDataSample

    image = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    reference = TrackDataPreprocessor(mean=MEAN, std=STD, bgr_to_rgb=True)
    data = dict(inputs=dict(img=[image]), data_samples=[TrackDataSample()])
    expected = reference(data)['inputs']['img'][:, 0]
    assert torch.allclose(InputNorm(MEAN, STD)(image.float()), expected)
    kept = InputNorm(MEAN, STD, to_rgb=False)(image.float())
    assert torch.allclose(
        kept, (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    )


def test_a_backbone_normalises_and_saves_nothing_of_it():
    torch.manual_seed(0)
    norm = dict(mean=MEAN, std=STD, to_rgb=True)
    net = SOTAlexNet(width_mult=1 / 16, input_norm=norm).eval()
    plain = SOTAlexNet(width_mult=1 / 16).eval()
    assert set(net.state_dict()) == set(plain.state_dict())
    plain.load_state_dict(net.state_dict())
    x = torch.rand(1, 3, 95, 95) * 255
    assert torch.equal(net(x)[0], plain(InputNorm(MEAN, STD)(x))[0])
    assert not torch.allclose(net(x)[0], plain(x)[0])


def test_the_dtype_stays():
    assert InputNorm(MEAN, STD)(torch.rand(1, 3, 4, 4).bfloat16()).dtype is torch.bfloat16


@pytest.mark.parametrize(
    ('cfg', 'words'),
    [
        (dict(mean=MEAN), 'lacks std'),
        (dict(mean=MEAN, std=STD, bgr=True), "no 'bgr'"),
        (dict(mean=[1, 2], std=STD), 'mean is .1, 2.; expected three numbers'),
        (dict(mean=MEAN, std=[1, 0, 1]), 'above 0'),
        (dict(mean=1.0, std=STD), 'mean is 1.0'),
        ('imagenet', 'expected None or dict'),
    ],
)
def test_mistakes_are_told(cfg, words):
    with pytest.raises(MMKDError, match=words):
        build_input_norm(cfg)
