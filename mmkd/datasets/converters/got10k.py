"""GOT-10k: lists of the videos of its splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List

from mmkd.errors import MMKDError, nearest

from ..sot_infos import VideoInfo
from .badlines import BadLines
from .sot_lists import (
    Listing,
    check_frames,
    count_boxes,
    frame_numbers,
    need_folder,
    read_names,
)

SPLITS = ('train', 'val', 'test', 'train_vot', 'val_vot')
FRAMES = '%08d.jpg'


def convert_got10k(
    root: str, splits: Iterable[str] = ('train', 'val', 'test'), skip_bad: bool = False
) -> Dict[str, Listing]:
    """Lists the videos of GOT-10k.

    Args:
        root: ``{train,val,test}/{list.txt, <video>/{%08d.jpg, groundtruth.txt, ...}}``.
        splits: Of 'train', 'val', 'test', and 'train_vot', 'val_vot': the parts of the training set
            without the videos that are in VOT, by the numbers in
            ``train/got10k_{vot_train,vot_val}_split.txt`` (counted from 0), as mmtrack has them.
        skip_bad: Leave out videos that are not complete.

    Returns:
        Split -> listing.

    Raises:
        MMKDError: If a folder, file or frame is missing, or a file is wrong.
    """
    base = need_folder(root, "GOT-10k's folder")
    listings = {}
    for split in splits:
        if split not in SPLITS:
            raise MMKDError(f"GOT-10k has no split '{split}'. {nearest(split, SPLITS)}")
        bad = BadLines(skip_bad)
        folder = split if split in ('val', 'test') else 'train'
        need_folder(base / folder, "The split's folder")
        found = [
            _look_at(base, f'{folder}/{name}', split == 'test', bad) for name in _names(base, split)
        ]
        notes = Counter({f'left out: {reason}': n for reason, n in bad.counts.items()})
        listings[split] = Listing([info for info in found if info is not None], notes)
    return listings


def _names(base: Path, split: str) -> List[str]:
    if '_' not in split:
        return sorted(read_names(base / split / 'list.txt'))
    part = split.split('_')[0]
    path = base / 'train' / f'got10k_vot_{part}_split.txt'
    try:
        return sorted(f'GOT-10k_Train_{int(float(n)) + 1:06d}' for n in read_names(path))
    except ValueError as error:
        raise MMKDError(f"'{path}' is not a list of videos' numbers: {error}") from error


def _look_at(base: Path, rel: str, is_hidden: bool, bad: BadLines) -> VideoInfo | None:
    folder = base / rel
    boxes = count_boxes(folder / 'groundtruth.txt', bad)
    if not boxes:
        return None
    numbers = frame_numbers(folder, FRAMES)
    if is_hidden and boxes == 1:
        # The test set's ground truth is its first frame's: the video ends where the images do.
        boxes = max(numbers, default=1)
    if not check_frames(numbers, 1, boxes, str(folder), 'groundtruth.txt', bad, FRAMES):
        return None
    return VideoInfo(rel, f'{rel}/groundtruth.txt', 1, boxes)
