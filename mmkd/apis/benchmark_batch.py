"""Batches made up for a benchmark: pixels, boxes and identities by chance."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmkd.errors import MMKDError

# SiamRPN's template.
_TEMPLATE = 127


class Batch(NamedTuple):
    """What a student's ``loss`` reads.

    Attributes:
        inputs: As its data preprocessor would make them.
        samples: One per image.
    """

    inputs: Union[Tensor, Dict[str, Tensor]]
    samples: List[Any]


def make_batch(
    student: nn.Module,
    size: Tuple[int, int],
    batch: int,
    boxes: int,
    ids: int,
    device: Union[str, torch.device] = 'cpu',
) -> Batch:
    """Makes a batch that a student can train on, the same one in every call.

    Args:
        student: A tracker of mmtrack or mmkd, of several objects or of one; a detector of mmdet;
            or a classifier of mmpretrain or mmcls.
        size: (H, W) of its images; for a tracker of one object, of the search image.
        batch: Images.
        boxes: Objects of an image.
        ids: Identities that the objects have.
        device: Where the tensors will be.

    Raises:
        MMKDError: The student is none of these.
    """
    generator = torch.Generator().manual_seed(0)
    ancestors = {cls.__name__ for cls in type(student).__mro__}
    owner = type(student).__module__.split('.')[0]
    images = _images(student, (batch, 3, *size), generator, device)
    if 'BaseSingleObjectTracker' in ancestors:
        template = _images(student, (batch, 1, 3, _TEMPLATE, _TEMPLATE), generator, device)
        samples = [_tracked(student, size, 1, 1, generator, device) for _ in range(batch)]
        for sample in samples:
            # A pair that belongs together is labelled 1.
            sample.gt_instances.labels = torch.ones_like(sample.gt_instances.labels)
            sample.search_gt_instances = sample.gt_instances
            sample.set_metainfo({f'search_{k}': v for k, v in sample.metainfo.items()})
        return Batch({'img': template, 'search_img': images[:, None]}, samples)
    if any('Track' in cls.__name__ for cls in type(student.data_preprocessor).__mro__):
        samples = [_tracked(student, size, boxes, ids, generator, device) for _ in range(batch)]
        return Batch({'img': images[:, None]}, samples)
    if 'BaseDetector' in ancestors:
        from mmdet.structures import DetDataSample

        samples = []
        for _ in range(batch):
            sample = DetDataSample(metainfo=_metainfo(size))
            sample.gt_instances = _instances(student, size, boxes, ids, generator, device)
            samples.append(sample)
        return Batch(images, samples)
    if 'BaseClassifier' in ancestors:
        return Batch(images, [_classified(owner, student, generator) for _ in range(batch)])
    raise MMKDError(
        f'No batch can be made up for {type(student).__name__}: it is no tracker of mmtrack, no '
        'detector of mmdet and no classifier of mmpretrain.'
    )


def _images(
    student: nn.Module, shape: Sequence[int], generator: torch.Generator, device: Any
) -> Tensor:
    pixels = torch.randint(0, 256, tuple(shape), generator=generator).float()
    preprocessor = student.data_preprocessor
    if getattr(preprocessor, '_enable_normalize', False):
        mean, std = (
            value.detach().cpu().float().reshape(3, 1, 1)
            for value in (preprocessor.mean, preprocessor.std)
        )
        pixels = (pixels - mean) / std
    return pixels.to(device)


def _metainfo(size: Tuple[int, int]) -> Dict[str, Any]:
    names = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    return dict(dict.fromkeys(names, tuple(size)), scale_factor=(1.0, 1.0), img_path='random')


def _instances(
    student: nn.Module,
    size: Tuple[int, int],
    boxes: int,
    ids: int,
    generator: torch.Generator,
    device: Any,
) -> InstanceData:
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)
    corner = rand(boxes, 2) * sides * 0.85
    extent = (0.03 + 0.1 * rand(boxes, 2)) * sides
    classes = max(_num_classes(student), 1)
    found = InstanceData()
    found.bboxes = torch.cat([corner, corner + extent], dim=1).to(device)
    found.labels = torch.randint(0, classes, (boxes,), generator=generator).to(device)
    found.instances_id = torch.randint(0, max(ids, 1), (boxes,), generator=generator).to(device)
    return found


def _num_classes(student: nn.Module) -> int:
    for path in ('num_classes', 'head.num_classes', 'bbox_head.num_classes'):
        value: Any = student
        for name in path.split('.'):
            value = getattr(value, name, None)
        if isinstance(value, int):
            return value
    return 1


def _tracked(
    student: nn.Module,
    size: Tuple[int, int],
    boxes: int,
    ids: int,
    generator: torch.Generator,
    device: Any,
) -> Any:
    from mmtrack.structures import TrackDataSample

    sample = TrackDataSample(metainfo=_metainfo(size))
    # As pipelines that warp write it; where the real picture is, is then worked out from it.
    sample.set_metainfo(dict(homography_matrix=torch.eye(3).double().numpy()))
    sample.gt_instances = _instances(student, size, boxes, ids, generator, device)
    return sample


def _classified(owner: str, student: nn.Module, generator: torch.Generator) -> Any:
    classes = max(_num_classes(student), 1)
    label = int(torch.randint(0, classes, (), generator=generator))
    if owner == 'mmcls':
        from mmcls.structures import ClsDataSample as DataSample
    else:
        from mmpretrain.structures import DataSample
    return DataSample().set_gt_label(label)
