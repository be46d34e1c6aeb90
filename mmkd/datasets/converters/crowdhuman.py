"""From CrowdHuman's odgt files to an annotation file of single images.

Each line of an odgt file is the json of one image: ``ID`` (its file's name without .jpg) and
``gtboxes``, each with ``tag`` ('person' or 'mask'), ``fbox`` (the whole person, may leave the
image), ``vbox`` (the visible part) and perhaps ``extra.ignore``. Format:
https://www.crowdhuman.org/download.html. What is left out is what FairMOT leaves out
(``src/gen_labels_crowd_id.py`` of https://github.com/ifzhang/FairMOT).
"""

from __future__ import annotations

import json
import os.path as osp
from collections import Counter
from pathlib import Path
from typing import Iterator, List, Tuple

from mmkd.errors import MMKDError, nearest

from .badlines import BadLines
from .coco import SingleImages, free_path
from .images import read_header

BOXES = {'full': 'fbox', 'visible': 'vbox'}
IDS = ('box', 'none')


def convert_crowdhuman(
    odgt: str,
    img_dir: str,
    out_file: str,
    ids: str = 'box',
    boxes: str = 'full',
    skip_bad: bool = False,
    force: bool = False,
) -> dict:
    """Writes the annotation file of one odgt file.

    Args:
        odgt: ``annotation_train.odgt`` or ``annotation_val.odgt``.
        img_dir: Holds ``<ID>.jpg``; ``data_prefix.img_path`` must name it.
        out_file: The json to write.
        ids: 'box': each box is an identity of its own, so that an embedding is learned from
            single images, as FairMOT's pre-training does. 'none': identities are unknown (-1)
            and only detection is learned.
        boxes: 'full' (the whole person, as FairMOT) or 'visible'.
        skip_bad: Leave out bad lines and boxes, and images that are missing or not readable.
        force: Overwrite ``out_file``.

    Returns:
        ``file``, ``images``, ``boxes``, ``ids``, ``unknown`` (boxes without identity), ``empty``
        (images without boxes), ``skipped`` and ``notes`` (reason -> count).

    Raises:
        MMKDError: If there is nothing to convert, or something in it is wrong.
    """
    out_path = free_path(out_file, force)
    for choice, choices in ((ids, IDS), (boxes, BOXES)):
        if choice not in choices:
            raise MMKDError(f"There is no choice '{choice}'. {nearest(choice, choices)}")
    if not Path(img_dir).is_dir():
        raise MMKDError(f"The image folder '{img_dir}' does not exist.")
    bad, notes, result, seen = BadLines(skip_bad), Counter(), SingleImages(), set()
    next_id = 0
    for where, record in _records(odgt, bad):
        name = f'{record["ID"]}.jpg'
        header = read_header(Path(img_dir, name))
        if name in seen:
            bad.add(where, 'an image that an earlier line has', f", '{name}'")
            continue
        if header is None:
            there = osp.exists(osp.join(img_dir, name))
            problem = 'an image that cannot be read' if there else 'an image that is missing'
            bad.add(where, problem, f", '{name}' in '{img_dir}'")
            continue
        seen.add(name)
        if header.turned:
            notes['image that EXIF turns: its boxes are those of the stored pixels'] += 1
        # The boxes belong to the stored pixels: FairMOT reads these images ignoring EXIF.
        result.add_image(name, header.width, header.height)
        for bbox in read_boxes(record['gtboxes'], BOXES[boxes], where, bad, notes):
            result.add_box(bbox, next_id if ids == 'box' else -1)
            next_id += 1
    if not seen:
        raise MMKDError(f"There is no usable image in '{odgt}'.")
    return {**result.write(out_path), 'skipped': dict(bad.counts), 'notes': dict(notes)}


def read_boxes(
    gtboxes: list, kind: str, where: str, bad: BadLines, notes: Counter
) -> List[Tuple[float, ...]]:
    """Reads the boxes of one image.

    Args:
        gtboxes: As in the file.
        kind: 'fbox' or 'vbox'.
        where: File and line.
        bad: Is told of boxes that cannot be used.
        notes: Counts the boxes that the data set itself says to ignore.

    Returns:
        x, y, w, h in pixels of each person, in the file's order.

    Raises:
        MMKDError: At a bad box, if ``bad`` does not skip.
    """
    found = []
    for index, item in enumerate(gtboxes):
        place = f'{where}, gtboxes[{index}]'
        if not isinstance(item, dict):
            bad.add(place, 'a box that is no dict')
            continue
        extra = item.get('extra')
        if isinstance(extra, dict) and extra.get('ignore') == 1:
            notes['box to be ignored, left out'] += 1
        elif item.get('tag') == 'mask':
            notes['mask, left out'] += 1
        elif item.get('tag') != 'person':
            bad.add(place, 'a tag that is neither person nor mask')
        else:
            problem, bbox = _parse(item.get(kind))
            if problem:
                bad.add(place, problem, f', {kind} {str(item.get(kind))[:60]}')
            else:
                found.append(bbox)
    return found


def _parse(values) -> Tuple[str, Tuple[float, ...]]:
    """Returns (what is wrong or '', box)."""
    if not isinstance(values, list) or len(values) != 4:
        return 'a box that is no list of 4 numbers', ()
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return 'a box with something that is not a number', ()
    # False for NaN too. No image has a million pixels in a row.
    if not all(abs(value) < 1e6 for value in values):
        return 'a box with a number that is not finite or out of range', ()
    if values[2] <= 0 or values[3] <= 0:
        return 'a box without area', ()
    return '', tuple(values)


def _records(odgt: str, bad: BadLines) -> Iterator[Tuple[str, dict]]:
    """Yields (file and line, image's json) of each line that is one."""
    try:
        file = open(odgt, 'rb')  # noqa: SIM115  closed below
    except OSError as error:
        raise MMKDError(f"'{odgt}' cannot be read: {error}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f'{odgt}, line {number}'
            try:
                text = line.decode('utf-8')
                record = json.loads(text)
            # ValueError: neither text nor json; RecursionError: a thousand brackets.
            except (ValueError, RecursionError):
                bad.add(where, 'a line that is not json', text=line.decode('utf-8', 'replace'))
                continue
            if not isinstance(record, dict) or not isinstance(record.get('ID'), str):
                bad.add(where, 'a line without the ID of an image', text=text)
            elif not isinstance(record.get('gtboxes'), list):
                bad.add(where, 'an image without gtboxes', text=text)
            else:
                yield where, record
