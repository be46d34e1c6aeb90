"""A tracker on a video, from file to file."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, TextIO

import numpy as np
from mmengine.structures import InstanceData
from torch import nn
from tqdm import tqdm

from mmkd.errors import MMKDError
from mmkd.evaluation.mot_results import mot_lines
from mmkd.visualization import TrackPainter, VideoWriter

from .frames import Frames
from .inference import class_names, track_video

# Always frames per second, never seconds per frame.
_BAR = (
    '{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} '
    '[{elapsed}<{remaining}, {rate_noinv_fmt}]'
)


@dataclass
class DemoResult:
    """What a run has left.

    Attributes:
        text: The tracks, MOTChallenge's text format.
        video: The rendered video, if one was wanted.
        frames: Number of frames.
        tracks: Number of different ids.
    """

    text: Path
    video: Path | None
    frames: int
    tracks: int


def run_demo(
    model: nn.Module,
    frames: Frames,
    out_dir: str | Path,
    *,
    fps: float | None = None,
    score_thr: float = 0.0,
    trail: int = 30,
    video: bool = True,
    force: bool = False,
    progress: TextIO | None = sys.stderr,
) -> DemoResult:
    """Tracks, writes the tracks as text and draws them.

    Args:
        model: Of :func:`mmkd.apis.init_tracker`.
        frames: Of :func:`mmkd.apis.frames.open_frames`.
        out_dir: ``<name>.txt`` and ``<name>.mp4`` are written here; with a number behind the name
            if one of them exists.
        fps: Frames per second, for tracker and video; the source's own by default.
        score_thr: Tracks below it are left out of text and video in that frame. The tracker's own
            thresholds are in the config.
        trail: Length of the drawn trails in frames; 0 draws none.
        video: Whether to render a video.
        force: Replaces existing files instead.
        progress: Where the progress bar goes; None for no bar.

    Raises:
        MMKDError: If a file cannot be written, or the source cannot be read.
    """
    fps = frames.fps if fps is None else fps
    text_path, video_path = _output_paths(Path(out_dir), frames.name, force, video)
    painter = TrackPainter(class_names(model.cfg), trail=trail)
    seen, count = set(), 0
    part = text_path.with_name(text_path.name + '.part')
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(part.open('w'))
            writer = None
            if video_path is not None:
                writer = stack.enter_context(VideoWriter(video_path, fps, overwrite=force))
            results = track_video(model, frames, fps)
            for image, tracks in _with_bar(results, len(frames), frames.name, progress):
                tracks = tracks[tracks.scores >= score_thr]
                count += 1
                file.writelines(mot_lines(count, tracks))
                seen.update(tracks.instances_id.tolist())
                if writer is not None:
                    writer.write(_paint(painter, image, tracks))
        if not count:
            raise MMKDError(f'{frames.name} has no frames.')
        part.replace(text_path)
    finally:
        if part.exists():
            part.unlink()
    return DemoResult(text_path, video_path, count, len(seen))


def _paint(painter: TrackPainter, image: np.ndarray, tracks: InstanceData) -> np.ndarray:
    return painter.paint(
        image, tracks.bboxes.numpy(), tracks.instances_id.numpy(), tracks.labels.numpy()
    )


def _with_bar(items: Iterator, total: int, name: str, stream: TextIO | None) -> Iterator:
    if stream is None:
        return items
    # A log file gets a line now and then instead of one per frame.
    interval = 0.2 if stream.isatty() else 10.0
    return tqdm(
        items,
        total=total or None,
        desc=name,
        unit=' frames',
        bar_format=_BAR,
        file=stream,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
        dynamic_ncols=True,
    )


def _output_paths(folder: Path, name: str, force: bool, video: bool):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMKDError(f'Cannot make the folder {folder}: {error}.') from error
    number = 0
    while True:
        stem = name if number == 0 else f'{name}-{number}'
        text, movie = folder / f'{stem}.txt', folder / f'{stem}.mp4'
        if force or not (text.exists() or movie.exists()):
            return text, (movie if video else None)
        number += 1
