"""Rigid objects: things that stand in the way, and vehicles."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import cv2
import numpy as np

from .textures import hsv, noise
from .walker import Picture

UNIT = 160  # pixels of a sprite's drawing per height of a person


class Sprite(NamedTuple):
    """A drawing whose bottom centre stands on the ground."""

    colour: np.ndarray  # (h, w, 3) float32, premultiplied
    alpha: np.ndarray  # (h, w) float32


def place_sprite(
    sprite: Sprite,
    foot: Tuple[float, float],
    height: float,
    mirror: bool,
    image_size: Tuple[int, int],
) -> Picture | None:
    """Scales a sprite to where it stands.

    Args:
        sprite: The drawing.
        foot: Its place on the ground, in pixels of the image.
        height: Of a person who stands there, in pixels.
        mirror: Left and right exchanged.
        image_size: (width, height) in pixels.

    Returns:
        None if nothing of it is in the image.
    """
    rows, columns = sprite.alpha.shape
    scale = height / UNIT
    left, top = foot[0] - columns * scale / 2, foot[1] - rows * scale
    box = (left, top, left + columns * scale, foot[1])
    if box[0] >= image_size[0] or box[1] >= image_size[1] or box[2] <= 0 or box[3] <= 0:
        return None
    x, y = int(np.floor(left)), int(np.floor(top))
    size = (int(np.ceil(box[2])) - x, int(np.ceil(box[3])) - y)
    # Warping samples points; shrinking by area first keeps thin lines from flickering.
    level = max(1, int(1 / scale))
    small = (max(1, columns // level), max(1, rows // level))
    sx, sy = columns * scale / small[0], rows * scale / small[1]
    matrix = np.array([[sx, 0, left - x + sx / 2 - 0.5], [0, sy, top - y + sy / 2 - 0.5]])
    if mirror:
        matrix[0] = -sx, 0, left - x + columns * scale - sx / 2 - 0.5
    layers = []
    for layer in (sprite.colour, sprite.alpha):
        reduced = cv2.resize(layer, small, interpolation=cv2.INTER_AREA) if level > 1 else layer
        layers.append(cv2.warpAffine(reduced, matrix, size, flags=cv2.INTER_LINEAR))
    return Picture(layers[0], layers[1], x, y, box)


def random_obstacle(rng: np.random.Generator) -> Sprite:
    """A lamp post, a tree, a hedge or a kiosk."""
    kind = int(rng.integers(4))
    if kind == 0:
        image, mask = _canvas(2.1, 0.22)
        colour = hsv(rng.random(), 0.2, rng.uniform(0.15, 0.4))
        _fill(image, mask, (0.075, 0), (0.145, 2.1), colour)
        _fill(image, mask, (0.03, 0), (0.19, 0.12), colour * 0.8)
        _fill(image, mask, (0, 1.98), (0.22, 2.1), np.array([170.0, 220.0, 235.0]))
    elif kind == 1:
        image, mask = _canvas(2.4, 1.2)
        _fill(image, mask, (0.52, 0), (0.68, 1.5), hsv(0.08, 0.45, rng.uniform(0.2, 0.4)))
        green = hsv(rng.uniform(0.2, 0.38), 0.55, rng.uniform(0.3, 0.5))
        for _ in range(90):
            u, v = rng.uniform(0.15, 1.05), rng.uniform(1.45, 2.25)
            leaf = green * rng.uniform(0.6, 1.4)
            radius = rng.uniform(0.05, 0.14)
            point = (round(u * UNIT), round((2.4 - v) * UNIT))
            cv2.circle(image, point, round(radius * UNIT), leaf.tolist(), -1)
            cv2.circle(mask, point, round(radius * UNIT), 1.0, -1)
    elif kind == 2:
        width = rng.uniform(0.8, 1.8)
        image, mask = _canvas(0.5, width)
        green = hsv(rng.uniform(0.22, 0.38), 0.5, rng.uniform(0.3, 0.5))
        _fill(image, mask, (0, 0), (width, 0.42), green)
        for u in np.arange(0.05, width, 0.08):
            point = (round(u * UNIT), round(0.1 * UNIT))
            cv2.circle(
                image, point, round(0.06 * UNIT), (green * rng.uniform(0.8, 1.2)).tolist(), -1
            )
            cv2.circle(mask, point, round(0.06 * UNIT), 1.0, -1)
    else:
        width, height = rng.uniform(0.3, 0.6), rng.uniform(1.0, 1.35)
        image, mask = _canvas(height, width)
        colour = hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.4, 0.8))
        _fill(image, mask, (0, 0), (width, height), colour)
        _fill(image, mask, (0.06, 0.35), (width - 0.06, height - 0.12), colour * 0.5 + 110)
        _fill(image, mask, (0, 0), (width, 0.08), colour * 0.4)
    return _finish(rng, image, mask)


def random_vehicle(rng: np.random.Generator) -> Sprite:
    """A car seen from the side, facing right."""
    length, height = rng.uniform(2.2, 2.7), rng.uniform(0.8, 1.0)
    image, mask = _canvas(height, length)
    colour = hsv(rng.random(), rng.uniform(0.2, 0.95), rng.uniform(0.4, 0.95))
    nose, tail = rng.uniform(0.55, 0.8), rng.uniform(0.05, 0.35)
    wheel = 0.17

    def polygon(points, fill) -> None:
        pixels = np.array([(u * UNIT, (height - v) * UNIT) for u, v in points])
        cv2.fillPoly(image, [np.rint(pixels).astype(np.int32)], fill.tolist())
        cv2.fillPoly(mask, [np.rint(pixels).astype(np.int32)], 1.0)

    middle = height * 0.58
    body = [(0, 0.12), (length, 0.12), (length, 0.4), (length - nose, middle), (0, middle)]
    polygon(body, colour)
    roof = [(tail, middle), (tail + 0.2, height), (length - nose - 0.3, height)]
    polygon([*roof, (length - nose + 0.05, middle)], colour * 0.92)
    glass = np.array([110.0, 90.0, 70.0])
    polygon(
        [(tail + 0.1, middle), (tail + 0.25, height - 0.06), (length / 2 - 0.1, height - 0.06)]
        + [(length / 2 - 0.1, middle)],
        glass,
    )
    polygon(
        [(length / 2, middle), (length / 2, height - 0.06), (length - nose - 0.33, height - 0.06)]
        + [(length - nose - 0.07, middle)],
        glass,
    )
    polygon([(length - 0.08, 0.3), (length, 0.3), (length, 0.4), (length - 0.08, 0.4)],
            np.array([200.0, 240.0, 250.0]))  # fmt: skip
    for u in (0.45, length - 0.45):
        point = (round(u * UNIT), round((height - wheel) * UNIT))
        cv2.circle(image, point, round(wheel * UNIT), (25.0, 25.0, 25.0), -1)
        cv2.circle(mask, point, round(wheel * UNIT), 1.0, -1)
        cv2.circle(image, point, round(wheel * 0.5 * UNIT), (170.0, 170.0, 170.0), -1)
    return _finish(rng, image, mask)


def _canvas(height: float, width: float) -> Tuple[np.ndarray, np.ndarray]:
    shape = (round(height * UNIT), round(width * UNIT))
    return np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)


def _fill(image, mask, low, high, colour) -> None:
    """A rectangle between two corners given in heights of a person, y up."""
    rows = image.shape[0]
    top, bottom = rows - round(high[1] * UNIT), rows - round(low[1] * UNIT)
    left, right = round(low[0] * UNIT), round(high[0] * UNIT)
    image[max(0, top) : bottom, left:right] = colour
    mask[max(0, top) : bottom, left:right] = 1


def _finish(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> Sprite:
    image *= 1 + 0.08 * noise(rng, *mask.shape, 4)[..., None]
    image *= np.linspace(1.1, 0.85, mask.shape[1], dtype=np.float32)[None, :, None]
    # Cut to what was drawn: the box of an object is the extent of its drawing.
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    area = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask = np.ascontiguousarray(mask[area])
    return Sprite(np.clip(image[area], 0, 255) * mask[..., None], mask)
