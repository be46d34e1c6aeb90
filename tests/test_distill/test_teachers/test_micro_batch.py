import logging

import pytest
import torch
from torch import nn

from mmkd.distill.teachers.micro_batch import LiveBytes, MicroBatch, parse_bytes, peak_bytes
from mmkd.errors import MMKDError

MIB = 2**20


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        ('4GiB', 4 * 2**30),
        ('800MB', 800_000_000),
        ('1.5 KiB', 1536),
        ('12', 12),
        (12, 12),
        ('3B', 3),
    ],
)
def test_bytes(value, expected):
    assert parse_bytes(value, 'T') == expected


@pytest.mark.parametrize('value', ['4 gigs', 'GiB', 0, -3, True, '0GB', '4iB', None, 2.5])
def test_no_bytes(value):
    with pytest.raises(MMKDError, match=r"T takes memory_budget='4GiB'.*but got"):
        parse_bytes(value, 'T')


@pytest.mark.parametrize('size', [0, -1, 1.5, True, '2'])
def test_no_size(size):
    with pytest.raises(MMKDError, match='T takes micro_batch='):
        MicroBatch(size, owner='T')


def test_one_of_the_two():
    with pytest.raises(MMKDError, match='not both'):
        MicroBatch(2, '1GiB')


class Forward:
    """A map, a permuted map as transformers give, a vector; and how many images came at once."""

    def __init__(self):
        self.sizes = []

    def __call__(self, images):
        self.sizes.append(len(images))
        tokens = images.flatten(2).transpose(1, 2).contiguous() * 2
        return {
            'map': images + 1,
            'tokens': tokens.reshape(len(images), *images.shape[2:], 3).permute(0, 3, 1, 2),
            'vector': images.mean((2, 3)).to(torch.bfloat16),
        }


@pytest.mark.parametrize(
    ('n', 'size', 'sizes'),
    [
        (5, None, [5]),
        (5, 5, [5]),
        (5, 9, [5]),
        (5, 4, [3, 2]),
        (5, 1, [1] * 5),
        (6, 2, [2, 2, 2]),
        (1, 1, [1]),
    ],
)
def test_pieces_give_the_whole(n, size, sizes):
    images = torch.rand(n, 3, 4, 6)
    forward = Forward()
    found = MicroBatch(size)(forward, images)
    assert forward.sizes == sizes
    for name, value in Forward()(images).items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == value.dtype
        assert found[name].stride() == value.stride()


def _chain(images):
    """Four tensors of the batch's size, of which three are alive at a time."""
    first = images * 2
    second = first + 1
    third = first + second
    del first, second
    return {'out': third * 3}


def test_live_bytes():
    images = torch.zeros(2, 3, 64, 64)
    size = images.numel() * 4
    assert peak_bytes(_chain, images) == 3 * size


def test_views_and_weights_are_nothing_new():
    net = nn.Linear(64, 64)
    x = torch.zeros(8, 64)
    with torch.no_grad(), LiveBytes() as live:
        y = net(x.view(8, 64).transpose(0, 1).transpose(0, 1))
        y.add_(1).view(-1)
    assert live.peak == 8 * 64 * 4


def test_a_budget_is_kept():
    images = torch.zeros(6, 3, 64, 64)
    image = 3 * 64 * 64 * 4
    sizes = []

    def forward(piece):
        sizes.append(len(piece))
        return _chain(piece)

    # Three alive per image that runs, one kept for every image of the batch.
    split = MicroBatch(memory_budget=6 * image + 2 * 3 * image)
    split(forward, images)
    assert sizes[-3:] == [2, 2, 2]
    calls = len(sizes)
    split(forward, images)
    assert len(sizes) == calls + 3, 'measured once'
    split(forward, images[:, :, :32])
    assert sizes[calls + 3 :] == [1, 1, 2, 6], 'and again for another size'
    split.reset()
    sizes.clear()
    split(forward, images)
    assert len(sizes) > 3


def test_a_large_budget_and_one_image(caplog):
    forward = Forward()
    MicroBatch(memory_budget='1GiB')(forward, torch.zeros(4, 3, 8, 8))
    assert forward.sizes[-1] == 4
    forward = Forward()
    MicroBatch(memory_budget=1)(forward, torch.zeros(1, 3, 8, 8))
    assert forward.sizes == [1], 'nothing to split, nothing to measure'


def test_a_budget_that_is_too_small_is_told(caplog):
    forward = Forward()
    with caplog.at_level(logging.WARNING):
        MicroBatch(memory_budget=10)(forward, torch.zeros(3, 3, 8, 8))
    assert forward.sizes[-3:] == [1, 1, 1]


def test_measured_without_the_compiler():
    fast, plain = Forward(), Forward()
    MicroBatch(memory_budget='1GiB')(fast, torch.zeros(4, 3, 8, 8), plain)
    assert fast.sizes == [4]
    assert set(plain.sizes) == {1, 2}


def test_the_gpu_measures_itself(monkeypatch):
    """With what torch.cuda would say for 100 bytes and 50 per image."""
    from mmkd.distill.teachers import micro_batch

    state = {'peak': 0}

    class Images(list):
        device = torch.device('cuda')

        def __getitem__(self, key):
            return Images(super().__getitem__(key))

    def forward(images):
        state['peak'] = 1000 + 100 + 50 * len(images)

    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda device: state.update(peak=0))
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: 1000)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device: state['peak'])
    assert micro_batch.peak_bytes(forward, Images('ab')) == 200
