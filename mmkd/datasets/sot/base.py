"""What all data sets of single-object videos share: attributes, a cache, and pairs to train on."""

from __future__ import annotations

import os.path as osp
import random
from collections import OrderedDict
from typing import List, Sequence, Tuple

import numpy as np

from mmkd.errors import MMKDError

from ..attributes import AttributeTable, load_under
from ..sot_annotations import read_boxes
from ..sot_infos import VideoInfo, read_infos
from .frames import FramePaths


class AttributeVideos:
    """A mixin that stands before one of mmtrack's SOT data sets and keeps what it means.

    What differs from mmtrack's, and why:

    - Every training pair and every test frame has ``attributes`` (the data set's own short names)
      and ``attribute_groups`` (common groups) of its video in ``data_sample.metainfo``, whatever
      the pipeline; of a pair, those of the search frame's video. ``video_name`` is there too: it
      tells videos apart whose frames share a folder (UAV123, OTB's Jogging).
    - Annotation files are read once in each worker and kept, not read and parsed for every sample;
      a training sample makes the paths of its two frames, not those of two whole videos.
    - The index that the sampler asks for is the template's video, so an epoch covers all videos
      evenly; mmtrack draws both at random. The other video is never the same one, unless there is
      only one: a pair of one target is not negative.
    - Videos without a visible frame are passed over.
    - What is wrong with a file is told with its name and line.

    Args:
        attributes: A file or folder of attributes (see
            :func:`mmkd.datasets.attributes.load_attributes`), relative to ``data_root`` as
            ``ann_file`` is, or an AttributeTable. None: no video has any.
        attributes_kind: What ``attributes`` is; default: recognised.
        only: Keep the videos that have any of these attributes.
        groups: Keep the videos that have any of these common groups; with ``only``, either.
        cache_videos: How many videos' annotations a worker keeps; None: all. 17 bytes a frame in
            training (LaSOT's training set: 50 MB for each worker).
        kwargs: Of mmtrack's data set.

    Raises:
        MMKDError: If a file is missing or wrong, a video has no entry in ``attributes``, an
            attribute or group does not exist, or the choice leaves no video.
    """

    framename_template = '%08d.jpg'
    converter = ''
    # Test sets whose ground truth is kept back give the first frame's box only.
    has_hidden_truth = False

    def __init__(
        self,
        *args,
        attributes: str | AttributeTable | None = None,
        attributes_kind: str | None = None,
        only: Sequence[str] = (),
        groups: Sequence[str] = (),
        cache_videos: int | None = None,
        **kwargs,
    ) -> None:
        self.attributes, self.attributes_kind = attributes, attributes_kind
        self.only = (only,) if isinstance(only, str) else tuple(only)
        self.groups = (groups,) if isinstance(groups, str) else tuple(groups)
        if (self.only or self.groups) and attributes is None:
            raise MMKDError(
                f'{type(self).__name__}: only= and groups= choose videos by their attributes; say '
                'with attributes= where these are.'
            )
        self.cache_videos = cache_videos
        self._cache: OrderedDict = OrderedDict()
        self._unusable: set = set()
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> List[dict]:
        """Reads the list of videos and chooses among them.

        Returns:
            For each video ``video_path``, ``ann_path``, ``start_frame_id``, ``end_frame_id``,
            ``framename_template`` as in mmtrack, and ``video_name``, ``attributes``,
            ``attribute_groups``.
        """
        infos = [info for info in read_infos(self.ann_file, self.converter) if self.is_part(info)]
        if not infos:
            raise MMKDError(f"'{self.ann_file}' has none of the videos that are asked for.")
        table = self._load_table()
        if table is None:
            return [self._record(info, (), ()) for info in infos]
        keys = self._find(infos, table)
        is_wanted = table.chooser(self.only, self.groups, where=type(self).__name__)
        records = [
            self._record(info, table.of(key), table.groups_of(key))
            for info, key in zip(infos, keys)
            if is_wanted(key)
        ]
        if not records:
            raise MMKDError(
                f"None of the {len(infos)} videos in '{self.ann_file}' has any of "
                f'{", ".join(map(repr, (*self.only, *self.groups)))}.'
            )
        return records

    def is_part(self, info: VideoInfo) -> bool:
        """Whether a line of the list is a video of this data set."""
        return True

    def frame_name(self, info: VideoInfo) -> str:
        """How the frames of a video are named: a %-format of the frame's number."""
        return self.framename_template

    def get_bboxes_from_video(self, video_idx: int) -> np.ndarray:
        """(frames, 4) float64: x, y, w, h in pixels, of the annotation file as it is.

        Raises:
            MMKDError: If the file is missing or wrong, or does not fit the video's frames.
        """
        info = self.get_data_info(video_idx)
        path = osp.join(self.data_prefix['img_path'], info['ann_path'])
        return self.fit(read_boxes(path)[info.get('init_skip_num', 0) :], info, path)

    def fit(self, values: np.ndarray, info: dict, path: str) -> np.ndarray:
        """Refuses annotations that are not of the video's frames; testing takes the first ones.

        Args:
            values: (frames, ...) as read.
            info: Of the video.
            path: Of the annotation file.

        Raises:
            MMKDError: If there are too few, or in training too many.
        """
        frames = info['end_frame_id'] - info['start_frame_id'] + 1
        if len(values) == frames or (self.test_mode and self._may_be_short(values)):
            return values
        if self.test_mode and len(values) > frames:
            return values[:frames]
        raise MMKDError(
            f"'{path}' is for {len(values)} frames, but the video has {frames}: "
            f"'{self.ann_file}' says {info['start_frame_id']} to {info['end_frame_id']}. If the "
            f'frames are all there, make the list again{": " if self.converter else "."}'
            f'{self.converter}'
        )

    def get_ann_infos_from_video(self, video_idx: int) -> dict:
        """mmtrack's, read once: ``bboxes`` (frames, 4) x1, y1, x2, y2 in pixels, float32 in
        training and float64 in testing; ``bboxes_isvalid`` and ``visible``, (frames,) bool;
        ``visible_ratio`` where the data set has it. The arrays are not to be written into.
        """
        if video_idx in self._cache:
            self._cache.move_to_end(video_idx)
            return dict(self._cache[video_idx])
        found = super().get_ann_infos_from_video(video_idx)
        # Pipelines make float32 of them anyway; a metric compares with thresholds.
        found['bboxes'] = found['bboxes'].astype(np.float64 if self.test_mode else np.float32)
        for value in found.values():
            value.setflags(write=False)
        self._cache[video_idx] = found
        limit = 2 if self.test_mode else self.cache_videos
        while limit is not None and len(self._cache) > max(limit, 1):
            self._cache.popitem(last=False)
        return dict(found)

    def get_img_infos_from_video(self, video_idx: int) -> dict:
        """mmtrack's; ``img_paths`` makes a path when it is asked for one."""
        info = self.get_data_info(video_idx)
        paths = FramePaths(
            osp.join(self.data_prefix['img_path'], info['video_path']),
            info['framename_template'],
            range(info['start_frame_id'], info['end_frame_id'] + 1),
        )
        return {
            'video_id': video_idx,
            'frame_ids': range(len(paths)),
            'img_paths': paths,
            'video_length': len(paths),
        }

    def prepare_train_data(self, video_idx: int) -> dict:
        """Passes two different videos to the pipeline, whose first step takes frames of them."""
        first = self._usable(video_idx)
        second = first
        if len(self) > 1:
            # One less, and past the first: every other video is equally likely.
            other = random.randrange(len(self) - 1)
            second = self._usable(other + (other >= first))
        pair = [
            {**self.get_img_infos_from_video(index), **self.get_ann_infos_from_video(index)}
            for index in (first, second)
        ]
        return self._tell(self.pipeline(pair))

    def prepare_test_data(self, video_idx: int, frame_idx: int) -> dict:
        """Passes one frame to the pipeline.

        Frames without a box in the annotation (hidden ground truth) have no ``bbox``.
        """
        info = self.get_data_info(video_idx)
        ann = self.get_ann_infos_from_video(video_idx)
        instance = {'bbox_label': np.array([0], dtype=np.int32)}
        if frame_idx < len(ann['bboxes']):
            instance['bbox'] = ann['bboxes'][frame_idx].copy()
        has_all = len(ann['bboxes']) == len(ann['visible'])
        instance['visible'] = ann['visible'][frame_idx] if has_all else True
        images = self.get_img_infos_from_video(video_idx)
        results = {
            'img_path': images['img_paths'][frame_idx],
            'frame_id': frame_idx,
            'video_id': video_idx,
            'video_length': images['video_length'],
            'video_name': info['video_name'],
            'attributes': info['attributes'],
            'attribute_groups': info['attribute_groups'],
            'instances': [instance],
        }
        return self._tell(self.pipeline(results))

    def _tell(self, results):
        """Writes the video's attributes into the data sample, whatever the pipeline packed."""
        sample = results.get('data_samples') if isinstance(results, dict) else None
        if sample is None:
            return results
        meta = sample.metainfo
        video_id = meta.get('search_video_id', meta.get('video_id'))
        if isinstance(video_id, (list, tuple)):
            video_id = video_id[-1]
        if video_id is not None:
            info = self.get_data_info(int(video_id))
            names = ('attributes', 'attribute_groups', 'video_name')
            sample.set_metainfo({name: info[name] for name in names})
        return results

    def _usable(self, video_idx: int) -> int:
        """This video, or another one if its target is never visible.

        Raises:
            MMKDError: If that is so of all videos.
        """
        while len(self._unusable) < len(self):
            if video_idx not in self._unusable:
                if self.get_ann_infos_from_video(video_idx)['visible'].any():
                    return video_idx
                self._unusable.add(video_idx)
            video_idx = random.randrange(len(self))
        raise MMKDError(
            f"In none of the {len(self)} videos of '{self.ann_file}' is there a frame with a "
            'visible target and a box larger than '
            f'bbox_min_size={self.bbox_min_size} pixels.'
        )

    def _may_be_short(self, values: np.ndarray) -> bool:
        return self.has_hidden_truth and len(values) == 1

    def _record(self, info: VideoInfo, attributes: tuple, groups: tuple) -> dict:
        return {
            'video_path': info.video_path.replace('/', osp.sep),
            'ann_path': info.ann_path.replace('/', osp.sep),
            'start_frame_id': info.start,
            'end_frame_id': info.end,
            'framename_template': self.frame_name(info),
            'video_name': info.name,
            'attributes': tuple(attributes),
            'attribute_groups': tuple(groups),
        }

    def _load_table(self) -> AttributeTable | None:
        if self.attributes is None:
            return None
        return load_under(self.attributes, self.data_root, self.attributes_kind)

    def _find(self, infos: List[VideoInfo], table: AttributeTable) -> Tuple[str, ...]:
        """The name under which the table has each video."""
        keys = [next((name for name in info.names if name in table), None) for info in infos]
        missing = [info.name for info, key in zip(infos, keys) if key is None]
        if missing:
            raise MMKDError(
                f"'{table.source}' has no attributes of {len(missing)} of the {len(infos)} videos "
                f"in '{self.ann_file}': {', '.join(missing[:5])}"
                f'{", ..." if len(missing) > 5 else ""}. Is it the table of another data set?'
            )
        return tuple(keys)
