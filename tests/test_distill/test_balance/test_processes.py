"""Two processes with half of the batch hold what one with all of it holds."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


def _student():
    torch.manual_seed(0)
    return nn.ModuleDict({'trunk': nn.Linear(4, 6), 'head': nn.Linear(6, 1)})


def _data():
    generator = torch.Generator().manual_seed(1)
    x, target = torch.randn(8, 4, generator=generator), torch.randn(8, 6, generator=generator)
    maps = torch.randn(8, 3, 4, 5, generator=generator) * 7 + 20
    # Unequal, and with nothing valid at all for the second process at first.
    mask = torch.rand(8, 1, 4, 5, generator=generator) > 0.3
    mask[4:] = False
    return x, target, maps, mask


def _measure(part, wrap):
    from mmkd.distill.balance import EMAStandardize, GradientRatio

    x, target, maps, mask = (tensor[part] for tensor in _data())
    student, balance, standardize = _student(), GradientRatio(), EMAStandardize(3, momentum=0.5)
    model = wrap(_Losses(student, balance))
    for _ in range(2):
        task, kd = model(x, target)
        (task + kd).backward()
    standardize(maps, mask)
    standardize(maps)
    grads = {name: p.grad for name, p in student.named_parameters()}
    return balance.state_dict(), standardize.state_dict(), grads


class _Losses(nn.Module):
    """Measures within its forward pass, as a distiller does within DDP's."""

    def __init__(self, student, balance):
        super().__init__()
        self.student, self.balance = student, balance

    def forward(self, x, target):
        features = self.student['trunk'](x)
        task = self.student['head'](features).square().mean()
        kd = (features - target).square().mean()
        self.balance.measure(task, kd, list(self.student.parameters()))
        return task, self.balance(kd)


def _run(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    part = slice(4 * rank, 4 * rank + 4)
    torch.save(_measure(part, nn.parallel.DistributedDataParallel), f'{folder}/{rank}.pth')
    # A rank that leaves early would take the other's store with it.
    dist.barrier()
    # torch 2.0's gloo sometimes spins for ever when it is taken down in order.
    os._exit(0)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    whole = _measure(slice(None), lambda model: model)
    mp.spawn(_run, args=(str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        for ours, wanted in zip(torch.load(tmp_path / f'{rank}.pth'), whole):
            assert ours.keys() == wanted.keys()
            for name, value in wanted.items():
                torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=name)
