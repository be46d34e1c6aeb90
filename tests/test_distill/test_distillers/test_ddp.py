"""Two processes, without find_unused_parameters."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def _train(rank: int, port: int, alpha: float, folder: str) -> None:
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import OptimWrapper

    from ..toys import build, sample

    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    try:
        model = MMDistributedDataParallel(build(alpha=alpha)).train()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        torch.manual_seed(rank)
        # DDP complains of an unused parameter in the step after it.
        for _ in range(3):
            inputs = [torch.randint(0, 256, (3, 28, 42), dtype=torch.uint8) for _ in range(2)]
            data = {'inputs': inputs, 'data_samples': [sample(), sample()]}
            model.train_step(data, wrapper)
        weights = dict(model.module.named_parameters())
        print_ = model.module.teacher.fingerprint() if alpha else ''
        torch.save((weights, print_), f'{folder}/{rank}.pth')
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize('alpha', [0.5, 0])
def test_two_processes_agree_without_find_unused_parameters(tmp_path, alpha):
    mp.spawn(_train, args=(_free_port(), alpha, str(tmp_path)), nprocs=2)
    (first, teacher_0), (second, teacher_1) = (
        torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1)
    )
    assert teacher_0 == teacher_1
    assert all(torch.equal(first[name], second[name]) for name in first)
    moved = [n for n in first if n.startswith('distill.')]
    assert moved
