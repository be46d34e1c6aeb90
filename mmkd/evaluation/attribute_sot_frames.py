"""Frames of single-object tracking, put together to videos as they come."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor

from mmkd.errors import MMKDError

from .attribute_sot_curves import count_hits

_NEEDED = ('img_path', 'frame_id', 'video_length', 'instances', 'pred_track_instances')


class VideoId(NamedTuple):
    """Two videos are kept apart if one of these differs."""

    folder: str
    number: int
    name: str | None


class VideoScore(NamedTuple):
    """A whole video; small, because it travels between processes."""

    id: VideoId
    frames: int
    evaluated: int
    broken: int  # predictions that are not finite
    hits: Dict[str, np.ndarray]
    attributes: Tuple[str, ...]
    groups: Tuple[str, ...]


class VideoPart(NamedTuple):
    """A video whose test was interrupted."""

    id: VideoId
    frames: int
    seen: int
    first_missing: int  # counted from 0


class OpenVideo:
    """A video while its frames arrive, in any order.

    Args:
        sample: One of its data samples.
    """

    def __init__(self, sample: Dict[str, Any]) -> None:
        self.id = video_id(sample)
        self.length = int(sample['video_length'])
        if self.length < 1:
            raise MMKDError(f"'{sample['img_path']}' is of a video of {self.length} frames.")
        self.attributes = _names(sample, 'attributes')
        self.groups = _names(sample, 'attribute_groups')
        self._truth = np.zeros((self.length, 4), dtype=np.float32)
        self._visible = np.ones(self.length, dtype=bool)
        self._predicted: List[Tensor | None] = [None] * self.length
        self._left = self.length

    @property
    def is_whole(self) -> bool:
        return self._left == 0

    def add(self, sample: Dict[str, Any]) -> None:
        """Keeps one frame; a frame that comes twice counts once.

        Raises:
            MMKDError: If its place, truth or prediction is not what single-object tracking has.
        """
        frame = int(sample['frame_id'])
        if not 0 <= frame < self.length:
            raise MMKDError(
                f"Frame {frame} of '{sample['img_path']}' is not in its video of {self.length} "
                'frames (they are counted from 0).'
            )
        if self._predicted[frame] is not None:
            return
        truth, visible = _truth(sample)
        # Stays on its device: waiting for each frame's box would stop a GPU each time. A copy,
        # because a tracker may write the next box into the same memory.
        self._predicted[frame] = _prediction(sample).detach().clone()
        self._truth[frame], self._visible[frame] = truth, visible
        self._left -= 1

    def score(self, only_visible: bool) -> VideoScore:
        """Counts the hits of a whole video."""
        boxes = torch.stack(self._predicted).cpu()
        if boxes.dtype not in (torch.float32, torch.float64):
            boxes = boxes.float()
        predicted = boxes.numpy()
        visible = self._visible if only_visible else None
        return VideoScore(
            id=self.id,
            frames=self.length,
            evaluated=int(self._visible.sum()) if only_visible else self.length,
            broken=int((~np.isfinite(predicted)).any(axis=1).sum()),
            hits=count_hits(self._truth, predicted, visible),
            attributes=self.attributes,
            groups=self.groups,
        )

    def part(self) -> VideoPart:
        """What is there of an interrupted video."""
        missing = next(i for i, box in enumerate(self._predicted) if box is None)
        return VideoPart(self.id, self.length, self.length - self._left, missing)


def video_id(sample: Dict[str, Any]) -> VideoId:
    """The video of a data sample.

    Raises:
        MMKDError: If the sample lacks what a metric needs.
    """
    missing = [key for key in _NEEDED if key not in sample]
    if missing:
        raise MMKDError(
            f'AttributeSOTMetric needs {", ".join(map(repr, missing))} in each data sample. The '
            'first four come from the data set through mmtrack.PackTrackInputs, '
            'pred_track_instances from the model; is this a SOT data set with test_mode=True, and '
            'a tracker?'
        )
    folder = str(sample['img_path']).replace('\\', '/').rpartition('/')[0]
    return VideoId(folder, int(sample.get('video_id', -1)), sample.get('video_name'))


def _truth(sample: Dict[str, Any]) -> Tuple[np.ndarray, bool]:
    instances = sample['instances']
    if len(instances) != 1 or 'bbox' not in instances[0]:
        raise MMKDError(
            f"'{sample['img_path']}' has {len(instances)} annotated objects"
            f'{" without box" if instances else ""}; single-object tracking is scored with '
            'exactly one box.'
        )
    box = np.asarray(instances[0]['bbox'], dtype=np.float32).reshape(-1)
    if box.size != 4:
        raise MMKDError(
            f"The true box of '{sample['img_path']}' has {box.size} numbers, expected 4 (left, "
            'top, right, bottom); rotated boxes (VOT) are scored by mmtrack.SOTMetric.'
        )
    return box, bool(np.all(instances[0].get('visible', True)))


def _prediction(sample: Dict[str, Any]) -> Tensor:
    boxes = torch.as_tensor(sample['pred_track_instances']['bboxes'])
    if boxes.dim() != 2 or boxes.shape[0] < 1 or boxes.shape[1] != 4:
        raise MMKDError(
            f"The prediction for '{sample['img_path']}' has the shape {tuple(boxes.shape)}, "
            "expected (1, 4). Is the model's test_cfg.test_mode 'VOT'? This metric is for 'OPE'."
        )
    return boxes[0]


def _names(sample: Dict[str, Any], key: str) -> Tuple[str, ...]:
    names = sample.get(key) or ()
    return (names,) if isinstance(names, str) else tuple(map(str, names))
