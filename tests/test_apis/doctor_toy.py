"""A toy data set, and cases around the toy student, for the tests of the doctor."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement, InstanceData
from torch.utils.data import Dataset

from mmkd.apis.doctor_case import Case
from mmkd.apis.doctor_model import build_model
from mmkd.apis.doctor_page import Section
from mmkd.apis.doctor_samples import build_loader
from tests.test_distill import toys


@DATASETS.register_module(force=True)
class ToyTracks(Dataset):
    """Grey pictures of 56 x 84 with one white box each, and its id.

    Args:
        length: Samples.
        ids: Identity of every box; None leaves ids out.
        flat: Whether the box has no width.
    """

    metainfo = {'classes': ('person', 'car')}

    def __init__(self, length=4, ids=7, flat=False):
        self.length, self.ids, self.flat = length, ids, flat

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = torch.full((3, 56, 84), 60, dtype=torch.uint8)
        image[:, 14:42, 28:56] = 255
        instances = InstanceData(
            bboxes=torch.tensor([[28.0, 14.0, 28.0 if self.flat else 56.0, 42.0]]),
            labels=torch.tensor([1]),
        )
        if self.ids is not None:
            instances.instances_id = torch.tensor([self.ids])
        packed = BaseDataElement(metainfo=dict(img_path=f'a/b/c/{index}.jpg', img_shape=(42, 84)))
        packed.gt_instances = instances
        return dict(inputs=image, data_samples=packed)


def config(plain: bool = False, **changes) -> Config:
    """A whole training config of the toys; keyword arguments replace its keys."""
    cfg = dict(
        model=dict(type=toys.ToyStudent.__name__) if plain else toys.config(),
        train_dataloader=dict(
            batch_size=2,
            num_workers=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='ToyTracks'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_scope='mmkd',
    )
    cfg.update(changes)
    return Config(cfg)


def case(tmp_path: Path, ready: bool = True, **changes) -> Case:
    """A case; with ``ready`` its model and loader are there."""
    cfg = config(**changes)
    found = Case(cfg, 'toy.py', torch.device('cpu'), tmp_path / 'out', steps=1)
    cfg.setdefault('work_dir', str(tmp_path / 'work'))
    if ready:
        found.loader = build_loader(cfg.train_dataloader)
        found.model = build_model(found)
        found.size = (56, 84)
    return found


def look(function, examined: Case) -> Section:
    """What one section says."""
    section = Section('test')
    function(examined, section)
    return section


def told(section: Section) -> str:
    """All that a section says, problems included."""
    return '\n'.join(map(str, [*section.blocks, *section.problems]))
