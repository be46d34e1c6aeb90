"""The deformable convolution against torchvision's, in every dtype and memory format."""

import pytest
import torch
from torchvision.ops import deform_conv2d

from mmkd.models.necks import DCNv2


def layer(bias=True, **kwargs):
    torch.manual_seed(0)
    conv = DCNv2(6, 4, kernel_size=3, padding=1, bias=bias, **kwargs)
    # mmcv starts with no offset at all, where any order of the channels would do.
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.3)
    torch.nn.init.normal_(conv.conv_offset.bias, std=0.5)
    if bias:
        torch.nn.init.normal_(conv.bias)
    return conv


def reference(conv, x):
    out = torch.nn.functional.conv2d(
        x, conv.conv_offset.weight, conv.conv_offset.bias, conv.stride, conv.padding
    )
    taps = out.shape[1] // 3
    return deform_conv2d(
        x,
        out[:, : 2 * taps],
        conv.weight,
        conv.bias,
        stride=conv.stride,
        padding=conv.padding,
        mask=torch.sigmoid(out[:, 2 * taps :]),
    )


def gradients(function, conv, x):
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    conv.zero_grad()
    out = function(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return [out, x.grad, *(p.grad.clone() for p in conv.parameters())]


@pytest.mark.parametrize(
    'kwargs', [dict(), dict(bias=False), dict(stride=2), dict(deform_groups=2)]
)
def test_equals_torchvisions_forward_and_backward(kwargs):
    conv = layer(**kwargs)
    x = torch.randn(2, 6, 9, 7)
    expected = gradients(lambda x: reference(conv, x), conv, x)
    for ours, theirs in zip(gradients(conv, conv, x), expected):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('weights_too', [False, True])
def test_channels_last_changes_nothing(weights_too):
    conv = layer()
    x = torch.randn(2, 6, 9, 7)
    expected = gradients(conv, conv, x)
    if weights_too:
        conv.to(memory_format=torch.channels_last)
    found = gradients(conv, conv, x.to(memory_format=torch.channels_last))
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_the_operator(dtype):
    conv = layer()
    # What a convolution before this one hands over under autocast.
    x = torch.randn(2, 6, 9, 7).to(dtype)
    expected = gradients(conv, conv, x.float())

    def cast(x):
        # On CPUs, PyTorch 2.0 knows no other autocast; it must not matter which.
        with torch.autocast('cpu', dtype=torch.bfloat16):
            return conv(x)

    found = gradients(cast, conv, x)
    assert found[0].dtype == torch.float32
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[0], expected[0])
    for ours, theirs in zip(found[2:], expected[2:]):
        torch.testing.assert_close(ours, theirs)


def test_a_model_cast_as_a_whole_keeps_its_dtype():
    conv = layer().bfloat16()
    x = torch.randn(1, 6, 5, 5).bfloat16()
    out = conv(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, reference(conv.float(), x.float()).bfloat16())


def test_mmcvs_checkpoints_fit():
    from mmcv.ops import ModulatedDeformConv2dPack

    theirs = ModulatedDeformConv2dPack(6, 4, kernel_size=3, padding=1)
    torch.nn.init.normal_(theirs.conv_offset.weight, std=0.3)
    ours = layer()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 6, 5, 8)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
