"""Frames of tracking results, put together to sequences that can be scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Dict, Iterable, List, Tuple

import numpy as np

# Folders that hold the images of one sequence and say nothing about which.
_IMAGE_FOLDERS = {'img1', 'img', 'imgs', 'images', 'image', 'frames', 'rgb', 'color', 'jpegimages'}


@dataclass
class Boxes:
    """Boxes of one frame: corners (n, 4) in pixels, ids (n,), labels (n,)."""

    boxes: np.ndarray
    ids: np.ndarray
    labels: np.ndarray

    def take(self, index: np.ndarray) -> Boxes:
        return Boxes(self.boxes[index], self.ids[index], self.labels[index])

    @classmethod
    def of(cls, boxes, ids, labels) -> Boxes:
        """From anything array-like, empty lists included."""
        return cls(
            np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
            np.asarray(ids, dtype=np.int64).reshape(-1),
            np.asarray(labels, dtype=np.int64).reshape(-1),
        )


@dataclass
class Frame:
    """Ground truth and predictions of one frame, small enough to send between processes."""

    name: str | None  # the video's, when the data set tells it
    folder: str  # where the image lies
    video_id: int
    frame_id: int
    video_length: int
    truth: Boxes
    prediction: Boxes


@dataclass
class Sequence:
    """The frames of one video, in order."""

    name: str
    frames: List[Frame]

    @property
    def is_whole(self) -> bool:
        return len(self.frames) == self.frames[0].video_length


def gather_sequences(frames: Iterable[Frame]) -> List[Sequence]:
    """Sorts frames into sequences, whatever order and process they come from.

    Two videos are kept apart if their number, their folder or their name differs. A frame that
    comes twice (samplers pad the last batch) counts once.

    Returns:
        Sequences sorted by name; the names differ.
    """
    videos: Dict[tuple, Dict[int, Frame]] = {}
    for frame in frames:
        key = (frame.folder, frame.video_id, frame.name)
        videos.setdefault(key, {}).setdefault(frame.frame_id, frame)
    names = distinct_names(list(videos))
    sequences = [
        Sequence(name, [by_id[i] for i in sorted(by_id)])
        for name, by_id in zip(names, videos.values())
    ]
    return sorted(sequences, key=lambda sequence: sequence.name)


def sequence_name(folder: str, depth: int = 1) -> str:
    """The sequence that a folder of images belongs to: ``.../MOT17-02/img1`` is MOT17-02.

    Args:
        folder: Path with either kind of slash.
        depth: How many folder names to keep, to tell sequences of the same name apart.
    """
    parts = [part for part in PurePath(folder.replace('\\', '/')).parts if part not in ('/', '.')]
    while len(parts) > 1 and parts[-1].lower() in _IMAGE_FOLDERS:
        parts.pop()
    return '/'.join(parts[-depth:]) or 'sequence'


def distinct_names(keys: List[tuple]) -> List[str]:
    """Short names where they differ; longer paths, then video numbers, where they do not."""
    longest = max((folder.replace('\\', '/').count('/') for folder, _, _ in keys), default=0) + 1
    names = [name or sequence_name(folder) for folder, _, name in keys]
    for depth in range(2, longest + 1):
        if len(set(names)) == len(names):
            return names
        twice = {name for name in names if names.count(name) > 1}
        names = [
            sequence_name(key[0], depth) if name in twice else name
            for name, key in zip(names, keys)
        ]
    twice = {name for name in names if names.count(name) > 1}
    return [f'{name}#{key[1]}' if name in twice else name for name, key in zip(names, keys)]


def iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Overlap (n, m) of boxes (n, 4) and (m, 4) given by their corners; 0 for empty boxes."""
    left, top, right, bottom = (
        edge(boxes_a[:, None, i], boxes_b[None, :, i])
        for i, edge in enumerate([np.maximum, np.maximum, np.minimum, np.minimum])
    )
    overlap = np.clip(right - left, 0, None) * np.clip(bottom - top, 0, None)
    area_a = np.prod(np.clip(boxes_a[:, 2:] - boxes_a[:, :2], 0, None), axis=1)
    area_b = np.prod(np.clip(boxes_b[:, 2:] - boxes_b[:, :2], 0, None), axis=1)
    union = area_a[:, None] + area_b[None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def trackeval_data(sequence: Sequence, label: int | None = None) -> dict:
    """A sequence as TrackEval's metrics read it.

    Args:
        sequence: Frames of one video.
        label: Score this class only; None scores all boxes as one class.

    Returns:
        The dict of TrackEval's ``get_preprocessed_seq_data``: ids relabelled from 0 without gaps,
        one array per frame, and the IoU of every pair in a frame.
    """
    truths = [_of_class(frame.truth, label) for frame in sequence.frames]
    predictions = [_of_class(frame.prediction, label) for frame in sequence.frames]
    gt_ids, num_gt_ids = _relabel(truths)
    tracker_ids, num_tracker_ids = _relabel(predictions)
    return {
        'seq': sequence.name,
        'num_timesteps': len(sequence.frames),
        'gt_ids': gt_ids,
        'tracker_ids': tracker_ids,
        'similarity_scores': [iou(t.boxes, p.boxes) for t, p in zip(truths, predictions)],
        'num_gt_ids': num_gt_ids,
        'num_tracker_ids': num_tracker_ids,
        'num_gt_dets': sum(map(len, gt_ids)),
        'num_tracker_dets': sum(map(len, tracker_ids)),
    }


def _of_class(boxes: Boxes, label: int | None) -> Boxes:
    return boxes if label is None else boxes.take(boxes.labels == label)


def _relabel(frames: List[Boxes]) -> Tuple[List[np.ndarray], int]:
    """Ids of each frame as indices into the sorted distinct ids, and how many of these."""
    known = np.unique(np.concatenate([boxes.ids for boxes in frames]))
    return [np.searchsorted(known, boxes.ids) for boxes in frames], len(known)
