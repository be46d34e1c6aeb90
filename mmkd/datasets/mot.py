"""A multi-object tracking dataset that an identity classifier can be trained on."""

from __future__ import annotations

import os.path as osp
from collections import defaultdict
from typing import Dict, List, Sequence, Tuple

from mmengine.dataset import force_full_init
from mmtrack.datasets import BaseVideoDataset

from mmkd.errors import MMKDError, nearest
from mmkd.registry import DATASETS

from .attributes import AttributeTable, describe, load_under
from .cocovid import CONVERTER, group_images, read_cocovid, with_both_spellings


@DATASETS.register_module()
class MOTDataset(BaseVideoDataset):
    """CocoVID annotations whose instance ids are labels that a classifier can learn.

    What differs from mmtrack's ``MOTChallengeDataset``, and why:

    - In training, ``instance_id`` is the rank of (video name, track id) in sorted order plus
      ``id_offset``: the same label on every machine, without gaps, and -1 where the identity is
      unknown. mmtrack reads id 0 as "missing". In testing the ids of the file stay as they are.
    - Boxes that the benchmark marks as "not to be considered" (``mot_conf == 0``) are left out
      of training. In testing they stay among the instances, flagged as ignored, because a metric
      must know where they are.
    - Frames without objects are kept: they teach what is not an object.
    - A label is the position of its name in ``classes``, whatever the order in the file.
    - ``metainfo`` may say ``classes`` (mmdet >= 3.0.0rc5) or ``CLASSES`` (before); both are set.

    Args:
        ann_file: CocoVID json as written by ``tools/dataset_converters/mot2coco.py``.
        data_prefix: ``dict(img_path=...)``: the folder that the file names start from.
        metainfo: ``dict(classes=('pedestrian', ...))``; names from the file's categories.
        load_as_video: False for a file of single images, without videos.
        visibility_thr: Training leaves out boxes that are visible by less than this fraction.
        filter_cfg: ``filter_empty_gt`` (default False) drops training frames without objects,
            ``min_size`` (pixels, default 0) frames with a shorter side below it.
        key_img_sampler: ``dict(interval=n)`` uses every n-th frame of each video.
        ref_img_sampler: mmtrack's sampler of reference frames; None gives single frames.
        distractors: Names of categories whose boxes look like the classes but are not scored: a
            prediction on one is neither right nor wrong (MOTMetric does the forgiving). MOT16 and
            MOT17 have person_on_vehicle, static_person, distractor and reflection, MOT20
            non_mot_vehicle as well. The default forgives nothing, and so does a file with none of
            these categories. Only testing looks at it.
        attributes: Which video has which attributes: a file or folder relative to ``data_root``
            (see :func:`mmkd.datasets.attributes.load_attributes`), or an AttributeTable. Every
            sample's metainfo then has ``attributes`` and ``attribute_groups`` of its video, for
            specialised teachers, whatever the pipeline packs. None: no sample has them.
        kwargs: Of mmengine's ``BaseDataset``, ``indices`` included.

    Raises:
        MMKDError: If the annotation file or an image folder is missing, if the file is not
            CocoVID, or if it has no category of a class's name.
    """

    METAINFO = {'CLASSES': ('pedestrian',), 'classes': ('pedestrian',)}

    def __init__(
        self,
        ann_file: str = '',
        metainfo: dict | None = None,
        load_as_video: bool = True,
        key_img_sampler: dict | None = None,
        ref_img_sampler: dict | None = None,
        visibility_thr: float = -1.0,
        id_offset: int = 0,
        distractors: Sequence[str] = (),
        attributes: str | AttributeTable | None = None,
        **kwargs,
    ) -> None:
        self.attributes = attributes
        self._told: Dict[int, dict] = {}
        if attributes is not None and not load_as_video:
            raise MMKDError(
                'MOTDataset: attributes= are those of videos; load_as_video=False has none.'
            )
        self.visibility_thr = visibility_thr
        self.id_offset = id_offset
        self.distractors = (distractors,) if isinstance(distractors, str) else tuple(distractors)
        self._num_ids = 0
        self.scenes, self.people_hash = frozenset(), 0
        super().__init__(
            load_as_video=load_as_video,
            key_img_sampler=key_img_sampler or {'interval': 1},
            ref_img_sampler=ref_img_sampler,
            ann_file=ann_file,
            metainfo=with_both_spellings(metainfo),
            **kwargs,
        )

    @property
    def num_ids(self) -> int:
        """Identities that training sees: the size of this dataset's part of the classifier."""
        self.full_init()
        return self._num_ids

    def load_data_list(self) -> Tuple[List[dict], List[int]]:
        """Reads the annotation file.

        Returns:
            The frames, video after video in the file's order, and the indices of the key frames.
        """
        content = read_cocovid(self.ann_file, with_videos=self.load_as_video)
        if self.attributes is not None:
            self.attributes = load_under(self.attributes, self.data_root)
        self._map_categories(content['categories'])
        annotations = defaultdict(list)
        self.cat_img_map = {cat_id: [] for cat_id in self.cat_ids}
        for ann in content.get('annotations', []):
            is_known = ann['category_id'] in self.cat2label
            if is_known or self._distractor_ids:
                annotations[ann['image_id']].append(ann)
            if is_known:
                self.cat_img_map[ann['category_id']].append(ann['image_id'])

        videos = {video['id']: video for video in content.get('videos', [])}
        frames, key_indices = [], []
        interval = self.key_img_sampler.get('interval', 1)
        for images in group_images(content, self.ann_file, by_video=self.load_as_video):
            video = videos.get(images[0].get('video_id'), {})
            told = self._describe(video)
            for image in images:
                if not self.load_as_video or image['frame_id'] % interval == 0:
                    key_indices.append(len(frames))
                info = dict(image, img_id=image['id'], video_length=len(images))
                # Copies of a scene (MOT17 has one for each public detector) share their people.
                info['scene'] = str(video.get('scene', video.get('name', '')))
                # Trackers measure the time that somebody is out of sight in seconds.
                info['fps'] = video.get('fps')
                info.update(told)
                frames.append(
                    self.parse_data_info(
                        {'raw_img_info': info, 'raw_ann_info': annotations[image['id']]}
                    )
                )
            self._check_images(frames[-1])
        self._label_identities(frames)
        return frames, key_indices

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Makes one frame's record of its entry in the file and the annotations on it.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info`` (a list).

        Returns:
            The image's fields, ``img_path``, ``fps`` (None if the file does not tell),
            ``scene``, and ``instances``: dicts of ``bbox`` (x1, y1, x2,
            y2 in pixels, not clipped to the image), ``bbox_label``, ``instance_id``,
            ``ignore_flag``, ``category_id``, ``mot_class_id``, ``mot_conf``, ``visibility``,
            ``distractor``. In testing with distractors all annotated boxes are there, because the
            rule looks at all of them: those of no class with label -1 and ``ignore_flag`` 1.
        """
        info = dict(raw_data_info['raw_img_info'])
        info['img_path'] = osp.join(self.data_prefix.get('img_path') or '', info['file_name'])
        info['instances'] = []
        for ann in raw_data_info['raw_ann_info']:
            instance = self._parse_instance(ann, info)
            if instance is not None:
                info['instances'].append(instance)
        return info

    def filter_data(self) -> List[int]:
        """Applies ``filter_cfg`` (in training) and ``indices``.

        Returns:
            Indices into the list of frames.
        """
        kept = self.valid_data_indices
        if not self.test_mode and self.filter_cfg:
            drop_empty = self.filter_cfg.get('filter_empty_gt', False)
            min_size = self.filter_cfg.get('min_size', 0)
            frames = self.data_list
            kept = [
                i
                for i in kept
                if min(frames[i]['width'], frames[i]['height']) >= min_size
                and (frames[i]['instances'] or not drop_empty)
            ]
        # mmtrack's full_init() does not look at mmengine's `indices`.
        if isinstance(self._indices, int):
            kept = kept[: self._indices] if self._indices >= 0 else kept[self._indices :]
        elif self._indices is not None:
            kept = [kept[i] for i in self._indices]
        return kept

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """The frame at ``idx``, with identity labels that start at ``id_offset`` in training."""
        return self._offset_ids(super().get_data_info(idx))

    @force_full_init
    def _get_ori_data_info(self, ori_idx: int) -> dict:
        return self._offset_ids(super()._get_ori_data_info(ori_idx))

    def prepare_data(self, idx: int):
        """A sample of the pipeline; its metainfo tells the attributes of its video, if any do."""
        results = super().prepare_data(idx)
        sample = results.get('data_samples') if isinstance(results, dict) else None
        if self.attributes is not None and sample is not None:
            video = sample.metainfo.get('video_id')
            if video not in self._told:  # a pipeline that does not pack it
                video = self.get_data_info(idx)['video_id']
            sample.set_metainfo(self._told[video])
        return results

    def _offset_ids(self, info: dict) -> dict:
        # The offset is added on reading, so that it can be set once all datasets are built.
        if not self.test_mode and self.id_offset:
            for instance in info['instances']:
                if instance['instance_id'] >= 0:
                    instance['instance_id'] += self.id_offset
        return info

    def _parse_instance(self, ann: dict, image: dict) -> dict | None:
        if ann.get('ignore', False):
            return None
        x, y, w, h = ann['bbox']
        mot_conf = ann.get('mot_conf', 1.0)
        visibility = ann.get('visibility', 1.0)
        if w <= 0 or h <= 0:
            return None
        if not self.test_mode:
            outside = min(x + w, image['width']) <= max(x, 0) or (
                min(y + h, image['height']) <= max(y, 0)
            )
            if mot_conf == 0 or visibility < self.visibility_thr or outside or w < 1 or h < 1:
                return None
        label = self.cat2label.get(ann['category_id'], -1)
        # Id 0 is an identity like any other; only an absent or negative one is unknown.
        instance_id = ann.get('instance_id')
        instance_id = -1 if instance_id is None or instance_id < 0 else int(instance_id)
        return {
            'bbox': [x, y, x + w, y + h],
            'bbox_label': label,
            'instance_id': instance_id,
            'mot_instance_id': ann.get('mot_instance_id', instance_id),
            'ignore_flag': int(bool(ann.get('iscrowd', False)) or mot_conf == 0 or label < 0),
            'category_id': ann['category_id'],
            'mot_class_id': ann.get('mot_class_id', ann['category_id']),
            'mot_conf': mot_conf,
            'visibility': visibility,
            'distractor': ann['category_id'] in self._distractor_ids,
        }

    def _describe(self, video: dict) -> dict:
        if self.attributes is None:
            return {}
        names = [str(video[key]) for key in ('name', 'scene') if key in video] or ['']
        self._told[video['id']] = describe(self.attributes, *names)
        return self._told[video['id']]

    def _label_identities(self, frames: List[dict]) -> None:
        """Counts the identities and, for training, replaces ids by their sorted rank."""
        keys = {
            (frame['scene'], instance['mot_instance_id'])
            for frame in frames
            for instance in frame['instances']
            if instance['instance_id'] >= 0 and instance['bbox_label'] >= 0
        }
        self._num_ids = len(keys)
        # By these mmkd.engine.identities knows two datasets of the same people.
        self.scenes = frozenset(scene for scene, _ in keys)
        self.people_hash = hash(frozenset(keys))
        if self.test_mode:
            return
        rank: Dict[tuple, int] = {key: i for i, key in enumerate(sorted(keys))}
        for frame in frames:
            for instance in frame['instances']:
                if instance['instance_id'] >= 0:
                    key = (frame['scene'], instance['mot_instance_id'])
                    instance['instance_id'] = rank[key]

    def _map_categories(self, categories: Sequence[dict]) -> None:
        by_name = {category['name']: category['id'] for category in categories}
        classes = self.metainfo['classes']
        self.cat_ids = self._ids_of(classes, by_name, 'metainfo.classes')
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}
        both = [name for name in self.distractors if name in classes]
        if both:
            raise MMKDError(
                f"'{both[0]}' is both a class and one of the distractors. Data with classes of its "
                'own has distractors=().'
            )
        # A file with none of them has nothing to forgive; with some, a missing one is a mistake.
        needed = self.test_mode and any(name in by_name for name in self.distractors)
        names = self.distractors if needed else ()
        self._distractor_ids = set(self._ids_of(names, by_name, 'distractors'))

    def _ids_of(self, names: Sequence[str], by_name: Dict[str, int], where: str) -> List[int]:
        for name in names:
            if name not in by_name:
                raise MMKDError(
                    f"'{self.ann_file}' has no category '{name}', which {where} asks "
                    f'for. {nearest(name, by_name)}'
                )
        return [by_name[name] for name in names]

    def _check_images(self, frame: dict) -> None:
        """Looks for one folder of each video, so that a wrong path is told before training."""
        folder = osp.dirname(frame['img_path'])
        if '://' not in folder and folder and not osp.isdir(folder):
            raise MMKDError(
                f"The image folder '{folder}' does not exist. data_prefix.img_path is "
                f"'{self.data_prefix.get('img_path')}'; the file names in '{self.ann_file}' go on "
                f"like '{frame['file_name']}'. If the images have moved, change data_prefix or "
                f'convert again with: {CONVERTER}'
            )
