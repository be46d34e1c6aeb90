"""Attributes that follow from boxes, where no file gives them.

Scale and aspect change, fast motion, low resolution, out of view, and occlusion by other boxes.
Illumination, blur, deformation, clutter and the like need pixels and an eye.

Each benchmark has its own thresholds; a :class:`BoxRules` holds them:

- ``LASOT``: Fan et al., LaSOT, CVPR 2019, table 2. SV and ARC: ratio to the first frame outside of
  0.5..2; FM: motion larger than the box; LR: a box below 1000 pixels; OV: wholly out of the frame.
- ``OTB``: Wu et al., Online Object Tracking: A Benchmark, CVPR 2013, table 2. SV: ratio outside of
  0.5..2; FM: more than 20 pixels; LR: below 400 pixels; OV: some portion is out; OCC: partly or
  fully. It has no ARC.
- ``UAV123``: Mueller et al., A Benchmark and Simulator for UAV Tracking, ECCV 2016, table 2. SV and
  ARC as LaSOT's, FM and LR as OTB's, OV: some portion is out.

None of the three says how much of a box must be covered: ``partial`` and ``full`` are ours. Nor do
they say whether the scale's ratio is of areas or of sides, and what the size of a box is: ``scale``
and ``motion_unit`` choose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Tuple

import numpy as np

from mmkd.errors import MMKDError, nearest

CRITERIA = ('scale', 'aspect', 'motion', 'resolution', 'view', 'partial', 'full')
FRONTS = ('lower_edge', 'all')
_CELLS = 1 << 22  # array elements that one step may take


@dataclass(frozen=True)
class BoxRules:
    """When a frame has an attribute.

    Args:
        names: Criterion -> the data set's short name, in the data set's order; two criteria may
            share one. A criterion that is not there is not looked at.
        scale_range: SV where the scale's ratio to the first frame is outside of it.
        scale: 'area', or 'side' (the area's square root).
        aspect_range: ARC where width / height, divided by the first frame's, is outside of it.
        motion: FM where the centre moves by more since the frame before.
        motion_unit: 'size' (square root of the area), 'long_side', 'short_side', each of the
            frame's own box; or 'pixels'.
        low_resolution: LR where the box has fewer pixels.
        out_of_view: OV where at most this share of the box is inside of the image.
        partial: POC where at least this share of the box is covered, and less than ``full``.
        full: FOC where at least this share of the box is covered.
    """

    names: Dict[str, str] = field(default_factory=dict)
    scale_range: Tuple[float, float] = (0.5, 2.0)
    scale: str = 'area'
    aspect_range: Tuple[float, float] = (0.5, 2.0)
    motion: float = 1.0
    motion_unit: str = 'size'
    low_resolution: float = 1000.0
    out_of_view: float = 0.0
    partial: float = 0.25
    full: float = 0.9

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in CRITERIA:
                raise MMKDError(f"BoxRules: no criterion '{name}'. {nearest(name, CRITERIA)}")
        for key, choices in (('scale', ('area', 'side')), ('motion_unit', tuple(_SIZES))):
            if getattr(self, key) not in choices:
                value = getattr(self, key)
                raise MMKDError(f"BoxRules: {key}='{value}'. {nearest(value, choices)}")
        for key in ('scale_range', 'aspect_range'):
            low, high = getattr(self, key)
            if not 0 <= low <= 1 <= high:
                raise MMKDError(f'BoxRules: {key} must contain 1, not be {low}..{high}.')
        if not 0 < self.partial <= self.full <= 1:
            raise MMKDError(
                f'BoxRules: 0 < partial <= full <= 1 must hold, not {self.partial}, {self.full}.'
            )

    @property
    def attribute_names(self) -> Tuple[str, ...]:
        """The names that can occur, each once."""
        return tuple(dict.fromkeys(self.names.values()))


_SIZES = {
    'size': lambda w, h: np.sqrt(w * h),
    'long_side': np.maximum,
    'short_side': np.minimum,
    'pixels': lambda w, h: np.ones_like(w),
}

LASOT = BoxRules(
    names={
        'partial': 'POC',
        'scale': 'SV',
        'full': 'FOC',
        'motion': 'FM',
        'view': 'OV',
        'resolution': 'LR',
        'aspect': 'ARC',
    }
)
# "Some portion leaves the view": a hundredth of the box, as annotators do not draw finer.
OTB = BoxRules(
    names={
        'scale': 'SV',
        'partial': 'OCC',
        'full': 'OCC',
        'motion': 'FM',
        'view': 'OV',
        'resolution': 'LR',
    },
    motion=20.0,
    motion_unit='pixels',
    low_resolution=400.0,
    out_of_view=0.99,
)
UAV123 = BoxRules(
    names={
        'scale': 'SV',
        'aspect': 'ARC',
        'resolution': 'LR',
        'motion': 'FM',
        'full': 'FOC',
        'partial': 'POC',
        'view': 'OV',
    },
    motion=20.0,
    motion_unit='pixels',
    low_resolution=400.0,
    out_of_view=0.99,
)
RULES = {'lasot': LASOT, 'otb': OTB, 'uav123': UAV123}


def frame_attributes(
    boxes: np.ndarray,
    rules: BoxRules = LASOT,
    image_size: Tuple[int, int] | None = None,
    covered: np.ndarray | None = None,
    absent: np.ndarray | None = None,
    outside: np.ndarray | None = None,
) -> Dict[str, np.ndarray]:
    """Attributes of each frame of a track.

    A frame counts for SV, ARC, FM and LR where it has a finite box with an area and is not
    ``absent``; the first one that counts is the reference. Motion is between neighbouring frames
    that both count.

    Args:
        boxes: (T, 4) x, y, w, h in pixels; anything without an area (zeros, NaN): no box.
        rules: The benchmark's.
        image_size: (width, height) in pixels; None: OV from ``outside`` alone.
        covered: (T,) share of the target that other things hide, 0..1; see
            ``occlusion_by_overlap``. None: no occlusion is known. A number in a frame without a
            box counts as well.
        absent: (T,) bool; the box of such a frame means nothing.
        outside: (T,) bool; known to be out of view (LaSOT's out_of_view.txt).

    Returns:
        Attribute -> (T,) bool, in the order of ``rules.names``.

    Raises:
        MMKDError: If shapes do not fit.
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise MMKDError(f'Boxes of a track have the shape (frames, 4), not {boxes.shape}.')
    frames = len(boxes)
    flags = {'covered': covered, 'absent': absent, 'outside': outside}
    for name, value in flags.items():
        if value is not None and np.shape(value) != (frames,):
            raise MMKDError(f'{name} has the shape {np.shape(value)} for {frames} boxes.')
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    if absent is not None:
        usable &= ~np.asarray(absent, bool)
    # Unused boxes become the unit box, so that nothing below divides by zero.
    x, y, w, h = np.where(usable[:, None], boxes, (0.0, 0.0, 1.0, 1.0)).T
    first = int(usable.argmax()) if frames else 0
    found = {
        'scale': usable & _is_outside(w * h, first, rules.scale_range, rules.scale == 'side'),
        'aspect': usable & _is_outside(w / h, first, rules.aspect_range),
        'resolution': usable & (w * h < rules.low_resolution),
        'motion': _moves(x + w / 2, y + h / 2, w, h, usable, rules),
        'view': np.zeros(frames, bool) if outside is None else np.asarray(outside, bool).copy(),
    }
    if image_size is not None:
        inside = _inside_share(x, y, w, h, image_size)
        found['view'] |= usable & (inside <= rules.out_of_view)
    share = np.zeros(frames) if covered is None else np.asarray(covered, np.float64)
    found['full'] = share >= rules.full
    found['partial'] = (share >= rules.partial) & ~found['full']
    result = {name: np.zeros(frames, bool) for name in rules.attribute_names}
    for criterion, name in rules.names.items():
        result[name] |= found[criterion]
    return result


def video_attributes(
    boxes: np.ndarray, rules: BoxRules = LASOT, min_frames: int = 1, **known
) -> Tuple[str, ...]:
    """Attributes of a whole track: those that at least ``min_frames`` frames have.

    The benchmarks' own rule is one frame; noisy boxes (those of a detector) need more.

    Args:
        boxes: (T, 4) as in :func:`frame_attributes`, like ``rules`` and ``known``.
        rules: The benchmark's.
        min_frames: How many frames, 1 or more.
        **known: ``image_size``, ``covered``, ``absent``, ``outside``.
    """
    found = frame_attributes(boxes, rules, **known)
    return tuple(name for name, flags in found.items() if flags.sum() >= max(1, min_frames))


def occlusion_by_overlap(
    frames: np.ndarray, boxes: np.ndarray, in_front: str = 'lower_edge'
) -> np.ndarray:
    """The share of each box that the union of other boxes of its frame covers.

    Args:
        frames: (N,) frame of each box, whole numbers in any order.
        boxes: (N, 4) x, y, w, h in pixels.
        in_front: Which boxes hide others. 'lower_edge': those whose lower edge is below the
            other's, for objects that stand on one ground before a camera that looks down on it,
            as in MOTChallenge; of two at the same height neither hides the other. 'all': any
            (the most that can be hidden).

    Returns:
        (N,) float64 in 0..1; 0 for boxes without an area.

    Raises:
        MMKDError: If ``in_front`` is no choice or shapes do not fit.
    """
    if in_front not in FRONTS:
        raise MMKDError(f"in_front='{in_front}'. {nearest(in_front, FRONTS)}")
    frames, boxes = np.asarray(frames), np.asarray(boxes, np.float64).reshape(-1, 4)
    if frames.shape != (len(boxes),):
        raise MMKDError(f'{frames.shape} frames for {len(boxes)} boxes.')
    result = np.zeros(len(boxes))
    if not len(boxes):
        return result
    order = np.argsort(frames, kind='stable')
    corners = np.concatenate([boxes[order, :2], boxes[order, :2] + boxes[order, 2:]], axis=1)
    counts = np.unique(frames, return_counts=True)[1]
    # Frames are taken together as long as their pairs fit; one frame is never divided.
    pairs = np.cumsum(counts.astype(np.int64) ** 2)
    starts = np.concatenate([[0], np.cumsum(counts)])
    begin = 0
    while begin < len(counts):
        done = pairs[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(pairs, done + _CELLS, 'right')))
        rows = np.s_[starts[begin] : starts[end]]
        result[order[rows]] = _frames_covered(corners[rows], counts[begin:end], in_front)
        begin = end
    return result


def covered_share(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of boxes that the union of some others covers, exactly.

    Args:
        corners: (N, 4) x1, y1, x2, y2.
        others: (N, K, 4) likewise; entries without an area (zeros) cover nothing.

    Returns:
        (N,) float64 in 0..1; 0 for boxes without an area.
    """
    corners, others = np.asarray(corners, np.float64), np.asarray(others, np.float64)
    number, most = others.shape[:2]
    result = np.zeros(number)
    if not most:
        return result
    step = max(1, _CELLS // (4 * most * most))
    for begin in range(0, number, step):
        part = np.s_[begin : begin + step]
        result[part] = _union(corners[part], others[part])
    return result


def _union(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``covered_share`` of few boxes: the edges of the others cut each box into a grid of cells."""
    covers, sizes = [], []
    for low, high in ((0, 2), (1, 3)):
        start, stop = corners[:, None, low], corners[:, None, high]
        begin = np.clip(others[..., low], start, stop)
        end = np.clip(others[..., high], start, stop)
        edges = np.sort(np.concatenate([begin, end], axis=1), axis=1)
        cover = (begin[..., None] <= edges[:, None, :-1]) & (edges[:, None, 1:] <= end[..., None])
        covers.append(cover.astype(np.float32))
        sizes.append(np.diff(edges, axis=1))
    hit = np.matmul(covers[0].transpose(0, 2, 1), covers[1]) > 0
    area = np.einsum('nij,ni,nj->n', hit, *sizes)
    whole = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    share = np.divide(area, whole, out=np.zeros_like(area), where=whole > 0)
    return np.clip(share, 0, 1)


def _frames_covered(corners: np.ndarray, counts: np.ndarray, in_front: str) -> np.ndarray:
    """``occlusion_by_overlap`` of boxes that are sorted by frame."""
    repeats = np.repeat(counts, counts)
    one = np.repeat(np.arange(len(corners)), repeats)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    other = np.repeat(first, repeats) + within
    a, b = corners[one], corners[other]
    hides = (np.minimum(a[:, 2:], b[:, 2:]) > np.maximum(a[:, :2], b[:, :2])).all(axis=1)
    hides &= one != other
    if in_front == 'lower_edge':
        hides &= b[:, 3] > a[:, 3]
    one, other = one[hides], other[hides]
    result = np.zeros(len(corners))
    if not len(one):
        return result
    rows, start, number = np.unique(one, return_index=True, return_counts=True)
    # Rows with few others first: one crowded box must not make the grids of all of them large.
    for most in np.unique(2 ** np.ceil(np.log2(number)).astype(int)):
        chosen = (number <= most) & (2 * number > most)
        place = np.arange(most) < number[chosen, None]
        index = np.where(place, start[chosen, None] + np.arange(most), 0)
        others = np.where(place[..., None], corners[other[index]], 0.0)
        result[rows[chosen]] = covered_share(corners[rows[chosen]], others)
    return result


def _is_outside(values, first: int, allowed: Tuple[float, float], root: bool = False):
    ratio = values / values[first] if len(values) else values
    ratio = np.sqrt(ratio) if root else ratio
    return (ratio < allowed[0]) | (ratio > allowed[1])


def _moves(x, y, w, h, usable, rules: BoxRules) -> np.ndarray:
    result = np.zeros(len(x), bool)
    moved = np.hypot(np.diff(x), np.diff(y))
    limit = rules.motion * _SIZES[rules.motion_unit](w, h)[1:]
    result[1:] = usable[1:] & usable[:-1] & (moved > limit)
    return result


def _inside_share(x, y, w, h, image_size: Tuple[int, int]) -> np.ndarray:
    wide = np.clip(np.minimum(x + w, image_size[0]) - np.maximum(x, 0), 0, None)
    high = np.clip(np.minimum(y + h, image_size[1]) - np.maximum(y, 0), 0, None)
    return wide * high / (w * h)
