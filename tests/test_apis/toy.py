"""A tracker that follows bright rectangles: enough of a model to test what surrounds it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from torch import nn

from mmkd.registry import MODELS


@MODELS.register_module(force=True)
class ToyTracker(BaseModel):
    """Finds connected bright regions in the network's input and maps them back to the frame."""

    def __init__(self, data_preprocessor=None, tracker=None, width=3):
        super().__init__(data_preprocessor=data_preprocessor)
        self.conv = nn.Conv2d(3, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.tracker = MODELS.build(tracker) if tracker else None

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'predict'
        assert not self.training
        assert inputs['img'].shape[:2] == (1, 1)
        (sample,) = data_samples
        bright = (inputs['img'][0, 0].mean(dim=0) > 0.8).numpy().astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        x, y, w, h = stats[1:, :4].T.astype(np.float64)
        corners = np.stack([np.stack([x, y]), np.stack([x + w, y + h])], axis=0)
        back = np.linalg.inv(sample.metainfo['homography_matrix'])
        boxes = np.concatenate([back[:2, :2] @ c + back[:2, 2:] for c in corners]).T
        if self.tracker is not None:
            sample.pred_track_instances = self.tracker.track(
                sample.frame_id,
                torch.tensor(boxes),
                torch.full((len(boxes),), 0.9),
                torch.zeros(len(boxes), dtype=torch.long),
                torch.ones(len(boxes), 4),
                fps=sample.fps,
            )
        return data_samples


@MODELS.register_module(force=True)
class ToyDistiller(BaseModel):
    """Holds a student as mmkd's distillers do."""

    def __init__(self, student):
        super().__init__()
        self.student = MODELS.build(student)

    def forward(self, *args, **kwargs):
        raise NotImplementedError


CONFIG = """
default_scope = 'mmtrack'
model = dict(
    type='mmkd.ToyTracker',
    data_preprocessor=dict(
        type='mmtrack.TrackDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True
    ),
    tracker=dict(type='mmkd.JDETracker'),
)
test_dataloader = dict(
    dataset=dict(
        type='mmkd.MOTDataset',
        metainfo=dict(classes=('box',)),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmtrack.LoadTrackAnnotations', with_instance_id=True),
            dict(type='mmkd.Letterbox', scale=(128, 128)),
            dict(
                type='mmtrack.PackTrackInputs',
                pack_single_img=True,
                meta_keys=('homography_matrix', 'fps'),
            ),
        ],
    )
)
"""


def scene(index, height=96, width=200):
    """Two rectangles that move apart; the left one starts at x = 60 - 4 * index."""
    image = np.full((height, width, 3), 30, dtype=np.uint8)
    left, right = 60 - 4 * index, 120 + 4 * index
    image[20:60, left : left + 20] = 255
    image[30:80, right : right + 24] = 255
    return image


def truth(index):
    left, right = 60 - 4 * index, 120 + 4 * index
    return {1: [left, 20, left + 20, 60], 2: [right, 30, right + 24, 80]}
