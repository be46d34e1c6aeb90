"""Lists of single-object videos: mmtrack's text files, one line a video.

The first line is a comment. Each other line is ``video_path,annotation_path,first,last``: the
folder of frames, the file of boxes, and the numbers in the names of the first and last frame.
Paths are relative to ``data_prefix.img_path``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Iterable, List, NamedTuple, Tuple

from mmkd.errors import MMKDError

HEADER = (
    'The format of each line in this txt is '
    '(video_path,annotation_path,start_frame_id,end_frame_id)'
)
_FRAME_FOLDERS = ('img', 'imgs', 'color')


class VideoInfo(NamedTuple):
    """One line of such a file; paths with '/' on every system."""

    video_path: str
    ann_path: str
    start: int
    end: int

    @property
    def names(self) -> Tuple[str, ...]:
        """Names of the video, the most exact first.

        It is the folder of the frames (not ``img``) of most data sets. Where several targets share
        a folder the file of boxes tells them apart: ``Jogging/groundtruth_rect.2.txt`` is
        Jogging-2, then Jogging; ``data_seq/UAV123/bird1`` with ``anno/UAV123/bird1_2.txt`` is
        bird1_2, then bird1.
        """
        parts = PurePosixPath(self.video_path).parts
        folder = next((part for part in reversed(parts) if part not in _FRAME_FOLDERS), '')
        stem = PurePosixPath(self.ann_path).stem
        target = re.fullmatch(r'groundtruth_rect\.(\d+)', stem)
        if target:
            return (f'{folder}-{target.group(1)}', folder)
        if stem.startswith(f'{folder}_'):
            return (stem, folder)
        return (folder,)

    @property
    def name(self) -> str:
        """The most exact of :attr:`names`."""
        return self.names[0]


def read_infos(path: str, converter: str = '') -> List[VideoInfo]:
    """Reads a list of videos.

    Args:
        path: Of the text file.
        converter: The command that makes such a file, for the message if it is missing.

    Raises:
        MMKDError: If the file is missing or a line of it is wrong (names file and line), or there
            is no video in it.
    """
    hint = f' Make it with: {converter}' if converter else ''
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except FileNotFoundError as error:
        raise MMKDError(f"The list of videos '{path}' does not exist.{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise MMKDError(f"The list of videos '{path}' cannot be read: {error}") from error
    infos = [
        _parse(line, f"'{path}', line {number}", is_first=number == 1)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    found = [info for info in infos if info is not None]
    if not found:
        raise MMKDError(f"The list of videos '{path}' has no video.{hint}")
    return found


def write_infos(path: str, infos: Iterable[VideoInfo]) -> None:
    """Writes a list of videos; the folder is made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = [HEADER, *(','.join(map(str, info)) for info in infos)]
    target.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _parse(line: str, where: str, is_first: bool) -> VideoInfo | None:
    parts = [part.strip() for part in line.split(',')]
    is_video = len(parts) == 4 and all(part.isdecimal() for part in parts[2:])
    if is_first:
        if is_video:
            raise MMKDError(
                f'{where}: a video, where the first line must be a comment: mmtrack skips it. Put '
                'a line above it.'
            )
        return None
    if not is_video or not parts[0] or not parts[1]:
        raise MMKDError(
            f"{where}: expected 'video_path,annotation_path,first,last' with the numbers of the "
            f'first and last frame, but found {line.strip()[:100]!r}.'
        )
    start, end = int(parts[2]), int(parts[3])
    if end < start:
        raise MMKDError(f'{where}: the last frame, {end}, is before the first, {start}.')
    return VideoInfo(parts[0].replace('\\', '/'), parts[1].replace('\\', '/'), start, end)
