"""AlexNet as Siamese trackers use it."""

from __future__ import annotations

import re
from typing import Dict, Tuple

from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .sot_backbone import SOTBackbone

# Kernel, stride, whether a 3x3 pooling of stride 2 follows, whether a ReLU does.
_LAYERS = (
    (11, 2, True, True),
    (5, 1, True, True),
    (3, 1, False, True),
    (3, 1, False, True),
    (3, 1, False, False),
)
_CHANNELS = (96, 256, 384, 384, 256)
# Where PySOT's 'alexnetlegacy', one long sequence, has the convolution of each layer.
_LEGACY = {0: 'layer1', 4: 'layer2', 8: 'layer3', 11: 'layer4', 14: 'layer5'}


@MODELS.register_module()
class SOTAlexNet(SOTBackbone):
    """AlexNet with BatchNorm and without padding: stride 8, 127 -> 6, 255 -> 22, 287 -> 26.

    Nothing is padded, so that each cell sees the image alone (cell i is centred at pixel
    8 i + 43). The template's whole 6x6 map is the kernel: ``test_cfg.center_size=6``. With one
    depth-wise correlation head the response is 17x17 at 255 and 21x21 at 287, the size that PySOT
    tests with.

    The names are those of PySOT's ``alexnet`` (``layer1`` to ``layer5``). Files of its
    ``alexnetlegacy`` and of the ImageNet weights it starts from (``alexnet-bn.pth``; one sequence,
    ``features.0`` or ``0`` and on) load as well::

        init_cfg=dict(type='Pretrained', checkpoint='pretrained_models/alexnet-bn.pth')

    Source of the layout: `STVIR/pysot <https://github.com/STVIR/pysot>`_,
    ``pysot/models/backbone/alexnet.py``.

    Args:
        width_mult: Factor of all widths (96, 256, 384, 384, 256), rounded down.
        kwargs: See :class:`SOTBackbone`. ``frozen_stages`` is up to 5; there is no stage 0.

    Raises:
        MMKDError: A width would be 0, or there is no such stage to freeze.
    """

    def __init__(self, width_mult: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        widths = [int(width * width_mult) for width in _CHANNELS]
        if min(widths) < 1:
            raise MMKDError(f'SOTAlexNet: width_mult is {width_mult!r}; it leaves no channels.')
        self.out_channels = (widths[-1],)
        for i, (kernel, stride, pooled, active) in enumerate(_LAYERS):
            before = widths[i - 1] if i else 3
            parts = [nn.Conv2d(before, widths[i], kernel, stride), nn.BatchNorm2d(widths[i])]
            if pooled:
                parts.append(nn.MaxPool2d(3, 2))
            if active:
                parts.append(nn.ReLU(inplace=True))
            self.add_module(f'layer{i + 1}', nn.Sequential(*parts))
        self._start()

    def stages(self) -> Dict[int, Tuple[nn.Module, ...]]:
        return {i: (getattr(self, f'layer{i}'),) for i in range(1, len(_LAYERS) + 1)}

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Renames what PySOT's one long sequence has."""
        for key in [key for key in state_dict if key.startswith(prefix)]:
            found = re.match(r'(?:features\.)?(\d+)\.(\w+)$', key[len(prefix) :])
            if found:
                place, rest = int(found[1]), found[2]
                first = max((at for at in _LEGACY if at <= place), default=None)
                if first is not None and place - first < 2:
                    name = f'{prefix}{_LEGACY[first]}.{place - first}.{rest}'
                    state_dict[name] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            x: (N, 3, H, W) float, raw BGR values in 0..255.

        Returns:
            One map (N, 256 * width_mult, h, w) in a tuple.
        """
        x = self.input_norm(x)
        for i in range(1, len(_LAYERS) + 1):
            x = getattr(self, f'layer{i}')(x)
        return (x,)
