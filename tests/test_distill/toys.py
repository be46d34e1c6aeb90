"""A student and a teacher small enough for milliseconds, with what real ones have."""

from __future__ import annotations

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.structures import BaseDataElement
from torch import nn

from mmkd.registry import MODELS

TINY = {'embed_dim': 24, 'depth': 3, 'num_heads': 2, 'grid': 4}
PREPROCESSOR = {
    'type': 'ImgDataPreprocessor',
    'mean': [123.0, 117.0, 104.0],
    'std': [58.0, 57.0, 57.5],
    'bgr_to_rgb': True,
}


class ToyNeck(BaseModule):
    def __init__(self):
        super().__init__()
        self.lateral = nn.Conv2d(6, 10, 1)

    def forward(self, x):
        out = self.lateral(x)
        return out, out[:, :4, ::2, ::2]


@MODELS.register_module(force=True)
class ToyStudent(BaseModel):
    """Backbone with BatchNorm and Dropout, a neck with two maps, a head, one loss list."""

    def __init__(self, data_preprocessor=None, fail_dry=False):
        super().__init__(data_preprocessor or dict(PREPROCESSOR))
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=4, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
        )
        self.neck = ToyNeck()
        self.head = nn.Conv2d(10, 1, 1)
        self.fail_dry = fail_dry
        self.tracker = 'a plain attribute'
        self.init_calls = 0

    def init_weights(self):
        super().init_weights()
        self.init_calls += 1

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'tensor' and self.fail_dry:
            raise NotImplementedError('no tensor mode')
        heat = self.head(self.neck(self.backbone(inputs))[0])
        if mode == 'loss':
            return {
                'loss_heat': heat.square().mean(),
                'loss_levels': [heat.abs().mean(), (heat - 1).square().mean()],
                'accuracy': heat.detach().mean(),
            }
        return heat if mode == 'tensor' else [heat]


def sample(**metainfo) -> BaseDataElement:
    return BaseDataElement(metainfo=metainfo)


def batch(n: int = 2, height: int = 56, width: int = 84, seed: int = 0):
    """Inputs as a data preprocessor makes them, and samples with a letterbox."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 3, height, width, generator=generator)
    samples = [sample(img_shape=(height - 14, width)) for _ in range(n)]
    return inputs, samples


def config(**changes) -> dict:
    """A complete distiller config; keyword arguments replace its keys."""
    cfg = {
        'type': 'mmkd.FeatureDistiller',
        'student': {'type': 'ToyStudent'},
        'teacher': {'type': 'mmkd.DINOv2Teacher', 'arch': dict(TINY), 'weights': 'random'},
        'distill': [{'student': 'neck[0]', 'teacher': 'last'}],
        'alpha': 0.5,
    }
    cfg.update(changes)
    return cfg


def build(**changes):
    """A distiller in which two builds have equal weights."""
    torch.manual_seed(0)
    return MODELS.build(config(**changes))
