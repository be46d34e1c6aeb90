"""GOT-10k."""

from __future__ import annotations

import os.path as osp

import mmtrack.datasets

from mmkd.registry import DATASETS

from ..sot_annotations import read_flags
from .base import AttributeVideos


@DATASETS.register_module()
class GOT10kDataset(AttributeVideos, mmtrack.datasets.GOT10kDataset):
    """mmtrack's GOT10kDataset whose samples have attributes (see :class:`AttributeVideos`).

    ``<split>/<video>/{%08d.jpg, groundtruth.txt, absence.label, cover.label}``. GOT-10k has no
    attributes of videos; such a table can be computed from the boxes. The test split has the first
    box only; with the validation split, which has all, testing gives them too (mmtrack's does
    not), so that it can be scored. Huang et al., GOT-10k, TPAMI 43:5; http://got-10k.aitestunion.com
    """

    has_hidden_truth = True
    converter = (
        'python tools/dataset_converters/gen_got10k_infos.py --input <GOT-10k> '
        '--output <folder of lists>'
    )

    def get_visibility_from_video(self, video_idx: int) -> dict:
        """``visible``: (frames,) bool; ``visible_ratio``: (frames,) float, in eighths, of
        ``cover.label``. All visible where the split has no such files.
        """
        info = self.get_data_info(video_idx)
        folder = osp.join(self.data_prefix['img_path'], info['video_path'])
        files = [osp.join(folder, name) for name in ('absence.label', 'cover.label')]
        if self.test_mode and not all(map(osp.isfile, files)):
            return mmtrack.datasets.BaseSOTDataset.get_visibility_from_video(self, video_idx)
        absent = self.fit(read_flags(files[0]), info, files[0])
        cover = self.fit(read_flags(files[1], int), info, files[1])
        return {'visible': ~absent & (cover > 0), 'visible_ratio': cover / 8.0}
