"""Moves features of a whole picture to where augmentation has put the picture."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmkd.errors import MMKDError

Size = Tuple[float, float]

# In warp mode, which variant of a sample is which picture.
PLAIN, MIRRORED = 0, 1


def canvas_scale(shape: Sequence[int], canvas: Sequence[int]) -> float:
    """By how much a picture of (h, w) pixels is scaled to fit the canvas."""
    return min(canvas[0] / shape[0], canvas[1] / shape[1])


def canvas_matrix(shape: Sequence[int], canvas: Sequence[int], mirrored: bool) -> np.ndarray:
    """From pixels of a picture to those of its canvas, (3, 3) float64.

    Pixel i covers [i, i + 1), as in mmkd's transforms. The picture, or its mirror image, stands
    at the top left.
    """
    scale = canvas_scale(shape, canvas)
    matrix = np.diag([scale, scale, 1.0])
    if mirrored:
        matrix[0] = [-scale, 0, scale * shape[1]]
    return matrix


def variant_of(sample: Any) -> int:
    """Which picture of a sample has the features to move: :data:`PLAIN` or :data:`MIRRORED`.

    Args:
        sample: As :func:`sampling_matrices` reads it.

    Raises:
        MMKDError: It does not say where the picture went.
    """
    return MIRRORED if _is_mirrored(_placement(sample)[0]) else PLAIN


def move(
    features: Dict[str, Tensor],
    teacher: Any,
    canvas: Sequence[int],
    size: Tuple[int, int],
    data_samples: Sequence[Any],
) -> Dict[str, Tensor]:
    """Features of canvases, where and as large as the teacher would give them for the inputs.

    Args:
        features: Decoded, one row for each sample: (N, C, h, w), or (N, C), which do not move.
        teacher: Its ``extent``, ``target_size`` and ``strides`` are read.
        canvas: (h, w) in pixels.
        size: (H, W) of the student's input.
        data_samples: See :func:`sampling_matrices`.

    Returns:
        Maps (N, C, h', w') in float32, vectors as they are.

    Raises:
        MMKDError: The data samples do not say where the pictures went.
    """
    if all(value.dim() != 4 for value in features.values()):
        return features
    matrices = sampling_matrices(
        data_samples, canvas, teacher.extent(canvas), size, teacher.extent(size)
    )
    target = teacher.target_size(size)
    out = {}
    for name, value in features.items():
        if value.dim() == 4:
            grid = tuple(-(-side // teacher.strides[name]) for side in target)
            value = warp(value, matrices, grid)
        out[name] = value
    return out


def sampling_matrices(
    data_samples: Sequence[Any], canvas: Sequence[int], source: Size, size: Size, target: Size
) -> np.ndarray:
    """Where each place of the wanted map lies on the canvas's map.

    Args:
        data_samples: Their metainfo has ``homography_matrix`` (3, 3), original pixels to input
            pixels, and ``ori_shape`` (h, w).
        canvas: (h, w) in pixels.
        source: What the canvas's map covers, in pixels of the canvas.
        size: (H, W) of the student's input.
        target: What the wanted map covers, in pixels of the input.

    Returns:
        (N, 2, 3) float32, between coordinates in -1..1, as ``affine_grid`` has them.
    """
    out = np.empty((len(data_samples), 2, 3), np.float32)
    # -1..1 over the wanted map to pixels of the input; the same of the canvas, turned round.
    to_input = _from_unit(target)
    to_unit = np.linalg.inv(_from_unit(source))
    for number, sample in enumerate(data_samples):
        matrix, shape = _placement(sample)
        to_canvas = canvas_matrix(shape, canvas, _is_mirrored(matrix))
        out[number] = (to_unit @ to_canvas @ np.linalg.inv(matrix) @ to_input)[:2]
    return out


def warp(features: Tensor, matrices: np.ndarray, grid: Tuple[int, int]) -> Tensor:
    """Samples features bilinearly; what lies outside is the nearest border's.

    Args:
        features: (N, C, h, w) of canvases, any floating type.
        matrices: Of :func:`sampling_matrices`.
        grid: (h', w') that is wanted.

    Returns:
        (N, C, h', w') float32.
    """
    theta = torch.from_numpy(matrices)
    if features.is_cuda:
        theta = theta.pin_memory()
    theta = theta.to(features.device, non_blocking=True)
    with torch.autocast(features.device.type, enabled=False):
        size = [len(features), features.shape[1], *grid]
        places = F.affine_grid(theta, size, align_corners=False)
        return F.grid_sample(
            features.float(), places, mode='bilinear', padding_mode='border', align_corners=False
        )


def _placement(sample: Any) -> Tuple[np.ndarray, Sequence[int]]:
    """(3, 3), original pixels to input pixels, and (h, w) of the original."""
    meta = sample.metainfo
    matrix, shape = meta.get('homography_matrix'), meta.get('ori_shape')
    if matrix is None or shape is None:
        raise MMKDError(
            'A cache in warp mode moves features as augmentation moved the picture, but the '
            "data samples' metainfo has no homography_matrix and ori_shape. mmkd's transforms "
            'record the first; PackTrackInputs must have both in its meta_keys.'
        )
    return np.asarray(matrix, np.float64), shape[:2]


def _is_mirrored(matrix: np.ndarray) -> bool:
    return bool(np.linalg.det(matrix[:2, :2]) < 0)


def _from_unit(size: Size) -> np.ndarray:
    h, w = size
    return np.array([[w / 2, 0, w / 2], [0, h / 2, h / 2], [0, 0, 1.0]])
