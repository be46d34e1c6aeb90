"""A training set of a few pictures on disk, with mmkd's own augmentation, and toys around it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import mmkd.datasets.transforms  # noqa: F401  registers them
from mmkd.distill.teachers import Teacher
from mmkd.registry import DATASETS, MODELS, TRANSFORMS

INPUT = (96, 64)  # width, height
PREPROCESSOR = dict(
    type='ImgDataPreprocessor', mean=[123.0, 117.0, 104.0], std=[58.0, 57.0, 57.5], bgr_to_rgb=True
)


@TRANSFORMS.register_module(force=True)
class ToyPack(BaseTransform):
    """What Pack...Inputs transforms give."""

    def transform(self, results):
        sample = BaseDataElement(
            metainfo={
                key: results[key]
                for key in ('img_path', 'ori_shape', 'img_shape', 'homography_matrix')
                if key in results
            }
        )
        img = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(img), data_samples=sample)


@TRANSFORMS.register_module(force=True)
class ToyLoad(BaseTransform):
    """Reads a picture."""

    def transform(self, results):
        results['img'] = cv2.imread(results['img_path'])
        results['ori_shape'] = results['img_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module(force=True)
class Invert(BaseTransform):
    """Other colours in the same places."""

    def transform(self, results):
        results['img'] = 255 - results['img']
        return results


@TRANSFORMS.register_module(force=True)
class OwnGenerator(BaseTransform):
    """Draws from a generator that no seed reaches."""

    def __init__(self):
        self.random = np.random.default_rng()

    def transform(self, results):
        noise = self.random.integers(0, 60, results['img'].shape, dtype=np.uint8)
        results['img'] = cv2.add(results['img'], noise)
        return results


PIPELINE = (
    dict(type='mmkd.ToyLoad'),
    dict(type='mmkd.HSVJitter'),
    dict(type='mmkd.Letterbox', scale=INPUT),
    dict(type='mmkd.IdAwareRandomAffine', scale=(0.8, 1.2)),
    dict(type='mmkd.IdAwareRandomFlip', prob=0.5),
    dict(type='mmkd.ToyPack'),
)


@DATASETS.register_module(force=True)
class ToyPictures(Dataset):
    """Pictures of a folder, in the order of their names."""

    metainfo = dict(classes=('thing',))

    def __init__(self, root, pipeline=PIPELINE):
        self.paths = sorted(str(path) for path in Path(root).glob('*.png'))
        self.pipeline = Compose(list(pipeline))
        self.initialised = 0

    def full_init(self):
        self.initialised += 1

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=self.paths[index], img_id=index, instances=[dict(bbox=[1, 2, 3, 4])])

    def __getitem__(self, index):
        return self.pipeline(self.get_data_info(index))


def draw_pictures(root, count=6, size=(100, 60), seed=0):
    """Writes smooth pictures that differ in every corner."""
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        small = random.integers(0, 256, (5, 8, 3), dtype=np.uint8)
        picture = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / f'{number:03d}.png'), picture)
    return root


@MODELS.register_module(force=True)
class ColourTeacher(Teacher):
    """Blurred colours and a mean colour: what moves with a picture when the picture moves."""

    channels = {'map': 6, 'mean': 3}
    strides = {'map': 4, 'mean': 1}

    def __init__(self, gain=1.0, **kwargs):
        super().__init__(patch=4, **kwargs)
        self.gain = gain

    def build(self):
        net = nn.Conv2d(3, 6, 1)
        with torch.no_grad():
            net.weight.copy_(self.gain * torch.linspace(-1, 1, 18).view(6, 3, 1, 1))
            net.bias.copy_(torch.linspace(1, 2, 6))
        return net

    def extract(self, x):
        return {'map': self.net(F.avg_pool2d(x, 4)), 'mean': x.mean((2, 3))}


def samples_of(dataset, indices, preprocessor):
    """A batch as training makes it: inputs and samples."""
    drawn = [dataset[index] for index in indices]
    data = {
        'inputs': [each['inputs'] for each in drawn],
        'data_samples': [each['data_samples'] for each in drawn],
    }
    data = preprocessor(data, True)
    return data['inputs'], data['data_samples']
