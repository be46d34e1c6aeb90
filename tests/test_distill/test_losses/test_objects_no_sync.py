"""What looks at objects never makes the host wait for the device.

A processor cannot wait for itself, but the operators that would are known.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmkd.distill.foreground import ForegroundWeight
from mmkd.distill.instances import collect_instances
from mmkd.distill.losses.embedding import EmbeddingDistillLoss
from mmkd.distill.losses.heatmap import HeatmapDistillLoss
from mmkd.distill.losses.rkd import RKDLoss
from mmkd.distill.losses.temporal import TemporalRelationalLoss

from .. import boxes
from ..test_instances import sample

WAITING = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique', 'is_nonzero', 'equal')


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split('::')[-1]
        if any(name.startswith(word) for word in WAITING):
            raise RuntimeError(f'{name} waits')
        if name in ('index', 'index_put_', 'index_put', '_index_put_impl_'):
            chosen = [index for index in args[1] if index is not None]
            if any(index.dtype == torch.bool for index in chosen):
                raise RuntimeError('a bool index waits')
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    'wait', [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: (x > 0).nonzero()]
)
def test_the_watch_sees_waiting(wait):
    with pytest.raises(RuntimeError, match='wait'), NoWaiting():
        wait(torch.randn(3))


@pytest.mark.parametrize(
    'loss',
    [
        RKDLoss(),
        RKDLoss(over='grid'),
        HeatmapDistillLoss(),
        EmbeddingDistillLoss(),
        EmbeddingDistillLoss('relational', 'box', known_only=True),
        TemporalRelationalLoss(),
        TemporalRelationalLoss(distance='mse', keys='student', pooling='centre'),
    ],
    ids=repr,
)
@pytest.mark.parametrize('reduction', ['mean', 'sample'])
def test_losses(loss, reduction):
    student, teacher, mask = boxes.maps()
    kwargs = dict(instances=boxes.make()) if loss.needs else {}
    with NoWaiting():
        loss(student, teacher, mask, reduction, **kwargs).sum().backward()
        loss(student, teacher, mask.double(), reduction, **kwargs)


@pytest.mark.parametrize('normalise', [None, 'area'])
def test_weights(normalise):
    _, _, mask = boxes.maps()
    with NoWaiting():
        ForegroundWeight(normalise=normalise, form='gaussian')(boxes.make(), (6, 8), mask)


def test_collecting():
    samples = [
        sample((1, 2, 3, 4), map_instances_to_img_idx=torch.tensor([1])),
        sample((1, 2, 3, 4), (4, 4, 5, 5), map_instances_to_img_idx=torch.tensor([1, 0])),
    ]
    with NoWaiting():
        collect_instances(samples, 4, (8, 8), torch.device('cpu'))
