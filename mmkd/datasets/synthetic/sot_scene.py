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
from .sot_sprite import (
    SOLID,
    FlatSprite,
    Layer,
    compose,
    cut,
    draw,
    random_panel,
    random_sprite,
    smear,
)

ATTEMPTS = 60
LOW_RESOLUTION = 400  # pixels of a box; OTB's and UAV123's threshold
MIN_FRAMES = 40
MIN_SEEN = 0.05  # of a target's pixels: fewer are no target
NEAR = 0.3  # share of a target's pixels that POC hides at least, in some frame


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


class Truth(NamedTuple):
    """What is known about a video; arrays over frames. Boxes are x, y, w, h in whole pixels.

    ``boxes`` enclose the visible pixels of the target and are 0, 0, 0, 0 where ``absent``;
    ``extents`` enclose all of them, also hidden ones and ones outside of the image.
    """

    boxes: np.ndarray  # (T, 4) int
    extents: np.ndarray  # (T, 4) int
    visible: np.ndarray  # (T,) float, share of the target's pixels that are seen
    inside: np.ndarray  # (T,) float, share inside of the image, hidden or not
    occluded: np.ndarray  # (T,) bool: full_occlusion.txt
    outside: np.ndarray  # (T,) bool: out_of_view.txt
    blur: np.ndarray  # (T,) float, length of the motion blur in pixels

    @property
    def absent(self) -> np.ndarray:
        """(T,) bool: there is nothing to be seen."""
        return self.occluded | self.outside


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
        wrong = shown_attributes(video) ^ config.attributes
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
            layer = smear(layer, tuple(_motion(path, t) * path.shutter))
        compose(image, layer)
        for panel, pixels in video.panels:
            compose(image, Layer(pixels, int(panel.corner[t, 0]), int(panel.corner[t, 1])))
        if not plain[t]:
            image = cv2.multiply(image, (*path.gain[t].tolist(), 1.0))
        x, y = rng.integers(0, 64, size=2)
        part = np.ascontiguousarray(grain[y : y + config.height, x : x + config.width])
        yield cv2.add(image, part, dtype=cv2.CV_8U)


def shown_attributes(video: Video) -> FrozenSet[str]:
    """The attributes that a video has, measured on its truth.

    IV, CM, ROT, BC and SOB are what was switched on: they follow from how it is drawn.
    ``docs/sot_synthetic.md`` has the thresholds.
    """
    config, truth, path = video.config, video.truth, video.path
    shown = {name for name in ('BC', 'SOB') if name in config.attributes}
    extents = truth.extents.astype(float)
    area, aspect = extents[:, 2] * extents[:, 3], extents[:, 2] / extents[:, 3]
    size = np.sqrt(area)
    hidden = 1 - truth.visible / np.maximum(truth.inside, 1e-9)
    hidden = np.where(truth.inside < MIN_SEEN, 0, hidden)
    moved = np.zeros(len(area))
    moved[1:] = np.hypot(*np.diff(extents[:, :2] + extents[:, 2:] / 2, axis=0).T) / size[1:]
    seen = ~truth.absent
    pairs = np.zeros(len(area), bool)
    pairs[1:] = seen[1:] & seen[:-1]
    jerk = np.abs(np.diff(path.camera, n=2, axis=0)).max()
    clear = {
        'SV': _ratio(area / area[0]),
        'ARC': _ratio(aspect / aspect[0]),
        'LR': _beyond(area[seen] < LOW_RESOLUTION, area[seen] < 1.3 * LOW_RESOLUTION),
        'FM': _beyond(moved[pairs] > 1, moved[pairs] > 0.85, least=3),
        'OV': _beyond(truth.outside, truth.inside < 1, least=3),
        'FOC': _beyond(truth.occluded, hidden > 0.9, least=3),
        'POC': _beyond((hidden >= NEAR) & (hidden < 1), hidden > 0, least=2),
        'MB': _beyond(truth.blur > np.maximum(3, 0.2 * size), truth.blur > 0, least=5),
        'ROT': _beyond(np.abs(path.angle - path.angle[0]) > 0.5, path.angle != path.angle[0]),
        'IV': _beyond(np.abs(path.gain - 1).max(axis=1) > 0.4, (path.gain != 1).any(axis=1)),
        'CM': None if 0.9 < jerk < 2.5 else bool(jerk >= 2.5),
    }
    for name, value in clear.items():
        # In doubt it counts as the opposite of what was wanted: such a video is not used.
        if (name not in config.attributes) if value is None else value:
            shown.add(name)
    if truth.absent[0] or truth.visible[0] < 1:
        shown.add('a hidden first frame')
    return frozenset(shown)


def _ratio(ratio: np.ndarray) -> bool | None:
    extreme = np.maximum(ratio, 1 / ratio)
    return _beyond(extreme > 2.1, extreme > 1.8, least=3)


def _beyond(certain: np.ndarray, possible: np.ndarray, least: int = 1) -> bool | None:
    """True: certainly has it; False: certainly has not; None: neither."""
    if certain.sum() >= least:
        return True
    return None if possible.any() else False


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
    extents = np.array([_box(layer.pixels[..., 3] > SOLID, layer) for layer in layers])
    occluders = place_occluders(rng, config.attributes, extents, path.camera, size)
    panels = [(panel, random_panel(rng, *panel.size)) for panel in occluders]
    truth = _truth(layers, extents, occluders, path, size)
    return Video(config, sprite, path, layers, panels, truth, attempt)


def _base_size(rng: np.random.Generator, config: SOTSceneConfig) -> float:
    """Square root of the target's area in the first frame, in pixels."""
    low, high = (config.height * fraction for fraction in config.target_size)
    # Low resolution begins at 20 x 20 pixels: well below, or well above at the smallest.
    if 'LR' in config.attributes:
        return float(rng.uniform(14, 18))
    low = max(low, 26.0)
    return float(rng.uniform(low, max(low * 1.1, high)))


def _truth(
    layers: List[Layer],
    extents: np.ndarray,
    occluders: List[Occluder],
    path: TargetPath,
    size: Tuple[int, int],
) -> Truth:
    frames = len(layers)
    boxes = np.zeros((frames, 4), int)
    visible, inside = np.zeros(frames), np.zeros(frames)
    occluded, outside = np.zeros(frames, bool), np.zeros(frames, bool)
    for t, layer in enumerate(layers):
        solid = layer.pixels[..., 3] > SOLID
        whole = int(solid.sum())
        seen = np.zeros_like(solid)
        overlap = cut(layer, size[::-1])
        if overlap is not None:
            seen[overlap[1]] = solid[overlap[1]]
        inside[t] = seen.sum() / whole
        for panel in occluders:
            x, y = panel.corner[t] - (layer.x, layer.y)
            if x + panel.size[0] > 0 and y + panel.size[1] > 0:
                seen[max(0, y) : y + panel.size[1], max(0, x) : x + panel.size[0]] = False
        visible[t] = seen.sum() / whole
        outside[t] = inside[t] < MIN_SEEN
        occluded[t] = visible[t] < MIN_SEEN and not outside[t]
        if visible[t] >= MIN_SEEN:
            boxes[t] = _box(seen, layer)
    blur = np.array([np.hypot(*_motion(path, t)) for t in range(frames)]) * path.shutter
    return Truth(boxes, extents, visible, inside, occluded, outside, blur)


def _box(mask: np.ndarray, layer: Layer) -> Tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return layer.x + x, layer.y + y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def _motion(path: TargetPath, t: int) -> np.ndarray:
    return path.centre[t] - path.centre[t - 1] if t else np.zeros(2)


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
        way = wander(rng, size, side * rng.uniform(0.03, 0.12), config.frames)
        turn = rng.uniform(-0.3, 0.3) + rng.choice([0, 0.03]) * t
        others.append((sprite, way, side / math.sqrt(np.prod(sprite.size)), turn))
    if 'SOB' in config.attributes:
        for _ in range(3):
            turn = path.angle + rng.uniform(-0.5, 0.5)
            scale = base * rng.uniform(0.85, 1.15)
            others.append((video.sprite, stay_near(rng, path, target), scale, turn))
    return others
