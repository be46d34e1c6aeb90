"""What is true about a synthetic SOT video's target, pixel by pixel, and what attributes it has."""

from __future__ import annotations

from dataclasses import replace
from typing import FrozenSet, List, NamedTuple, Tuple

import numpy as np

from ..attributes.computed import LASOT
from .sot_motion import Occluder, TargetPath
from .sot_sprite import SOLID, Layer, cut

MIN_SEEN = 0.05  # share of a target's pixels: fewer are no target
# LaSOT's definitions; LaSOT's images are larger than ours, so low resolution is OTB's.
RULES = replace(LASOT, low_resolution=400.0, partial=0.25, full=1 - MIN_SEEN)
NEAR = 0.3  # a video with POC has frames in which at least this share is hidden
MAX_BLUR = 0.5  # length of the motion blur at most, in sizes of the target
JERK = (0.9, 2.5)  # pixels per frame and frame: the camera's change of speed without and with CM
TURN = 0.5  # radians that a target with ROT turns at least
GAIN = 0.4  # change of brightness that IV has at least


class Truth(NamedTuple):
    """What is known about a video; arrays over T frames. Boxes are x, y, w, h in whole pixels.

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

    @property
    def hidden(self) -> np.ndarray:
        """(T,) share of the pixels inside of the image that something hides; 0 out of view."""
        hidden = 1 - self.visible / np.maximum(self.inside, 1e-9)
        return np.where(self.outside, 0.0, hidden)


def make_truth(
    layers: List[Layer],
    extents: np.ndarray,
    occluders: List[Occluder],
    path: TargetPath,
    size: Tuple[int, int],
) -> Truth:
    """Counts the target's pixels.

    A pixel is the target's where the sharp drawing's alpha is above a half: motion blur spreads it
    evenly to both sides and does not change its box.

    Args:
        layers: The target in each frame, sharp.
        extents: (T, 4) of :func:`extent`.
        occluders: What is in front of it; opaque.
        path: Of the target.
        size: (width, height) of the image in pixels.
    """
    frames = len(layers)
    boxes = np.zeros((frames, 4), int)
    visible, inside = np.zeros(frames), np.zeros(frames)
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
        if visible[t] >= MIN_SEEN:
            boxes[t] = _box(seen, layer)
    outside = inside < MIN_SEEN
    blur = np.zeros(frames)
    blur[1:] = np.hypot(*np.diff(path.centre, axis=0).T) * path.shutter
    # Smeared over more, a target is a shade that no box fits.
    blur = np.minimum(blur, MAX_BLUR * np.sqrt(extents[:, 2] * extents[:, 3]))
    return Truth(boxes, extents, visible, inside, (visible < MIN_SEEN) & ~outside, outside, blur)


def extent(layer: Layer) -> Tuple[int, int, int, int]:
    """x, y, w, h of all of a layer's pixels, inside of the image or not."""
    return _box(layer.pixels[..., 3] > SOLID, layer)


def shown_attributes(truth: Truth, path: TargetPath, wanted: FrozenSet[str]) -> FrozenSet[str]:
    """The attributes that a video has, measured.

    What is neither clearly there nor clearly not there counts as the opposite of what was wanted,
    so that such a video is not used. BC and SOB are as wanted: they are in how it is drawn.

    Args:
        truth: Of the video.
        path: Of its target.
        wanted: What was switched on.
    """
    # A box of a target that is not to be seen says nothing; what was off must be off there too.
    seen = ~truth.absent
    extents = truth.extents.astype(float)
    area, aspect = extents[:, 2] * extents[:, 3], extents[:, 2] / extents[:, 3]
    size = np.sqrt(area)
    moved = np.zeros(len(area))
    moved[1:] = np.hypot(*np.diff(extents[:, :2] + extents[:, 2:] / 2, axis=0).T) / size[1:]
    pairs = np.zeros(len(area), bool)
    pairs[1:] = seen[1:] & seen[:-1]
    jerk = np.abs(np.diff(path.camera, n=2, axis=0)).max()
    turned, gained = np.abs(path.angle - path.angle[0]), np.abs(path.gain - 1).max(axis=1)
    hidden = truth.hidden
    low = RULES.low_resolution
    clear = {
        'SV': _ratio(area / area[0], seen),
        'ARC': _ratio(aspect / aspect[0], seen),
        'LR': _clear(seen & (area < low), area < 1.3 * low),
        'FM': _clear(pairs & (moved > 1), pairs & (moved > 0.85), least=3),
        'OV': _clear(truth.outside, truth.inside < 1, least=3),
        'FOC': _clear(truth.occluded, hidden > 0.9, least=3),
        'POC': _clear((hidden >= NEAR) & (hidden < RULES.full), hidden > 0, least=2),
        'MB': _clear(seen & (truth.blur > np.maximum(3, 0.2 * size)), truth.blur > 0, least=5),
        'ROT': _clear(seen & (turned > TURN), turned > 0),
        'IV': _clear(seen & (gained > GAIN), gained > 0),
        'CM': None if JERK[0] < jerk < JERK[1] else bool(jerk >= JERK[1]),
    }
    shown = {name for name in ('BC', 'SOB') if name in wanted}
    for name, value in clear.items():
        if (name not in wanted) if value is None else value:
            shown.add(name)
    if truth.visible[0] < 1:
        shown.add('a hidden first frame')
    return frozenset(shown)


def _ratio(ratio: np.ndarray, seen: np.ndarray) -> bool | None:
    extreme = np.maximum(ratio, 1 / ratio)
    return _clear(seen & (extreme > 2.1), extreme > 1.8, least=3)


def _clear(certain: np.ndarray, possible: np.ndarray, least: int = 1) -> bool | None:
    """True: certainly there, in ``least`` frames; False: certainly not; None: neither."""
    if certain.sum() >= least:
        return True
    return None if possible.any() else False


def _box(mask: np.ndarray, layer: Layer) -> Tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return layer.x + x, layer.y + y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1
