"""LaSOT, and anything in its layout."""

from __future__ import annotations

import os.path as osp

import mmtrack.datasets

from mmkd.registry import DATASETS

from ..sot_annotations import read_flags
from .base import AttributeVideos


@DATASETS.register_module()
class LaSOTDataset(AttributeVideos, mmtrack.datasets.LaSOTDataset):
    """mmtrack's LaSOTDataset whose samples have attributes (see :class:`AttributeVideos`).

    ``<class>/<video>/{img/%08d.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt}``. A
    frame's target is visible where it is neither fully occluded nor out of view and its box has an
    area. Fan et al., LaSOT, CVPR 2019; http://vision.cs.stonybrook.edu/~lasot/
    """

    converter = (
        'python tools/dataset_converters/gen_lasot_infos.py --input <LaSOTBenchmark> '
        '--output <folder of lists> --toolkit <evaluation toolkit>'
    )

    def get_visibility_from_video(self, video_idx: int) -> dict:
        """``visible``: (frames,) bool."""
        info = self.get_data_info(video_idx)
        folder = osp.join(self.data_prefix['img_path'], osp.dirname(info['video_path']))
        files = [osp.join(folder, name) for name in ('full_occlusion.txt', 'out_of_view.txt')]
        occluded, outside = (self.fit(read_flags(path), info, path) for path in files)
        return {'visible': ~(occluded | outside)}
