"""OTB100."""

from __future__ import annotations

import mmtrack.datasets

from mmkd.registry import DATASETS

from ..sot_infos import VideoInfo
from .base import AttributeVideos

# Trackers are not started on Tiger1's first frames: tracker_benchmark's initOmit/tiger1.txt.
SKIPPED_BOXES = {'Tiger1': 5}
FIVE_DIGITS = {'Board'}


@DATASETS.register_module()
class OTB100Dataset(AttributeVideos, mmtrack.datasets.OTB100Dataset):
    """mmtrack's OTB100Dataset whose samples have attributes (see :class:`AttributeVideos`).

    ``[data/]<video>/{img/%04d.jpg, groundtruth_rect[.<n>].txt}``. Two targets of one folder are
    two videos, ``Jogging-1`` and ``Jogging-2``; a table without these names is asked for
    ``Jogging``. Boxes may be separated by commas, tabs or spaces, and need not be whole numbers.
    Wu et al., Object Tracking Benchmark, TPAMI 37:9.
    """

    framename_template = '%04d.jpg'
    converter = (
        'python tools/dataset_converters/gen_otb100_infos.py --input <OTB100> --output <lists>'
    )

    def frame_name(self, info: VideoInfo) -> str:
        """Board's numbers have five digits."""
        return '%05d.jpg' if info.names[-1] in FIVE_DIGITS else self.framename_template

    def _record(self, info: VideoInfo, attributes: tuple, groups: tuple) -> dict:
        record = super()._record(info, attributes, groups)
        if info.names[-1] in SKIPPED_BOXES:
            record['init_skip_num'] = SKIPPED_BOXES[info.names[-1]]
        return record
