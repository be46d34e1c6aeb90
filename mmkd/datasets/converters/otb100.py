"""OTB100: the list of its sequences."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from mmkd.errors import MMKDError

from ..sot_infos import VideoInfo
from .badlines import BadLines
from .sot_lists import Listing, check_frames, count_boxes, frame_numbers, need_folder

SEQUENCES = 100
FRAMES = '%04d.jpg'
FRAMES_OF = {'Board': '%05d.jpg'}
# Number of the image of the first box where it is not 1 (the benchmark's list of sequences); most
# such folders begin with that image, David's does not.
FIRST_FRAMES = {'David': 300, 'BlurCar1': 247, 'BlurCar3': 3, 'BlurCar4': 18}
# Trackers are started on Tiger1's sixth frame (tracker_benchmark's initOmit/tiger1.txt), though
# its file of boxes begins with the first: the data set leaves the first five out too.
SKIPPED_BOXES = {'Tiger1': 5}


def convert_otb100(root: str, skip_bad: bool = False) -> Listing:
    """Lists the sequences of OTB100.

    Args:
        root: ``[data/]<video>/{img/%04d.jpg, groundtruth_rect[.<n>].txt}``. A folder with two files
            of boxes is two sequences (Jogging, Skating2); empty files are no sequences (Human4's
            first).
        skip_bad: Leave out sequences that are not complete.

    Raises:
        MMKDError: If a folder, file or frame is missing, or a file is wrong.
    """
    base = need_folder(root, "OTB100's folder")
    prefix = 'data/' if (base / 'data').is_dir() else ''
    files = sorted(
        (path for path in (base / prefix).glob('*/groundtruth_rect*.txt') if path.stat().st_size),
        key=lambda path: (path.parent.name, path.name),
    )
    if not files:
        raise MMKDError(
            f"'{base / prefix}' has no <video>/groundtruth_rect.txt. Unpack OTB100's archives into "
            'it, one folder a video.'
        )
    bad, notes = BadLines(skip_bad), Counter()
    infos = [_look_at(path, prefix, bad) for path in files]
    infos = [info for info in infos if info is not None]
    notes.update({f'left out: {reason}': count for reason, count in bad.counts.items()})
    if len(infos) != SEQUENCES:
        notes[f'list of {len(infos)} sequences, where OTB100 has {SEQUENCES}'] += 1
    return Listing(infos, notes)


def _look_at(path: Path, prefix: str, bad: BadLines) -> VideoInfo | None:
    if not re.fullmatch(r'groundtruth_rect(\.\d+)?', path.stem):
        return None
    folder = path.parent
    boxes = count_boxes(path, bad)
    if not boxes:
        return None
    skipped = SKIPPED_BOXES.get(folder.name, 0)
    start = FIRST_FRAMES.get(folder.name, 1) + skipped
    template = FRAMES_OF.get(folder.name, FRAMES)
    numbers = frame_numbers(folder / 'img', template)
    where = str(folder / 'img')
    if not check_frames(numbers, start, boxes - skipped, where, path.name, bad, template):
        return None
    rel = prefix + folder.name
    return VideoInfo(f'{rel}/img', f'{rel}/{path.name}', start, start + boxes - skipped - 1)
