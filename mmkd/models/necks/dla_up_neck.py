"""The upsampling half of FairMOT's DLA-34: iterative deep aggregation down to stride 4."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .deform_conv import DCNv2


def bilinear_kernel(size: int) -> Tensor:
    """Weights of a transposed convolution that interpolates by ``size / 2``.

    Args:
        size: Kernel size, even; the stride is half of it and the padding a quarter.

    Returns:
        (size, size) float.
    """
    factor = size // 2
    centre = factor - 0.5
    side = 1 - (torch.arange(size, dtype=torch.float32) - centre).abs() / factor
    return side[:, None] * side[None, :]


class _Node(nn.Module):
    """A 3x3 convolution, deformable or plain, with BatchNorm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, use_dcn: bool):
        super().__init__()
        self.conv = (
            DCNv2(in_channels, out_channels, kernel_size=3, padding=1)
            if use_dcn
            else nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        )
        self.actf = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.actf(self.conv(x))


class _IterativeUp(nn.Module):
    """Adds coarser maps to the finest one, one after the other.

    Args:
        in_channels: Channels of the maps, finest first.
        factors: How many times coarser than the first each map is, an even number but for the
            first.
        use_dcn: Whether convolutions are deformable.
    """

    def __init__(self, in_channels: Sequence[int], factors: Sequence[int], use_dcn: bool):
        super().__init__()
        out_channels = in_channels[0]
        for i in range(1, len(in_channels)):
            size = 2 * factors[i]
            up = nn.ConvTranspose2d(
                out_channels,
                out_channels,
                size,
                stride=factors[i],
                padding=factors[i] // 2,
                groups=out_channels,
                bias=False,
            )
            up.weight.data.copy_(bilinear_kernel(size))
            self.add_module(f'proj_{i}', _Node(in_channels[i], out_channels, use_dcn))
            self.add_module(f'up_{i}', up)
            self.add_module(f'node_{i}', _Node(out_channels, out_channels, use_dcn))

    def forward(self, maps: Sequence[Tensor]) -> List[Tensor]:
        """Args:
            maps: Finest first.

        Returns:
            As many maps of the finest size: the first as it came, each of the others with all
            before it added.
        """
        out = [maps[0]]
        for i, x in enumerate(maps[1:], start=1):
            x = getattr(self, f'up_{i}')(getattr(self, f'proj_{i}')(x))
            out.append(getattr(self, f'node_{i}')(x + out[-1]))
        return out


@MODELS.register_module()
class DLAUpNeck(BaseModule):
    """From the levels of a DLA to one map at the stride of the finest.

    ``dla_up`` first merges the two coarsest levels, then these with the next finer one, and so on,
    which yields one merged map per stride; ``ida_up`` then adds all of these but the coarsest.
    Every convolution is deformable, every upsampling a depthwise transposed convolution that
    starts as bilinear interpolation. The names are those of the original's ``DLASeg``.

    Source: `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_,
    ``src/lib/models/networks/pose_dla_dcn.py``.

    Args:
        in_channels: Channels of the levels, finest first; each has half the size of the one before.
        use_dcn: False replaces deformable by plain 3x3 convolutions, for devices and export
            formats without the operator.
        init_cfg: mmengine's initialisation config.

    Raises:
        MMKDError: For fewer than two levels.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (64, 128, 256, 512),
        use_dcn: bool = True,
        init_cfg=None,
    ):
        super().__init__(init_cfg)
        if len(in_channels) < 2:
            raise MMKDError(
                f'DLAUpNeck: in_channels is {tuple(in_channels)}; expected the channels of two '
                'levels or more, finest first.'
            )
        self.in_channels = tuple(in_channels)
        self.out_channels = self.in_channels[0]
        self.use_dcn = use_dcn
        count = len(self.in_channels)
        self.dla_up = nn.ModuleDict()
        for i in range(count - 1):
            finest = count - 2 - i
            # Everything below was brought to one size and width by the step before.
            coarser = self.in_channels[finest + 1]
            self.dla_up[f'ida_{i}'] = _IterativeUp(
                [self.in_channels[finest]] + [coarser] * (i + 1), [1] + [2] * (i + 1), use_dcn
            )
        self.ida_up = _IterativeUp(self.in_channels[:-1], [2**i for i in range(count - 1)], use_dcn)

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor]:
        """Args:
            inputs: Maps (N, C_i, H / 2**i, W / 2**i) float, finest first.

        Returns:
            One map (N, C_0, H, W), in a tuple as mmdet's necks return theirs.
        """
        maps = list(inputs)
        merged = []
        for i, step in enumerate(self.dla_up.values()):
            finest = len(maps) - 2 - i
            maps[finest:] = step(maps[finest:])
            merged.insert(0, maps[-1])
        return (self.ida_up(merged)[-1],)
