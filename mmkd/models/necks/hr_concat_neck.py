"""FairMOT's 'neck' for HRNetV2: every branch at stride 4, side by side."""

from __future__ import annotations

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmkd.registry import MODELS


@MODELS.register_module()
class HRConcatNeck(BaseModule):
    """Resizes the branches of an HRNet to the finest one and concatenates them.

    It has no parameter and no reduction: FairMOT's heads read all channels (270 for W18). mmdet's
    HRFPN is not this: it scales by factors, which misses by a cell for odd sizes, and reduces with
    a 1x1 convolution.

    Source: `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_, ``pose_hrnet.py``.

    Args:
        in_channels: Channels of the branches, finest first.
        init_cfg: mmengine's initialisation config; there is nothing to initialise.
    """

    def __init__(self, in_channels: Sequence[int], init_cfg=None):
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        self.out_channels = sum(self.in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor]:
        """Args:
            inputs: The branches, (N, C_i, H_i, W_i) float, finest first.

        Returns:
            One map (N, sum(C_i), H_0, W_0), in a tuple as mmdet's necks return theirs.
        """
        size = inputs[0].shape[-2:]
        resized = [inputs[0]]
        resized += [
            F.interpolate(x, size=size, mode='bilinear', align_corners=False) for x in inputs[1:]
        ]
        return (torch.cat(resized, dim=1),)
