"""From a student's pictures to a teacher's input, on the device."""

from __future__ import annotations

from typing import Any, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest

Size = Tuple[int, int]

FITS = ('resize', 'pad')
ORDERS = ('rgb', 'bgr')


def check_choice(name: str, value: Any, choices: Tuple[str, ...], owner: str) -> str:
    """Raises:
    MMKDError: ``value`` is none of the choices.
    """
    if value not in choices:
        raise MMKDError(f'{owner} has no {name}={value!r}. {nearest(value, choices)}')
    return value


def check_input_size(value: Any, owner: str) -> Union[None, float, Size]:
    """A config's ``input_size`` as None, a factor or (h, w).

    Raises:
        MMKDError: It is none of them.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    if (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(side, int) and side > 0 for side in value)
    ):
        return tuple(value)
    raise MMKDError(
        f'{owner} takes input_size=(height, width) in pixels, or one factor on the size of the '
        f"student's input, but got {value!r}."
    )


def picture_size(size: Size, wanted: Union[None, float, Size], patch: int, fit: str) -> Size:
    """(h, w) that a picture is resized to.

    Args:
        size: (H, W) of the student's.
        wanted: (h, w) asked for, a factor on ``size``, or None for ``size`` itself.
        patch: What the sides of the teacher's input are multiples of.
        fit: 'resize' brings both sides down to multiples of it; 'pad' leaves them, for
            :func:`padded_size`.
    """
    if isinstance(wanted, tuple):
        size = wanted
    elif wanted is not None:
        size = tuple(max(round(side * wanted), 1) for side in size)
    if fit == 'pad':
        return tuple(size)
    return tuple(max(side // patch, 1) * patch for side in size)


def padded_size(size: Size, patch: int) -> Size:
    """The next multiples of ``patch``."""
    return tuple(-(-side // patch) * patch for side in size)


def prepare(
    images: Tensor, picture: Size, padded: Size, mean: Tensor, std: Tensor, order: str = 'rgb'
) -> Tensor:
    """Resizes, reorders, normalises and pads: one pass each, and none that is not needed.

    Args:
        images: (N, 3, H, W) RGB, 0..255, of any floating type or uint8.
        picture: (h, w) to resize to.
        padded: (h, w) to pad to, on the right and at the bottom, with zeros: after normalisation
            that is the mean colour.
        mean: (1, 3, 1, 1), of 0..255, in ``order``.
        std: The same.
        order: 'rgb' or 'bgr': the channels that the network reads.

    Returns:
        (N, 3, h, w) float32 (float64 if the images are).
    """
    size = tuple(images.shape[2:])
    if images.dtype in (torch.float16, torch.bfloat16):
        # Pixels would lose their last digits.
        images = images.float()
    if picture != size:
        # Within uint8, pixels would be rounded once more.
        images = images if images.is_floating_point() else images.float()
        shrinks = picture[0] < size[0] or picture[1] < size[1]
        images = F.interpolate(
            images, size=picture, mode='bilinear', align_corners=False, antialias=shrinks
        )
    if order == 'bgr':
        images = images.flip(1)
    # (images - mean) / std in one pass over the pictures.
    x = torch.addcmul(-mean / std, images, 1 / std)
    if padded != picture:
        x = F.pad(x, (0, padded[1] - picture[1], 0, padded[0] - picture[0]))
    return x
