"""A square out of a frame, resized: what a Siamese tracker looks at.

Both ways give what mmtrack's ``get_cropped_img`` gives, without its copy of the whole frame where
the square leaves it, and of frames of bytes only what is needed becomes floats.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def crop(img: Tensor, centre: Tensor, size: Tensor, target: int, fill: Tensor) -> Tensor:
    """Cuts a square and resizes it bilinearly.

    Args:
        img: (1, C, H, W) of any dtype.
        centre: (2,) float (x, y), in pixels.
        size: () float, side of the square in pixels.
        target: Side of the result.
        fill: (C,) float, the colour beyond the frame.

    Returns:
        (1, C, target, target) float32, on the frame's device, which is not waited for.
    """
    corners = torch.stack([centre - size / 2, centre + size / 2]).trunc()
    if img.device.type == 'cpu':
        return crop_slices(img, corners, target, fill)
    return crop_gathered(img, corners, target, fill)


def _span(low: int, high: int, length: int) -> Tuple[int, int]:
    """First and last pixel; mmtrack's frame ends before the last if that is beyond the frame."""
    return low, high if high < length else high - 1


def crop_slices(img: Tensor, corners: Tensor, target: int, fill: Tensor) -> Tensor:
    """:func:`crop` where the numbers are at hand.

    Args:
        img: (1, C, H, W).
        corners: (2, 2) whole floats: (x, y) of the first and of the last pixel.
        target: Side of the result.
        fill: (C,) float.
    """
    (x0, y0), (x1, y1) = corners.int().tolist()
    height, width = img.shape[-2:]
    x0, x1 = _span(x0, x1, width)
    y0, y1 = _span(y0, y1, height)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x1, width - 1), min(y1, height - 1)
    if (left, top, right, bottom) == (x0, y0, x1, y1):
        part = img[..., top : bottom + 1, left : right + 1].float()
    else:
        part = fill.float()[:, None, None].expand(-1, y1 - y0 + 1, x1 - x0 + 1)[None].contiguous()
        # Slices that end before they begin would be counted from the other side.
        if left <= right and top <= bottom:
            shown = img[..., top : bottom + 1, left : right + 1].float()
            part[..., top - y0 : bottom - y0 + 1, left - x0 : right - x0 + 1] = shown
    return interpolate(part, size=(target, target), mode='bilinear', align_corners=False)


def crop_gathered(img: Tensor, corners: Tensor, target: int, fill: Tensor) -> Tensor:
    """:func:`crop` with arithmetic on the device; arguments as of :func:`crop_slices`."""
    height, width = img.shape[-2:]
    length = torch.stack([torch.full((), float(n), device=img.device) for n in (width, height)])
    low, high = corners
    count = high - low + (high < length)
    # As interpolate with align_corners=False: centres of pixels onto each other.
    place = (torch.arange(target, device=img.device) + 0.5) * (count / target)[:, None] - 0.5
    place = place.clamp(min=0)
    first = place.floor()
    weight = place - first
    second = torch.minimum(first + 1, count[:, None] - 1)
    # (2 axes, 2 neighbours, target), in pixels of the frame
    pixel = torch.stack([first, second], dim=1) + low[:, None, None]
    inside = (pixel >= 0) & (pixel < length[:, None, None])
    pixel = torch.minimum(pixel.clamp(min=0), length[:, None, None] - 1).long()

    column, row = pixel.flatten(1)
    values = img[0][:, row[:, None], column[None, :]].float()
    known = inside[1].flatten()[:, None] & inside[0].flatten()[None, :]
    values = torch.where(known, values, fill.float()[:, None, None])
    wx, wy = weight[0], weight[1][:, None]
    top, bottom = values[:, :target], values[:, target:]
    rows = top * (1 - wy), bottom * wy
    values = rows[0] + rows[1]
    left, right = values[..., :target], values[..., target:]
    return (left * (1 - wx) + right * wx)[None]
