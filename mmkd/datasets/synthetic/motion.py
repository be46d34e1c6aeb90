"""Where everything is in each frame: paths on the ground, the camera, the light."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# A step towards the camera moves a person less far in the picture than one to the side.
FORESHORTENING = 0.4


class Stage(NamedTuple):
    """The ground that walkers use, in pixels of the backdrop.

    A person's height in pixels grows linearly with the distance of the feet from the horizon.
    """

    width: int
    height: int
    horizon: float
    far: float  # y of the feet that are farthest away
    near: float
    far_height: float  # height of a person at ``far``, in pixels

    def person_height(self, y: float) -> float:
        """Height in pixels of a person whose feet are at ``y``."""
        return self.far_height * (y - self.horizon) / (self.far - self.horizon)


class Path(NamedTuple):
    """One object's way; arrays over frames."""

    x: np.ndarray
    y: np.ndarray
    heading: np.ndarray
    pace: np.ndarray
    phase: np.ndarray


class Camera(NamedTuple):
    """What the image shows of the stage; arrays over frames."""

    x: np.ndarray  # centre, in pixels of the stage
    y: np.ndarray
    zoom: np.ndarray

    def to_image(self, t: int, size) -> np.ndarray:
        """(2, 3) matrix from stage to image pixels in frame ``t``."""
        zoom = self.zoom[t]
        return np.array(
            [
                [zoom, 0, size[0] / 2 - zoom * self.x[t]],
                [0, zoom, size[1] / 2 - zoom * self.y[t]],
            ]
        )


def walk(
    rng: np.random.Generator, stage: Stage, frames: int, fps: float, vehicle: bool = False
) -> Path:
    """A way over the stage from goal to goal: across, towards the camera, out and back in.

    Args:
        rng: Decides everything.
        stage: Where.
        frames: How long.
        fps: Frames per second.
        vehicle: Drives straight across instead of walking.
    """
    x = rng.uniform(0, stage.width)
    y = _depth(rng, stage)
    goal, pace, wait = _goal(rng, stage, x, y, vehicle)
    heading, phase = 0.0, rng.uniform(0, 2 * math.pi)
    log = np.zeros((5, frames))
    # Persons walk 0.85 of their height in a second.
    speed = 0.85 / fps
    for t in range(frames):
        now = pace
        dx, dy = goal[0] - x, (goal[1] - y) / FORESHORTENING
        distance = math.hypot(dx, dy)
        step = speed * pace * stage.person_height(y)
        if distance <= step:
            now = 0.0
            if wait > 0:
                wait -= 1
            else:
                if not 0 <= x <= stage.width:
                    # Unseen, it may have gone anywhere: it comes back at another place.
                    y = _depth(rng, stage)
                goal, pace, wait = _goal(rng, stage, x, y, vehicle)
        else:
            heading = _turn(heading, math.atan2(dy, dx), 0.5) if t else math.atan2(dy, dx)
            x += step * dx / distance
            y += step * dy / distance * FORESHORTENING
            phase += 2 * math.pi * speed * pace / (0.8 if pace < 1.5 else 1.2)
        log[:, t] = x, y, heading, now, phase
    return Path(*log)


def move_camera(rng: np.random.Generator, stage: Stage, size, frames: int) -> Camera:
    """Pans and zooms slowly, trembles, and now and then jerks."""
    t = np.arange(frames)
    zoom = 1.1 + 0.08 * np.sin(2 * math.pi * t / rng.uniform(90, 240) + rng.uniform(0, 6.3))
    room_x = (stage.width - size[0] / zoom) / 2
    room_y = (stage.height - size[1] / zoom) / 2
    period = rng.uniform(220, 500)
    across = rng.uniform(0.3, 0.8) * np.sin(2 * math.pi * t / period + rng.uniform(0, 6.3))
    down = 0.5 * np.sin(2 * math.pi * t / rng.uniform(150, 300) + rng.uniform(0, 6.3))
    for start in _events(rng, frames, every=60):
        # 3 frames there, some frames' rest, a slow way back.
        bump = np.interp(t, [start, start + 3, start + 12, start + 40], [0, 1, 1, 0])
        across = across + bump * rng.choice([-1, 1]) * rng.uniform(0.2, 0.4)
    tremble = rng.standard_normal((2, frames)) * 0.3
    return Camera(
        x=stage.width / 2 + room_x * np.clip(across, -0.97, 0.97) + tremble[0],
        y=stage.height / 2 + room_y * np.clip(down, -0.9, 0.9) + tremble[1],
        zoom=zoom,
    )


def light(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Gain of each colour channel in each frame, (frames, 3); usually about 1."""
    t = np.arange(frames)
    gain = np.ones((frames, 3)) * (1 + 0.04 * np.sin(t / rng.uniform(15, 40)))[:, None]
    for start in _events(rng, frames, every=70):
        length, ramp = rng.integers(12, 30), rng.integers(1, 8)
        curve = np.interp(
            t, [start, start + ramp, start + ramp + length, start + 2 * ramp + length], [0, 1, 1, 0]
        )
        change = rng.choice([rng.uniform(-0.5, -0.3), rng.uniform(0.25, 0.4)])
        tint = 1 + rng.uniform(-0.15, 0.15, size=3)
        gain *= 1 + curve[:, None] * change * tint
    return gain


def _events(rng: np.random.Generator, frames: int, every: int) -> np.ndarray:
    """Start frames; on average one in ``every`` frames, and at least one."""
    count = max(1, int(rng.poisson(frames / every)))
    return np.sort(rng.integers(0, max(1, frames - 5), size=count))


def _depth(rng: np.random.Generator, stage: Stage) -> float:
    # Evenly over the picture; a person is large near the camera, so few of them fit there.
    return float(stage.far + (stage.near - stage.far) * rng.uniform(0.02, 1) ** 1.3)


def _goal(rng: np.random.Generator, stage: Stage, x: float, y: float, vehicle: bool):
    """The next goal (x, y), the pace on the way, and the frames to wait there."""
    side = 1 if x < stage.width / 2 else -1
    beyond = 0.12 * stage.width
    exit_x = stage.width + beyond if side > 0 else -beyond
    if vehicle:
        return (exit_x, y), rng.uniform(1.8, 4), int(rng.integers(10, 40))
    kind = rng.random()
    pace = rng.uniform(0.75, 1.3)
    if kind < 0.2:
        pace = rng.uniform(2.4, 4.2)
    if kind < 0.6:
        return (
            (exit_x, np.clip(y + rng.normal() * 0.1 * stage.height, stage.far, stage.near)),
            (pace),
            int(rng.integers(8, 30)),
        )
    if kind < 0.8:
        # Far to near or back: the size changes much, the place little.
        y_goal = stage.near if y < (stage.far + stage.near) / 2 else stage.far
        return (x + rng.normal() * 0.1 * stage.width, y_goal), pace, int(rng.integers(0, 10))
    return (
        (rng.uniform(0.05, 0.95) * stage.width, _depth(rng, stage)),
        pace,
        int(rng.integers(0, 25)),
    )


def _turn(heading: float, wanted: float, most: float) -> float:
    change = (wanted - heading + math.pi) % (2 * math.pi) - math.pi
    return heading + max(-most, min(most, change))
