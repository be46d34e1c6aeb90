import pytest
import torch

from mmkd.distill.cache.builder import Builder
from mmkd.distill.cache.encoded import Encoded

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


def test_records_are_those_of_the_samples():
    value = torch.arange(24.0).view(4, 2, 3)
    encoded = Encoded({'a': value, 'b': value[:, 0].half()}, 2)
    assert not encoded.is_under_way
    first, second = encoded.records()
    assert torch.equal(first['a'], value[:2])
    assert torch.equal(second['a'], value[2:])
    assert second['b'].dtype == torch.float16
    assert second['b'].shape == (2, 3)


class Slow(Encoded):
    """As if a GPU copied it."""

    log = []

    @property
    def is_under_way(self):
        return True

    def records(self):
        self.log.append('read')
        return super().records()


def test_a_gpus_batch_is_read_when_the_next_is_launched(tmp_path, monkeypatch):
    made = Builder.__new__(Builder)
    log = Slow.log = []

    def encode(images, count):
        log.append(f'launch {images}')
        return Slow({'a': torch.full((count, 1), float(images))}, count)

    monkeypatch.setattr(made, 'encode', encode, raising=False)
    found = []
    for items, encoded, sizes in made._encoded((['x'] * 2, n, [(n, n)]) for n in range(3)):
        assert len(items) == 2
        assert sizes == [(len(found), len(found))]
        found.append(encoded.records()[1]['a'].item())
    assert found == [0, 1, 2]
    assert log == ['launch 0', 'launch 1', 'read', 'launch 2', 'read', 'read']


@needs_cuda
def test_a_gpus_batch_does_not_wait():
    value = torch.randn(4, 5, device='cuda', dtype=torch.bfloat16)
    torch.cuda.set_sync_debug_mode('error')
    try:
        encoded = Encoded({'a': value}, 2)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert encoded.is_under_way
    records = encoded.records()
    assert torch.equal(records[1]['a'], value[2:].cpu())
    assert not records[0]['a'].is_pinned()
