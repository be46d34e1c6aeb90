"""Reading one sequence in MOTChallenge's layout: seqinfo.ini, the images, gt.txt."""

from __future__ import annotations

import configparser
import math
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from mmkd.errors import MMKDError

from .badlines import BadLines
from .images import read_header

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


def read_sequence(folder: Path, fps: float | None = None, bad: BadLines | None = None) -> Sequence:
    """Reads a sequence's seqinfo.ini, or finds out the same from its images.

    Args:
        folder: Holds ``seqinfo.ini`` (may be missing) and the folder of images.
        fps: Overrides the file's. Without either, 30 is assumed.
        bad: Is told of images that are missing, not readable, or of another size than the first
            readable one; such frames are not in the result. None: stop at the first.

    Raises:
        MMKDError: If there are no images, if their names are no frame numbers, or if the file
            and the images disagree.
    """
    bad = bad or BadLines()
    info = _read_seqinfo(folder / 'seqinfo.ini')
    img_dir = info.get('imdir', 'img1')
    frames = _list_frames(folder / img_dir)
    if 'seqlength' in info:
        length = _number(info, 'seqlength', folder)
        missing = [frame for frame in range(1, length + 1) if frame not in frames]
        for frame in missing:
            detail = f', of frame {frame} ({len(missing)} of {length} are missing)'
            bad.add(f'{folder / img_dir}', 'an image that is missing', detail)
        frames = {frame: name for frame, name in frames.items() if frame <= length}
    size, usable = None, {}
    for frame, name in frames.items():
        path = folder / img_dir / name
        header = read_header(path)
        if header is None:
            bad.add(str(path), 'an image that cannot be read')
            continue
        size = size or header.loaded_size
        if header.loaded_size != size:
            detail = ', {}x{} and not {}x{}'.format(*header.loaded_size, *size)
            bad.add(str(path), 'an image of another size than the first', detail)
            continue
        usable[frame] = name
    if not usable:
        raise MMKDError(f"No image in '{folder / img_dir}' can be used.")
    width, height = size
    told = (_number(info, 'imwidth', folder, width), _number(info, 'imheight', folder, height))
    if told != size:
        raise MMKDError(
            f'{folder}/seqinfo.ini says {told[0]}x{told[1]} pixels, but its images have '
            f'{width}x{height}: boxes and images would not match.'
        )
    rate = fps if fps is not None else _number(info, 'framerate', folder, 30)
    return Sequence(folder.name, folder, img_dir, usable, width, height, rate)


def read_gt(
    path: Path, frames: Dict[int, str] | None, skip_bad: bool = False
) -> Tuple[List[Row], Counter]:
    """Reads a gt.txt, in any order of rows.

    Columns are frame, id, x, y, w, h, conf and, where the benchmark has them, class and
    visibility. MOT15 has three others there, -1 or a place in the world, which say nothing of
    the class: these rows read as class 1 (pedestrian) and visibility 1.

    Args:
        path: The file.
        frames: The frames that have an image; None if any frame from 1 on will do.
        skip_bad: Count bad rows instead of raising at the first one.

    Returns:
        The good rows in the file's order, and the number of skipped rows by reason.

    Raises:
        MMKDError: At a bad row, with file, line and what is wrong with it.
    """
    bad, good, seen = BadLines(skip_bad), {}, {}
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise MMKDError(f"'{path}' is not a text file: {error}") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        detail, (problem, values) = '', _parse_row(text)
        if not problem:
            frame, track = int(values[0]), int(values[1])
            if frame < 1 if frames is None else frame not in frames:
                there = f'{min(frames)} to {max(frames)}' if frames else '1 and up'
                problem, detail = 'a frame without an image', f', {frame} (there are {there})'
            elif track >= 0 and (frame, track) in seen:
                problem = 'same frame and id as an earlier line'
                detail = f', line {seen[frame, track]}'
        if problem:
            bad.add(f'{path}, line {number}', problem, detail, text)
        else:
            seen[frame, track] = number
            good[number] = values
    has_class = not any(_is_world(values) for values in good.values())
    return [_make_row(values, number, has_class) for number, values in good.items()], bad.counts


def _parse_row(text: str) -> Tuple[str, List[float]]:
    """Returns (what is wrong or '', numbers of the row)."""
    fields = text.strip().rstrip(',').split(',')
    if len(fields) < 7:
        return f'{len(fields)} columns where at least 7 are needed', []
    try:
        values = [float(field) for field in fields[:10]]
    except ValueError:
        return 'something that is not a number', []
    if not all(math.isfinite(value) for value in values):
        return 'a number that is not finite', []
    if values[0] != int(values[0]) or values[1] != int(values[1]):
        return 'a frame or id that is not a whole number', []
    if values[4] <= 0 or values[5] <= 0:
        return 'a box without area', []
    if len(values) in (8, 9) and values[7] != int(values[7]):
        return 'a class that is not a whole number', []
    return '', values


def _is_world(values: List[float]) -> bool:
    """Whether columns 8 to 10 are a place in the world: no class is broken or negative."""
    return len(values) == 10 and (values[7] != int(values[7]) or values[7] < 0)


def _make_row(values: List[float], line: int, has_class: bool) -> Row:
    has_class = has_class or len(values) != 10
    class_id = int(values[7]) if has_class and len(values) > 7 else -1
    visibility = values[8] if has_class and len(values) > 8 else -1.0
    return Row(
        frame=int(values[0]),
        track=int(values[1]),
        bbox=tuple(values[2:6]),
        conf=values[6],
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
