"""Specialists under DDP: a process without their samples, and two halves of a batch."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# The second half has no sample of fast motion, and more of occlusion.
NAMES = [(), ('FM',), ('POC',), ('POC', 'FOC')]


def _gradients(rows, wrap) -> dict:
    from .. import siamese_toy as toy

    model = toy.build(transfers=[toy.TRANSFERS[0], dict(name='neck', student='neck@1')]).train()
    # Batch statistics are another matter, for which there is SyncBN.
    norm = model.student.neck[0]
    norm.train = lambda mode=True: None
    norm.training = False
    inputs, samples = toy.batch(NAMES)
    # The toy's targets depend on a sample's number within its batch.
    model.student.sample_targets = _by_place(model.student.sample_targets)
    wrapper = wrap(model)  # which must live until the backward pass is over
    for _ in range(2):
        # DDP complains of an unused parameter in the step after it.
        model.zero_grad()
        losses = wrapper(
            {key: value[rows] for key, value in inputs.items()},
            [samples[row] for row in rows],
            mode='loss',
        )
        model.parse_losses(losses)[0].backward()
    return {name: p.grad for name, p in model.named_parameters()}


def _by_place(sample_targets):
    def targets(data_samples, device=None):
        found = sample_targets(data_samples, device)
        labels = torch.zeros_like(found.labels)
        for number, sample in enumerate(data_samples):
            labels[number, 0, sample.place % labels.shape[2], 0] = 1
        return found._replace(labels=labels)

    return targets


def _half(rank: int, folder: str) -> None:
    from mmengine.model import MMDistributedDataParallel

    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    torch.save(
        _gradients([2 * rank, 2 * rank + 1], MMDistributedDataParallel), f'{folder}/{rank}.pth'
    )
    dist.barrier()
    # torch 2.0's gloo sometimes spins for ever when it is taken down in order.
    os._exit(0)


@pytest.mark.slow
def test_two_halves_of_a_batch_have_the_gradients_of_the_whole(tmp_path):
    mp.spawn(_half, args=(str(tmp_path),), nprocs=2)
    whole = _gradients([0, 1, 2, 3], lambda model: model)
    trained = {name for name, gradient in whole.items() if gradient is not None}
    assert whole['distill.neck_fast_motion.transform.project.weight'].any()
    assert len(trained) > 10
    for rank in (0, 1):
        half = torch.load(tmp_path / f'{rank}.pth')
        for name in trained:
            torch.testing.assert_close(
                half[name],
                whole[name],
                atol=1e-6,
                rtol=1e-5,
                msg=lambda text, n=name: f'{n}: {text}',
            )
