"""TrackingNet."""

from __future__ import annotations

import mmtrack.datasets

from mmkd.registry import DATASETS

from ..sot_infos import VideoInfo
from .base import AttributeVideos


@DATASETS.register_module()
class TrackingNetDataset(AttributeVideos, mmtrack.datasets.TrackingNetDataset):
    """mmtrack's TrackingNetDataset whose samples have attributes (see :class:`AttributeVideos`).

    ``TRAIN_<0..11>/{frames/<video>/%d.jpg, anno/<video>.txt}``, ``TEST/...``. It has no attributes
    of videos; such a table can be computed from the boxes. Mueller et al., TrackingNet, ECCV 2018;
    https://tracking-net.org

    Args:
        chunks_list: Parts of the training set to use: numbers 0 to 11, or 'all'.
        kwargs: Of AttributeVideos and mmtrack's data set.
    """

    framename_template = '%d.jpg'
    has_hidden_truth = True
    converter = (
        'python tools/dataset_converters/gen_trackingnet_infos.py --input <TrackingNet> '
        '--output <folder of lists>'
    )

    def is_part(self, info: VideoInfo) -> bool:
        """Whether the video is in one of the chosen parts, or in the test set."""
        return info.video_path.split('/')[0] in {'TEST', *self.chunks_list}
