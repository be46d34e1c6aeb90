"""A Siamese tracker of a few thousand weights, and pairs and videos for it."""

from __future__ import annotations

import copy

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmtrack.structures import TrackDataSample
from torch import nn

from mmkd.registry import MODELS


@MODELS.register_module(force=True)
class ToySOTBackbone(BaseModule):
    """Stride 8 without padding at the end, as SiamRPN++'s: 127 -> 15, 255 -> 31 (6, 22 if deep)."""

    def __init__(self, channels=(8, 8), deep=False):
        super().__init__()
        self.layer1 = self.block(3, channels[0], 7, 2, 0)
        self.layer2 = self.block(channels[0], channels[0], 3, 2, 1)
        self.layer3 = self.block(channels[0], channels[0], 3, 2, 0)
        # AlexNet's maps are smaller by 9 cells.
        self.layer4 = self.block(channels[0], channels[1], 10 if deep else 1, 1, 0)
        self.deep = deep

    @staticmethod
    def block(c_in, c_out, kernel, stride, padding):
        return nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.BatchNorm2d(c_out), nn.ReLU()
        )

    def forward(self, x):
        first = self.layer3(self.layer2(self.layer1(x)))
        last = self.layer4(first)
        return (last,) if self.deep else (first, last)


def siamrpn_cfg(ours=True, deep=False, search_size=255, test_search_size=None, **head):
    """Config of a toy model: mmtrack's or ours, two levels and a neck, or one level without."""
    scope = 'mmkd' if ours else 'mmtrack'
    channels = [8] if deep else [6, 6]
    return ConfigDict(
        type=f'{scope}.SiamRPN',
        data_preprocessor=dict(type='mmtrack.TrackDataPreprocessor'),
        backbone=dict(type='mmkd.ToySOTBackbone', deep=deep),
        neck=None
        if deep
        else dict(
            type='mmdet.ChannelMapper',
            in_channels=[8, 8],
            out_channels=6,
            kernel_size=1,
            norm_cfg=dict(type='BN'),
            act_cfg=None,
        ),
        head=dict(
            type=f'{scope}.SiameseRPNHead',
            anchor_generator=dict(
                type='mmtrack.SiameseRPNAnchorGenerator',
                strides=[8],
                ratios=[0.33, 0.5, 1, 2, 3],
                scales=[8],
            ),
            in_channels=channels,
            weighted_sum=not deep,
            bbox_coder=dict(
                type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4
            ),
            loss_cls=dict(type='mmdet.CrossEntropyLoss', reduction='sum', loss_weight=1.0),
            loss_bbox=dict(type='mmdet.L1Loss', reduction='sum', loss_weight=1.2),
            **head,
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=dict(
                    type='mmdet.MaxIoUAssigner',
                    pos_iou_thr=0.6,
                    neg_iou_thr=0.3,
                    min_pos_iou=0.6,
                    match_low_quality=False,
                    iou_calculator=dict(type='mmdet.BboxOverlaps2D'),
                ),
                sampler=dict(
                    type='mmdet.RandomSampler',
                    num=64,
                    pos_fraction=0.25,
                    add_gt_as_proposals=False,
                ),
                num_neg=16,
                exemplar_size=127,
                search_size=search_size,
            )
        ),
        test_cfg=dict(
            exemplar_size=127,
            search_size=test_search_size or search_size,
            context_amount=0.5,
            center_size=6 if deep else 7,
            rpn=dict(penalty_k=0.05, window_influence=0.42, lr=0.38),
        ),
    )


def build(ours=True, seed=0, cfg=None, **kwargs):
    """A toy with random weights, the same for the same seed whoever made it, in eval mode."""
    cfg = copy.deepcopy(cfg or siamrpn_cfg(ours, **kwargs))
    with DefaultScope.overwrite_default_scope('mmtrack'), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(cfg)
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.dtype == torch.float32:
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() == 4:
                value.copy_(noise / value[0].numel() ** 0.5)
                # pixels go to 255; correlations of such maps are sums of many squares
                if 'layer1' in name:
                    value.div_(128)
                if 'head_convs.1' in name:
                    value.div_(16)
            elif 'running_var' in name:
                value.copy_(noise.abs() + 0.5)
            elif 'running_mean' not in name:
                value.add_(0.1 * noise)
    return model.eval()


def pairs(boxes, positive):
    """Samples of a batch: boxes xyxy of the search images, and whether the pairs are positive."""
    samples = []
    for box, flag in zip(boxes, positive):
        sample = TrackDataSample()
        found = InstanceData(
            bboxes=torch.tensor([box], dtype=torch.float32), labels=torch.tensor([int(flag)])
        )
        sample.search_gt_instances = found
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[40.0, 40, 87, 87]]), labels=torch.tensor([0])
        )
        samples.append(sample)
    return samples


def random_pairs(n, seed=0, search=255):
    """Boxes about as the training pipeline makes them; some tiny, some at the border."""
    random = np.random.RandomState(seed)
    centre = search / 2 + random.uniform(-64, 64, (n, 2))
    size = np.exp(random.uniform(np.log(20), np.log(150), (n, 2)))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return pairs(boxes.tolist(), random.rand(n) < 0.7)


def images(n, seed=0, search=255):
    generator = torch.Generator().manual_seed(seed)
    return dict(
        img=torch.rand(n, 1, 3, 127, 127, generator=generator) * 255,
        search_img=torch.rand(n, 1, 3, search, search, generator=generator) * 255,
    )


def video(length=12, size=(150, 200), seed=0, start=(40.0, 45.0, 80.0, 90.0)):
    """Batches of the data loader: a textured block that moves over a textured ground."""
    random = np.random.RandomState(seed)
    height, width = size
    ground = random.randint(0, 255, (height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8)
    ground = ground.repeat(5, 0).repeat(5, 1)[:height, :width]
    patch = random.randint(0, 255, (9, 8, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
    x, y = start[0], start[1]
    for frame_id in range(length):
        frame = ground.copy()
        left, top = int(max(x, 0)), int(max(y, 0))
        cut = frame[top : top + 45, left : left + 40]
        cut[...] = patch[: cut.shape[0], : cut.shape[1]]
        sample = TrackDataSample(
            metainfo=dict(
                frame_id=frame_id,
                ori_shape=(height, width),
                img_shape=(height, width),
                video_length=length,
            )
        )
        sample.gt_instances = InstanceData(bboxes=torch.tensor([start]), labels=torch.tensor([0]))
        img = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)[None]))
        yield dict(inputs=dict(img=[img]), data_samples=[sample])
        x, y = x + random.uniform(-6, 9), y + random.uniform(-8, 6)
