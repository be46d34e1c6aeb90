"""The static background of a synthetic SOT video, larger than the image: a camera moves over it."""

from __future__ import annotations

import math
from typing import Tuple

import cv2
import numpy as np

from .sot_sprite import FlatSprite, compose, draw, random_sprite
from .textures import backdrop, hsv, noise

MARGIN = 0.22  # on each side, as a fraction of the image


def sot_backdrop(
    rng: np.random.Generator, size: Tuple[int, int], similar: FlatSprite | None = None
) -> Tuple[np.ndarray, np.ndarray]:
    """Draws a street, noise of many scales, or a ground strewn with flat shapes.

    Args:
        rng: Decides everything.
        size: (width, height) of the image in pixels.
        similar: Strew pieces with this target's colours and texture over it (background clutter).

    Returns:
        The canvas, (H, W, 3) uint8 BGR, and the place (2,) of the image's corner on it when the
        camera is at rest.
    """
    margin = np.ceil(MARGIN * np.array(size)).astype(int)
    width, height = (int(v) for v in np.array(size) + 2 * margin)
    kind = int(rng.integers(3))
    if kind == 0:
        canvas = backdrop(rng, width, height, rng.uniform(0.15, 0.3), rng.uniform(0.35, 0.5))
    else:
        canvas = _ground(rng, width, height)
    if kind == 2:
        for _ in range(int(rng.integers(8, 20))):
            sprite = random_sprite(rng, str(rng.choice(['blob', 'tile', 'star'])), 64)
            _strew(rng, canvas, sprite, rng.uniform(0.06, 0.2) * height)
    if similar is not None:
        for _ in range(130):
            _strew(rng, canvas, _piece(rng, similar), rng.uniform(0.05, 0.13) * height)
    return canvas, margin


def _ground(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several scales between three colours."""
    colours = [hsv(rng.random(), rng.uniform(0.05, 0.6), rng.uniform(0.25, 0.85)) for _ in range(3)]
    image = np.empty((height, width, 3), np.float32)
    image[:] = colours[0]
    for colour in colours[1:]:
        blend = noise(rng, height, width, height / rng.uniform(2, 12))
        blend = 1 / (1 + np.exp(-rng.uniform(1, 6) * blend))[..., None]
        image += blend * (colour - image)
    for cell, strength in ((12, 0.08), (4, 0.08), (1.5, 0.06)):
        image *= 1 + strength * noise(rng, height, width, cell)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _strew(rng: np.random.Generator, canvas: np.ndarray, sprite: FlatSprite, side: float) -> None:
    centre = tuple(rng.uniform(0, 1, size=2) * canvas.shape[1::-1])
    scale = side / math.sqrt(np.prod(sprite.size))
    stretch = math.exp(rng.uniform(-0.3, 0.3))
    compose(
        canvas,
        draw(sprite, centre, (scale * stretch, scale / stretch), rng.uniform(0, 6.3)),
    )


def _piece(rng: np.random.Generator, sprite: FlatSprite) -> FlatSprite:
    """A torn piece of a sprite: its texture in another outline."""
    image = sprite.levels[0]
    mask = np.zeros(image.shape[:2], np.uint8)
    middle = np.array(image.shape[1::-1]) * rng.uniform(0.3, 0.7, size=2)
    turn = np.sort(rng.uniform(0, 2 * math.pi, size=7))
    radius = rng.uniform(0.25, 0.5, size=7) * max(image.shape[:2])
    points = middle + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return FlatSprite((image * mask[..., None],), sprite.hue)
