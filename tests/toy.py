"""The shipped FairMOT, narrow enough for a unit test."""

from __future__ import annotations

import copy
from pathlib import Path

from mmengine.config import Config

REPO = Path(__file__).resolve().parent.parent
FAIRMOT = 'mot/fairmot/fairmot_hrnetv2-w18_8xb2-30e_mot17halftrain_test-mot17halfval.py'


def toy_fairmot(num_classes: int = 1, channels: int = 4, **kwargs) -> dict:
    """The model of the shipped config with ``channels`` where W18 has 18, one module a stage.

    Args:
        num_classes: Object classes.
        channels: Width of the finest branch; each further one is twice as wide.
        kwargs: Entries of the model that are replaced.
    """
    model = copy.deepcopy(Config.fromfile(REPO / 'configs' / FAIRMOT).model.to_dict())
    widths = [channels * 2**i for i in range(4)]
    for i, name in enumerate(('stage2', 'stage3', 'stage4'), start=2):
        stage = model['backbone']['extra'][name]
        stage['num_modules'] = 1
        stage['num_channels'] = tuple(widths[:i])
        stage['num_blocks'] = (1,) * i
    model['backbone']['extra']['stage1']['num_blocks'] = (1,)
    model['backbone']['init_cfg'] = None
    model['neck']['in_channels'] = tuple(widths)
    model['head'].update(num_classes=num_classes, feat_channels=8, embed_dims=8)
    model.update(kwargs)
    return model
