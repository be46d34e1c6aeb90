"""Textures made of seeded noise: cloth, and the static backdrop of a scene."""

from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np

Colour = Tuple[float, float, float]


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """A BGR colour, (3,) float32 in 0..255, of hue, saturation and value in 0..1."""
    pixel = np.array([[[hue % 1 * 360, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0] * 255


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise with blobs of about ``cell`` pixels: (height, width) float32, zero mean."""
    small = rng.standard_normal(
        (max(2, round(height / cell) + 1), max(2, round(width / cell) + 1))
    ).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def cloth(rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """A garment's front: plain, striped, checked, dotted or in blocks; (size, size, 3) uint8."""
    hue, vivid = rng.random(), rng.random() < 0.75
    base = hsv(hue, rng.uniform(0.55, 0.95) if vivid else rng.uniform(0, 0.15), rng.uniform(0.2, 1))
    # The second colour must be told from the first one at a few pixels' size.
    value = 0.95 if base.max() < 150 else 0.15
    other = hsv(hue + rng.uniform(0.2, 0.8), rng.uniform(0, 0.9), value)
    y, x = np.mgrid[0:size, 0:size]
    period = int(rng.integers(size // 5, size // 2))
    pattern = int(rng.integers(6))
    if pattern == 0:
        mask = np.zeros((size, size), bool)
    elif pattern == 1:
        mask = y % period < period * rng.uniform(0.3, 0.6)
    elif pattern == 2:
        mask = x % period < period * rng.uniform(0.3, 0.6)
    elif pattern == 3:
        mask = (x // (period / 2)).astype(int) % 2 == (y // (period / 2)).astype(int) % 2
    elif pattern == 4:
        mask = (x % period - period / 2) ** 2 + (y % period - period / 2) ** 2 < (period / 3) ** 2
    else:
        mask = y > size * rng.uniform(0.35, 0.65)
    image = np.where(mask[..., None], other, base).astype(np.float32)
    image *= 1 + 0.07 * noise(rng, size, size, 3)[..., None]
    # Cloth is lit from one side, which makes a flat polygon look round.
    image *= np.linspace(1.12, 0.8, size, dtype=np.float32)[None, :, None]
    return np.clip(image, 0, 255).astype(np.uint8)


def backdrop(
    rng: np.random.Generator, width: int, height: int, horizon: float, base: float
) -> np.ndarray:
    """A square or street seen from above eye level.

    Args:
        rng: Decides everything.
        width: In pixels.
        height: In pixels.
        horizon: Where parallel lines of the ground meet, as a fraction of the height.
        base: Where the buildings end and the ground begins, as a fraction of the height.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    image = np.empty((height, width, 3), np.float32)
    edge = round(base * height)
    image[:edge] = _facades(rng, width, edge)
    image[edge:] = _ground(rng, width, height, edge, horizon * height)
    # The foot of a wall lies in its own shade.
    shade = np.linspace(0.65, 1, max(2, height // 40), dtype=np.float32)
    image[edge : edge + len(shade)] *= shade[:, None, None]
    image *= 1 + 0.05 * noise(rng, height, width, height / 3)[..., None]
    image += 4 * noise(rng, height, width, 1)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _facades(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A row of houses with windows and doors, and trees between them."""
    image = np.empty((height, width, 3), np.float32)
    left = 0
    while left < width:
        right = min(width, left + int(rng.uniform(0.7, 1.8) * height))
        wall = hsv(rng.uniform(0.02, 0.14), rng.uniform(0.05, 0.35), rng.uniform(0.42, 0.7))
        house = np.full((height, right - left, 3), wall, np.float32)
        house *= 1 + 0.06 * noise(rng, height, right - left, 2)[..., None]
        course = max(3, height // 24)
        house[::course] *= 0.9
        _windows(rng, house)
        image[:, left:right] = house
        image[:, max(0, right - 2) : right] *= 0.7
        left = right
    for _ in range(int(rng.integers(2, 6))):
        _tree_crown(rng, image, rng.uniform(0, width), height)
    return image


def _windows(rng: np.random.Generator, house: np.ndarray) -> None:
    height, width = house.shape[:2]
    step_x, step_y = height * rng.uniform(0.25, 0.4), height * rng.uniform(0.3, 0.42)
    glass = hsv(rng.uniform(0.5, 0.65), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.45))
    frame = hsv(0.1, 0.05, rng.uniform(0.6, 0.85))
    y = step_y * 0.2
    while y + step_y * 0.6 < height:
        x = step_x * 0.25
        ground_floor = y + step_y * 1.2 >= height
        while x + step_x * 0.5 < width:
            tall = step_y * (0.95 if ground_floor else 0.6)
            p = (round(x), round(y))
            q = (round(x + step_x * 0.5), min(height - 1, round(y + tall)))
            cv2.rectangle(house, p, q, frame.tolist(), -1)
            light = glass * rng.uniform(0.7, 1.4)
            cv2.rectangle(house, (p[0] + 1, p[1] + 1), (q[0] - 1, q[1] - 1), light.tolist(), -1)
            cv2.line(house, ((p[0] + q[0]) // 2, p[1]), ((p[0] + q[0]) // 2, q[1]), frame.tolist())
            x += step_x
        y += step_y


def _tree_crown(rng: np.random.Generator, image: np.ndarray, x: float, height: int) -> None:
    green = hsv(rng.uniform(0.2, 0.36), rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.45))
    trunk = hsv(0.08, 0.4, 0.25)
    size = height * rng.uniform(0.2, 0.4)
    centre = np.array([x, height * rng.uniform(0.2, 0.5)])
    bottom = (round(x), height)
    cv2.line(image, tuple(int(c) for c in centre), bottom, trunk.tolist(), max(2, height // 30))
    for _ in range(60):
        offset = rng.standard_normal(2) * size * (0.5, 0.35)
        leaf = green * rng.uniform(0.65, 1.35)
        point = tuple(int(c) for c in centre + offset)
        cv2.circle(image, point, max(1, int(size * rng.uniform(0.08, 0.25))), leaf.tolist(), -1)


def _ground(
    rng: np.random.Generator, width: int, height: int, edge: int, horizon: float
) -> np.ndarray:
    """Paving in perspective, with a strip of another ground across it."""
    y, x = np.mgrid[edge:height, 0:width].astype(np.float32)
    distance = (height - horizon) / (y - horizon)
    across = (x - width * rng.uniform(0.3, 0.7)) * distance / height
    stone = hsv(rng.uniform(0.05, 0.6), rng.uniform(0.02, 0.2), rng.uniform(0.5, 0.72))
    image = np.empty((*y.shape, 3), np.float32)
    image[:] = stone
    tile = rng.uniform(0.1, 0.25)
    column = np.floor(across / tile)
    row = np.floor(distance * 3 / tile * 0.5)
    shades = rng.uniform(0.9, 1.1, size=997).astype(np.float32)
    image *= shades[(column * 31 + row * 57).astype(np.int64) % 997][..., None]
    joint = (across / tile % 1 < 0.05) | (distance * 1.5 / tile % 1 < 0.06)
    image[joint & (distance < 3.5)] *= 0.82
    near, far = sorted(rng.uniform(1.0, 2.6, size=2))
    strip = (distance > near) & (distance < far)
    if rng.random() < 0.6:
        kind = hsv(rng.uniform(0.2, 0.33), 0.4, 0.4) if rng.random() < 0.4 else stone * 0.6
        image[strip] = kind * (1 + 0.12 * noise(rng, *y.shape, 2)[strip][:, None])
    image *= 1 + 0.07 * noise(rng, *y.shape, 3)[..., None] / np.sqrt(distance)[..., None]
    return image
