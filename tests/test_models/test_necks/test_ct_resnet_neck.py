"""mmdet's deconvolution neck with our deformable convolution inside."""

import mmdet.models.necks as theirs
import pytest
import torch

from mmkd.models.necks import CTResNetNeck, DCNv2

ARGS = dict(in_channels=8, num_deconv_filters=(6, 4), num_deconv_kernels=(4, 4))


def pair(**kwargs):
    torch.manual_seed(0)
    reference = theirs.CTResNetNeck(**ARGS, **kwargs)
    for name, p in reference.named_parameters():
        if 'conv_offset' in name:
            torch.nn.init.normal_(p, std=0.2)
    neck = CTResNetNeck(**ARGS, **kwargs)
    neck.load_state_dict(reference.state_dict())
    return neck.eval(), reference.eval()


@pytest.mark.parametrize('use_dcn', [True, False])
def test_equals_mmdets(use_dcn):
    neck, reference = pair(use_dcn=use_dcn)
    x = (torch.rand(1, 3, 2, 2), torch.randn(2, 8, 5, 6))
    (out,), (expected,) = neck(x), reference(x)
    assert out.shape == (2, neck.out_channels, 20, 24)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert sum(isinstance(m, DCNv2) for m in neck.modules()) == 2 * use_dcn


def test_channels_last_and_bfloat16_work():
    neck, reference = pair()
    x = torch.randn(2, 8, 5, 6)
    (expected,) = reference((x,))
    neck.to(memory_format=torch.channels_last)
    (out,) = neck((x.to(memory_format=torch.channels_last),))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (out,) = neck((x,))
    assert (out.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_init_weights_keeps_the_offsets_at_zero():
    neck = CTResNetNeck(**ARGS)
    neck.init_weights()
    assert all(not p.any() for name, p in neck.named_parameters() if 'conv_offset' in name)
    assert all(p.any() for name, p in neck.named_parameters() if name.endswith('conv.weight'))
