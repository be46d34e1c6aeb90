"""Composes the frames of a synthetic sequence and knows the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, NamedTuple, Tuple

import cv2
import numpy as np

from mmkd.errors import MMKDError

from .motion import Camera, Path, Stage, light, move_camera, walk
from .sprite import Sprite, place_sprite, random_obstacle, random_vehicle
from .textures import backdrop
from .walker import Look, Picture, Pose, draw_walker, random_look

PEDESTRIAN, CAR = 1, 3  # class numbers of MOTChallenge
HORIZON, FAR, WALL = 0.2, 0.42, 0.39  # fractions of the stage's height
SHUTTER = 0.45  # part of the time between two frames in which light is gathered


@dataclass(frozen=True)
class SceneConfig:
    """One sequence.

    Args:
        width: Of the frames, in pixels.
        height: Of the frames, in pixels.
        frames: Number of frames.
        walkers: Persons; each is seen, leaves and may come back.
        vehicles: Cars (a second class).
        obstacles: Posts, trees, hedges and kiosks that hide what passes behind them.
        fps: Frame rate that the speeds are made for.
        seed: The same seed gives the same bytes with the same numpy and OpenCV.
    """

    width: int = 448
    height: int = 256
    frames: int = 100
    walkers: int = 14
    vehicles: int = 0
    obstacles: int = 6
    fps: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width < 64 or self.height < 64:
            raise MMKDError(
                f'A scene of {self.width}x{self.height} pixels is too small: 64 at least.'
            )
        for name in ('walkers', 'vehicles', 'obstacles', 'seed'):
            if getattr(self, name) < 0:
                raise MMKDError(f'{name} of a scene cannot be negative ({getattr(self, name)}).')
        if self.frames < 1 or self.fps <= 0:
            raise MMKDError('A scene needs at least one frame and a frame rate above 0.')


class Target(NamedTuple):
    """The truth about one object in one frame. Fractions are of the object's pixels."""

    track: int
    class_id: int
    box: Tuple[float, float, float, float]  # x1, y1, x2, y2; whole, may leave the image
    visible: float  # neither hidden nor outside of the image
    inside: float  # inside of the image, hidden or not
    blur: float  # length of its motion blur, in pixels


class Frame(NamedTuple):
    """A rendered frame."""

    image: np.ndarray  # (height, width, 3) uint8 BGR
    targets: List[Target]  # everything that the image contains a part of, by track
    gain: float  # brightness relative to the scene's usual one


class _Actor(NamedTuple):
    track: int  # 0 for obstacles
    class_id: int
    path: Path
    look: Look | None
    sprite: Sprite | None


def render(config: SceneConfig) -> Iterator[Frame]:
    """Yields the sequence's frames, one after another."""
    rng = np.random.default_rng(config.seed)
    size = (config.width, config.height)
    stage = _make_stage(config)
    canvas = backdrop(rng, stage.width, stage.height, HORIZON, WALL)
    actors = _make_actors(rng, config, stage)
    camera = move_camera(rng, stage, size, config.frames)
    gains = light(rng, config.frames)
    grain = rng.normal(0, 3, size=(config.height + 64, config.width + 64)).astype(np.int8)
    for t in range(config.frames):
        to_image = camera.to_image(t, size)
        # OpenCV's pixel centres are at whole numbers, ours at halves.
        shifted = to_image.copy()
        shifted[:, 2] += (to_image[0, 0] - 1) / 2
        image = cv2.warpAffine(
            canvas, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32)
        shake = _shake(camera, t)
        targets = _draw_actors(image, actors, stage, to_image, t, shake)
        if np.hypot(*shake) > 1.5:
            image = cv2.filter2D(image, -1, _line(shake), borderType=cv2.BORDER_REPLICATE)
        image *= gains[t].astype(np.float32)
        y, x = rng.integers(0, 64, size=2)
        image += grain[y : y + config.height, x : x + config.width, None]
        yield Frame(
            np.clip(np.rint(image), 0, 255).astype(np.uint8),
            sorted(targets, key=lambda target: target.track),
            float(gains[t].mean()),
        )


def _make_stage(config: SceneConfig) -> Stage:
    height = round(1.15 * config.height)
    return Stage(
        width=round(1.6 * config.width),
        height=height,
        horizon=HORIZON * height,
        far=FAR * height,
        near=0.99 * height,
        far_height=0.085 * config.height,
    )


def _make_actors(rng: np.random.Generator, config: SceneConfig, stage: Stage) -> List[_Actor]:
    actors = []
    for track in range(1, config.walkers + 1):
        path = walk(rng, stage, config.frames, config.fps)
        actors.append(_Actor(track, PEDESTRIAN, path, random_look(rng), None))
    for track in range(config.walkers + 1, config.walkers + config.vehicles + 1):
        path = walk(rng, stage, config.frames, config.fps, vehicle=True)
        actors.append(_Actor(track, CAR, path, None, random_vehicle(rng)))
    for place in np.linspace(0, 1, config.obstacles + 2)[1:-1]:
        x = (place + rng.uniform(-0.05, 0.05)) * stage.width
        y = stage.far + (stage.near - stage.far) * rng.uniform(0.1, 0.75)
        still = np.ones(config.frames)
        path = Path(x * still, y * still, 0 * still, 0 * still, 0 * still)
        actors.append(_Actor(0, 0, path, None, random_obstacle(rng)))
    return actors


def _draw_actors(
    image: np.ndarray,
    actors: List[_Actor],
    stage: Stage,
    to_image: np.ndarray,
    t: int,
    shake: np.ndarray,
) -> List[Target]:
    """Draws everything from far to near into ``image``; returns what can be seen of whom."""
    zoom = to_image[0, 0]
    owner = np.zeros(image.shape[:2], np.int16)
    drawn: Dict[int, Tuple[_Actor, Picture, int, float]] = {}
    # All shadows lie on the ground, below every body.
    order = sorted(actors, key=lambda actor: (actor.path.y[t], actor.track))
    places = []
    for actor in order:
        foot = to_image[:, :2] @ (actor.path.x[t], actor.path.y[t]) + to_image[:, 2]
        height = stage.person_height(actor.path.y[t]) * zoom
        places.append((foot, height))
        width = 0.16 if actor.sprite is None else actor.sprite.alpha.shape[1] / 330
        _shadow(image, foot, height * width, height * 0.05)
    for actor, (foot, height) in zip(order, places):
        picture = _picture(actor, foot, height, t, image.shape[1::-1])
        if picture is None:
            continue
        own = _own_motion(actor.path, t) * zoom
        blur = float(np.hypot(*(own + shake)))
        # What is hidden by whom is decided by the sharp outlines, also where motion blurs them.
        solid = _claim(owner, picture, actor.track)
        sharp = picture
        if np.hypot(*own) * SHUTTER > 1.5:
            picture = _smear(picture, own * SHUTTER)
        _compose(image, picture)
        if actor.track and solid:
            drawn[actor.track] = (actor, sharp, solid, blur * SHUTTER)
    counts = np.bincount(owner.ravel().clip(0), minlength=len(actors) + 1)
    targets = []
    for track, (actor, picture, solid, blur) in drawn.items():
        inside = _solid_inside(picture, owner.shape) / solid
        if inside > 0:
            visible = min(1.0, counts[track] / solid)
            targets.append(Target(track, actor.class_id, picture.box, visible, inside, blur))
    return targets


def _picture(actor: _Actor, foot, height: float, t: int, size) -> Picture | None:
    path = actor.path
    if actor.sprite is not None:
        mirror = actor.track > 0 and np.cos(path.heading[t]) < 0
        return place_sprite(actor.sprite, foot, height, mirror, size)
    reach = 0.6 * height
    if foot[0] < -reach or foot[0] > size[0] + reach or foot[1] - 1.2 * height > size[1]:
        return None
    pose = Pose(path.heading[t], path.phase[t], path.pace[t])
    return draw_walker(actor.look, pose, tuple(foot), height * actor.look.stature)


def _overlap(picture: Picture, shape) -> tuple | None:
    """Slices of an image and of a picture where both are, or None."""
    rows, columns = picture.alpha.shape
    x1, y1 = max(0, picture.x), max(0, picture.y)
    x2, y2 = min(shape[1], picture.x + columns), min(shape[0], picture.y + rows)
    if x1 >= x2 or y1 >= y2:
        return None
    part = np.s_[y1 - picture.y : y2 - picture.y, x1 - picture.x : x2 - picture.x]
    return np.s_[y1:y2, x1:x2], part


def _compose(image: np.ndarray, picture: Picture) -> None:
    """Lays a picture over the image."""
    overlap = _overlap(picture, image.shape)
    if overlap is not None:
        place, part = overlap
        image[place] *= 1 - picture.alpha[part][..., None]
        image[place] += picture.colour[part]


def _claim(owner: np.ndarray, picture: Picture, track: int) -> int:
    """Notes whose pixels these are now; returns their number, also of those outside."""
    solid = picture.alpha > 0.5
    overlap = _overlap(picture, owner.shape)
    if overlap is not None:
        place, part = overlap
        owner[place][solid[part]] = track
    return int(solid.sum())


def _solid_inside(picture: Picture, shape) -> int:
    overlap = _overlap(picture, shape)
    return 0 if overlap is None else int((picture.alpha[overlap[1]] > 0.5).sum())


def _shadow(image: np.ndarray, foot, half_width: float, half_height: float) -> None:
    rx, ry = max(1, int(half_width)), max(1, int(half_height))
    v, u = np.ogrid[-ry : ry + 1, -rx : rx + 1]
    fade = np.clip(1.2 - (u / rx) ** 2 - (v / ry) ** 2, 0, 1).astype(np.float32) * 0.45
    black = np.zeros((*fade.shape, 3), np.float32)
    _compose(image, Picture(black, fade, int(foot[0]) - rx, int(foot[1]) - ry, (0, 0, 0, 0)))


def _own_motion(path: Path, t: int) -> np.ndarray:
    """Pixels that an object moved on the stage since the frame before."""
    if t == 0:
        return np.zeros(2)
    return np.array([path.x[t] - path.x[t - 1], path.y[t] - path.y[t - 1]])


def _shake(camera: Camera, t: int) -> np.ndarray:
    """Length and direction of the blur that the camera's motion causes, in pixels."""
    if t == 0:
        return np.zeros(2)
    moved = np.array([camera.x[t] - camera.x[t - 1], camera.y[t] - camera.y[t - 1]])
    return -moved * camera.zoom[t] * SHUTTER


def _line(vector: np.ndarray) -> np.ndarray:
    """A kernel that spreads each pixel along a vector."""
    reach = int(np.ceil(np.abs(vector).max() / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for step in np.linspace(-0.5, 0.5, 4 * reach + 1):
        x, y = np.rint(vector * step).astype(int) + reach
        kernel[y, x] += 1
    return kernel / kernel.sum()


def _smear(picture: Picture, vector: np.ndarray) -> Picture:
    kernel = _line(vector)
    margin = kernel.shape[0] // 2
    layers = [
        cv2.filter2D(
            cv2.copyMakeBorder(layer, margin, margin, margin, margin, cv2.BORDER_CONSTANT),
            -1,
            kernel,
            borderType=cv2.BORDER_CONSTANT,
        )
        for layer in (picture.colour, picture.alpha)
    ]
    return Picture(*layers, picture.x - margin, picture.y - margin, picture.box)
