"""Two processes, without find_unused_parameters."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

ALPHAS = (0.5, 0)


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    torch.save([_train_with(alpha, rank) for alpha in ALPHAS], f'{folder}/{rank}.pth')
    # A rank that leaves early would take the other's store with it.
    dist.barrier()
    # torch 2.0's gloo sometimes spins for ever when it is taken down in order.
    os._exit(0)


def _train_with(alpha: float, rank: int):
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import OptimWrapper

    from ..toys import build, sample

    model = MMDistributedDataParallel(build(alpha=alpha)).train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    torch.manual_seed(rank)
    # DDP complains of an unused parameter in the step after it.
    for _ in range(3):
        inputs = [torch.randint(0, 256, (3, 28, 42), dtype=torch.uint8) for _ in range(2)]
        model.train_step({'inputs': inputs, 'data_samples': [sample(), sample()]}, wrapper)
    fingerprint = model.module.teacher.fingerprint() if alpha else None
    return dict(model.module.named_parameters()), fingerprint


@pytest.mark.slow
def test_two_processes_agree_without_find_unused_parameters(tmp_path):
    mp.spawn(_train, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    for (ours, our_teacher), (theirs, their_teacher) in zip(first, second):
        assert our_teacher == their_teacher
        assert any(name.startswith('distill.') for name in ours)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
