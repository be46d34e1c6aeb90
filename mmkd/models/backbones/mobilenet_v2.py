"""MobileNetV2 as SiamRPN++ uses it: stride 8 by dilation, maps centred on the image."""

from __future__ import annotations

import re
from typing import Dict, Optional, Sequence, Tuple

from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from .sot_backbone import SOTBackbone, check_out_indices

# Per layer: expansion, width, blocks, stride, dilation.
_LAYERS = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 1),
    (6, 64, 4, 1, 2),
    (6, 96, 3, 1, 2),
    (6, 160, 3, 1, 4),
    (6, 320, 1, 1, 4),
)
_STRIDE_8 = (3, 4, 5, 6, 7)
STYLES = ('pysot', 'imagenet')
# Within a block of torchvision, whose convolutions and norms are a level deeper.
_INSIDE = {
    True: {'0.0': '0', '0.1': '1', '1.0': '3', '1.1': '4', '2': '6', '3': '7'},
    False: {'0.0': '0', '0.1': '1', '1': '3', '2': '4'},
}


def _conv_bn(before: int, after: int, kernel: int, **options) -> Tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, kernel, bias=False, **options), nn.BatchNorm2d(after)


class _Block(nn.Module):
    """Inverted residual: widen, 3x3 per channel, narrow; a shortcut where sizes allow."""

    def __init__(
        self, before: int, after: int, stride: int, hidden: int, dilation: int, expand: bool
    ):
        super().__init__()
        self.has_shortcut = stride == 1 and before == after
        # Where the stride is 2 nothing is padded, so that the map stays centred on the image.
        padding = dilation if stride == 1 else 0
        layers = [*_conv_bn(before, hidden, 1), nn.ReLU6(inplace=True)] if expand else []
        layers += _conv_bn(
            hidden, hidden, 3, stride=stride, padding=padding, dilation=dilation, groups=hidden
        )
        layers += [nn.ReLU6(inplace=True), *_conv_bn(hidden, after, 1)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


@MODELS.register_module()
class SOTMobileNetV2(SOTBackbone):
    """MobileNetV2 whose last layers are dilated: stride 8, 127 -> 15, 255 -> 31.

    No convolution of stride 2 is padded, so that the maps are centred on the image: cell i is
    centred at pixel 8 i + 7, as in SiamRPN++'s ResNet. The layers are ``layer0`` (the first
    convolution) to ``layer7``; behind the last of ``out_indices`` nothing is built.

    ``style='pysot'`` is the network of `STVIR/pysot <https://github.com/STVIR/pysot>`_
    (``pysot/models/backbone/mobile_v2.py``) under its names: widths rounded down, a widening
    convolution in the first block too. ``style='imagenet'`` is the network that ImageNet weights
    are published for: widths rounded to multiples of 8, no such convolution. torchvision's file
    (width 1.0) then loads as it is, its classifier passed over::

        init_cfg=dict(type='Pretrained', checkpoint='torchvision://mobilenet_v2')

    with ``input_norm=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])``.

    Args:
        width_mult: Factor of all widths.
        out_indices: Numbers of the layers whose maps are returned, from 3 to 7 (PySOT's
            ``used_layers``).
        style: 'pysot' or 'imagenet'.
        kwargs: See :class:`SOTBackbone`.

    Raises:
        MMKDError: For an unknown style, layers of another stride than 8, or a stage to freeze
            that does not exist.
    """

    def __init__(
        self,
        width_mult: float = 1.4,
        out_indices: Sequence[int] = (3, 5, 7),
        style: str = 'pysot',
        **kwargs,
    ):
        super().__init__(**kwargs)
        if style not in STYLES:
            raise MMKDError(f'SOTMobileNetV2: no style {style!r}. {nearest(str(style), STYLES)}')
        self.style = style
        self.width_mult = width_mult
        self.out_indices = check_out_indices('SOTMobileNetV2', out_indices, _STRIDE_8)
        before = self._width(32)
        self.layer0 = nn.Sequential(*_conv_bn(3, before, 3, stride=2), nn.ReLU6(inplace=True))
        widths = [before]
        previous = 1
        for i, (factor, width, count, stride, dilation) in enumerate(_LAYERS, start=1):
            if i > self.out_indices[-1]:
                break
            width = self._width(width)
            blocks = []
            for j in range(count):
                changes = j == 0 and dilation != previous
                blocks.append(
                    _Block(
                        before,
                        width,
                        stride if j == 0 else 1,
                        before * factor,
                        # The first block still reads the finer grid of the layer before.
                        max(dilation // 2, 1) if changes else dilation,
                        expand=factor > 1 or style == 'pysot',
                    )
                )
                before = width
            previous = dilation
            widths.append(width)
            self.add_module(f'layer{i}', nn.Sequential(*blocks))
        self.out_channels = tuple(widths[i] for i in self.out_indices)
        self._start()

    def _width(self, channels: int) -> int:
        scaled = channels * self.width_mult
        if self.style == 'pysot':
            width = int(scaled)
        else:
            width = max(8, int(scaled + 4) // 8 * 8)
            width += 8 if width < 0.9 * scaled else 0
        if width < 1:
            raise MMKDError(f'SOTMobileNetV2: width_mult {self.width_mult!r} leaves no channels.')
        return width

    def stages(self) -> Dict[int, Tuple[nn.Module, ...]]:
        return {i: (getattr(self, f'layer{i}'),) for i in range(self.out_indices[-1] + 1)}

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Renames what torchvision's files have, and passes over what is behind the maps."""
        if self.style == 'imagenet':
            for key in [key for key in state_dict if key.startswith(prefix)]:
                name = self._renamed(key[len(prefix) :])
                if name is not None:
                    value = state_dict.pop(key)
                    if name:
                        state_dict[prefix + name] = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _renamed(self, key: str) -> Optional[str]:
        """Our name of a key of torchvision's; '' to pass over it; None if it is no such key."""
        if key.startswith('classifier.'):
            return ''
        found = re.match(r'features\.(\d+)\.(?:conv\.)?(.+)\.(\w+)$', key)
        if not found:
            return None
        number, inside, rest = int(found[1]), found[2], found[3]
        if number == 0:
            return f'layer0.{inside}.{rest}'
        first = 1
        for i, (factor, _, count, _, _) in enumerate(_LAYERS, start=1):
            if number < first + count:
                if i > self.out_indices[-1]:
                    return ''
                place = _INSIDE[factor > 1].get(inside)
                return f'layer{i}.{number - first}.conv.{place}.{rest}' if place else None
            first += count
        return ''

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            x: (N, 3, H, W) float, raw BGR values in 0..255.

        Returns:
            A map (N, channels, h, w) of stride 8 for every layer of ``out_indices``.
        """
        x = self.input_norm(x)
        maps = []
        for i in range(self.out_indices[-1] + 1):
            x = getattr(self, f'layer{i}')(x)
            if i in self.out_indices:
                maps.append(x)
        return tuple(maps)
