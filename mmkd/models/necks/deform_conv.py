"""mmcv's deformable convolution, for every dtype and memory format a training may choose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.ops import ModulatedDeformConv2dPack, modulated_deform_conv2d
from torch import Tensor

from mmkd.registry import MODELS

from .deform_conv_op import compilable, is_compiling


@MODELS.register_module()
class DCNv2(ModulatedDeformConv2dPack):
    """Modulated deformable convolution (Zhu et al., CVPR 2019, arXiv 1811.11168) in float32.

    It is mmcv's layer, with its arguments, parameters and names (``weight``, ``bias``,
    ``conv_offset``). Around the operator it adds what mmcv leaves to the caller:

    - The operator reads its inputs as if they were contiguous. A map or a weight in channels_last
      gives wrong numbers, without an error.
    - It has no bfloat16, and no float16 on every CPU build; under ``torch.autocast`` it fails. In
      float16 it computes sampling *positions*, too, whose step is 0.25 cells beyond cell 256.
    - ``torch.compile`` stops at it. Here it is one node of the graph.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Args:
            x: (N, in_channels, H, W) float of any dtype and memory format.

        Returns:
            (N, out_channels, H', W') in the dtype of the weights.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.float().contiguous()
            out = F.conv2d(
                x,
                self.conv_offset.weight.float(),
                self.conv_offset.bias.float(),
                self.stride,
                self.padding,
                self.dilation,
            )
            # Two thirds are offsets (y, x by turns for each tap), one third is the modulation.
            offset, mask = out.split([out.shape[1] * 2 // 3, out.shape[1] // 3], dim=1)
            # Outside of the compiler mmcv's own call, which traces and exports as usual.
            convolve = compilable if is_compiling() else modulated_deform_conv2d
            out = convolve(
                x,
                offset.contiguous(),
                mask.sigmoid().contiguous(),
                self.weight.float().contiguous(),
                None if self.bias is None else self.bias.float(),
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                self.deform_groups,
            )
        return out.to(self.weight.dtype)
