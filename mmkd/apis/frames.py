"""Frames from a video file or a folder of images, in order."""

from __future__ import annotations

import configparser
import math
import re
from pathlib import Path
from typing import Iterator, List, Tuple

import cv2
import numpy as np

from mmkd.errors import MMKDError

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm'}
DEFAULT_FPS = 30.0


def open_frames(path: str | Path) -> Frames:
    """Finds out what a path holds.

    Args:
        path: A video file, a folder of images, or a folder in MOTChallenge's layout (images in
            ``img1``, frame rate in ``seqinfo.ini``).

    Raises:
        MMKDError: If it is none of these, or there is not a single frame.
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path)
    if path.is_file():
        return VideoFile(path)
    raise MMKDError(f'There is no video or folder {str(path)!r}.')


class Frames:
    """An ordered source of images; may be walked through several times.

    Attributes:
        name: Of the file or sequence, without suffix.
        fps: Frames per second, 30 if the source does not tell.
        count: Number of frames. Of a video file what its header says, which can be wrong.
    """

    name: str
    fps: float = DEFAULT_FPS
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields images (H, W, 3), uint8 BGR."""
        raise NotImplementedError


class ImageFolder(Frames):
    """Images of a folder by natural order: frame 10 comes after frame 9."""

    def __init__(self, path: Path) -> None:
        self.paths, where = _images_of(path)
        self.name = (path.parent if where == path and path.name == 'img1' else path).resolve().name
        self.count = len(self.paths)
        for folder in (path, path.parent):
            fps = _seqinfo_fps(folder / 'seqinfo.ini')
            if fps is not None and (folder == path or path.name == 'img1'):
                self.fps = fps

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            # imread cannot open paths with letters outside the code page on some systems.
            image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise MMKDError(f'{path} cannot be read as an image.')
            yield image


class VideoFile(Frames):
    """What OpenCV can decode."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        capture = self._open()
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        has_frame = capture.read()[0]
        capture.release()
        if not has_frame:
            raise MMKDError(f'{path} has no frame that OpenCV can decode.')
        if math.isfinite(fps) and 0 < fps <= 1000:
            self.fps = float(fps)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise MMKDError(
                f'{self.path} is not a video that OpenCV can open, nor a folder of images.'
            )
        return capture

    def __iter__(self) -> Iterator[np.ndarray]:
        capture = self._open()
        try:
            while True:
                more, image = capture.read()
                if not more:
                    return
                yield image
        finally:
            capture.release()


def natural_key(name: str) -> list:
    """Sorts digits by their number: 'a2' before 'a10'."""
    return [(1, int(p), '') if p.isdigit() else (0, 0, p) for p in re.split(r'(\d+)', name.lower())]


def _images_of(path: Path) -> Tuple[List[Path], Path]:
    """The images in a folder or else in its ``img1``, and which of the two it was."""
    for folder in (path, path / 'img1'):
        if folder.is_dir():
            images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
            if images:
                return sorted(images, key=lambda p: natural_key(p.name)), folder
    raise MMKDError(
        f'There are no images in {str(path)!r} or its folder img1 '
        f'(looked for {", ".join(sorted(IMAGE_SUFFIXES))}).'
    )


def _seqinfo_fps(path: Path) -> float | None:
    """The frame rate that a MOTChallenge ``seqinfo.ini`` names, if there is one."""
    if not path.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read(path)
        fps = parser.getfloat('Sequence', 'frameRate')
    except (configparser.Error, ValueError):
        return None
    return fps if math.isfinite(fps) and fps > 0 else None
