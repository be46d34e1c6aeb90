"""Which frames of which video stand together, for samplers."""

from __future__ import annotations

import os.path as osp
from collections import defaultdict
from typing import Dict, List, NamedTuple, Optional, Sized, Tuple

import numpy as np

from mmkd.errors import MMKDError


class Run(NamedTuple):
    """Frames of one video in order, no two neighbours too far apart.

    Attributes:
        indices: (L,) long, in the data set.
        frames: (L,) long, the frames' numbers within the video, ascending.
    """

    indices: np.ndarray
    frames: np.ndarray


def find_runs(dataset: Sized, max_gap: int) -> List[Run]:
    """Cuts a data set into runs.

    Args:
        dataset: Its ``get_data_info(i)`` has ``video_id`` and ``frame_id``, or not: then it is an
            image by itself. Videos of different data sets of a mixture may have one id: they are
            told apart by the folder of ``img_path``. A frame that is there several times
            (RepeatDataset) makes several runs.
        max_gap: Frames that may lie between neighbours, plus one.

    Returns:
        Runs that together have every index once, the images by themselves too, in the order of
        their first index.

    Raises:
        MMKDError: If the data set does not tell.
    """
    if not hasattr(dataset, 'get_data_info'):
        raise MMKDError(
            f'A {type(dataset).__name__} has no get_data_info, so its videos are not known. '
            "mmengine's and mmtrack's data sets and mmengine's wrappers around them have it."
        )
    videos: Dict[tuple, List[Tuple[int, int]]] = defaultdict(list)
    times: Dict[tuple, int] = defaultdict(int)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        video, frame = info.get('video_id'), info.get('frame_id')
        if video is None or frame is None or (isinstance(video, int) and video < 0):
            videos['alone', index].append((0, index))
            continue
        key = (video, osp.dirname(str(info.get('img_path', ''))))
        times[key + (frame,)] += 1
        videos[key + (times[key + (frame,)],)].append((int(frame), index))
    runs = []
    for video in videos.values():
        frames, indices = np.array(sorted(video), dtype=np.int64).T
        cuts = np.flatnonzero(np.diff(frames) > max_gap) + 1
        runs.extend(map(Run, np.split(indices, cuts), np.split(frames, cuts)))
    return sorted(runs, key=lambda run: int(run.indices.min()))


def cut_clips(
    run: Run, size: int, max_gap: int, random: Optional[np.random.Generator] = None
) -> Tuple[np.ndarray, np.ndarray]:
    """Deals a run's frames out to clips, each frame once.

    A block of ``size * g`` successive frames makes g clips of every g-th frame, with g drawn anew
    for each block from those that keep within the gap.

    Args:
        run: L frames.
        size: Frames of a clip.
        max_gap: See :func:`find_runs`.
        random: What is drawn from; None: neighbours, from the first frame on.

    Returns:
        (L // size, size) long, clips in ascending order of frames; and (L % size,) what is left,
        from one or both ends.
    """
    count, rest = divmod(len(run.indices), size)
    begin = start = 0 if random is None else int(random.integers(rest + 1))
    clips = []
    while count:
        stride = 1 if random is None else int(random.integers(1, min(count, max_gap) + 1))
        while True:
            block = slice(start, start + size * stride)
            frames = run.frames[block].reshape(size, stride)
            if stride == 1 or np.diff(frames, axis=0).max() <= max_gap:
                break
            stride -= 1
        clips.append(run.indices[block].reshape(size, stride).T)
        start, count = block.stop, count - stride
    left = np.concatenate([run.indices[:begin], run.indices[start:]])
    return (np.concatenate(clips) if clips else np.empty((0, size), np.int64)), left
