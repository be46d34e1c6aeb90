"""mmcv's deformable convolution as an operator that ``torch.compile`` can leave in its graphs.

mmcv calls a C++ function that the compiler cannot look into: it stops at every layer, and compiles
what is between them again for every shape. As a registered operator it is one opaque node.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import List, Optional, Tuple

import torch
from mmcv.ops.modulated_deform_conv import ModulatedDeformConv2dFunction, modulated_deform_conv2d
from torch import Tensor

_GEOMETRY = 'int[] stride, int[] padding, int[] dilation, int groups, int deform_groups'


def _forward(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    stride: List[int],
    padding: List[int],
    dilation: List[int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    with torch.no_grad():
        return modulated_deform_conv2d(
            x,
            offset,
            mask,
            weight,
            bias,
            tuple(stride),
            tuple(padding),
            tuple(dilation),
            groups,
            deform_groups,
        )


def _forward_shape(x, offset, mask, weight, bias, *geometry) -> Tensor:
    # A sampling position per output cell: the offsets have the size of the output.
    return x.new_empty((x.shape[0], weight.shape[0], *offset.shape[-2:]))


def _backward(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    stride: List[int],
    padding: List[int],
    dilation: List[int],
    groups: int,
    deform_groups: int,
) -> Tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    ctx = SimpleNamespace(
        saved_tensors=(x, offset, mask, weight, x.new_empty(0) if bias is None else bias),
        _bufs=[x.new_empty(0), x.new_empty(0)],
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        deform_groups=deform_groups,
        with_bias=bias is not None,
        device=x.device.type,
    )
    with torch.no_grad():
        grads = ModulatedDeformConv2dFunction.backward(ctx, grad.contiguous())[:5]
    return (*grads[:4], x.new_empty(0) if bias is None else grads[4])


def _backward_shape(grad, x, offset, mask, weight, bias, *geometry):
    last = x.new_empty(0) if bias is None else torch.empty_like(bias)
    return (*(torch.empty_like(tensor) for tensor in (x, offset, mask, weight)), last)


def _setup_context(ctx, inputs, output) -> None:
    *tensors, ctx.stride, ctx.padding, ctx.dilation, ctx.groups, ctx.deform_groups = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):
    geometry = (ctx.stride, ctx.padding, ctx.dilation, ctx.groups, ctx.deform_groups)
    *tensors, bias = ctx.saved_tensors
    grads = torch.ops.mmkd.modulated_deform_conv2d_backward(grad, *tensors, bias, *geometry)
    return (*grads[:4], None if bias is None else grads[4], *[None] * 5)


# torch 2.0 has no such registration (and, under Python 3.11, no compiler).
if hasattr(torch.library, 'custom_op'):
    _tensors = 'Tensor x, Tensor offset, Tensor mask, Tensor weight, Tensor? bias'
    _op = torch.library.custom_op(
        'mmkd::modulated_deform_conv2d',
        _forward,
        mutates_args=(),
        schema=f'({_tensors}, {_GEOMETRY}) -> Tensor',
    )
    _op.register_fake(_forward_shape)
    _op.register_autograd(_differentiate, setup_context=_setup_context)
    torch.library.custom_op(
        'mmkd::modulated_deform_conv2d_backward',
        _backward,
        mutates_args=(),
        schema=f'(Tensor grad, {_tensors}, {_GEOMETRY}) -> '
        '(Tensor, Tensor, Tensor, Tensor, Tensor)',
    ).register_fake(_backward_shape)
    compilable = torch.ops.mmkd.modulated_deform_conv2d
    is_compiling = torch.compiler.is_compiling
else:
    compilable = modulated_deform_conv2d

    def is_compiling() -> bool:
        return False
