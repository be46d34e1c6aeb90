"""Pairs of frames in which there is something to learn from."""

from __future__ import annotations

from typing import List, Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmkd.errors import MMKDError
from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class VisiblePairSampling(BaseTransform):
    """mmtrack's PairSampling that never takes a frame without a target.

    A frame can be taken if its target is ``visible``, its box is valid (``bboxes_isvalid``) and
    finite, and both sides of the box are longer than ``min_size``. The stock transform looks at
    none of these: 15,978 of LaSOT's training frames have a box without area, at which
    CropLikeSiamFC divides by zero, and 79,622 have no visible target.

    A positive pair is a template and a search frame of the first video, not further apart than
    ``frame_range``; a negative one takes the search frame of the second video. Where the second
    video is the first one, or has no such frame, the pair is positive: two views of one target are
    never told to be different. If the first video has no such frame, the second stands in for it;
    if neither has one, the result is None and the data set draws again.

    Randomness is NumPy's global generator, which the data loader seeds in each worker. The pairs of
    a bare run of this transform depend on that seed and the videos alone.

    Args:
        frame_range: Largest distance of the search frame from the template, in frames; or
            ``[before, after]`` with ``before <= 0 <= after``. Both ends count.
        pos_prob: Probability of a positive pair.
        filter_template_img: Leave the template's frame out of the search frames where another one
            can be taken within the range.
        min_size: The sides of the box are longer than this, in pixels.
        min_visible_ratio: Frames whose target is visible by less are left out where the data set
            tells (GOT-10k's ``visible_ratio``, 0 to 1).

    Required keys of each of the two videos: ``img_paths``, ``frame_ids``, ``video_id``,
    ``video_length``, ``bboxes`` (frames, 4) x1, y1, x2, y2; optional ``visible``,
    ``bboxes_isvalid``, ``visible_ratio``. Added keys, lists of two: ``img_path``, ``frame_id``,
    ``video_id``, ``video_length``, ``instances`` (``bbox``, and ``bbox_label`` 1 for a positive
    pair).

    Raises:
        MMKDError: For an impossible number.
    """

    def __init__(
        self,
        frame_range: int | Sequence[int] = 100,
        pos_prob: float = 0.8,
        filter_template_img: bool = False,
        min_size: float = 0.0,
        min_visible_ratio: float = 0.0,
    ) -> None:
        if isinstance(frame_range, int):
            frame_range = [-frame_range, frame_range]
        frame_range = list(frame_range)
        if len(frame_range) != 2 or not frame_range[0] <= 0 <= frame_range[1]:
            raise MMKDError(
                'VisiblePairSampling: frame_range is a number of frames or [before, after] with '
                f'before <= 0 <= after, but got {frame_range}.'
            )
        for name, value in (('pos_prob', pos_prob), ('min_visible_ratio', min_visible_ratio)):
            if not 0 <= value <= 1:
                raise MMKDError(f'VisiblePairSampling: {name} is 0 to 1, but got {value}.')
        self.frame_range, self.pos_prob = frame_range, pos_prob
        self.filter_template_img = filter_template_img
        self.min_size, self.min_visible_ratio = min_size, min_visible_ratio

    def transform(self, results: List[dict]) -> dict | None:
        """Takes a pair of two videos, or returns None where there is nothing to take."""
        first, second = results
        frames = self.usable_frames(first)
        if not len(frames):
            first, frames = second, self.usable_frames(second)
            if not len(frames):
                return None
        template = _any(frames)
        others = ()
        if np.random.random() >= self.pos_prob and second['video_id'] != first['video_id']:
            others = self.usable_frames(second)
        if len(others):
            return _pack([(first, template), (second, _any(others))], is_positive=False)
        search = self._search_frame(frames, template)
        return _pack([(first, template), (first, search)], is_positive=True)

    def usable_frames(self, video: dict) -> np.ndarray:
        """Indices of the frames that can be taken, ascending."""
        boxes = np.asarray(video['bboxes'])
        sides = boxes[:, 2:] - boxes[:, :2]
        # Comparisons with NaN are False; infinities have finite corners nowhere.
        usable = (sides > self.min_size).all(axis=1) & np.isfinite(boxes).all(axis=1)
        for key in ('visible', 'bboxes_isvalid'):
            if video.get(key) is not None:
                usable &= video[key]
        if self.min_visible_ratio and video.get('visible_ratio') is not None:
            usable &= video['visible_ratio'] >= self.min_visible_ratio
        return np.flatnonzero(usable)

    def _search_frame(self, frames: np.ndarray, template: int) -> int:
        before, after = self.frame_range
        start = np.searchsorted(frames, template + before)
        stop = np.searchsorted(frames, template + after, side='right')
        near = frames[start:stop]
        if self.filter_template_img and len(near) > 1:
            near = near[near != template]
        return _any(near)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(frame_range={self.frame_range}, pos_prob={self.pos_prob}, '
            f'filter_template_img={self.filter_template_img}, min_size={self.min_size}, '
            f'min_visible_ratio={self.min_visible_ratio})'
        )


def _any(frames: np.ndarray) -> int:
    return int(frames[np.random.randint(len(frames))])


def _pack(picked: list, is_positive: bool) -> dict:
    label = np.array(is_positive, dtype=np.int32)
    return {
        'img_path': [video['img_paths'][frame] for video, frame in picked],
        'frame_id': [video['frame_ids'][frame] for video, frame in picked],
        'video_id': [video['video_id'] for video, _ in picked],
        'video_length': [video['video_length'] for video, _ in picked],
        'instances': [
            [{'bbox': video['bboxes'][frame], 'bbox_label': label}] for video, frame in picked
        ],
    }
