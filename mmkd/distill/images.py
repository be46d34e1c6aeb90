"""From what the student reads back to a picture, and to where that picture is real."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest


def to_rgb(
    inputs: Union[Tensor, Dict[str, Tensor]], preprocessor: nn.Module, key: str = 'img'
) -> Tensor:
    """Undoes a student's data preprocessor.

    Reads the preprocessor's own settings, those of mmengine's ``ImgDataPreprocessor`` and its
    descendants in mmdet and mmpretrain, and of mmtrack's ``TrackDataPreprocessor``. OpenMMLab's
    pipelines load BGR, so a preprocessor that does not swap channels hands BGR on.

    Args:
        inputs: (N, 3, H, W), or a dict with that or (N, T, 3, H, W) under ``key``.
        preprocessor: What made them.
        key: Which entry of a dict.

    Returns:
        (N * T, 3, H, W) float, RGB, 0..255.

    Raises:
        MMKDError: There is no such entry, or it is no batch of colour images.
    """
    if isinstance(inputs, dict):
        if key not in inputs:
            raise MMKDError(f'The inputs hold no {key!r}. {nearest(key, inputs)}')
        inputs = inputs[key]
    images = inputs.detach()
    if images.dim() == 5:
        images = images.flatten(0, 1)
    if images.dim() != 4 or images.shape[1] != 3:
        raise MMKDError(
            'A teacher needs colour images (N, 3, H, W) or (N, T, 3, H, W), but the student '
            f'reads {tuple(inputs.shape)}.'
        )
    images = images.float()
    if getattr(preprocessor, '_enable_normalize', False):
        images = images * _per_channel(preprocessor.std) + _per_channel(preprocessor.mean)
    return images if is_rgb(preprocessor) else images.flip(1)


def _per_channel(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def is_rgb(preprocessor: nn.Module) -> bool:
    """Whether what a preprocessor is given as BGR, as OpenMMLab loads it, leaves it as RGB."""
    for flag in ('_channel_conversion', 'channel_conversion', 'to_rgb'):
        if hasattr(preprocessor, flag):
            return bool(getattr(preprocessor, flag))
    return False


def valid_quads(
    data_samples: Optional[Sequence[Any]], batch: int, size: Tuple[int, int], prefix: str = ''
) -> np.ndarray:
    """The corners of the real picture within each input image.

    Args:
        data_samples: One per image, or one per clip; what its metainfo has once stands for all of
            its frames, a list has one entry for each. Read are ``homography_matrix`` (3, 3),
            original pixels to input pixels, with ``ori_shape`` (h, w); else ``img_shape``; else
            everything is real.
        batch: The number of images.
        size: (H, W) of the input.
        prefix: What these names begin with, such as mmtrack's 'search_'.

    Returns:
        (batch, 4, 2) float64, x and y in input pixels, in one sense of rotation or the other.
    """
    if not data_samples:
        return np.broadcast_to(_corners(size), (batch, 4, 2)).copy()
    if batch % len(data_samples):
        raise MMKDError(f'{batch} images cannot belong to {len(data_samples)} data samples.')
    frames = batch // len(data_samples)
    metas = [getattr(sample, 'metainfo', {}) for sample in data_samples]
    return np.concatenate([_quads(meta, frames, size, prefix) for meta in metas])


def _corners(shape: Sequence[int]) -> np.ndarray:
    h, w = shape
    return np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=np.float64)


def _quads(meta: dict, frames: int, size: Tuple[int, int], prefix: str) -> np.ndarray:
    """(frames, 4, 2) of one sample."""

    def per_frame(key: str, dims: int) -> Optional[np.ndarray]:
        value = meta.get(prefix + key)
        if value is None:
            return None
        value = np.asarray(value, dtype=np.float64)
        # A clip's metainfo has a list, of one entry per frame.
        value = value[None] if value.ndim == dims else value
        if value.ndim != dims + 1 or len(value) not in (1, frames):
            raise MMKDError(
                f'{prefix + key} of a data sample is of the shape {value.shape}, which does not '
                f'fit its {frames} image(s). mask=False in the distiller does without.'
            )
        return np.broadcast_to(value, (frames, *value.shape[1:]))

    matrices, shapes = per_frame('homography_matrix', 2), per_frame('ori_shape', 1)
    if matrices is None or shapes is None:
        shapes = per_frame('img_shape', 1)
        shapes = [size] * frames if shapes is None else shapes
        return np.stack([_corners(shape[:2]) for shape in shapes])
    corners = np.stack([_corners(shape[:2]) for shape in shapes])
    points = np.concatenate([corners, np.ones((frames, 4, 1))], axis=2)
    mapped = points @ matrices.transpose(0, 2, 1)
    return mapped[..., :2] / mapped[..., 2:]


def valid_mask(
    quads: Union[np.ndarray, Tensor],
    size: Tuple[int, int],
    grid: Tuple[int, int],
    device: Optional[torch.device] = None,
) -> Tensor:
    """Which cells of a grid have their centre within the real picture.

    Args:
        quads: (N, 4, 2), convex; from :func:`valid_quads`. A mirrored picture turns the other way
            round, which is seen from its signed area.
        size: (H, W) of the input that the grid covers.
        grid: (h, w) of the map.
        device: Where the mask is wanted.

    Returns:
        (N, 1, h, w) bool.
    """
    # One small copy to the device for the whole batch, which nobody waits for.
    corners = torch.as_tensor(quads, dtype=torch.float32).to(device, non_blocking=True)
    edges = corners.roll(-1, dims=1) - corners
    area = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])[:, None, None, None]
    (height, width), (h, w) = size, grid
    x = (torch.arange(w, device=device) + 0.5) * (width / w)
    y = (torch.arange(h, device=device) + 0.5) * (height / h)
    dx = x - corners[:, :, 0, None]  # (N, 4, w)
    dy = y - corners[:, :, 1, None]  # (N, 4, h)
    side = edges[:, :, 0, None, None] * dy[:, :, :, None]
    side = side - edges[:, :, 1, None, None] * dx[:, :, None, :]  # (N, 4, h, w)
    return (side * area.sign() >= 0).all(dim=1, keepdim=True) & (area != 0)
