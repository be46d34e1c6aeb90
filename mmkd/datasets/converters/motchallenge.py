"""Reading one sequence in MOTChallenge's layout: seqinfo.ini, the images, gt.txt."""

from __future__ import annotations

import configparser
import math
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import cv2

from mmkd.errors import MMKDError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp')


class Row(NamedTuple):
    """One line of a gt.txt. ``line`` is its number in the file, from 1."""

    frame: int
    track: int
    bbox: Tuple[float, float, float, float]  # x, y, w, h in pixels, may leave the image
    conf: float  # 0: not to be considered
    class_id: int
    visibility: float
    line: int


class Sequence(NamedTuple):
    """What is known of a sequence without its annotations."""

    name: str
    folder: Path
    img_dir: str
    frames: Dict[int, str]  # number in the file's name -> file name, in order
    width: int
    height: int
    fps: float


def read_sequence(folder: Path, fps: float | None = None, lenient: bool = False) -> Sequence:
    """Reads a sequence's seqinfo.ini, or finds out the same from its images.

    Args:
        folder: Holds ``seqinfo.ini`` (may be missing) and the folder of images.
        fps: Overrides the file's. Without either, 30 is assumed.
        lenient: Accept fewer images than the file promises.

    Raises:
        MMKDError: If there are no images, if their names are no frame numbers, or if the file
            and the images disagree.
    """
    info = _read_seqinfo(folder / 'seqinfo.ini')
    img_dir = info.get('imdir', 'img1')
    frames = _list_frames(folder / img_dir)
    if 'seqlength' in info:
        length = _number(info, 'seqlength', folder)
        missing = [frame for frame in range(1, length + 1) if frame not in frames]
        if missing and not lenient:
            raise MMKDError(
                f'{folder}/seqinfo.ini says {length} frames, but {len(missing)} images are '
                f'missing in {folder / img_dir}, the first one of frame {missing[0]}. Complete the '
                f'sequence, or use what is there with --skip-bad.'
            )
        frames = {frame: name for frame, name in frames.items() if frame <= length}
    first = folder / img_dir / next(iter(frames.values()))
    image = cv2.imread(str(first))
    if image is None:
        raise MMKDError(f"The image '{first}' cannot be read.")
    height, width = image.shape[:2]
    told = (_number(info, 'imwidth', folder, width), _number(info, 'imheight', folder, height))
    if told != (width, height):
        raise MMKDError(
            f"{folder}/seqinfo.ini says {told[0]}x{told[1]} pixels, but '{first.name}' has "
            f'{width}x{height}: boxes and images would not match.'
        )
    rate = fps if fps is not None else _number(info, 'framerate', folder, 30)
    return Sequence(folder.name, folder, img_dir, frames, width, height, rate)


def read_gt(
    path: Path, frames: Dict[int, str] | None, skip_bad: bool = False
) -> Tuple[List[Row], Counter]:
    """Reads a gt.txt.

    Columns are frame, id, x, y, w, h, conf and, where the benchmark has them, class and
    visibility; MOT15 has -1 there, which reads as class 1 (pedestrian) and visibility 1.

    Args:
        path: The file.
        frames: The frames that have an image; None if any frame from 1 on will do.
        skip_bad: Count bad rows instead of raising at the first one.

    Returns:
        The good rows in the file's order, and the number of skipped rows by reason.

    Raises:
        MMKDError: At a bad row, with file, line and what is wrong with it.
    """
    rows, skipped, seen = [], Counter(), {}
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise MMKDError(f"'{path}' is not a text file: {error}") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        problem, row = _parse_row(text, number)
        if not problem and (row.frame < 1 if frames is None else row.frame not in frames):
            problem = 'a frame without an image'
            there = f'{min(frames)} to {max(frames)}' if frames else '1 and up'
            reason = f'{problem}, {row.frame} (there are {there})'
        elif not problem and row.track >= 0 and (row.frame, row.track) in seen:
            problem = 'same frame and id as an earlier line'
            reason = f'{problem}, line {seen[row.frame, row.track]}'
        else:
            reason = problem
        if not problem:
            seen[row.frame, row.track] = number
            rows.append(row)
        elif skip_bad:
            skipped[problem] += 1
        else:
            raise MMKDError(
                f"{path}, line {number}: {reason}. The line is '{text.strip()[:80]}'. Repair it, "
                f'or leave such lines out with --skip-bad.'
            )
    return rows, skipped


def _parse_row(text: str, line: int) -> Tuple[str, Row | None]:
    """Returns (what is wrong, row); one of them is empty."""
    fields = text.strip().rstrip(',').split(',')
    if len(fields) < 7:
        return f'{len(fields)} columns where at least 7 are needed', None
    try:
        values = [float(field) for field in fields[:9]]
    except ValueError:
        return 'something that is not a number', None
    if not all(math.isfinite(value) for value in values):
        return 'a number that is not finite', None
    frame, track, x, y, w, h, conf = values[:7]
    if frame != int(frame) or track != int(track):
        return 'a frame or id that is not a whole number', None
    if w <= 0 or h <= 0:
        return 'a box without area', None
    class_id = int(values[7]) if len(values) > 7 else -1
    visibility = values[8] if len(values) > 8 else -1.0
    return '', Row(
        frame=int(frame),
        track=int(track),
        bbox=(x, y, w, h),
        conf=conf,
        class_id=1 if class_id < 0 else class_id,
        visibility=1.0 if visibility < 0 else visibility,
        line=line,
    )


def _read_seqinfo(path: Path) -> dict:
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding='utf-8')
        return dict(parser['Sequence'])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise MMKDError(f"'{path}' has no readable section [Sequence]: {error}") from error


def _number(info: dict, key: str, folder: Path, default: int = 0):
    if key not in info:
        return default
    try:
        value = float(info[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise MMKDError(f"{folder}/seqinfo.ini: '{info[key]}' is no valid {key}.")
    return int(value) if value == int(value) else value


def _list_frames(folder: Path) -> Dict[int, str]:
    if not folder.is_dir():
        raise MMKDError(f"The image folder '{folder}' does not exist.")
    frames = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith('.'):
            continue
        if not path.stem.isdigit():
            raise MMKDError(
                f"'{path}' is not named after its frame number, like 000001{path.suffix}."
            )
        if int(path.stem) in frames:
            raise MMKDError(f"'{path}' and '{frames[int(path.stem)]}' are the same frame.")
        frames[int(path.stem)] = path.name
    if not frames:
        raise MMKDError(f"There is no image in '{folder}' ({', '.join(IMAGE_SUFFIXES)}).")
    return dict(sorted(frames.items()))
