"""Composes the frames of a synthetic SOT video and knows the truth about its target.

The truth is made first, without drawing a background: which pixels are the target's, which of
them are seen. If a video does not show exactly the attributes that it shall, another one is
thought out, from the same seed and the next number. Only then are the frames drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import FrozenSet, Iterator, List, NamedTuple, Tuple

import cv2
import numpy as np

from mmkd.errors import MMKDError

from .sot_backdrop import sot_backdrop
from .sot_motion import (
    Occluder,
    TargetPath,
    move_target,
    place_occluders,
    stay_near,
    wander,
)
from .sot_plan import KINDS, ROUND_KINDS, with_implied
from .sot_sprite import FlatSprite, Layer, compose, draw, random_panel, random_sprite, smear
from .sot_truth import Truth, extent, make_truth, shown_attributes

ATTEMPTS = 60
MIN_FRAMES = 40


@dataclass(frozen=True)
class SOTSceneConfig:
    """One video.

    Args:
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        frames: Number of frames.
        attributes: What is switched on; names of ``sot_plan.ATTRIBUTES``. FOC brings POC with it.
        kind: Of the target: 'blob', 'star', 'tile' or 'car'.
        seed: Any integers; the same give the same bytes with the same numpy and OpenCV.
        target_size: Square root of the target's area in the first frame, in image heights.
        distractors: Other objects that move behind the target.
    """

    width: int = 320
    height: int = 240
    frames: int = 100
    attributes: FrozenSet[str] = frozenset()
    kind: str = 'blob'
    seed: Tuple[int, ...] = (0,)
    target_size: Tuple[float, float] = (0.15, 0.24)
    distractors: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, 'attributes', with_implied(self.attributes))
        if min(self.width, self.height) < 160:
            raise MMKDError(
                f'A synthetic SOT video of {self.width}x{self.height} pixels is too small: 160 '
                f'at least.'
            )
        if self.frames < MIN_FRAMES:
            raise MMKDError(
                f'{self.frames} frames are too few for what shall happen: {MIN_FRAMES} at least.'
            )
        if self.kind not in KINDS:
            raise MMKDError(f"There is no target of kind '{self.kind}': {', '.join(KINDS)}.")
        turns = 'ROT' in self.attributes and not {'ARC', 'SV'} <= self.attributes
        if turns and self.kind not in ROUND_KINDS:
            raise MMKDError(
                f"A '{self.kind}' that turns (ROT) changes the shape of its box (ARC) and its area "
                f'(SV): switch these on too, or take one of {", ".join(ROUND_KINDS)}.'
            )
        low, high = self.target_size
        if not 0.05 <= low <= high <= 0.35:
            raise MMKDError('target_size must be two fractions of the height within 0.05..0.35.')
        if self.distractors < 0:
            raise MMKDError('The number of distractors cannot be negative.')


class Video(NamedTuple):
    """A video that is thought out but not drawn."""

    config: SOTSceneConfig
    sprite: FlatSprite
    path: TargetPath
    layers: List[Layer]  # the target, sharp
    panels: List[Tuple[Occluder, np.ndarray]]
    truth: Truth
    attempt: int


def think_out(config: SOTSceneConfig) -> Video:
    """Makes a video that shows exactly its attributes, without drawing it.

    Raises:
        MMKDError: If none was found, which a combination with too few frames may cause.
    """
    wrong = frozenset()
    for attempt in range(ATTEMPTS):
        video = _attempt(config, attempt)
        wrong = shown_attributes(video.truth, video.path, config.attributes)
        wrong ^= config.attributes
        if not wrong:
            return video
    raise MMKDError(
        f'{ATTEMPTS} attempts gave no video of {config.frames} frames with exactly '
        f'{", ".join(sorted(config.attributes)) or "no attribute"} (at last {", ".join(wrong)} did '
        f'not fit). Give it more frames or another seed.'
    )


def draw_frames(video: Video) -> Iterator[np.ndarray]:
    """Yields the frames, (height, width, 3) uint8 BGR."""
    config, path = video.config, video.path
    rng = np.random.default_rng((*config.seed, video.attempt, 1))
    size = (config.width, config.height)
    similar = video.sprite if 'BC' in config.attributes else None
    canvas, margin = sot_backdrop(rng, size, similar)
    others = _distractors(rng, video)
    grain = rng.normal(0, 3, size=(config.height + 64, config.width + 64, 1)).repeat(3, axis=2)
    grain = np.rint(grain).astype(np.int8)
    plain = np.abs(path.gain - 1).max(axis=1) < 1e-3
    for t in range(config.frames):
        corner = path.camera[t] + margin
        matrix = np.array([[1.0, 0.0, -corner[0]], [0.0, 1.0, -corner[1]]])
        image = cv2.warpAffine(canvas, matrix, size, borderMode=cv2.BORDER_REFLECT_101)
        for sprite, way, scale, turn in others:
            compose(image, draw(sprite, tuple(way[t]), (scale, scale), float(turn[t])))
        layer = video.layers[t]
        if video.truth.blur[t] > 1:
            way = path.centre[t] - path.centre[t - 1]
            layer = smear(layer, tuple(way * video.truth.blur[t] / np.hypot(*way)))
        compose(image, layer)
        for panel, pixels in video.panels:
            compose(image, Layer(pixels, int(panel.corner[t, 0]), int(panel.corner[t, 1])))
        if not plain[t]:
            image = cv2.multiply(image, (*path.gain[t].tolist(), 1.0))
        x, y = rng.integers(0, 64, size=2)
        part = np.ascontiguousarray(grain[y : y + config.height, x : x + config.width])
        yield cv2.add(image, part, dtype=cv2.CV_8U)


def _attempt(config: SOTSceneConfig, attempt: int) -> Video:
    rng = np.random.default_rng((*config.seed, attempt, 0))
    size = (config.width, config.height)
    side = 128 if config.height <= 360 else 256
    sprite = random_sprite(rng, config.kind, side)
    path = move_target(
        rng, config.attributes, sprite.size, _base_size(rng, config), size, config.frames
    )
    layers = [
        draw(sprite, tuple(path.centre[t]), tuple(path.scale[t]), float(path.angle[t]))
        for t in range(config.frames)
    ]
    extents = np.array([extent(layer) for layer in layers])
    occluders = place_occluders(rng, config.attributes, extents, path.camera, size)
    panels = [(panel, random_panel(rng, *panel.size)) for panel in occluders]
    truth = make_truth(layers, extents, occluders, path, size)
    return Video(config, sprite, path, layers, panels, truth, attempt)


def _base_size(rng: np.random.Generator, config: SOTSceneConfig) -> float:
    """Square root of the target's area in the first frame, in pixels."""
    low, high = (config.height * fraction for fraction in config.target_size)
    # Low resolution begins at 20 x 20 pixels: well below, or well above at the smallest.
    if 'LR' in config.attributes:
        return float(rng.uniform(14, 18))
    low = max(low, 26.0)
    return float(rng.uniform(low, max(low * 1.1, high)))


def _distractors(rng: np.random.Generator, video: Video) -> list:
    """Sprites with their ways, scales and turns; with SOB they look like the target."""
    config, path = video.config, video.path
    size = (config.width, config.height)
    base = float(np.sqrt(path.scale[0].prod()))
    target = math.sqrt(video.truth.extents[0, 2:].prod())
    t = np.arange(config.frames)
    others = []
    for _ in range(config.distractors):
        kind = str(rng.choice(KINDS))
        hue = video.sprite.hue + rng.uniform(0.25, 0.75)
        sprite = random_sprite(rng, kind, 128, hue)
        side = target * rng.uniform(0.7, 1.3)
        # They stand on the world that the camera moves over.
        way = wander(rng, size, side * rng.uniform(0.03, 0.12), config.frames) - path.camera
        turn = rng.uniform(-0.3, 0.3) + rng.choice([0, 0.03]) * t
        others.append((sprite, way, side / math.sqrt(np.prod(sprite.size)), turn))
    if 'SOB' in config.attributes:
        for _ in range(3):
            turn = path.angle + rng.uniform(-0.5, 0.5)
            scale = base * rng.uniform(0.85, 1.15)
            others.append((video.sprite, stay_near(rng, path, target), scale, turn))
    return others
