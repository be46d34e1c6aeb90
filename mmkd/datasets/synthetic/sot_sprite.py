"""Flat textured objects, and how they get into a frame: as 8-bit layers, for speed."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

import cv2
import numpy as np

from .sprite import random_vehicle
from .textures import cloth, hsv, noise

SOLID = 127  # a pixel belongs to an object if its alpha is above


class FlatSprite(NamedTuple):
    """A drawing in several resolutions, each half of the one before; centre is the origin."""

    levels: Tuple[np.ndarray, ...]  # (h, w, 4) uint8 BGRA, colour premultiplied
    hue: float  # of its main colour, 0..1

    @property
    def size(self) -> Tuple[int, int]:
        """(width, height) of the finest level in pixels."""
        return self.levels[0].shape[1], self.levels[0].shape[0]


class Layer(NamedTuple):
    """A drawn object at its place; ``x``, ``y`` may be outside of the image."""

    pixels: np.ndarray  # (h, w, 4) uint8 BGRA, premultiplied
    x: int
    y: int


def random_sprite(
    rng: np.random.Generator, kind: str, side: int, hue: float | None = None
) -> FlatSprite:
    """An object of its own shape and texture.

    Args:
        rng: Decides everything.
        kind: 'blob', 'star', 'tile' or 'car'.
        side: Of the finest level's longer side, in pixels.
        hue: Of the main colour; None: any (a car always takes its own).
    """
    if kind == 'car':
        drawn = random_vehicle(rng)
        image = np.dstack([drawn.colour, drawn.alpha * 255])
        scale = side / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return _finish(image, 0.0)
    hue = float(rng.random()) if hue is None else hue
    double = 2 * side
    texture = _texture(rng, double, hue)
    mask = np.zeros((double, double), np.uint8)
    outline = _outline(rng, kind) * side * 0.97 + side
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 255)
    _mark(rng, texture, outline, side, hue)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=max(1, side // 40))
    # A rim, darker or lighter, keeps the object apart from a background of its own colour.
    texture[(mask > 0) & (inner == 0)] *= 0.4 if texture.mean() > 110 else 1.7
    image = np.dstack([np.clip(texture, 0, 255), mask.astype(np.float32)])
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    rows = np.flatnonzero((image[..., 3] > SOLID).any(axis=1))
    columns = np.flatnonzero((image[..., 3] > SOLID).any(axis=0))
    return _finish(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], hue)


def random_panel(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Something that hides what is behind it: (height, width, 4) uint8 BGRA, opaque."""
    side = max(width, height)
    texture = cv2.resize(_texture(rng, 64, float(rng.random())), (side, side))[:height, :width]
    texture = texture * (1 + 0.08 * noise(rng, height, width, 2)[..., None])
    edge = max(1, min(width, height) // 12)
    cv2.rectangle(texture, (0, 0), (width - 1, height - 1), (35.0, 40.0, 45.0), edge)
    image = np.dstack([np.clip(texture, 0, 255), np.full((height, width), 255, np.float32)])
    return image.astype(np.uint8)


def draw(
    sprite: FlatSprite,
    centre: Tuple[float, float],
    scale: Tuple[float, float],
    angle: float = 0.0,
) -> Layer:
    """Puts a sprite to where it is in a frame.

    Args:
        sprite: The drawing.
        centre: Of the drawing, in pixels of the frame; a pixel's centre is at a half.
        scale: Along the drawing's width and height, in pixels of the frame per pixel of the
            finest level.
        angle: Turn in radians, clockwise as seen.
    """
    # Warping samples points: a level that is not much finer than the frame keeps it smooth.
    shrink = math.sqrt(scale[0] * scale[1])
    level = min(len(sprite.levels) - 1, max(0, int(math.floor(-math.log2(max(shrink, 1e-6))))))
    image = sprite.levels[level]
    rows, columns = image.shape[:2]
    across = scale[0] * sprite.size[0] / columns
    down = scale[1] * sprite.size[1] / rows
    cos, sin = math.cos(angle), math.sin(angle)
    half_x = (abs(cos) * across * columns + abs(sin) * down * rows) / 2
    half_y = (abs(sin) * across * columns + abs(cos) * down * rows) / 2
    x, y = math.floor(centre[0] - half_x) - 1, math.floor(centre[1] - half_y) - 1
    size = (math.ceil(centre[0] + half_x) + 1 - x, math.ceil(centre[1] + half_y) + 1 - y)
    matrix = np.array([[cos * across, -sin * down, 0.0], [sin * across, cos * down, 0.0]])
    # OpenCV's pixel centres are at whole numbers, ours at halves.
    middle = ((columns - 1) / 2, (rows - 1) / 2)
    matrix[:, 2] = np.array([centre[0] - x - 0.5, centre[1] - y - 0.5]) - matrix[:, :2] @ middle
    return Layer(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), x, y)


def compose(image: np.ndarray, layer: Layer) -> None:
    """Lays a layer over an image (H, W, 3) uint8, in place."""
    overlap = cut(layer, image.shape)
    if overlap is None:
        return
    place, part = overlap
    pixels = layer.pixels[part]
    behind = cv2.merge([255 - pixels[..., 3]] * 3)
    behind = cv2.multiply(image[place], behind, scale=1 / 255)
    image[place] = cv2.add(behind, np.ascontiguousarray(pixels[..., :3]))


def cut(layer: Layer, shape) -> tuple | None:
    """Slices of an image and of a layer where both are, or None."""
    rows, columns = layer.pixels.shape[:2]
    x1, y1 = max(0, layer.x), max(0, layer.y)
    x2, y2 = min(shape[1], layer.x + columns), min(shape[0], layer.y + rows)
    if x1 >= x2 or y1 >= y2:
        return None
    part = np.s_[y1 - layer.y : y2 - layer.y, x1 - layer.x : x2 - layer.x]
    return np.s_[y1:y2, x1:x2], part


def smear(layer: Layer, vector: Tuple[float, float]) -> Layer:
    """The layer as an open shutter sees it while it moves by ``vector`` pixels, centred."""
    reach = math.ceil(max(abs(vector[0]), abs(vector[1])) / 2)
    steps = min(2 * reach + 1, 17)
    rows, columns = layer.pixels.shape[:2]
    total = np.zeros((rows + 2 * reach, columns + 2 * reach, 4), np.uint16)
    for along in np.linspace(-0.5, 0.5, steps):
        x, y = reach + round(vector[0] * along), reach + round(vector[1] * along)
        total[y : y + rows, x : x + columns] += layer.pixels
    return Layer((total // steps).astype(np.uint8), layer.x - reach, layer.y - reach)


def _finish(image: np.ndarray, hue: float) -> FlatSprite:
    """Premultiplies, and shrinks by two until a few pixels are left."""
    if image.shape[2] == 4 and image[..., :3].max() > 0:
        image = image.copy()
        image[..., :3] *= image[..., 3:] / 255
    levels: List[np.ndarray] = [np.rint(image).clip(0, 255).astype(np.uint8)]
    while min(image.shape[:2]) >= 12:
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        levels.append(np.rint(image).clip(0, 255).astype(np.uint8))
    return FlatSprite(tuple(levels), hue)


def _texture(rng: np.random.Generator, side: int, hue: float) -> np.ndarray:
    """Cloth in a given hue, (side, side, 3) float32."""
    image = cv2.resize(cloth(rng), (side, side), interpolation=cv2.INTER_LINEAR)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.int16)
    # cloth() draws its own hue; the difference between its two colours stays as it is.
    image[..., 0] = (image[..., 0] - int(image[0, 0, 0]) + round(hue * 180)) % 180
    return cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_HSV2BGR).astype(np.float32)


def _outline(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A closed line within -1..1, (P, 2)."""
    turn = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    if kind == 'tile':
        tall = math.exp(rng.uniform(-0.45, 0.45))
        power = rng.uniform(2.5, 8)
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power)
        y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power)
        points = np.stack([x / max(1.0, tall), y * min(1.0, tall)], axis=1)
        return points / np.abs(points).max()
    if kind == 'star':
        arms = int(rng.integers(4, 8))
        radius = 1 + rng.uniform(0.15, 0.4) * np.cos(arms * turn + rng.uniform(0, 6.3))
    else:
        radius = np.ones_like(turn)
        for order in range(2, 6):
            wave = rng.uniform(0.02, 0.22) / order
            radius += wave * np.cos(order * turn + rng.uniform(0, 6.3))
    points = radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    return points / np.abs(points).max()


def _mark(
    rng: np.random.Generator, texture: np.ndarray, outline: np.ndarray, side: int, hue: float
) -> None:
    """Draws one or two marks, so that an object can be told from another of its kind."""
    for _ in range(int(rng.integers(1, 3))):
        colour = hsv(hue + rng.uniform(0.25, 0.75), rng.uniform(0.3, 1), rng.uniform(0.3, 1))
        place = side * (1 + rng.uniform(-0.35, 0.35, size=2))
        if rng.random() < 0.5:
            shape = (outline - side) * rng.uniform(0.25, 0.4) + place
            cv2.fillPoly(texture, [np.rint(shape).astype(np.int32)], colour.tolist())
        else:
            centre = tuple(int(v) for v in place)
            cv2.circle(texture, centre, int(side * rng.uniform(0.15, 0.3)), colour.tolist(), -1)
