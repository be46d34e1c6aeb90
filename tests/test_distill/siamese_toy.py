"""A tracker of pairs, small enough for milliseconds, that offers its answers sample by sample."""

from __future__ import annotations

from typing import Dict, NamedTuple

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.distill.losses.common import DistillLoss
from mmkd.registry import MODELS

ANCHORS = 2


class ToyTargets(NamedTuple):
    """One place of one anchor per sample is an object."""

    labels: Tensor  # (N, A, h, w) 0 or 1
    boxes: Tensor  # (N, 4)

    def index(self, rows):
        return ToyTargets(*(value.index_select(0, rows) for value in self))


@MODELS.register_module(force=True)
class ToyPair(BaseModel):
    """A backbone that runs on the template, then on the search picture, and a head over both."""

    response_taps = {'cls': 'head[0]', 'reg': 'head[1]'}

    def __init__(self, width=6, seed=None, stride=8, trim=0, data_preprocessor=None):
        super().__init__(data_preprocessor)
        if seed is not None:
            torch.manual_seed(seed)
        self.trim = trim
        self.backbone = nn.Sequential(nn.Conv2d(3, width, stride, stride), nn.ReLU())
        self.neck = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, width, 1))
        self.head = ToyHead(width)
        self.sampled = 0

    def _maps(self, inputs):
        z = self.neck(self.backbone(inputs['img'][:, 0] / 255))
        x = self.neck(self.backbone(inputs['search_img'][:, 0] / 255))
        return self.head(
            z, x[..., self.trim : x.shape[2] - self.trim, self.trim : x.shape[3] - self.trim]
        )

    def forward(self, inputs, data_samples=None, mode='tensor', targets=None):
        outputs = self._maps(inputs)
        if mode != 'loss':
            return outputs if mode == 'tensor' else [outputs]
        if targets is None:
            targets = self.sample_targets(data_samples)
        losses = self.sample_losses(dict(cls=outputs[0], reg=outputs[1]), targets)
        return {'loss_task': losses.mean()}

    def sample_targets(self, data_samples, device=None):
        self.sampled += 1
        side = 4 - 2 * self.trim
        labels = torch.zeros(len(data_samples), ANCHORS, side, side, dtype=torch.long)
        for number, sample in enumerate(data_samples):
            labels[number, number % ANCHORS, sample.place % side, 0] = 1
        boxes = torch.tensor([sample.box for sample in data_samples])
        return ToyTargets(labels.to(device), boxes.to(device))

    def sample_losses(self, outputs: Dict[str, Tensor], targets: ToyTargets) -> Tensor:
        n, _, h, w = outputs['cls'].shape
        logits = outputs['cls'].view(n, 2, ANCHORS, h, w)
        cls = F.cross_entropy(logits, targets.labels, reduction='none').flatten(1).mean(1)
        reg = outputs['reg'].view(n, 4, -1).mean(2)
        return cls + (reg - targets.boxes).abs().mean(1)

    def response_masks(self, targets):
        return {'matched': torch.ones_like(targets.labels).float(), 'positive': targets.labels == 1}


class ToyHead(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cls = nn.Conv2d(width, 2 * ANCHORS, 1)
        self.reg = nn.Conv2d(width, 4 * ANCHORS, 1)

    def forward(self, z, x):
        both = x * z.mean((2, 3), keepdim=True)
        return self.cls(both), self.reg(both)


def sample(attributes=(), groups=(), place=0, box=(0.1, 0.2, 0.3, 0.4)):
    """A sample of a video with these attributes."""
    element = BaseDataElement(
        metainfo=dict(attributes=tuple(attributes), attribute_groups=tuple(groups))
    )
    element.place, element.box = place, list(box)
    return element


def batch(names=((), ('POC',), ('FM',), ('POC', 'FM')), seed=0):
    """Pictures in 0..255 and one sample per set of attributes."""
    generator = torch.Generator().manual_seed(seed)
    n = len(names)
    inputs = {
        'img': torch.rand(n, 1, 3, 16, 16, generator=generator) * 255,
        'search_img': torch.rand(n, 1, 3, 32, 32, generator=generator) * 255,
    }
    samples = [
        sample(attributes, place=number, box=(0.1 * number, 0.2, 0.3, 0.4))
        for number, attributes in enumerate(names)
    ]
    return inputs, samples


def teacher(seed: int, width: int = 8, **options) -> dict:
    """A teacher's config; random, another one for each seed."""
    return dict(
        type='mmkd.BatchTeacher',
        config=dict(type='ToyPair', width=width, seed=seed, **options),
        weights='random',
        dry_input=dict(img=(1, 1, 3, 16, 16), search_img=(1, 1, 3, 32, 32)),
    )


@MODELS.register_module(force=True)
class ToyAnswerLoss(DistillLoss):
    """The squared difference of two answers, where the student's targets match."""

    needs = ('response',)

    def forward(self, student, teacher, mask=None, reduction=None, response=None):
        self.last = response
        difference = (student - teacher).square().mean(1)
        weights = response.matched.amax(1)
        return (difference * weights).flatten(1).mean(1)


TRANSFERS = [
    dict(name='cls', student='head[0]', loss=dict(type='ToyAnswerLoss')),
    dict(name='neck', student='neck@1', loss=dict(type='mmkd.MSEDistillLoss')),
]


def config(**changes) -> dict:
    """A whole distiller; keyword arguments replace its keys."""
    whole = dict(
        type='mmkd.SpecializedTeacherDistiller',
        student=dict(type='ToyPair'),
        general=teacher(1),
        specialists=dict(
            occlusion=dict(teacher=teacher(2), attributes=('POC', 'FOC')),
            fast_motion=dict(teacher=teacher(3), attributes='FM'),
        ),
        transfers=TRANSFERS,
        dry_input=dict(img=(1, 1, 3, 16, 16), search_img=(1, 1, 3, 32, 32)),
        mask=False,
        image_key='search_img',
    )
    whole.update(changes)
    return whole


def build(**changes):
    """A distiller; two of one config have equal weights."""
    torch.manual_seed(0)
    return MODELS.build(config(**changes))
