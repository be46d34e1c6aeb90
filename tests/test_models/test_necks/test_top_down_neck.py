"""The student's neck: its sum, its sizes, and no parameter without a gradient."""

import torch
import torch.nn.functional as F

from mmkd.models.necks import TopDownNeck


def test_adds_from_the_coarsest_to_the_finest():
    torch.manual_seed(0)
    neck = TopDownNeck((3, 5, 7), out_channels=4).eval()
    # Odd sizes: 2x of 4 rows is 8, not 7.
    maps = [torch.randn(2, 3, 7, 9), torch.randn(2, 5, 4, 5), torch.randn(2, 7, 2, 3)]

    def conv_norm(block, x):
        return F.batch_norm(
            F.conv2d(
                x,
                block.conv.weight,
                padding=block.conv.weight.shape[-1] // 2,
                groups=x.shape[1] if block.conv.weight.shape[1] == 1 else 1,
            ),
            block.bn.running_mean,
            block.bn.running_var,
        )

    def smooth(block, x):
        x = conv_norm(block.depthwise_conv, x).relu()
        return conv_norm(block.pointwise_conv, x).relu()

    a, b, c = (conv_norm(block, x) for block, x in zip(neck.laterals, maps))
    b = smooth(neck.smooth[1], b + F.interpolate(c, (4, 5), mode='bilinear'))
    a = smooth(neck.smooth[0], a + F.interpolate(b, (7, 9), mode='bilinear'))
    (out,) = neck(maps)
    assert out.shape == (2, neck.out_channels, 7, 9)
    torch.testing.assert_close(out, a, atol=1e-5, rtol=1e-5)


def test_every_parameter_is_trained():
    neck = TopDownNeck()
    maps = [torch.randn(2, c, 16 >> i, 16 >> i) for i, c in enumerate(neck.in_channels)]
    neck(maps)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in neck.parameters())


def test_is_light():
    assert sum(p.numel() for p in TopDownNeck((24, 32, 96, 320)).parameters()) < 50_000
