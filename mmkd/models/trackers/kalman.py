"""A constant-velocity Kalman filter over all tracks at once.

State of a track: ``(x, y, a, h, vx, vy, va, vh)``, centre in pixels, aspect ratio width / height,
height in pixels, and their change per frame; measured are the first four. Noise grows with the
height of the box: 1/20 of it for positions and 1/160 for velocities, as in SORT with a deep
association metric (Wojke et al. 2017), which JDE and FairMOT took over.

The usual implementation multiplies dense 8x8 matrices. But motion couples each coordinate with
its own velocity only, and every noise matrix is diagonal, so the covariance of a new track (which
is diagonal too) never fills up: the filter *is* four independent filters of two states. Written
so, a covariance has 4 x 3 different numbers, and prediction, gating and update need no matrix
product and no factorisation.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

STD_POSITION = 1 / 20
STD_VELOCITY = 1 / 160

# Where the parts of a coordinate's 2x2 covariance stand in the arrays (n, 3, 4).
POSITION, CROSS, VELOCITY = 0, 1, 2


def _noise(height: np.ndarray, weight: float, aspect: float) -> np.ndarray:
    """Variances (n, 4) of x, y, a, h: relative to the height but for the aspect ratio's."""
    std = np.repeat((weight * height)[:, None], 4, axis=1)
    std[:, 2] = aspect
    return np.square(std)


def initiate(measurements: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Starts tracks at rest where they were first seen.

    Args:
        measurements: (n, 4) boxes as centre x, centre y, aspect ratio, height.

    Returns:
        Means (n, 8) and covariances (n, 3, 4).
    """
    height = measurements[:, 3]
    mean = np.concatenate([measurements, np.zeros_like(measurements)], axis=1)
    covariance = np.zeros((len(mean), 3, 4), dtype=mean.dtype)
    covariance[:, POSITION] = _noise(height, 2 * STD_POSITION, 1e-2)
    covariance[:, VELOCITY] = _noise(height, 10 * STD_VELOCITY, 1e-5)
    return mean, covariance


def predict(mean: np.ndarray, covariance: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Moves tracks one frame on; returns new means (n, 8) and covariances (n, 3, 4)."""
    height = mean[:, 3]
    moved = mean.copy()
    moved[:, :4] += mean[:, 4:]
    position, cross, velocity = (
        covariance[:, POSITION],
        covariance[:, CROSS],
        covariance[:, VELOCITY],
    )
    grown = np.empty_like(covariance)
    grown[:, POSITION] = position + 2 * cross + velocity + _noise(height, STD_POSITION, 1e-2)
    grown[:, CROSS] = cross + velocity
    grown[:, VELOCITY] = velocity + _noise(height, STD_VELOCITY, 1e-5)
    return moved, grown


def innovation_variance(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Variances (n, 4) of measuring these tracks: their own and the measurement's."""
    return covariance[:, POSITION] + _noise(mean[:, 3], STD_POSITION, 1e-1)


def gating_distance(
    mean: np.ndarray, covariance: np.ndarray, measurements: np.ndarray
) -> np.ndarray:
    """Squared Mahalanobis distance of every track to every measurement.

    Args:
        mean: (n, 8).
        covariance: (n, 3, 4).
        measurements: (m, 4) as centre x, centre y, aspect ratio, height.

    Returns:
        (n, m), dimensionless; 9.4877 is the 95 % quantile of its chi-square distribution.
    """
    precision = 1 / innovation_variance(mean, covariance)
    distance = np.zeros((len(mean), len(measurements)))
    # One coordinate at a time: an array (n, m, 4) would be walked through in short steps.
    for k in range(4):
        offset = measurements[:, k] - mean[:, k, None]
        offset *= offset
        offset *= precision[:, k, None]
        distance += offset
    return distance


def update(
    mean: np.ndarray, covariance: np.ndarray, measurements: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Corrects track i with measurement i; returns new means (n, 8) and covariances (n, 3, 4)."""
    variance = innovation_variance(mean, covariance)
    gain_position = covariance[:, POSITION] / variance
    gain_velocity = covariance[:, CROSS] / variance
    surprise = measurements - mean[:, :4]
    corrected = mean.copy()
    corrected[:, :4] += gain_position * surprise
    corrected[:, 4:] += gain_velocity * surprise
    shrunk = np.empty_like(covariance)
    shrunk[:, POSITION] = covariance[:, POSITION] * (1 - gain_position)
    shrunk[:, CROSS] = covariance[:, CROSS] * (1 - gain_position)
    shrunk[:, VELOCITY] = covariance[:, VELOCITY] - gain_velocity * covariance[:, CROSS]
    return corrected, shrunk


def measure(corner: np.ndarray, size: np.ndarray) -> np.ndarray:
    """What the filter measures of boxes: centre, aspect ratio width / height, height.

    Args:
        corner: (n, 2) the top left ones.
        size: (n, 2) width and height; the height must not be 0.

    Returns:
        (n, 4).
    """
    measurements = np.empty((len(size), 4))
    measurements[:, :2] = corner + size / 2
    measurements[:, 2] = size[:, 0] / size[:, 1]
    measurements[:, 3] = size[:, 1]
    return measurements


def xyah_to_xyxy(states: np.ndarray) -> np.ndarray:
    """Corners (n, 4) of states (n, 8), or of measurements (n, 4)."""
    boxes = np.empty((len(states), 4))
    size = states[:, 2:4].copy()
    size[:, 0] *= size[:, 1]
    boxes[:, :2] = states[:, :2] - size / 2
    boxes[:, 2:] = boxes[:, :2] + size
    return boxes
