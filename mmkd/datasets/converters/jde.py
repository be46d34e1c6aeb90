"""From JDE's ``labels_with_ids`` text to an annotation file of single images.

An image ``.../images/a/b.jpg`` has its boxes in ``.../labels_with_ids/a/b.txt``, one a line:
``class identity x_center y_center width height``, the last four as fractions of the image's width
and height, identity -1 if unknown. The class is not used. Format: DATASET_ZOO.md of
https://github.com/Zhongdao/Towards-Realtime-MOT.
"""

from __future__ import annotations

import math
import os
import os.path as osp
from collections import Counter
from pathlib import Path
from typing import Iterator, List, Tuple

from mmkd.errors import MMKDError, nearest

from .badlines import BadLines
from .coco import SingleImages, free_path
from .images import read_header
from .motchallenge import IMAGE_SUFFIXES

IMAGES, LABELS = 'images', 'labels_with_ids'
UNLABELLED = ('stop', 'empty', 'skip')
# People may be larger than the image they stand in, but not by this factor: those are pixels.
MAX_FRACTION = 10
MAX_ID = 2**31 - 1


def convert_jde(
    root: str,
    out_file: str,
    list_file: str | None = None,
    unlabelled: str | None = None,
    skip_bad: bool = False,
    force: bool = False,
) -> dict:
    """Writes the annotation file of the images of one list.

    Args:
        root: The folder that the list's paths start from. File names in the annotation file do
            too, so ``data_root`` must name it.
        out_file: The json to write.
        list_file: Paths of images, one a line. None: all labelled images below ``root``.
        unlabelled: What an image without a label file is: 'stop' (a mistake, as in the original,
            which fails), 'empty' (an image without people) or 'skip' (not of this set). None:
            'stop' with a list and 'skip' without, as the original made its list of Caltech.
        skip_bad: Leave out bad lines, and images that are missing or not readable.
        force: Overwrite ``out_file``.

    Returns:
        ``file``, ``images``, ``boxes``, ``ids``, ``unknown`` (boxes without identity), ``empty``
        (images without boxes), ``skipped`` and ``notes`` (reason -> count).

    Raises:
        MMKDError: If there is nothing to convert, or something in it is wrong.
    """
    out_path = free_path(out_file, force)
    if not Path(root).is_dir():
        raise MMKDError(f"The folder '{root}' does not exist.")
    unlabelled = unlabelled or ('stop' if list_file else 'skip')
    if unlabelled not in UNLABELLED:
        raise MMKDError(f"'{unlabelled}' images? {nearest(unlabelled, UNLABELLED)}")
    bad, notes, result = BadLines(skip_bad), Counter(), SingleImages()
    source = _listed(Path(root), list_file, bad) if list_file else _found(Path(root))
    labelled = 0
    for where, name in source:
        header = read_header(osp.join(root, name))
        if header is None:
            there = osp.exists(osp.join(root, name))
            problem = 'an image that cannot be read' if there else 'an image that is missing'
            bad.add(where, problem, f", '{name}'")
            continue
        label = Path(root, label_path(name))
        boxes = []
        if label.is_file():
            labelled += 1
            boxes = read_label(label, header.loaded_size, bad)
        elif unlabelled == 'stop':
            raise MMKDError(
                f"{where}: '{name}' has no label file '{label}'. If such images show nobody, use "
                f'--unlabelled empty; if they are not to be used, --unlabelled skip.'
            )
        elif unlabelled == 'skip':
            notes['image without a label file, left out'] += 1
            continue
        else:
            notes['image without a label file, taken as empty'] += 1
        result.add_image(name, *header.loaded_size)
        for identity, bbox in boxes:
            result.add_box(bbox, identity)
    if not labelled:
        raise MMKDError(
            f"No image {f'of {list_file!r} ' if list_file else ''}below '{root}' has its labels in "
            f"a folder '{LABELS}' beside its folder '{IMAGES}'."
        )
    return {**result.write(out_path), 'skipped': dict(bad.counts), 'notes': dict(notes)}


def read_label(
    path: Path, size: Tuple[int, int], bad: BadLines
) -> List[Tuple[int, Tuple[float, float, float, float]]]:
    """Reads the boxes of one image.

    Args:
        path: The text file.
        size: Width and height of the image in pixels.
        bad: Is told of lines that cannot be used.

    Returns:
        Identity (-1: unknown) and x, y, w, h in pixels of each good line, in the file's order.

    Raises:
        MMKDError: At a bad line, if ``bad`` does not skip.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError:
        bad.add(str(path), 'a label file that is not text')
        return []
    boxes, seen = [], {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        problem, identity, fractions = _parse(text)
        key = identity if identity >= 0 else fractions
        if not problem and key in seen:
            which = 'same identity as' if identity >= 0 else 'a copy of'
            problem = f'{which} an earlier line of the image'
        if problem:
            bad.add(f'{path}, line {number}', problem, text=text)
            continue
        seen[key] = number
        x, y, w, h = (value * size[i % 2] for i, value in enumerate(fractions))
        boxes.append((identity, (x - w / 2, y - h / 2, w, h)))
    return boxes


def label_path(name: str) -> str:
    """The label file of an image, both relative to the root."""
    parts = [LABELS if part == IMAGES else part for part in name.split('/')]
    return osp.splitext('/'.join(parts))[0] + '.txt'


def _parse(text: str) -> Tuple[str, int, Tuple[float, ...]]:
    """Returns (what is wrong or '', identity, fractions)."""
    fields = text.split()
    if len(fields) != 6:
        return f'{len(fields)} columns where 6 are needed', -1, ()
    try:
        _, identity, *fractions = values = [float(field) for field in fields]
    except ValueError:
        return 'something that is not a number', -1, ()
    if not all(math.isfinite(value) for value in values):
        return 'a number that is not finite', -1, ()
    if identity != int(identity) or identity > MAX_ID:
        return 'an id that is not a whole number below 2**31', -1, ()
    if fractions[2] <= 0 or fractions[3] <= 0:
        return 'a box without area', -1, ()
    if max(map(abs, fractions)) > MAX_FRACTION:
        return 'a place or size that is no fraction of the image', -1, ()
    return '', max(int(identity), -1), tuple(fractions)


def _listed(root: Path, list_file: str, bad: BadLines) -> Iterator[Tuple[str, str]]:
    """Yields (file and line, name of the image from ``root``) of a list."""
    try:
        lines = Path(list_file).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MMKDError(f"The list of images '{list_file}' cannot be read: {error}") from error
    seen = set()
    for number, text in enumerate(lines, start=1):
        name, where = text.strip(), f'{list_file}, line {number}'
        if not name:
            continue
        # Absolute paths too: the first lists of JDE hold those of the author's machine.
        name = Path(osp.relpath(osp.join(root, name), root)).as_posix()
        if name.startswith('..'):
            bad.add(where, 'a path that does not lie below --root', text=text)
            continue
        if IMAGES not in name.split('/')[:-1]:
            bad.add(where, f"a path without a folder '{IMAGES}'", text=name)
        elif name in seen:
            bad.add(where, 'an image that an earlier line lists', text=name)
        else:
            seen.add(name)
            yield where, name


def _found(root: Path) -> Iterator[Tuple[str, str]]:
    """Yields the same of all images below ``root``, in sorted order."""
    names = (
        Path(osp.relpath(osp.join(folder, name), root)).as_posix()
        for folder, _, files in os.walk(root, followlinks=True)
        for name in files
    )
    for name in sorted(names):
        if name.lower().endswith(IMAGE_SUFFIXES) and IMAGES in name.split('/')[:-1]:
            yield str(root), name
