"""UAV123."""

from __future__ import annotations

import mmtrack.datasets

from mmkd.registry import DATASETS

from .base import AttributeVideos


@DATASETS.register_module()
class UAV123Dataset(AttributeVideos, mmtrack.datasets.UAV123Dataset):
    """mmtrack's UAV123Dataset whose samples have attributes (see :class:`AttributeVideos`).

    ``data_seq/UAV123/<folder>/%06d.jpg`` and ``anno/UAV123/<video>.txt``; several videos share a
    folder. A box of NaN means that the target is not there: such a frame is not visible. Mueller et
    al., A Benchmark and Simulator for UAV Tracking, ECCV 2016.
    """

    framename_template = '%06d.jpg'
    converter = (
        'python tools/dataset_converters/gen_uav123_infos.py --input <UAV123> '
        '--output <folder of lists>'
    )
