"""What a network sees of a frame: the original's tensor, bit by bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from mmkd.apis.inference import inference_pipeline
from mmkd.registry import MODELS

from ..toy import FAIRMOT, REPO


def by_hand(image: np.ndarray, width: int, height: int) -> torch.Tensor:
    """FairMOT's input, in small steps (``LoadImages`` of its ``datasets/dataset/jde.py``)."""
    factor = min(height / image.shape[0], width / image.shape[1])
    new_w, new_h = round(image.shape[1] * factor), round(image.shape[0] * factor)
    small = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 128, np.uint8)  # 127.5 in whole numbers
    # An odd rest leaves its last row or column below or on the right.
    top, left = (height - new_h) // 2, (width - new_w) // 2
    canvas[top : top + new_h, left : left + new_w] = small
    red_first = torch.from_numpy(canvas).flip(-1)
    return red_first.permute(2, 0, 1).float() / 255


@pytest.fixture(scope='module')
def config():
    return Config.fromfile(REPO / 'configs' / FAIRMOT)


@pytest.mark.parametrize(
    'size', [(1080, 1920), (480, 640), (576, 768), (1173, 880), (333, 777), (97, 51)]
)
def test_the_test_pipeline_makes_the_originals_input(config, size):
    init_default_scope('mmtrack')
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    steps = inference_pipeline(config)
    (letterbox,) = [step for step in steps if step['type'] == 'mmkd.Letterbox']
    letterbox['mapping'] = 'fairmot'
    sample = Compose(steps)(
        dict(img=image.copy(), img_shape=size, ori_shape=size, frame_id=0, instances=[])
    )
    preprocess = MODELS.build(config.model.data_preprocessor)
    found = preprocess(pseudo_collate([sample]), False)['inputs']['img'].squeeze()
    assert found.dtype == torch.float32
    assert torch.equal(found, by_hand(image, *letterbox['scale']))
