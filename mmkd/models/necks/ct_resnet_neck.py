"""CenterNet's deconvolution neck, for every dtype and memory format."""

from __future__ import annotations

from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models.necks import CTResNetNeck as _CTResNetNeck
from torch import nn

from mmkd.registry import MODELS

from .deform_conv import DCNv2


@MODELS.register_module()
class CTResNetNeck(_CTResNetNeck):
    """mmdet's CTResNetNeck, with :class:`mmkd.DCNv2` for its deformable convolutions.

    mmdet's own fails under bfloat16 and, given maps in channels_last, returns wrong numbers.
    Parameters and names are the same. FairMOT calls this with a ResNet its ``resdcn`` models
    (`ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_, ``networks/resnet_dcn.py``).

    Args:
        in_channels: Channels of the last map of the backbone.
        num_deconv_filters: Channels after each doubling of the size.
        num_deconv_kernels: Kernel sizes of the transposed convolutions.
        use_dcn: Whether the convolution before each of them is deformable.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.out_channels = self.in_channels  # mmdet counts in there

    def _make_deconv_layer(self, *args, **kwargs) -> nn.Sequential:
        layers = super()._make_deconv_layer(*args, **kwargs)
        for layer in layers:
            conv = layer.conv
            if isinstance(conv, ModulatedDeformConv2dPack):
                layer.conv = DCNv2(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size,
                    stride=conv.stride,
                    padding=conv.padding,
                    bias=conv.bias is not None,
                )
        return layers
