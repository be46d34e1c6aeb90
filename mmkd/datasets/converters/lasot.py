"""LaSOT: lists of its training and test videos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable, List

import numpy as np

from mmkd.errors import MMKDError, nearest

from ..sot_annotations import read_boxes, read_flags
from ..sot_infos import VideoInfo
from .badlines import BadLines
from .sot_lists import Listing, check_frames, frame_numbers, need_folder, read_names

SPLITS = ('train', 'test')
OFFICIAL_TEST_VIDEOS = 280
FRAMES = '%08d.jpg'
# Where the official evaluation toolkit has the list, from its own folder.
_PLACES = (
    'testing_set.txt',
    'sequence_evaluation_config/testing_set.txt',
    'annos/testing_set.txt',
)
_FLAGS = ('full_occlusion.txt', 'out_of_view.txt')


def find_test_list(toolkit: str) -> Path:
    """The list of test videos in the evaluation toolkit.

    Args:
        toolkit: Its folder. https://github.com/HengLan/LaSOT_Evaluation_Toolkit

    Raises:
        MMKDError: If it has none.
    """
    folder = need_folder(toolkit, "The toolkit's folder")
    for place in _PLACES:
        if (folder / place).is_file():
            return folder / place
    raise MMKDError(
        f"'{toolkit}' has no list of LaSOT's test videos; looked for "
        f'{", ".join(map(repr, _PLACES))}. Name the file with --list.'
    )


def convert_lasot(
    root: str,
    test_list: str,
    splits: Iterable[str] = SPLITS,
    skip_bad: bool = False,
) -> Dict[str, Listing]:
    """Lists the videos of LaSOT, or of any folder in its layout.

    Args:
        root: ``<class>/<video>/`` or ``<video>/``, each with ``img``, ``groundtruth.txt``,
            ``full_occlusion.txt``, ``out_of_view.txt``.
        test_list: The file of the test videos' names. All other videos are for training.
        splits: Of 'train' and 'test'.
        skip_bad: Leave out videos that are not complete.

    Returns:
        Split -> listing. Its notes count frames without a visible target and boxes without area,
        which ``mmkd.VisiblePairSampling`` never takes.

    Raises:
        MMKDError: If a folder, file or frame is missing, or a file is wrong.
    """
    videos = _find_videos(need_folder(root, "LaSOT's folder"))
    if not videos:
        raise MMKDError(
            f"'{root}' is not in LaSOT's layout: there is no <class>/<video>/groundtruth.txt. "
            'Unpack the archives of the classes into it.'
        )
    test_names = read_names(test_list)
    listings = {}
    for split in splits:
        if split not in SPLITS:
            raise MMKDError(f"LaSOT has no split '{split}'. {nearest(split, SPLITS)}")
        bad, notes = BadLines(skip_bad), Counter()
        names = test_names if split == 'test' else sorted(set(videos) - set(test_names))
        if split == 'test' and len(names) != OFFICIAL_TEST_VIDEOS:
            notes[f"list of {len(names)} test videos, where LaSOT's own has 280"] += 1
        infos = [_look_at(name, videos, root, test_list, bad, notes) for name in sorted(names)]
        notes.update({f'left out: {reason}': count for reason, count in bad.counts.items()})
        listings[split] = Listing([info for info in infos if info is not None], notes)
    return listings


def _find_videos(root: Path) -> Dict[str, Path]:
    found: List[Path] = [*root.glob('*/groundtruth.txt'), *root.glob('*/*/groundtruth.txt')]
    return {path.parent.name: path.parent for path in sorted(found)}


def _look_at(
    name: str, videos: Dict[str, Path], root: str, test_list: str, bad: BadLines, notes: Counter
) -> VideoInfo | None:
    if name not in videos:
        bad.add(f"'{test_list}'", 'a video that is missing', f": '{name}' is not in '{root}'")
        return None
    folder = videos[name]
    try:
        boxes = read_boxes(str(folder / 'groundtruth.txt'))
        absent = np.zeros(len(boxes), dtype=bool)
        for file in _FLAGS:
            flags = read_flags(str(folder / file))
            if len(flags) != len(boxes):
                raise MMKDError(
                    f"'{folder / file}' is for {len(flags)} frames, but groundtruth.txt has "
                    f'{len(boxes)} boxes.'
                )
            absent |= flags
    except MMKDError as error:
        if not bad.skip:
            raise
        bad.add(str(folder), 'a video whose annotation cannot be read', f': {error}')
        return None
    numbers = frame_numbers(folder / 'img', FRAMES)
    if not check_frames(
        numbers, 1, len(boxes), str(folder / 'img'), 'groundtruth.txt', bad, FRAMES
    ):
        return None
    has_area = (boxes[:, 2:] > 0).all(axis=1)
    notes['frame without a visible target'] += int(absent.sum())
    notes['box without area'] += int((~has_area).sum())
    if (has_area & ~absent).sum() < 2:
        notes['video with fewer than two frames to train on'] += 1
    rel = folder.relative_to(root).as_posix()
    return VideoInfo(f'{rel}/img', f'{rel}/groundtruth.txt', 1, len(boxes))
