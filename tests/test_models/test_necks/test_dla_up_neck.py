"""The DLA neck against its wiring written out by hand, and under mixed precision."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import deform_conv2d

from mmkd.errors import MMKDError
from mmkd.models.necks import DLAUpNeck
from mmkd.models.necks.dla_up_neck import bilinear_kernel

CHANNELS = (4, 6, 8, 10)


def build(**kwargs):
    torch.manual_seed(0)
    neck = DLAUpNeck(CHANNELS, **kwargs)
    for name, tensor in neck.state_dict().items():
        if 'conv_offset' in name:
            torch.nn.init.normal_(tensor, std=0.2)
        elif name.endswith(('running_var', 'actf.0.weight')):
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith(('running_mean', 'bias')):
            torch.nn.init.normal_(tensor, std=0.3)
        elif '.up_' in name:
            tensor.mul_(torch.rand(len(tensor), 1, 1, 1) + 0.5)
    return neck.eval()


def inputs(batch=2, height=16, width=24):
    return [torch.randn(batch, c, height >> i, width >> i) for i, c in enumerate(CHANNELS)]


def reference(state, inputs, use_dcn):
    """Every node by its name, in the order in which one would draw them."""

    def node(name, x):
        weight = state[f'{name}.conv.weight']
        if use_dcn:
            raw = F.conv2d(
                x,
                state[f'{name}.conv.conv_offset.weight'],
                state[f'{name}.conv.conv_offset.bias'],
                padding=1,
            )
            x = deform_conv2d(
                x,
                raw[:, :18],
                weight,
                state[f'{name}.conv.bias'],
                padding=1,
                mask=raw[:, 18:].sigmoid(),
            )
        else:
            x = F.conv2d(x, weight, padding=1)
        norm = [state[f'{name}.actf.0.{key}'] for key in ('running_mean', 'running_var')]
        affine = [state[f'{name}.actf.0.{key}'] for key in ('weight', 'bias')]
        return F.relu(F.batch_norm(x, *norm, *affine))

    def add(step, i, coarse, fine, factor):
        weight = state[f'{step}.up_{i}.weight']
        x = node(f'{step}.proj_{i}', coarse)
        x = F.conv_transpose2d(x, weight, stride=factor, padding=factor // 2, groups=len(weight))
        return node(f'{step}.node_{i}', x + fine)

    s4, s8, s16, s32 = inputs
    a16 = add('dla_up.ida_0', 1, s32, s16, 2)
    b8 = add('dla_up.ida_1', 1, s16, s8, 2)
    c8 = add('dla_up.ida_1', 2, a16, b8, 2)
    d4 = add('dla_up.ida_2', 1, s8, s4, 2)
    e4 = add('dla_up.ida_2', 2, b8, d4, 2)
    f4 = add('dla_up.ida_2', 3, c8, e4, 2)
    g4 = add('ida_up', 1, c8, f4, 2)
    return add('ida_up', 2, a16, g4, 4)


@pytest.mark.parametrize('use_dcn', [True, False])
def test_equals_its_drawing(use_dcn):
    neck = build(use_dcn=use_dcn)
    maps = inputs()
    with torch.no_grad():
        (out,) = neck(maps)
        expected = reference(neck.state_dict(), maps, use_dcn)
    assert out.shape == (2, 4, 16, 24)
    assert out.shape[1] == neck.out_channels
    assert expected.std() > 0.1
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('use_dcn', [True, False])
def test_every_parameter_is_trained(use_dcn):
    neck = build(use_dcn=use_dcn).train()
    neck(inputs())[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())


def test_has_the_originals_names_and_widths():
    shapes = {name: tuple(p.shape) for name, p in DLAUpNeck().named_parameters()}
    assert shapes['dla_up.ida_0.proj_1.conv.weight'] == (256, 512, 3, 3)
    assert shapes['dla_up.ida_1.proj_2.conv.conv_offset.weight'] == (27, 256, 3, 3)
    assert shapes['dla_up.ida_2.node_3.actf.0.weight'] == (64,)
    assert shapes['ida_up.up_1.weight'] == (64, 1, 4, 4)
    assert shapes['ida_up.up_2.weight'] == (64, 1, 8, 8)
    # 1 + 2 + 3 steps of dla_up and 2 of ida_up; conv (2 + 2 for offsets), BatchNorm (2), twice, up.
    assert len(shapes) == 8 * (2 * 6 + 1)


def test_starts_as_bilinear_interpolation():
    for factor in (2, 4):
        x = torch.rand(1, 1, 6, 5)
        weight = bilinear_kernel(2 * factor)[None, None]
        up = F.conv_transpose2d(x, weight, stride=factor, padding=factor // 2)
        expected = F.interpolate(x, scale_factor=factor, mode='bilinear', align_corners=False)
        # At the border a transposed convolution fades out, interpolation repeats the edge.
        inner = (..., slice(factor, -factor), slice(factor, -factor))
        torch.testing.assert_close(up[inner], expected[inner])
    torch.testing.assert_close(DLAUpNeck().ida_up.up_2.weight[7, 0], bilinear_kernel(8))


def run(neck, maps, autocast=False):
    neck.zero_grad()
    maps = [x.detach().requires_grad_() for x in maps]
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        (out,) = neck(maps)
    out.float().square().mean().backward()
    return out.float(), [x.grad for x in maps], [p.grad.clone() for p in neck.parameters()]


def test_channels_last_changes_nothing():
    neck = build()
    maps = inputs()
    expected = run(neck, maps)
    neck.to(memory_format=torch.channels_last)
    found = run(neck, [x.to(memory_format=torch.channels_last) for x in maps])
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(found[1] + found[2], expected[1] + expected[2]):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_mixed_precision_forward_and_backward(dtype):
    neck = build()
    maps = [x.to(dtype) for x in inputs()]
    expected = run(neck, [x.float() for x in maps])
    found = run(neck, maps, autocast=True)
    # Only the transposed convolutions are rounded to bfloat16 (8 bits).
    assert (found[0] - expected[0]).abs().max() < 0.05 * expected[0].abs().max()
    gradients = [torch.cat([g.float().flatten() for g in r[1] + r[2]]) for r in (found, expected)]
    assert F.cosine_similarity(*gradients, dim=0) > 0.98


def test_two_levels_are_enough_and_one_is_told():
    neck = DLAUpNeck((4, 8), use_dcn=False)
    # Two levels: one merge, and nothing left for the second half.
    (out,) = neck([torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)])
    assert out.shape == (1, 4, 8, 8)
    with pytest.raises(MMKDError, match='two levels or more'):
        DLAUpNeck((64,))
