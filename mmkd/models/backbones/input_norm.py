"""Input normalisation inside a backbone, so that a tracker's input stays what mmtrack feeds."""

from __future__ import annotations

from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

_KEYS = ('mean', 'std', 'to_rgb')


class InputNorm(nn.Module):
    """``(image - mean) / std`` per channel, after a swap of BGR to RGB if that is asked for.

    mmtrack's trackers read raw BGR values, and a teacher and its student are shown the very same
    crops. A network that was trained on normalised RGB brings its own normalisation this way. It
    adds nothing to the state dict.

    Args:
        mean: Three numbers in 0..255, in the order behind the swap (RGB if ``to_rgb``).
        std: Three positive numbers, the same.
        to_rgb: Whether to swap the channels of the BGR input first.

    Raises:
        MMKDError: ``mean`` or ``std`` is not three numbers, or a ``std`` is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], to_rgb: bool = True):
        super().__init__()
        for name, values in (('mean', mean), ('std', std)):
            try:
                numbers = [float(value) for value in values]
            except (TypeError, ValueError):
                numbers = []
            if len(numbers) != 3 or (name == 'std' and min(numbers) <= 0):
                raise MMKDError(
                    f'input_norm: {name} is {values!r}; expected three numbers in 0..255 units'
                    f'{" above 0" if name == "std" else ""}, e.g. '
                    f'{[58.395, 57.12, 57.375] if name == "std" else [123.675, 116.28, 103.53]}.'
                )
            tensor = torch.tensor(numbers).view(1, 3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)
        self.to_rgb = to_rgb

    def forward(self, x: Tensor) -> Tensor:
        """Args:
            x: (N, 3, H, W) float, raw BGR values in 0..255.

        Returns:
            The same shape and dtype.
        """
        if self.to_rgb:
            x = x.flip(1)
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)

    def extra_repr(self) -> str:
        return (
            f'mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}, '
            f'to_rgb={self.to_rgb}'
        )


def build_input_norm(cfg: Optional[dict]) -> nn.Module:
    """What a backbone's ``input_norm`` means: None for raw BGR, or :class:`InputNorm`'s arguments.

    Raises:
        MMKDError: The config has other keys than ``mean``, ``std`` and ``to_rgb``, or lacks one of
            the first two.
    """
    if cfg is None:
        return nn.Identity()
    if not isinstance(cfg, dict):
        raise MMKDError(f'input_norm is {cfg!r}; expected None or dict(mean=, std=, to_rgb=).')
    for key in cfg:
        if key not in _KEYS:
            raise MMKDError(f'input_norm has no {key!r}. {nearest(str(key), _KEYS)}')
    missing = [key for key in _KEYS[:2] if key not in cfg]
    if missing:
        raise MMKDError(
            f'input_norm lacks {" and ".join(missing)}; give both, or None for raw BGR.'
        )
    return InputNorm(**cfg)
