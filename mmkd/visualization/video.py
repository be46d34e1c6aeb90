"""Writes .mp4 files and makes sure that they can be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmkd.errors import MMKDError


class VideoWriter:
    """Writes frames to an .mp4 file with OpenCV; a context manager.

    The file appears under its name only when it is whole: until then, and if the block is left by
    an exception, the frames are in ``<name>.part.mp4``, which is removed in the latter case.

    Args:
        path: Ends with .mp4; folders are made.
        fps: Frames per second.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        MMKDError: If the file exists, the codec is missing, frames change their size, or the
            written file does not read back with the number of frames that were put in.
    """

    def __init__(self, path: str | Path, fps: float = 30.0, overwrite: bool = False) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != '.mp4':
            raise MMKDError(f'A video is written as .mp4, not {self.path.name!r}.')
        if not (np.isfinite(fps) and fps > 0):
            raise MMKDError(f'A video needs a positive number of frames per second, got {fps}.')
        if self.path.exists() and not overwrite:
            raise MMKDError(f'{self.path} exists already.')
        self.fps = float(fps)
        self.count = 0
        self._part = self.path.with_name(self.path.stem + '.part.mp4')
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, image: np.ndarray) -> None:
        """Appends a frame (H, W, 3), uint8 BGR; all frames must have the size of the first."""
        if self._writer is None:
            self._open(image)
        if image.shape != self._size:
            self.abort()
            raise MMKDError(
                f'Frame {self.count + 1} of {self.path.name} is {image.shape[1]}x{image.shape[0]}, '
                f'the first was {self._size[1]}x{self._size[0]}; a video has one size.'
            )
        # Players refuse 4:2:0 video with odd sides, which OpenCV writes without complaint.
        bottom, right = image.shape[0] % 2, image.shape[1] % 2
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(image)
        self.count += 1

    def close(self) -> None:
        """Finishes the file, reads it back and gives it its name."""
        if self._writer is None:
            raise MMKDError(f'No frames were written to {self.path}.')
        self._writer.release()
        self._writer = None
        try:
            check_video(self._part, self.count)
        except MMKDError:
            self.abort()
            raise
        self._part.replace(self.path)

    def abort(self) -> None:
        """Throws away what was written."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        if self._part.exists():
            self._part.unlink()

    def _open(self, image: np.ndarray) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MMKDError(f'Cannot make the folder {self.path.parent}: {error}.') from error
        self._size = image.shape
        height, width = (side + side % 2 for side in image.shape[:2])
        codec = cv2.VideoWriter_fourcc(*'mp4v')
        self._writer = cv2.VideoWriter(str(self._part), codec, self.fps, (width, height))
        if not self._writer.isOpened():
            self.abort()
            raise MMKDError(
                f'OpenCV cannot write {self.path}: no right to write there, or this OpenCV was '
                'built without FFmpeg and has no mp4v codec (the wheels opencv-python and '
                'opencv-python-headless have it).'
            )


def check_video(path: str | Path, frames: int | None = None) -> int:
    """Reads a video back.

    Args:
        path: The file.
        frames: How many frames it should have.

    Returns:
        The number of frames in it.

    Raises:
        MMKDError: If it cannot be opened, its first frame cannot be decoded, or it has another
            number of frames.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        readable = capture.isOpened() and capture.read()[0]
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if readable else 0
    finally:
        capture.release()
    if not readable:
        raise MMKDError(f'{path} was written but cannot be read back as a video.')
    if frames is not None and count != frames:
        raise MMKDError(f'{path} should have {frames} frames but has {count}; is the disk full?')
    return count
