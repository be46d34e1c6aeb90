"""UAV123 and UAV20L: lists of their sequences, of which many share a folder of frames."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from mmkd.errors import MMKDError, nearest

from ..sot_infos import VideoInfo
from .badlines import BadLines
from .sot_lists import Listing, check_frames, count_boxes, frame_numbers, need_folder

FRAMES = '%06d.jpg'
SEQUENCES = {'UAV123': 123, 'UAV20L': 20}
# Parts of a folder follow each other, the last frame of one being the first of the next; these do
# not (the benchmark's own list of sequences). Part -> number of its first frame.
FIRST_FRAMES = {'bird1_2': 775, 'bird1_3': 1573, 'uav1_3': 2473}


def convert_uav123(root: str, benchmark: str = 'UAV123', skip_bad: bool = False) -> Listing:
    """Lists the sequences.

    Args:
        root: ``anno/<benchmark>/<sequence>.txt`` and ``data_seq/UAV123/<folder>/%06d.jpg``. A
            sequence ``bird1_2`` whose folder does not exist is the second part of ``bird1``.
        benchmark: 'UAV123' or 'UAV20L', whose sequences are whole folders.
        skip_bad: Leave out sequences that are not complete.

    Raises:
        MMKDError: If a folder, file or frame is missing, or a file is wrong.
    """
    if benchmark not in SEQUENCES:
        raise MMKDError(
            f"There is no benchmark '{benchmark}' in UAV123. {nearest(benchmark, SEQUENCES)}"
        )
    base = need_folder(root, "UAV123's folder")
    anno = need_folder(base / 'anno' / benchmark, 'The folder of annotations')
    frames = need_folder(base / 'data_seq' / 'UAV123', 'The folder of frames')
    files = sorted(anno.glob('*.txt'), key=_part)
    if not files:
        raise MMKDError(f"'{anno}' has no <sequence>.txt.")
    bad, notes, infos, ends = BadLines(skip_bad), Counter(), [], {}
    for path in files:
        boxes = count_boxes(path, bad)
        if not boxes:
            continue
        folder, part = path.stem, 1
        if not (frames / folder).is_dir():
            folder, part = _part(path)
        start = FIRST_FRAMES.get(path.stem, ends.get((folder, part - 1), 1))
        if part > 1 and path.stem not in FIRST_FRAMES and (folder, part - 1) not in ends:
            # Each part begins where the one before ends, so that one must be known.
            bad.add(f"'{path}'", f'a part whose part {part - 1} is missing')
            continue
        ends[folder, part] = start + boxes - 1
        numbers = frame_numbers(frames / folder, FRAMES)
        if check_frames(numbers, start, boxes, str(frames / folder), path.name, bad, FRAMES):
            ann = f'anno/{benchmark}/{path.name}'
            infos.append(VideoInfo(f'data_seq/UAV123/{folder}', ann, start, start + boxes - 1))
    notes.update({f'left out: {reason}': count for reason, count in bad.counts.items()})
    if len(infos) != SEQUENCES[benchmark]:
        notes[f'list of {len(infos)} sequences, where {benchmark} has {SEQUENCES[benchmark]}'] += 1
    return Listing(infos, notes)


def _part(path: Path) -> tuple:
    """(folder, part): 'bird1_2' is ('bird1', 2); 'car1_s' and 'boat1' are their own first."""
    match = re.fullmatch(r'(.+)_(\d+)', path.stem)
    return (match.group(1), int(match.group(2))) if match else (path.stem, 1)
