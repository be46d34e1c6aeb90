"""Writes synthetic sequences in MOTChallenge's layout, with attributes of each target.

``attributes.csv`` has one line for each track and frame from the track's first to its last
appearance, sorted by track, with 0 or 1 in each column:

- ``occlusion``: more than 15 % of what is inside of the image is hidden.
- ``out_of_view``: at least 10 % of the target is outside of the image; 1 as well where it is not
  to be seen at all, and then the others are 0.
- ``scale_change``: the box's area differs from the track's first one by a factor of 2 or more.
- ``fast_motion``: since the frame before, the box's centre moved by more than a fifth of the
  square root of its area.
- ``blur``: motion blur of at least 2 pixels.
- ``illumination``: brightness at least 20 % away from the scene's usual one.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List

import cv2
import numpy as np

from mmkd.errors import MMKDError

from .scene import Frame, SceneConfig, Target, render

ATTRIBUTES = (
    'occlusion',
    'out_of_view',
    'scale_change',
    'fast_motion',
    'blur',
    'illumination',
)
WRITTEN = {'img1', 'gt', 'seqinfo.ini', 'attributes.csv'}
MIN_INSIDE = 0.1  # of a target's pixels must be in the image for a line in gt.txt


def write_sequence(
    folder: str,
    config: SceneConfig,
    force: bool = False,
    progress: Callable[[], None] | None = None,
) -> dict:
    """Renders a sequence into ``img1/``, ``gt/gt.txt``, ``seqinfo.ini`` and ``attributes.csv``.

    Args:
        folder: The sequence's folder; its name becomes the sequence's.
        config: The scene.
        force: Replace a folder that is there.
        progress: Called after each frame.

    Returns:
        frames, boxes, ids.

    Raises:
        MMKDError: If the folder exists, or with ``force`` holds anything that is not a sequence's.
    """
    out = Path(folder)
    if out.exists():
        if not force:
            raise MMKDError(f"'{out}' exists. Replace it with --force.")
        foreign = {path.name for path in out.iterdir()} - WRITTEN
        if foreign:
            raise MMKDError(f"'{out}' also holds '{min(foreign)}', so it is not replaced.")
        shutil.rmtree(out)
    (out / 'img1').mkdir(parents=True)
    (out / 'gt').mkdir()
    tracks: Dict[int, Dict[int, Target]] = defaultdict(dict)
    gains: List[float] = []
    for number, frame in enumerate(render(config), start=1):
        _write_image(out / 'img1' / f'{number:06d}.jpg', frame)
        gains.append(frame.gain)
        for target in frame.targets:
            if target.inside >= MIN_INSIDE:
                tracks[target.track][number] = target
        if progress is not None:
            progress()
    lines = [
        _gt_line(number, target)
        for track in sorted(tracks)
        for number, target in sorted(tracks[track].items())
    ]
    (out / 'gt' / 'gt.txt').write_text(''.join(lines), encoding='utf-8')
    (out / 'attributes.csv').write_text(_attributes(tracks, gains), encoding='utf-8')
    # Written last: a folder without it was not finished.
    (out / 'seqinfo.ini').write_text(
        f'[Sequence]\nname={out.name}\nimDir=img1\nframeRate={config.fps:g}\n'
        f'seqLength={config.frames}\nimWidth={config.width}\nimHeight={config.height}\n'
        f'imExt=.jpg\n',
        encoding='utf-8',
    )
    return {'frames': config.frames, 'boxes': len(lines), 'ids': len(tracks)}


def _write_image(path: Path, frame: Frame) -> None:
    if not cv2.imwrite(str(path), frame.image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise MMKDError(f"'{path}' cannot be written.")


def _gt_line(number: int, target: Target) -> str:
    x1, y1, x2, y2 = target.box
    return (
        f'{number},{target.track},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,'
        f'{target.class_id},{target.visible:.3f}\n'
    )


def _attributes(tracks: Dict[int, Dict[int, Target]], gains: List[float]) -> str:
    usual = float(np.median(gains))
    lines = [','.join(('frame', 'id', *ATTRIBUTES)) + '\n']
    for track in sorted(tracks):
        seen = tracks[track]
        first = min(seen)
        for number in range(first, max(seen) + 1):
            values = _labels(seen, first, number, gains[number - 1] / usual)
            lines.append(','.join(str(value) for value in (number, track, *values)) + '\n')
    return ''.join(lines)


def _labels(seen: Dict[int, Target], first: int, number: int, gain: float) -> List[int]:
    """Values of ATTRIBUTES for one track in one frame."""
    target = seen.get(number)
    if target is None:
        return [int(name == 'out_of_view') for name in ATTRIBUTES]
    x, y, area = _centre_and_area(target)
    ratio = area / _centre_and_area(seen[first])[2]
    moved = 0.0
    if number - 1 in seen:
        old_x, old_y, _ = _centre_and_area(seen[number - 1])
        moved = float(np.hypot(x - old_x, y - old_y))
    return [
        int(target.visible < 0.85 * target.inside),
        int(target.inside <= 0.9),
        int(not 0.5 < ratio < 2),
        int(moved > 0.2 * area**0.5),
        int(target.blur >= 2),
        int(abs(gain - 1) >= 0.2),
    ]


def _centre_and_area(target: Target):
    x1, y1, x2, y2 = target.box
    return (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * (y2 - y1)
