"""TrackingNet: lists of the videos of its parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, Sequence

from mmkd.errors import MMKDError, nearest

from ..sot_infos import VideoInfo
from .badlines import BadLines
from .sot_lists import Listing, check_frames, count_boxes, frame_numbers, need_folder

SPLITS = ('train', 'test')
CHUNKS = tuple(range(12))
FRAMES = '%d.jpg'


def convert_trackingnet(
    root: str,
    splits: Iterable[str] = SPLITS,
    chunks: Sequence[int] = CHUNKS,
    skip_bad: bool = False,
) -> Dict[str, Listing]:
    """Lists the videos of TrackingNet.

    Args:
        root: ``{TRAIN_0, ..., TRAIN_11, TEST}/{frames/<video>/%d.jpg, anno/<video>.txt}``; frames
            are counted from 0.
        splits: Of 'train' and 'test'.
        chunks: Parts of the training set.
        skip_bad: Leave out videos that are not complete.

    Returns:
        Split -> listing. Empty folders of frames are left out and counted.

    Raises:
        MMKDError: If a folder, file or frame is missing, or a file is wrong.
    """
    base = need_folder(root, "TrackingNet's folder")
    listings = {}
    for split in splits:
        if split not in SPLITS:
            raise MMKDError(f"TrackingNet has no split '{split}'. {nearest(split, SPLITS)}")
        for chunk in chunks:
            if chunk not in CHUNKS:
                raise MMKDError(f'TrackingNet has the chunks 0 to 11, not {chunk}.')
        parts = [f'TRAIN_{chunk}' for chunk in chunks] if split == 'train' else ['TEST']
        bad, notes, infos = BadLines(skip_bad), Counter(), []
        for part in parts:
            frames = need_folder(base / part / 'frames', f'The frames of {part}:')
            for folder in sorted(path for path in frames.iterdir() if path.is_dir()):
                infos.append(_look_at(base, part, folder, bad, notes))
        notes.update({f'left out: {reason}': n for reason, n in bad.counts.items()})
        listings[split] = Listing([info for info in infos if info is not None], notes)
    return listings


def _look_at(
    base: Path, part: str, folder: Path, bad: BadLines, notes: Counter
) -> VideoInfo | None:
    numbers = frame_numbers(folder, FRAMES)
    if not numbers:
        notes['left out: an empty folder of frames'] += 1
        return None
    ann = f'{part}/anno/{folder.name}.txt'
    boxes = count_boxes(base / ann, bad)
    if not boxes:
        return None
    if part == 'TEST' and boxes == 1:
        boxes = numbers[-1] + 1
    if not check_frames(numbers, 0, boxes, str(folder), ann, bad, FRAMES):
        return None
    return VideoInfo(f'{part}/frames/{folder.name}', ann, 0, boxes - 1)
