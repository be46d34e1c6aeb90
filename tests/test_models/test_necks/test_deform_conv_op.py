"""The registered operator: torch's own checks, and a neck compiled in one piece."""

import pytest
import torch

from mmkd.models.necks import DLAUpNeck
from mmkd.models.necks.deform_conv_op import compilable

pytestmark = pytest.mark.skipif(
    not hasattr(torch.library, 'custom_op'), reason='this torch registers no operators'
)


@pytest.mark.parametrize(('bias', 'stride'), [(True, 1), (False, 2)])
def test_torch_finds_no_fault(bias, stride):
    torch.manual_seed(0)
    height, width = 6 // stride, 8 // stride
    tensors = [
        torch.randn(2, 4, 6, 8),
        torch.randn(2, 18, height, width),
        torch.rand(2, 9, height, width),
        torch.randn(3, 4, 3, 3),
        torch.randn(3),
    ]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    arguments = (
        *tensors[:4],
        tensors[4] if bias else None,
        [stride, stride],
        [1, 1],
        [1, 1],
        1,
        1,
    )
    torch.library.opcheck(compilable, arguments)


def test_a_neck_compiles_in_one_piece_and_computes_the_same():
    torch.manual_seed(0)
    neck = DLAUpNeck((4, 6))
    for name, p in neck.named_parameters():
        if 'conv_offset' in name:
            torch.nn.init.normal_(p, std=0.2)
    maps = [torch.randn(2, c, 16 >> i, 24 >> i) for i, c in enumerate(neck.in_channels)]
    # This backend goes all the way through graphs and gradients without generating code.
    compiled = torch.compile(neck, backend='aot_eager', fullgraph=True)
    results = []
    for function in (neck, compiled):
        neck.zero_grad()
        (out,) = function(maps)
        out.square().sum().backward()
        results.append([out, *(p.grad.clone() for p in neck.parameters())])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(compiled(maps)[0], neck(maps)[0], atol=1e-2, rtol=1e-2)
