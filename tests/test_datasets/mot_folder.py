"""Small data sets in MOTChallenge's layout for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import List

import cv2
import numpy as np


def make_sequence(
    root: Path,
    name: str,
    rows: List[str] | None,
    frames: int = 4,
    size=(64, 48),
    seqinfo: bool = True,
) -> Path:
    """Writes images (of one colour per frame), seqinfo.ini and gt.txt; rows None: a test set."""
    folder = root / name
    (folder / 'img1').mkdir(parents=True)
    for number in range(1, frames + 1):
        image = np.full((size[1], size[0], 3), 10 * number, np.uint8)
        cv2.imwrite(str(folder / 'img1' / f'{number:06d}.jpg'), image)
    if seqinfo:
        (folder / 'seqinfo.ini').write_text(
            f'[Sequence]\nname={name}\nimDir=img1\nframeRate=25\nseqLength={frames}\n'
            f'imWidth={size[0]}\nimHeight={size[1]}\nimExt=.jpg\n'
        )
    if rows is not None:
        (folder / 'gt').mkdir()
        (folder / 'gt' / 'gt.txt').write_text('\n'.join(rows) + '\n')
    return folder
