"""A walker: how it looks, its pose in one frame, and its picture.

A pose is drawn in units of the body's height, with the origin on the ground below the hips, x to
the right and y up.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

import cv2
import numpy as np

from .textures import cloth, hsv

# Numbers in the label map of a drawn walker; SHIRT is filled with the cloth's texture.
SKIN, SHIRT, SLEEVE, TROUSERS, SHOE, HAIR, BAG, FAR_SLEEVE, FAR_TROUSERS, FAR_SKIN, SKIRT = range(
    1, 12
)
THIGH, SHANK, UPPER_ARM, FOREARM = 0.245, 0.235, 0.17, 0.16
SHIFT = 4  # OpenCV draws polygons in 1/16 of a pixel
_HALF_TURN = np.linspace(-math.pi / 2, math.pi / 2, 6)
_TURN = np.linspace(0, 2 * math.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


class Look(NamedTuple):
    """What stays the same about a person."""

    colours: np.ndarray  # (12, 3) uint8 BGR, by label
    shirt: np.ndarray  # (48, 48, 3) uint8
    build: float  # width of the body, 1 is usual
    stature: float  # height relative to the others
    skirt: bool
    bag: bool
    long_hair: bool
    short_sleeves: bool


class Pose(NamedTuple):
    """What changes from frame to frame."""

    heading: float  # direction on the ground: 0 to the right, pi/2 towards the camera
    phase: float  # of the stride, in radians
    pace: float  # 0 stands, 1 walks, 2 and more runs


class Picture(NamedTuple):
    """A drawn object at its place in the image.

    ``colour`` is premultiplied by ``alpha``. ``box`` (x1, y1, x2, y2) encloses the whole object,
    also where it leaves the image.
    """

    colour: np.ndarray  # (h, w, 3) float32
    alpha: np.ndarray  # (h, w) float32 in 0..1
    x: int
    y: int
    box: Tuple[float, float, float, float]


def random_look(rng: np.random.Generator) -> Look:
    """A person's body and clothes."""
    shirt = cloth(rng)
    skin = hsv(rng.uniform(0.04, 0.09), rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.95))
    trousers = hsv(rng.random(), rng.uniform(0.1, 0.8), rng.choice([0.12, 0.25, 0.45, 0.85]))
    hair = hsv(rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.7), rng.choice([0.08, 0.2, 0.45, 0.7]))
    short_sleeves = bool(rng.random() < 0.4)
    sleeve = skin if short_sleeves else shirt.reshape(-1, 3).mean(axis=0)
    colours = np.zeros((12, 3))
    colours[[SKIN, SLEEVE, TROUSERS, HAIR]] = skin, sleeve, trousers, hair
    colours[SHOE] = hsv(rng.random(), 0.3, rng.choice([0.08, 0.2, 0.9]))
    colours[BAG] = hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.8))
    colours[SKIRT] = trousers
    colours[[FAR_SLEEVE, FAR_TROUSERS, FAR_SKIN]] = sleeve * 0.68, trousers * 0.68, skin * 0.7
    return Look(
        colours=np.clip(colours, 0, 255).astype(np.uint8),
        shirt=shirt,
        build=rng.uniform(0.9, 1.25),
        stature=rng.uniform(0.88, 1.08),
        skirt=bool(rng.random() < 0.25),
        bag=bool(rng.random() < 0.3),
        long_hair=bool(rng.random() < 0.35),
        short_sleeves=short_sleeves,
    )


def draw_walker(look: Look, pose: Pose, foot: Tuple[float, float], height: float) -> Picture:
    """Draws a walker.

    Args:
        look: Who.
        pose: How.
        foot: Where the ground below the hips is, in pixels of the image.
        height: Of the body, in pixels.
    """
    parts, torso = _parts(look, pose)
    vertices = np.concatenate([points for _, points in parts])
    to_pixels = np.array([height, -height])
    low = (vertices * to_pixels).min(axis=0) + foot
    high = (vertices * to_pixels).max(axis=0) + foot
    x, y = (int(v) for v in np.floor(low))
    width, rows = (int(v) for v in np.ceil(high) - np.floor(low))
    # Drawn larger and shrunk by area, so that edges are smooth and positions finer than a pixel.
    factor = 4 if height < 40 else 2
    offset = np.array(foot) - (x, y)
    labels = np.zeros((rows * factor, width * factor), np.uint8)
    for label, points in parts:
        pixels = ((points * to_pixels + offset) * factor - 0.5) * 2**SHIFT
        cv2.fillPoly(labels, [np.rint(pixels).astype(np.int32)], label, shift=SHIFT)
    colour = look.colours[labels]
    corners = ((torso * to_pixels + offset) * factor).astype(np.float32)
    size = look.shirt.shape[0]
    place = cv2.getAffineTransform(np.float32([[0, 0], [size, 0], [0, size]]), corners)
    shirt = cv2.warpAffine(look.shirt, place, labels.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    cv2.copyTo(shirt, (labels == SHIRT).view(np.uint8), colour)
    alpha = (labels > 0).astype(np.float32)
    size = (width, rows)
    return Picture(
        colour=cv2.resize(colour.astype(np.float32), size, interpolation=cv2.INTER_AREA),
        alpha=cv2.resize(alpha, size, interpolation=cv2.INTER_AREA),
        x=x,
        y=y,
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
    )


def _parts(look: Look, pose: Pose) -> Tuple[List[Tuple[int, np.ndarray]], np.ndarray]:
    """Returns the body's polygons in drawing order, and three corners of the torso's texture."""
    along, towards = math.cos(pose.heading), math.sin(pose.heading)
    run = min(1.0, max(0.0, pose.pace - 1))
    stride = min(1.0, pose.pace) * (0.42 + 0.25 * run)
    build = look.build
    # From the body's middle to its right side: sideways in the picture if it faces the camera.
    side = -towards
    right_is_near = along > 0

    hips_y, shoulder_y = 0.49, 0.815
    legs, feet = {}, []
    for name, sign in (('right', 1), ('left', -1)):
        phase = pose.phase if name == 'right' else pose.phase + math.pi
        swing = stride * math.sin(phase)
        bend = (0.12 + (0.55 + 0.7 * run) * max(0.0, math.cos(phase))) * min(1.0, pose.pace)
        hip = np.array([side * sign * 0.05 * build, hips_y])
        knee = hip + THIGH * np.array([math.sin(swing) * along, -math.cos(swing)])
        ankle = knee + SHANK * np.array([math.sin(swing - bend) * along, -math.cos(swing - bend)])
        legs[name] = (hip, knee, ankle)
        feet.append(ankle[1])
    sole = 0.028
    # The lower foot stands on the ground, which makes the body bob as it does.
    lift = sole - min(feet)
    lean = along * (0.02 + 0.1 * run) * min(1.0, pose.pace)

    def up(point) -> np.ndarray:
        return np.array([point[0] + lean * max(0.0, point[1] - hips_y) / 0.3, point[1] + lift])

    def leg(name: str, far: bool) -> List[Tuple[int, np.ndarray]]:
        hip, knee, ankle = (up(p) for p in legs[name])
        toe = ankle + (along * 0.06, -0.012 - 0.012 * max(0.0, towards))
        heel = ankle + (-along * 0.015, -0.01)
        cloth_label = FAR_TROUSERS if far else TROUSERS
        skin_label = FAR_SKIN if far else SKIN
        lower = skin_label if look.skirt else cloth_label
        return [
            (SHOE, _capsule(heel, toe, 0.021, 0.016)),
            (lower, _capsule(knee, ankle, 0.037 * build, 0.024)),
            (cloth_label, _capsule(hip, knee, 0.056 * build, 0.04 * build)),
        ]

    def arm(name: str, far: bool) -> List[Tuple[int, np.ndarray]]:
        sign = 1 if name == 'right' else -1
        phase = pose.phase + (math.pi if name == 'right' else 0)
        swing = (0.5 + 0.3 * run) * min(1.0, pose.pace) * math.sin(phase)
        bend = 0.2 + 1.2 * run
        shoulder = up((side * sign * 0.105 * build, shoulder_y - 0.015))
        outward = side * sign * 0.035
        elbow = shoulder + (
            UPPER_ARM * math.sin(swing) * along + outward,
            -UPPER_ARM * math.cos(swing),
        )
        hand = elbow + (
            FOREARM * math.sin(swing + bend) * along + outward * 0.3,
            -FOREARM * math.cos(swing + bend),
        )
        upper = FAR_SLEEVE if far else (SHIRT if look.short_sleeves else SLEEVE)
        lower = (FAR_SKIN if far else SKIN) if look.short_sleeves else upper
        return [
            (FAR_SKIN if far else SKIN, _capsule(hand, hand + (0, -0.012), 0.022, 0.016)),
            (lower, _capsule(elbow, hand, 0.026 * build, 0.02)),
            (upper, _capsule(shoulder, elbow, 0.034 * build, 0.027 * build)),
        ]

    near, far = ('right', 'left') if right_is_near else ('left', 'right')
    parts = arm(far, True) + leg(far, True) + leg(near, False)
    torso = _torso(look, towards, up)
    if look.skirt:
        parts.append((SKIRT, _skirt(look, towards, stride * abs(along), up)))
    bag = _capsule(up((-along * 0.085, 0.76)), up((-along * 0.09, 0.6)), 0.05, 0.06)
    if look.bag and towards >= -0.5:
        parts.append((BAG, bag))
    parts.append((SHIRT, torso))
    if look.bag and towards < -0.5:
        parts.append((BAG, bag))
    parts += _head(look, along, towards, up)
    # Facing the camera, both arms hang in front of the torso's edge.
    parts += arm(near, False) if abs(along) > 0.5 else arm(near, False) + arm(far, False)
    top, bottom = torso[:, 1].max(), torso[:, 1].min()
    left, right = torso[:, 0].min(), torso[:, 0].max()
    return parts, np.array([[left, top], [right, top], [left, bottom]])


def _torso(look: Look, towards: float, up) -> np.ndarray:
    wide = abs(towards)
    shoulder = (0.07 + 0.045 * wide) * look.build
    waist = (0.06 + 0.025 * wide) * look.build
    hip = (0.066 + 0.025 * wide) * look.build
    outline = [
        (-0.3 * shoulder, 0.855),
        (0.3 * shoulder, 0.855),
        (0.9 * shoulder, 0.835),
        (shoulder, 0.8),
        (waist, 0.62),
        (hip, 0.475),
        (-hip, 0.475),
        (-waist, 0.62),
        (-shoulder, 0.8),
        (-0.9 * shoulder, 0.835),
    ]
    return np.array([up(point) for point in outline])


def _skirt(look: Look, towards: float, stride: float, up) -> np.ndarray:
    waist = (0.06 + 0.025 * abs(towards)) * look.build
    hem = waist + 0.035 + 0.1 * stride
    return np.array([up(p) for p in ((-waist, 0.58), (waist, 0.58), (hem, 0.29), (-hem, 0.29))])


def _head(look: Look, along: float, towards: float, up) -> List[Tuple[int, np.ndarray]]:
    centre = up((0.012 * along, 0.925))
    parts = [(SKIN, _capsule(up((0, 0.84)), centre, 0.026, 0.03))]
    if look.long_hair:
        back = up((-0.035 * along, 0.92))
        parts.append((HAIR, _capsule(back, back - (0, 0.09), 0.05, 0.045)))
    parts.append((HAIR, centre + _CIRCLE * (0.056, 0.068) + (-0.008 * along, 0.006)))
    if towards > -0.4:
        face = centre + _CIRCLE * (0.044, 0.054) + (0.014 * along, -0.012)
        parts.append((SKIN, face))
    return parts


def _capsule(start, end, start_radius: float, end_radius: float) -> np.ndarray:
    """The outline of a limb: two half circles and what lies between them; (12, 2)."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    dx, dy = end - start
    angle = math.atan2(dy, dx)
    front = np.stack([np.cos(angle + _HALF_TURN), np.sin(angle + _HALF_TURN)], axis=1)
    return np.concatenate([end + end_radius * front, start - start_radius * front])
