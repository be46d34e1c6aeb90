"""A projection that learns where to look."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .resize import Cover, as_given, as_map, check_channels, resize_to_grid


@MODELS.register_module()
class SpatialAttentionTransform(BaseModule):
    """Resizes a map, weighs its places, and projects its channels.

    The weight of a place is the spatial attention of CBAM (arXiv 1807.06521),
    ``sigmoid(conv([mean over channels; max over channels]))``, one number in (0, 1) for all
    channels; the projection is a 1x1 convolution: ``project(x * weight)``. Two things differ from
    the code published with it (Jongchan/attention-module, MODELS/cbam.py): the convolution has a
    bias and no BatchNorm, as in the paper's formula; and the map is resized before, so that the
    weights belong to the places that are compared.

    A loss that ignores the length of a feature, such as the cosine, feels the gate only through
    the projection's bias; losses of values (MSE, smooth-L1) feel it fully.

    Args:
        in_channels: Channels that come in; the distiller fills them in.
        out_channels: Channels wanted; the distiller fills them in.
        kernel_size: How far the attention looks, an odd number of places; the paper's is 7.
        antialias: Whether shrinking averages over what it skips.
        init_cfg: mmengine's initialisation config; torch's own by default.

    Raises:
        MMKDError: Channels that are missing, or an even kernel.
    """

    def __init__(
        self,
        in_channels: Optional[int] = None,
        out_channels: Optional[int] = None,
        kernel_size: int = 7,
        antialias: bool = False,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg)
        check_channels('SpatialAttentionTransform', in_channels, out_channels)
        if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
            raise MMKDError(
                'SpatialAttentionTransform takes an odd kernel_size=, such as the published 7, '
                f'but got {kernel_size!r}.'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.antialias = antialias
        self.attend = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)
        self.project = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, size: Tuple[int, int], cover: Cover = (1.0, 1.0)) -> Tensor:
        """Args:
            x: (N, in_channels, H, W), or (N, in_channels) for a grid of (1, 1).
            size: The grid (h, w) that is wanted.
            cover: How much of what ``x`` covers that grid covers; see :func:`.resize_to_grid`.

        Returns:
            (N, out_channels, h, w), or (N, out_channels).
        """
        out = as_map(x, size, 'SpatialAttentionTransform')
        out = resize_to_grid(out, size, cover, self.antialias)
        return as_given(self.project(out * self.attention(out)), x)

    def attention(self, x: Tensor) -> Tensor:
        """The weights (N, 1, h, w) of the places of a map (N, C, h, w)."""
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return self.attend(summary).sigmoid()
