"""A cheap neck for students: one map at the finest stride."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.registry import MODELS


@MODELS.register_module()
class TopDownNeck(BaseModule):
    """Brings all levels to one width, and adds them from the coarsest to the finest.

    That is the top-down path of a feature pyramid (Lin et al., CVPR 2017, arXiv 1612.03144) with
    only its finest output, and with depthwise separable convolutions after every addition. No
    other output exists, so every parameter is trained.

    Args:
        in_channels: Channels of the backbone's maps, finest first. The default is that of
            mmdet.MobileNetV2 with its default ``out_indices`` (1, 2, 4, 7).
        out_channels: Channels of all that is computed here, and of the output.
        norm_cfg: Config of the normalisation; BatchNorm if None.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (24, 32, 96, 1280),
        out_channels: int = 64,
        norm_cfg: Optional[dict] = None,
        init_cfg=None,
    ):
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='BN')
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        self.laterals = nn.ModuleList(
            # No activation: what is added may take something away.
            ConvModule(channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)
            for channels in self.in_channels
        )
        self.smooth = nn.ModuleList(
            DepthwiseSeparableConvModule(
                out_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg
            )
            for _ in self.in_channels[1:]
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor]:
        """Args:
            inputs: Maps (N, C_i, H_i, W_i) float, finest first, of any sizes.

        Returns:
            One map (N, out_channels, H_0, W_0), in a tuple as mmdet's necks return theirs.
        """
        maps = [lateral(x) for lateral, x in zip(self.laterals, inputs)]
        out = maps.pop()
        for finer, smooth in zip(reversed(maps), reversed(self.smooth)):
            out = F.interpolate(out, size=finer.shape[-2:], mode='bilinear', align_corners=False)
            out = smooth(finer + out)
        return (out,)
