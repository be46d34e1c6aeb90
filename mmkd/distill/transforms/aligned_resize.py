"""Another grid, the same channels."""

from __future__ import annotations

from typing import Optional, Tuple

from mmengine.model import BaseModule
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .resize import Cover, as_given, as_map, resample, resize_to_grid

MODES = ('area', 'bilinear')


@MODELS.register_module()
class AlignedResize(BaseModule):
    """Brings a map to the teacher's grid and leaves its channels alone; nothing is trained.

    For features that already share a space (heatmaps, logits, embeddings of equal width, a
    student that has its own projection) and for relational losses, which need no shared space.

    Args:
        in_channels: Channels that come in; the distiller fills them in.
        out_channels: Channels wanted; the distiller fills them in.
        mode: 'area', the mean over exactly what a cell of the wanted grid covers (to a grid of
            (1, 1) that is the global mean); or 'bilinear', the value at its centre.
        same_channels: Whether both numbers must be equal; False for a relational loss.
        init_cfg: mmengine's initialisation config; there is nothing to initialise.

    Raises:
        MMKDError: The channels differ, or there is no such mode.
    """

    def __init__(
        self,
        in_channels: Optional[int] = None,
        out_channels: Optional[int] = None,
        mode: str = 'area',
        same_channels: bool = True,
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg)
        if mode not in MODES:
            raise MMKDError(f'AlignedResize has no mode={mode!r}. {nearest(mode, MODES)}')
        known = None not in (in_channels, out_channels)
        if same_channels and known and in_channels != out_channels:
            raise MMKDError(
                f'AlignedResize leaves channels alone, but {in_channels} shall become '
                f"{out_channels}. type='mmkd.FeatureTransform' projects them; for a relational "
                'loss, which compares places, say same_channels=False.'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.mode = mode

    def forward(self, x: Tensor, size: Tuple[int, int], cover: Cover = (1.0, 1.0)) -> Tensor:
        """Args:
            x: (N, C, H, W), or (N, C) for a grid of (1, 1).
            size: The grid (h, w) that is wanted.
            cover: How much of what ``x`` covers that grid covers; see :func:`.resize_to_grid`.

        Returns:
            (N, C, h, w), or (N, C).
        """
        out = as_map(x, size, 'AlignedResize')
        if self.mode == 'bilinear':
            out = resize_to_grid(out, size, cover)
        else:
            out = resample(out, size, cover, 'area')
        return as_given(out, x)

    def extra_repr(self) -> str:
        return f'mode={self.mode!r}'
