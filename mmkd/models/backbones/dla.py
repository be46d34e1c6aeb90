"""DLA-34, the backbone that FairMOT was published with."""

from __future__ import annotations

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

# Per depth: convolutions (levels 0 and 1) or height of the tree (2 to 5), and channels.
ARCHS = {34: ((1, 1, 1, 2, 2, 1), (16, 32, 64, 128, 256, 512))}


def _conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which comes from outside."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(in_channels, out_channels, 3, stride)
        self.conv2, self.bn2 = _conv_bn(out_channels, out_channels, 3)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class _Root(nn.Module):
    """Aggregates maps of one size: concatenation and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv, self.bn = _conv_bn(in_channels, out_channels, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(torch.cat(maps, dim=1))), inplace=True)


class _Tree(nn.Module):
    """Hierarchical aggregation: a root over two blocks, or over two lower trees.

    Only the last of the lowest trees has the root of the whole: what the trees before it return,
    and the pooled input if ``keep_input``, is handed on to it as ``side``.

    Args:
        height: 1 for two blocks, n for two trees of height n - 1.
        in_channels: Channels of the input.
        out_channels: Channels of everything inside and of the output.
        stride: 1 or 2, of the first block.
        side_channels: Channels of what the root gets from outside.
        keep_input: Whether the root reads the input, too.
    """

    def __init__(
        self,
        height: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        side_channels: int = 0,
        keep_input: bool = False,
    ):
        super().__init__()
        self.height = height
        self.stride = stride
        self.keep_input = keep_input
        side_channels += in_channels if keep_input else 0
        if height > 1:
            self.tree1 = _Tree(height - 1, in_channels, out_channels, stride)
            self.tree2 = _Tree(
                height - 1, out_channels, out_channels, side_channels=side_channels + out_channels
            )
            # The original has a projection here as well, and never uses what it computes.
            return
        self.tree1 = _Block(in_channels, out_channels, stride)
        self.tree2 = _Block(out_channels, out_channels)
        self.root = _Root(2 * out_channels + side_channels, out_channels)
        same = in_channels == out_channels
        self.project = nn.Identity() if same else _conv_bn(in_channels, out_channels, 1)

    def forward(self, x: Tensor, side: Tuple[Tensor, ...] = ()) -> Tensor:
        pooled = F.max_pool2d(x, self.stride) if self.stride > 1 else x
        if self.keep_input:
            side = (*side, pooled)
        if self.height > 1:
            first = self.tree1(x)
            return self.tree2(first, (*side, first))
        first = self.tree1(x, self.project(pooled))
        return self.root(self.tree2(first, first), first, *side)


@MODELS.register_module()
class DLA(BaseModule):
    """Deep layer aggregation (Yu et al., CVPR 2018, arXiv 1707.06484) with basic blocks.

    The modules have the names of the original (``base_layer``, ``level0`` to ``level5``), so that
    its ImageNet weights load as they are. FairMOT starts from these::

        init_cfg=dict(
            type='Pretrained',
            checkpoint='http://dl.yf.io/dla/models/imagenet/dla34-ba72cf86.pth',  # or a local copy
        )

    What such a file has beside the backbone is passed over: the classifier ``fc`` and the
    projections ``level3.project`` and ``level4.project``, whose output the original throws away
    (here they would be parameters without a gradient).

    Source: `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_,
    ``src/lib/models/networks/pose_dla_dcn.py``.

    Args:
        depth: 34.
        out_indices: Levels whose maps are returned; level i has stride 2**i. Levels beyond the
            last one are not built.
        norm_eval: Whether BatchNorm keeps its statistics in training.
        frozen_stages: The stem and the levels up to this one are not trained; -1 trains all.
        init_cfg: mmengine's initialisation config.

    Raises:
        MMKDError: For an unknown depth, or levels that do not exist or are not in order.
    """

    def __init__(
        self,
        depth: int = 34,
        out_indices: Sequence[int] = (2, 3, 4, 5),
        norm_eval: bool = False,
        frozen_stages: int = -1,
        init_cfg=None,
    ):
        super().__init__(init_cfg)
        if depth not in ARCHS:
            raise MMKDError(f'DLA: no depth {depth!r}. {nearest(str(depth), map(str, ARCHS))}')
        sizes, channels = ARCHS[depth]
        self.out_indices = tuple(out_indices)
        last = len(sizes) - 1
        if not self.out_indices or list(self.out_indices) != sorted(
            set(self.out_indices) & set(range(last + 1))
        ):
            raise MMKDError(
                f'DLA: out_indices is {tuple(out_indices)}; expected different levels from 0 to '
                f'{last} in rising order, e.g. (2, 3, 4, 5).'
            )
        self.num_levels = self.out_indices[-1] + 1
        if not -1 <= frozen_stages < self.num_levels:
            raise MMKDError(
                f'DLA: frozen_stages is {frozen_stages}; expected -1 (train everything) to '
                f'{self.num_levels - 1}, the last level that out_indices asks for.'
            )
        self.depth = depth
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages

        self.base_layer = nn.Sequential(*_conv_bn(3, channels[0], 7), nn.ReLU(inplace=True))
        for i in range(self.num_levels):
            before = channels[max(i - 1, 0)]
            if i < 2:
                level = self._convs(before, channels[i], sizes[i], stride=1 + (i > 0))
            else:
                level = _Tree(sizes[i], before, channels[i], stride=2, keep_input=i > 2)
            self.add_module(f'level{i}', level)
        self._freeze()

    @staticmethod
    def _convs(in_channels: int, out_channels: int, count: int, stride: int) -> nn.Sequential:
        layers = []
        for i in range(count):
            layers += _conv_bn(
                in_channels if i == 0 else out_channels, out_channels, 3, stride if i == 0 else 1
            )
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = [f'level{i}' for i in range(self.frozen_stages + 1)]
        for name in ['base_layer', *frozen]:
            module = getattr(self, name).eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> DLA:
        """Switches to training, but for what is frozen."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Passes over what the original's files have and no map depends on."""
        unused = tuple(prefix + name for name in ('fc.', 'level3.project.', 'level4.project.'))
        for key in [key for key in state_dict if key.startswith(unused)]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            x: (N, 3, H, W) float; H and W are multiples of the coarsest stride (32).

        Returns:
            One map (N, channels, H / 2**i, W / 2**i) for every level i in ``out_indices``.

        Raises:
            MMKDError: If H or W is no multiple of the coarsest stride.
        """
        stride = 2 ** (self.num_levels - 1)
        if x.shape[-2] % stride or x.shape[-1] % stride:
            raise MMKDError(
                f'DLA: the image is {x.shape[-2]} x {x.shape[-1]}; expected multiples of {stride}. '
                f'Set pad_size_divisor={stride} in the data preprocessor.'
            )
        x = self.base_layer(x)
        maps = []
        for i in range(self.num_levels):
            x = getattr(self, f'level{i}')(x)
            if i in self.out_indices:
                maps.append(x)
        return tuple(maps)
