"""Writing single-object videos in LaSOT's layout, as mmtrack's and our LaSOTDataset read it.

<class>/<video>/img/00000001.jpg ...   numbered from 1 without gaps
<class>/<video>/groundtruth.txt        a line x,y,w,h for each frame, in pixels
<class>/<video>/full_occlusion.txt     one line of 0 and 1, one for each frame
<class>/<video>/out_of_view.txt        likewise
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Sequence

import numpy as np

from mmkd.errors import MMKDError

FRAME_NAME = '{:08d}.jpg'


def write_sot_annotations(
    folder: Path, boxes: np.ndarray, occluded: np.ndarray, outside: np.ndarray
) -> None:
    """Writes the three text files of a video.

    Args:
        folder: Of the video; exists.
        boxes: (T, 4) x, y, w, h in pixels; 0, 0, 0, 0 where there is no box. Whole numbers are
            written as such, others with two decimals.
        occluded: (T,) bool: wholly hidden.
        outside: (T,) bool: out of the image.
    """
    lines = [','.join(_number(value) for value in box) for box in np.asarray(boxes).tolist()]
    (folder / 'groundtruth.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    for name, flags in (('full_occlusion', occluded), ('out_of_view', outside)):
        text = ','.join('1' if flag else '0' for flag in flags)
        (folder / f'{name}.txt').write_text(text + '\n', encoding='utf-8')


def make_room(out: Path, mark: str, parts: Sequence[str], force: bool) -> None:
    """Makes the folder of a set, and takes away an earlier one's parts.

    Args:
        out: The folder.
        mark: The file in it that tells that the set was made by the same converter.
        parts: Folders of the set.
        force: Whether an earlier set may be taken away.

    Raises:
        MMKDError: If there is something that may not or must not be taken away.
    """
    there = [name for name in (*parts, mark) if (out / name).exists()]
    if not there:
        out.mkdir(parents=True, exist_ok=True)
        return
    if not force:
        raise MMKDError(f"'{out / there[0]}' exists. Replace the set with --force.")
    if not (out / mark).is_file():
        raise MMKDError(
            f"'{out / there[0]}' exists, and without {mark} beside it it may be anything: it is "
            f'not replaced.'
        )
    for name in parts:
        if (out / name).is_dir():
            shutil.rmtree(out / name)


def _number(value: float) -> str:
    return f'{value:.2f}'.rstrip('0').rstrip('.') if value != int(value) else str(int(value))
