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


def _gradients(start: int, end: int, equal: bool, wrap) -> dict:
    """Gradients of images ``start`` to ``end`` of four; with padding of one size, or of four."""
    from ..toys import batch, build, sample

    loss = {'type': 'mmkd.CosineDistillLoss', 'reduction': 'mean' if equal else 'sample'}
    model = build(distill=[{'student': 'neck[0]', 'teacher': 'last', 'loss': loss}]).train()
    model.student.backbone[3].p = 0.0
    # Batch statistics are another matter, for which there is SyncBN.
    model.student.backbone[1].train = lambda mode=True: None
    model.student.backbone[1].training = False
    heights = [42] * 4 if equal else [14, 28, 42, 56]
    inputs = batch(4)[0][start:end]
    samples = [sample(img_shape=(h, 84)) for h in heights[start:end]]
    wrapper = wrap(model)  # which must live until the backward pass is over
    losses = wrapper(inputs, samples, mode='loss')
    model.parse_losses(losses)[0].backward()
    return {name: p.grad for name, p in model.named_parameters()}


def _half(rank: int, folder: str) -> None:
    from mmengine.model import MMDistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    found = [
        _gradients(2 * rank, 2 * rank + 2, equal, MMDistributedDataParallel)
        for equal in (True, False)
    ]
    torch.save(found, f'{folder}/{rank}.pth')
    dist.barrier()
    os._exit(0)


@pytest.mark.slow
def test_two_halves_of_a_batch_have_the_gradients_of_the_whole(tmp_path):
    mp.spawn(_half, args=(str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        for equal, half in zip((True, False), torch.load(tmp_path / f'{rank}.pth')):
            whole = _gradients(0, 4, equal, lambda model: model)
            assert all(gradient.any() for gradient in whole.values())
            for name, gradient in whole.items():
                torch.testing.assert_close(
                    half[name],
                    gradient,
                    atol=1e-6,
                    rtol=1e-6,
                    msg=lambda text, n=name: f'{n}: {text}',
                )
