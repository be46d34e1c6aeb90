"""What the converters of single-object data sets share: look at folders, write lists of videos."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Sequence

from mmkd.errors import MMKDError

from ..attributes import AttributeTable
from ..sot_annotations import read_boxes
from ..sot_infos import VideoInfo, write_infos
from .badlines import BadLines

_FRAME = re.compile(r'(\d+)\.jpg', re.ASCII)


class Listing(NamedTuple):
    """The videos of one split.

    Attributes:
        infos: One entry a video.
        notes: What there is to know of them -> how often.
    """

    infos: List[VideoInfo]
    notes: Counter

    @property
    def frames(self) -> int:
        """Of all videos."""
        return sum(info.end - info.start + 1 for info in self.infos)


def need_folder(path, what: str) -> Path:
    """Returns the folder.

    Raises:
        MMKDError: If it does not exist.
    """
    if not Path(path).is_dir():
        raise MMKDError(f"{what} '{path}' does not exist.")
    return Path(path)


def frame_numbers(folder: Path, template: str) -> List[int]:
    """Numbers of a folder's images that are called as the data set will call them, sorted.

    Args:
        folder: Of the images; there are none if it does not exist.
        template: A %-format of the number, '%08d.jpg'.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    found = ((_FRAME.fullmatch(name), name) for name in names)
    numbers = ((int(match.group(1)), name) for match, name in found if match)
    return sorted(number for number, name in numbers if name == template % number)


def check_frames(
    numbers: Sequence[int],
    start: int,
    boxes: int,
    where: str,
    ann: str,
    bad: BadLines,
    template: str = '%08d.jpg',
) -> bool:
    """Whether a video has an image for each of its boxes.

    Args:
        numbers: Of the images that are there, sorted.
        start: Number of the first box's image.
        boxes: How many there are.
        where: Folder of the images.
        ann: File of the boxes.
        bad: Is told if not.
        template: How the images are called: a %-format of the number.

    Raises:
        MMKDError: If an image is missing and ``bad`` does not skip.
    """
    missing = sorted(set(range(start, start + boxes)) - set(numbers))
    if not missing:
        return True
    detail = (
        f": '{ann}' has {boxes} boxes, of the frames {start} to {start + boxes - 1}, but "
        f'{len(missing)} of these are missing, the first of them number {missing[0]}'
        if numbers
        else f": there is no image in it that is called like '{template % start}'"
    )
    bad.add(f"'{where}'", 'a video without all of its frames', detail)
    return False


def count_boxes(path: Path, bad: BadLines) -> int:
    """How many boxes a file has; 0 if it cannot be used and ``bad`` skips.

    Raises:
        MMKDError: If it cannot be used and ``bad`` does not skip.
    """
    try:
        return len(read_boxes(str(path)))
    except MMKDError as error:
        if not bad.skip:
            raise
        bad.add(str(path), 'a video whose boxes cannot be read', f': {error}')
        return 0


def read_names(path) -> List[str]:
    """Names of videos, one a line.

    Raises:
        MMKDError: If the file cannot be read, is empty, or has a name twice.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MMKDError(f"The list of names '{path}' cannot be read: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise MMKDError(f"The list of names '{path}' is empty.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise MMKDError(f"The list of names '{path}' has '{twice[0]}' twice.")
    return names


def subset(
    listing: Listing, table: AttributeTable, only: Iterable[str] = (), groups: Iterable[str] = ()
) -> Listing:
    """The videos that have any of the attributes or of the groups.

    Raises:
        MMKDError: If there is no such attribute or group, the table lacks a video, or none is left.
    """
    is_wanted = table.chooser(only, groups)
    infos = []
    for info in listing.infos:
        name = next((name for name in info.names if name in table), info.name)
        if is_wanted(name):
            infos.append(info)
    if not infos:
        raise MMKDError(
            f'None of the {len(listing.infos)} videos has any of {", ".join([*only, *groups])} in '
            f"'{table.source}'."
        )
    return Listing(infos, Counter())


def write_lists(
    listings: Dict[str, Listing], output: str, force: bool, echo: Callable[[str], None] = print
) -> None:
    """Writes ``<output>/<name>_infos.txt`` of each listing and tells what is in it.

    Nothing is written if one of the files is there already, or if a listing has no video.

    Args:
        listings: Name -> listing.
        output: The folder.
        force: Overwrite.
        echo: Is given one line at a time.

    Raises:
        MMKDError: In these two cases.
    """
    targets = {name: Path(output) / f'{name}_infos.txt' for name in listings}
    for name, listing in listings.items():
        if not listing.infos:
            raise MMKDError(f"There is no usable video for '{targets[name]}'.")
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not force:
        raise MMKDError(f'These files exist: {", ".join(there)}. Overwrite them with --force.')
    for name, listing in listings.items():
        write_infos(str(targets[name]), listing.infos)
        echo(f'{targets[name]}: {len(listing.infos)} videos, {listing.frames} frames')
        for note, count in listing.notes.items():
            echo(f'  {count} x {note}')
