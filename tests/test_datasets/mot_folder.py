"""Small data sets in MOTChallenge's layout for the tests."""

from __future__ import annotations

import json
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


def make_image(path: Path, size=(64, 48)) -> Path:
    """Writes an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, np.uint8))
    return path


def make_jde_image(root: Path, name: str, rows: List[str] | None, size=(64, 48)) -> None:
    """Writes an image and, unless rows is None, its labels in JDE's layout."""
    make_image(root / name, size)
    if rows is not None:
        label = (root / name.replace('images', 'labels_with_ids')).with_suffix('.txt')
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(''.join(f'{row}\n' for row in rows))


def make_crowdhuman(root: Path, split: str, boxes_of: dict, size=(64, 48)) -> Path:
    """Writes Images/ and annotation_<split>.odgt of {ID: full boxes of persons}."""
    records = []
    for image_id, boxes in boxes_of.items():
        make_image(root / 'Images' / f'{image_id}.jpg', size)
        gtboxes = [
            {'tag': 'person', 'fbox': box, 'vbox': box, 'extra': {'box_id': i, 'occ': 0}}
            for i, box in enumerate(boxes)
        ]
        records.append(json.dumps({'ID': image_id, 'gtboxes': gtboxes}))
    path = root / f'annotation_{split}.odgt'
    path.write_text('\n'.join(records) + '\n')
    return path
