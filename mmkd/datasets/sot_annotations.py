"""Boxes and flags of single-object videos: text files, read fast and checked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mmkd.errors import MMKDError

_SEPARATORS = re.compile(r'[,;\s]+')


def read_boxes(path: str) -> np.ndarray:
    """Reads boxes, one a line.

    Args:
        path: Lines ``x,y,w,h`` in pixels; OTB separates some by tabs or spaces. NaN (UAV123: the
            target is not there) is kept.

    Returns:
        (frames, 4) float64.

    Raises:
        MMKDError: If the file cannot be read, has no lines, or a line is no box: names the line.
    """
    lines = _lines(path)
    rows = [line.replace(',', ' ').split() for line in lines]
    if set(map(len, rows)) == {4}:
        try:
            return np.array(rows, dtype=np.float64)
        except ValueError:
            pass  # told below, with its line
    return np.array([_box(line, f"'{path}', line {n}") for n, line in enumerate(lines, 1)])


def read_flags(path: str, dtype=bool) -> np.ndarray:
    """Reads one number for each frame, in one line (LaSOT) or one a line (GOT-10k).

    Args:
        path: Of the file.
        dtype: Of what is returned; for bool only 0 and 1 are allowed.

    Returns:
        (frames,) of this type.

    Raises:
        MMKDError: If the file cannot be read or has something else in it: names the line.
    """
    lines = _lines(path)
    try:
        values = np.array([int(p) for line in lines for p in _SEPARATORS.split(line) if p])
    except ValueError:
        values = np.array([-1])
    if not len(values):
        raise MMKDError(f"The annotation file '{path}' has no numbers.")
    if values.min() < 0 or (dtype is bool and values.max() > 1):
        allowed = ('0', '1') if dtype is bool else ()
        for number, line in enumerate(lines, start=1):
            for part in filter(None, _SEPARATORS.split(line)):
                if part not in allowed if allowed else not part.isdecimal():
                    raise MMKDError(
                        f"'{path}', line {number}: '{part[:20]}' where a frame has "
                        f'{"0 or 1" if allowed else "a whole number"}.'
                    )
    return values.astype(dtype)


def _lines(path: str) -> list:
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except FileNotFoundError as error:
        raise MMKDError(
            f"The annotation file '{path}' does not exist. The paths in the list of videos go on "
            'from data_prefix.img_path.'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise MMKDError(f"The annotation file '{path}' cannot be read: {error}") from error
    lines = text.rstrip().splitlines()
    if not lines:
        raise MMKDError(f"The annotation file '{path}' is empty.")
    return lines


def _box(line: str, where: str) -> list:
    parts = [part for part in _SEPARATORS.split(line) if part]
    try:
        box = [float(part) for part in parts]
    except ValueError:
        box = []
    if len(box) != 4:
        raise MMKDError(
            f'{where}: expected a box, x,y,w,h in pixels, but found {line.strip()[:80]!r}.'
        )
    return box
