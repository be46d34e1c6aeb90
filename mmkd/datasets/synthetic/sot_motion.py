"""Where target, camera, distractors and occluders are in each frame of a synthetic SOT video.

Lengths are told in sizes: the square root of the area of the target's box. What is switched off
stays clearly on its side of the datasets' thresholds, and what is on goes clearly beyond them.
"""

from __future__ import annotations

import math
from typing import FrozenSet, List, NamedTuple, Tuple

import numpy as np

# Sizes per frame.
CALM, BLURRED, FAST = (0.04, 0.13), (0.26, 0.38), (1.15, 1.6)
JERK = (0.18, 0.3)
SHUTTER = 1.0  # of a blurred video: the light of the whole time between two frames
EDGE = 3  # pixels that stay free between a target that does not leave and the image's border
AWAY = (5, 14)  # frames out of view


class TargetPath(NamedTuple):
    """Arrays over frames."""

    centre: np.ndarray  # (T, 2) in pixels of the image
    scale: np.ndarray  # (T, 2) along the sprite's own width and height
    angle: np.ndarray  # (T,) radians
    camera: np.ndarray  # (T, 2) the image's corner on the canvas' middle part, in pixels
    gain: np.ndarray  # (T, 3) of each colour channel
    shutter: float


class Occluder(NamedTuple):
    """A panel that slides in, rests on the world for some frames and slides out."""

    size: Tuple[int, int]
    corner: np.ndarray  # (T, 2) in pixels of the image
    frames: Tuple[int, int]  # while it rests: first, last


def move_target(
    rng: np.random.Generator,
    attributes: FrozenSet[str],
    sprite_size: Tuple[int, int],
    base: float,
    image_size: Tuple[int, int],
    frames: int,
) -> TargetPath:
    """Decides everything about a target but its looks.

    Args:
        rng: Decides.
        attributes: What is switched on; names of ``sot_plan.ATTRIBUTES``.
        sprite_size: (width, height) of the sprite in its own pixels.
        base: Square root of the sprite's area in the first frame, in pixels of the image.
        image_size: (width, height) in pixels.
        frames: T.
    """
    scale = np.exp(_log_scale(rng, attributes, frames))
    scale *= base / math.sqrt(sprite_size[0] * sprite_size[1])
    angle = _turning(rng, attributes, frames)
    extent = scale * sprite_size
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    reach = np.stack(
        [
            cos * extent[:, 0] + sin * extent[:, 1],
            sin * extent[:, 0] + cos * extent[:, 1],
        ],
        axis=1,
    )
    size = np.sqrt(extent.prod(axis=1))
    camera = _move_camera(rng, attributes, image_size, float(size.min()), frames)
    centre = _walk(rng, attributes, reach / 2, size, camera, image_size)
    shutter = SHUTTER if 'MB' in attributes else 0.0
    return TargetPath(centre, scale, angle, camera, _light(rng, attributes, frames), shutter)


def wander(
    rng: np.random.Generator, image_size: Tuple[int, int], speed: float, frames: int
) -> np.ndarray:
    """Centres (T, 2) of something that crosses the image and bounces off its border."""
    room = np.array(image_size, float)
    start, turn = rng.uniform(0, 1, size=2) * room, rng.uniform(0, 2 * math.pi)
    way = start + np.arange(frames)[:, None] * speed * np.array([math.cos(turn), math.sin(turn)])
    # Folding a straight line at 0 and at the far border bounces it.
    way = np.mod(way, 2 * room)
    return np.where(way > room, 2 * room - way, way)


def stay_near(rng: np.random.Generator, path: TargetPath, size: float) -> np.ndarray:
    """Centres (T, 2) of something that circles a target at 1.2 to 2.4 sizes."""
    frames = len(path.centre)
    lag = np.minimum(np.arange(frames) + int(rng.integers(0, 6)), frames - 1)
    kernel = np.ones(9) / 9
    smooth = np.stack(
        [np.convolve(np.pad(path.centre[:, i], 4, 'edge'), kernel, 'valid') for i in (0, 1)],
        axis=1,
    )
    turn = rng.uniform(0, 6.3) + rng.choice([-1, 1]) * np.arange(frames) * rng.uniform(0.01, 0.05)
    far = size * (1.8 + 0.6 * np.sin(np.arange(frames) / rng.uniform(10, 30) + rng.uniform(0, 6)))
    return smooth[lag] + far[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def place_occluders(
    rng: np.random.Generator,
    attributes: FrozenSet[str],
    extents: np.ndarray,
    camera: np.ndarray,
    image_size: Tuple[int, int],
) -> List[Occluder]:
    """Panels that hide the target: wholly (FOC), or a part of it that is never the whole (POC).

    Args:
        rng: Decides.
        attributes: What is switched on.
        extents: (T, 4) boxes x, y, w, h of the whole target in each frame.
        camera: (T, 2) as in ``TargetPath``.
        image_size: (width, height) in pixels.
    """
    if 'POC' not in attributes:
        return []
    frames = len(extents)
    low, high = extents[:, :2], extents[:, :2] + extents[:, 2:]
    inside = ((low >= 0) & (high <= image_size)).all(axis=1)
    speed = 0.07 * image_size[0]
    panels: List[Occluder] = []
    kinds = ['FOC'] * ('FOC' in attributes) + ['POC'] * (1 + frames // 100)
    # Each event has its own stretch of time: two panels at once might hide all with two parts.
    edges = np.linspace(0.15 * frames, 0.92 * frames, len(kinds) + 1)
    for kind, begin, end in zip(kinds, edges[:-1], edges[1:]):
        middle = 0.35 * begin + 0.65 * end
        times = [t for t in range(int(begin), int(middle)) if inside[t]]
        if not times:
            continue
        first = int(rng.choice(times))
        last = min(int(end), first + int(rng.integers(6, 14)))
        if kind == 'FOC':
            box, last = _cover(low + camera, high + camera, first, last, image_size)
        else:
            box = _cross(rng, low[first] + camera[first], high[first] + camera[first], extents)
        panels.append(_slide(rng, box, (first, last), camera, speed, image_size))
    return panels


def _log_scale(rng: np.random.Generator, attributes: FrozenSet[str], frames: int) -> np.ndarray:
    """Logarithms of the factors along width and height, (T, 2), both about 0 in frame 0."""
    together = 0.03 * np.sin(np.arange(frames) / rng.uniform(8, 25))
    if 'SV' in attributes:
        # What is small already cannot be made out when it gets smaller still.
        way = 1 if 'LR' in attributes else rng.choice([-1, 1])
        grow = rng.uniform(math.log(1.6), math.log(2.0)) * way
        together = together + grow * _visit(rng, frames)
    apart = np.zeros(frames)
    if 'ARC' in attributes:
        stretch = rng.uniform(math.log(1.58), math.log(1.8)) * rng.choice([-1, 1])
        apart = stretch * _visit(rng, frames)
    return np.stack([together + apart, together - apart], axis=1)


def _visit(rng: np.random.Generator, frames: int) -> np.ndarray:
    """From 0 to 1, a rest there, and on most ways back; smooth; (T,)."""
    start, ramp, rest = rng.uniform(0.05, 0.3), rng.uniform(0.15, 0.3), rng.uniform(0.1, 0.3)
    knots = np.array([start, start + ramp, start + ramp + rest, start + 2 * ramp + rest]) * frames
    back = rng.choice([0.0, 0.3, 1.0])
    curve = np.interp(np.arange(frames), knots, [0, 1, 1, back])
    return curve * curve * (3 - 2 * curve)


def _turning(rng: np.random.Generator, attributes: FrozenSet[str], frames: int) -> np.ndarray:
    t = np.arange(frames)
    start = rng.uniform(-0.15, 0.15)
    if 'ROT' not in attributes:
        return np.full(frames, start)
    if rng.random() < 0.5:
        return start + rng.choice([-1, 1]) * t * rng.uniform(0.04, 0.12)
    return start + rng.uniform(1.0, 2.6) * np.sin(t / rng.uniform(10, 22))


def _light(rng: np.random.Generator, attributes: FrozenSet[str], frames: int) -> np.ndarray:
    gain = np.ones((frames, 3))
    if 'IV' not in attributes:
        return gain
    t = np.arange(frames)
    count = 1 + frames // 60
    for index in range(count):
        start = (index + rng.uniform(0.15, 0.45)) * frames / count
        ramp, rest = rng.uniform(1, 10), rng.uniform(0.2, 0.4) * frames / count
        curve = np.interp(t, [start, start + ramp, start + ramp + rest, start + 2 * ramp + rest],
                          [0, 1, 1, 0])  # fmt: skip
        change = rng.choice([rng.uniform(-0.7, -0.5), rng.uniform(0.5, 0.9)])
        tint = 1 + rng.uniform(-0.15, 0.15, size=3)
        gain *= 1 + curve[:, None] * change * tint
    return gain


def _move_camera(
    rng: np.random.Generator,
    attributes: FrozenSet[str],
    image_size: Tuple[int, int],
    size: float,
    frames: int,
) -> np.ndarray:
    """Drifts slowly; with CM it also jerks every 10 to 25 frames."""
    t = np.arange(frames)
    room = 0.09 * np.array(image_size)
    phase, period = rng.uniform(0, 6.3, size=2), rng.uniform(150, 350, size=2)
    way = room * np.sin(phase + 2 * math.pi * t[:, None] / period)
    if 'CM' not in attributes:
        return way
    where, jerks, t = np.zeros(2), np.zeros((frames, 2)), int(rng.integers(4, 12))
    while t < frames:
        length = int(rng.integers(2, 6))
        speed = max(4.0, size * rng.uniform(*JERK))
        turn = rng.uniform(0, 2 * math.pi)
        step = speed * np.array([math.cos(turn), math.sin(turn)])
        # Away from the middle only as far as the canvas goes.
        step = np.where(
            np.abs(where + step * length) > 1.2 * room, -np.sign(where) * abs(step), step
        )
        length = min(length, frames - t)
        jerks[t : t + length] = step
        where = where + step * length
        t += length + int(rng.integers(8, 20))
    return way + np.cumsum(jerks, axis=0)


def _walk(
    rng: np.random.Generator,
    attributes: FrozenSet[str],
    half: np.ndarray,
    size: np.ndarray,
    camera: np.ndarray,
    image_size: Tuple[int, int],
) -> np.ndarray:
    """The target's centre in each frame, (T, 2)."""
    frames = len(half)
    room = np.array(image_size, float)
    low, high = half + EDGE, room - half - EDGE
    centre = np.zeros((frames, 2))
    centre[0] = low[0] + rng.uniform(0.1, 0.9, size=2) * (high[0] - low[0])
    pace = rng.uniform(*(BLURRED if 'MB' in attributes else CALM))
    heading = rng.uniform(0, 2 * math.pi)
    bursts = _bursts(rng, frames) if 'FM' in attributes else set()
    leave = int(rng.uniform(0.25, 0.5) * frames) if 'OV' in attributes else frames
    away, exit_way = 0, np.zeros(2)
    for t in range(1, frames):
        here, shift = centre[t - 1], camera[t] - camera[t - 1]
        if t >= leave and away >= 0:
            if t == leave:
                exit_way = _nearest_exit(here, room)
            out = ((here + half[t - 1] < -1) | (here - half[t - 1] > room + 1)).any()
            away += int(out)
            if away > AWAY[0] and (away > AWAY[1] or rng.random() < 0.15):
                away = -1
                heading = math.atan2(-exit_way[1], -exit_way[0])
            elif not out:
                here = here + exit_way * size[t] * max(pace, 0.42)
            centre[t] = here - (0 if out else 1) * shift
            continue
        if t in bursts:
            centre[t] = _jump(rng, here, size[t], low[t], high[t])
            continue
        heading += rng.normal() * 0.12
        step = size[t] * pace * np.array([math.cos(heading), math.sin(heading)])
        coming = ((here < low[t]) | (here > high[t])).any() and away < 0
        if coming:
            step = -exit_way * size[t] * max(pace, 0.42)
        there = here + step - shift
        if coming:
            centre[t] = there
            continue
        for axis in (0, 1):
            if not low[t, axis] <= there[axis] <= high[t, axis]:
                step[axis] = -step[axis]
        heading = math.atan2(step[1], step[0])
        centre[t] = np.clip(here + step - shift, low[t], high[t])
    return centre


def _bursts(rng: np.random.Generator, frames: int) -> set:
    """Frames in which a fast target jumps: one to three in a row, every 8 to 20 frames."""
    chosen, t = set(), int(rng.integers(4, 12))
    while t < frames:
        length = int(rng.integers(1, 4))
        chosen.update(range(t, t + length))
        t += length + int(rng.integers(8, 20))
    return chosen


def _jump(rng: np.random.Generator, here, size: float, low, high) -> np.ndarray:
    """The longest of some random jumps that ends inside of the image."""
    best = here
    for _ in range(12):
        turn = rng.uniform(0, 2 * math.pi)
        way = size * rng.uniform(*FAST) * np.array([math.cos(turn), math.sin(turn)])
        there = np.clip(here + way, low, high)
        if np.hypot(*(there - here)) > np.hypot(*(best - here)):
            best = there
        if np.hypot(*(there - here)) >= FAST[0] * size:
            return there
    return best


def _nearest_exit(here, room) -> np.ndarray:
    gaps = {
        (-1.0, 0.0): here[0],
        (1.0, 0.0): room[0] - here[0],
        (0.0, -1.0): here[1],
        (0.0, 1.0): room[1] - here[1],
    }
    return np.array(min(gaps, key=gaps.get))


def _cover(low, high, first: int, last: int, image_size):
    """A box on the world that hides the target from ``first`` to as late as it may, and when."""
    most = 0.5 * np.array(image_size)
    while last > first + 2:
        box = low[first : last + 1].min(axis=0) - 3, high[first : last + 1].max(axis=0) + 3
        if (box[1] - box[0] <= most).all():
            break
        last -= 1
    else:
        box = low[first : last + 1].min(axis=0) - 3, high[first : last + 1].max(axis=0) + 3
    return box, last


def _cross(rng: np.random.Generator, low, high, extents: np.ndarray):
    """A post or beam through the target, thinner than the target ever is."""
    thin = rng.uniform(0.38, 0.55) * extents[:, 2:].min()
    middle = (low + high) / 2 + rng.uniform(-0.15, 0.15, size=2) * (high - low)
    long = rng.uniform(1.2, 2.0) * extents[:, 2:].max()
    half = np.array([thin, long] if rng.random() < 0.6 else [long, thin]) / 2
    return middle - half, middle + half


def _slide(rng, box, frames: Tuple[int, int], camera, speed: float, image_size) -> Occluder:
    """Moves a panel from outside to its box on the world, and out again."""
    t = np.arange(len(camera))
    width, height = (int(v) for v in np.ceil(box[1] - box[0]))
    entry, leaving = (_direction(rng) for _ in range(2))
    before = np.maximum(0, frames[0] - t)[:, None] * speed * entry
    after = np.maximum(0, t - frames[1])[:, None] * speed * leaving
    corner = np.floor(box[0]) - camera + before + after
    return Occluder((width + 1, height + 1), np.rint(corner).astype(int), frames)


def _direction(rng) -> np.ndarray:
    return np.array([(1, 0), (-1, 0), (0, 1), (0, -1)][int(rng.integers(4))], float)
