"""From the student's channels and grid to the teacher's."""

from __future__ import annotations

from typing import Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .resize import Cover, as_given, as_map, check_channels, resize_to_grid

LAYERS = ('single', 'multi')
ORDERS = ('first', 'last')


@MODELS.register_module()
class FeatureTransform(BaseModule):
    """Resizes a map to another grid and projects its channels.

    The two transforms of arXiv 2407.18288:

    - ``single``: a 1x1 convolution. It mixes channels and the resize mixes places, so their
      order does not change the result; resized first, from stride 4 to a patch of 14, a twelfth
      of the places is left to project.
    - ``multi``: 1x1 + BatchNorm + ReLU, then 3x3 + BatchNorm. The published one ends in another
      ReLU (``last_relu=True``): its output has no negative number, so against a target with
      both signs alike its cosine cannot pass about 0.71. Published too is resizing last
      (``resize='last'``), which is a different function here and far dearer.

    Args:
        in_channels: Channels that come in; the distiller fills them in.
        out_channels: Channels wanted; the distiller fills them in.
        layers: 'single' or 'multi'.
        last_relu: Whether 'multi' ends in a ReLU.
        resize: 'first' or 'last': before or after the projection.
        antialias: Whether shrinking averages over what it skips. The published code does not.
        init_cfg: mmengine's initialisation config; torch's own by default.

    Raises:
        MMKDError: Channels that are missing, or an option that does not exist.
    """

    def __init__(
        self,
        in_channels: Optional[int] = None,
        out_channels: Optional[int] = None,
        layers: str = 'single',
        last_relu: bool = False,
        resize: str = 'first',
        antialias: bool = False,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg)
        check_channels('FeatureTransform', in_channels, out_channels)
        if layers not in LAYERS:
            raise MMKDError(f'FeatureTransform has no layers={layers!r}. {nearest(layers, LAYERS)}')
        if resize not in ORDERS:
            raise MMKDError(f'FeatureTransform has no resize={resize!r}. {nearest(resize, ORDERS)}')
        if last_relu and layers == 'single':
            raise MMKDError("FeatureTransform(last_relu=True) belongs to layers='multi'.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.resize_first = resize == 'first'
        self.antialias = antialias
        if layers == 'single':
            self.project: nn.Module = nn.Conv2d(in_channels, out_channels, 1)
        else:
            self.project = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(out_channels, out_channels, 3, padding=1),
                nn.BatchNorm2d(out_channels),
                *([nn.ReLU(inplace=True)] if last_relu else []),
            )

    def forward(self, x: Tensor, size: Tuple[int, int], cover: Cover = (1.0, 1.0)) -> Tensor:
        """Args:
            x: (N, in_channels, H, W), or (N, in_channels) for a grid of (1, 1).
            size: The grid (h, w) that is wanted.
            cover: How much of what ``x`` covers that grid covers; see :func:`.resize_to_grid`.

        Returns:
            (N, out_channels, h, w), or (N, out_channels).
        """
        out = as_map(x, size, 'FeatureTransform')
        if self.resize_first:
            out = self.project(resize_to_grid(out, size, cover, self.antialias))
        else:
            out = resize_to_grid(self.project(out), size, cover, self.antialias)
        return as_given(out, x)
