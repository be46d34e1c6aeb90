"""ResNet as SiamRPN++ uses it: stride 8 by dilation, maps centred on the image."""

from __future__ import annotations

import itertools
import operator
from typing import Dict, Sequence, Tuple, Type

import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .sot_backbone import SOTBackbone, check_out_indices


def _first(stride: int, dilation: int) -> Tuple[int, int]:
    """Padding and dilation of the 3x3 convolutions at a stage's entrance.

    Nothing is padded where the stride is 2, so that the map stays centred on the image; where
    the stage is dilated, its entrance still reads the finer grid of the stage before.
    """
    if stride == 2:
        return 0, 1
    dilation = max(dilation // 2, 1)
    return dilation, dilation


class _Basic(nn.Module):
    """Two 3x3 convolutions (ResNet-18 and 34)."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, dilation: int, shortcut):
        super().__init__()
        padding, first = (dilation, dilation)
        if shortcut is not None:
            padding, first = _first(stride, dilation)
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution (ResNet-50)."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, dilation: int, shortcut):
        super().__init__()
        padding, dilation = (dilation, dilation) if shortcut is None else _first(stride, dilation)
        after = width * self.expansion
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


ARCHS: Dict[int, Tuple[Type[nn.Module], Tuple[int, ...]]] = {
    18: (_Basic, (2, 2, 2, 2)),
    34: (_Basic, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
}


@MODELS.register_module()
class SOTResNet(SOTBackbone):
    """ResNet whose last two stages are dilated: stride 8, 127 -> 15, 255 -> 31.

    The stem and the convolutions of stride 2 are not padded, so that the maps are centred on the
    image (cell i at pixel 8 i + 7), and the shortcuts into stages 2 to 4 are 3x3. Depth 50 is
    mmtrack's ``SOTResNet`` under the same names; its files and PySOT's load as they are.

    torchvision's ImageNet weights load, too: their 1x1 shortcuts become the middle of our 3x3
    ones, which computes the same, and the classifier is passed over::

        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')

    with ``input_norm=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])``. (PySOT's
    own ImageNet weights of depth 50, ``sot_resnet50.model``, were trained on raw BGR.)

    Sources: Li et al., SiamRPN++, CVPR 2019 (arXiv 1812.11703);
    `STVIR/pysot <https://github.com/STVIR/pysot>`_, ``pysot/models/backbone/resnet_atrous.py``.

    Args:
        depth: 18, 34 or 50.
        out_indices: Stages whose maps are returned, counted from 0 as in mmdet; 1 to 3, which are
            ``layer2`` to ``layer4``. Stages behind the last one are not built.
        base_channels: Width of the stem; 64 is ResNet's.
        strides: Of the four stages, 1 or 2, as mmtrack's configs name them.
        dilations: Of the four stages.
        kwargs: See :class:`SOTBackbone`.

    Raises:
        MMKDError: For an unknown depth, stages of another stride than 8, or a stage to freeze
            that does not exist.
    """

    def __init__(
        self,
        depth: int,
        out_indices: Sequence[int] = (1, 2, 3),
        base_channels: int = 64,
        strides: Sequence[int] = (1, 2, 1, 1),
        dilations: Sequence[int] = (1, 1, 2, 4),
        **kwargs,
    ):
        super().__init__(**kwargs)
        if depth not in ARCHS:
            raise MMKDError(
                f'SOTResNet: no depth {depth!r}. {nearest(str(depth), map(str, ARCHS))}'
            )
        block, counts = ARCHS[depth]
        self.depth = depth
        total = list(itertools.accumulate(strides, operator.mul, initial=4))[1:]
        at_8 = [i for i, stride in enumerate(total) if stride == 8]
        if len(total) != 4 or len(dilations) != 4 or set(strides) - {1, 2} or not at_8:
            raise MMKDError(
                f'SOTResNet: strides {tuple(strides)} and dilations {tuple(dilations)}; expected '
                'four of each, one of the strides 2, as in (1, 2, 1, 1) and (1, 1, 2, 4).'
            )
        self.out_indices = check_out_indices('SOTResNet', out_indices, at_8)
        self.num_stages = self.out_indices[-1] + 1
        self.conv1 = nn.Conv2d(3, base_channels, 7, 2, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = base_channels
        for i in range(self.num_stages):
            width = base_channels * 2**i
            layer = self._stage(block, before, width, counts[i], strides[i], dilations[i])
            self.add_module(f'layer{i + 1}', layer)
            before = width * block.expansion
        self.out_channels = tuple(base_channels * 2**i * block.expansion for i in self.out_indices)
        self._start()

    @staticmethod
    def _stage(block, before, width, count, stride, dilation) -> nn.Sequential:
        after = width * block.expansion
        shortcut = None
        if stride != 1 or before != after:
            kernel, padding, first = 1, 0, 1
            if stride != 1 or dilation != 1:
                kernel, (padding, first) = 3, _first(stride, dilation)
            shortcut = nn.Sequential(
                nn.Conv2d(before, after, kernel, stride, padding, first, bias=False),
                nn.BatchNorm2d(after),
            )
        blocks = [block(before, width, stride, dilation, shortcut)]
        blocks += [block(after, width, 1, dilation, None) for _ in range(1, count)]
        return nn.Sequential(*blocks)

    def stages(self) -> Dict[int, Tuple[nn.Module, ...]]:
        layers = {i: (getattr(self, f'layer{i}'),) for i in range(1, self.num_stages + 1)}
        return {0: (self.conv1, self.bn1), **layers}

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Takes torchvision's shortcuts, and passes over what is behind the maps."""
        behind = tuple(f'{prefix}layer{i}.' for i in range(self.num_stages + 1, 5))
        for key in [key for key in state_dict if key.startswith((f'{prefix}fc.', *behind))]:
            del state_dict[key]
        for name, own in self.named_parameters():
            value = state_dict.get(prefix + name)
            if (
                name.endswith('downsample.0.weight')
                and value is not None
                and value.shape[2:] == (1, 1)
                and own.shape[2:] == (3, 3)
            ):
                state_dict[prefix + name] = F.pad(value, (1, 1, 1, 1))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            x: (N, 3, H, W) float, raw BGR values in 0..255.

        Returns:
            A map (N, channels, h, w) of stride 8 for every stage of ``out_indices``.
        """
        x = self.relu(self.bn1(self.conv1(self.input_norm(x))))
        x = self.maxpool(x)
        maps = []
        for i in range(self.num_stages):
            x = getattr(self, f'layer{i + 1}')(x)
            if i in self.out_indices:
                maps.append(x)
        return tuple(maps)
