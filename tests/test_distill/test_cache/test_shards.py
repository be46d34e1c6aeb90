import os
import shutil

import pytest
import torch

from mmkd.distill.cache.layout import make_folders, seal_file, shard_file
from mmkd.distill.cache.shards import (
    BadShardError,
    OpenShard,
    check_of,
    read_seal,
    verify_shard,
    write_shard,
)

OWNER = 'cache-a'


def _records(count=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [
        {
            'last': torch.randn(1, 4, 2, 3, generator=random).bfloat16(),
            'deep.map': torch.randint(-127, 128, (1, 5, 2, 2), generator=random).to(torch.int8),
        }
        for _ in range(count)
    ]


@pytest.fixture
def cache(tmp_path):
    make_folders(str(tmp_path))
    for number in range(2):
        write_shard(str(tmp_path), number, OWNER, _records(seed=number), [(8, 12)] * 3)
    return str(tmp_path)


@pytest.mark.parametrize('number', [0, 1])
def test_what_was_written_is_read(cache, number):
    shard = OpenShard(cache, number, OWNER)
    for row, record in enumerate(_records(seed=number)):
        read = shard.read(row)
        assert set(read) == set(record)
        for name, value in record.items():
            assert read[name].dtype == value.dtype
            assert torch.equal(read[name], value)
    assert shard.seal.pictures == ((8, 12),) * 3
    verify_shard(cache, number, OWNER, 3)


def test_a_shard_that_is_built_twice_is_the_same_file(cache, tmp_path):
    make_folders(str(tmp_path / 'again'))
    write_shard(str(tmp_path / 'again'), 0, OWNER, _records(), [(8, 12)] * 3)
    for name in (shard_file, seal_file):
        with open(name(cache, 0), 'rb') as one, open(name(str(tmp_path / 'again'), 0), 'rb') as two:
            assert one.read() == two.read()


def test_a_shard_without_its_seal_is_not_there(cache):
    os.unlink(seal_file(cache, 0))
    assert read_seal(cache, 0) is None
    with pytest.raises(FileNotFoundError):
        OpenShard(cache, 0, OWNER)


def test_every_flipped_bit_is_found(cache):
    """Wherever it is: in the length, the header, the padding or the numbers."""
    file = shard_file(cache, 0)
    with open(file, 'rb') as stream:
        good = stream.read()
    for place in range(0, len(good), 7):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        with open(file, 'wb') as stream:
            stream.write(bad)
        with pytest.raises(BadShardError):
            verify_shard(cache, 0, OWNER, 3)


def test_a_flipped_bit_of_a_record_is_found_when_it_is_read(cache):
    file = shard_file(cache, 0)
    size = os.path.getsize(file)
    with open(file, 'r+b') as stream:
        stream.seek(size - 1)
        last = stream.read(1)[0]
        stream.seek(size - 1)
        stream.write(bytes([last ^ 4]))
    shard = OpenShard(cache, 0, OWNER)
    problems = []
    for row in range(3):
        try:
            shard.read(row)
        except BadShardError as error:
            problems.append(str(error))
    (problem,) = problems
    assert file in problem
    assert 'checksum' in problem


@pytest.mark.parametrize('left', [0, 5, 40, 300])
def test_a_truncated_shard_is_found(cache, left):
    os.truncate(shard_file(cache, 1), left)
    with pytest.raises(BadShardError, match=f'has {left} bytes, but had'):
        OpenShard(cache, 1, OWNER)


def test_swapped_shards_are_found(cache):
    first, second = shard_file(cache, 0), shard_file(cache, 1)
    for one, other in ((first, second), (seal_file(cache, 0), seal_file(cache, 1))):
        shutil.move(one, f'{one}.aside')
        shutil.move(other, one)
        shutil.move(f'{one}.aside', other)
    with pytest.raises(BadShardError, match='shard=1, but its place is that of shard=0'):
        OpenShard(cache, 0, OWNER)


def test_a_shard_of_another_cache_is_found(cache):
    with pytest.raises(BadShardError, match="cache='cache-a', but its place.*cache='cache-b'"):
        OpenShard(cache, 0, 'cache-b')


def test_a_shard_that_is_gone_and_a_damaged_seal(cache):
    os.unlink(shard_file(cache, 0))
    with pytest.raises(BadShardError, match='is gone, but its seal is there'):
        OpenShard(cache, 0, OWNER)
    with open(seal_file(cache, 1), 'w') as file:
        file.write('{"size": 3}')
    with pytest.raises(BadShardError, match='is damaged'):
        OpenShard(cache, 1, OWNER)


def test_a_checksum_tells_names_types_and_shapes():
    value = torch.zeros(1, 4, 2, 2)
    seen = {
        check_of({'a': value}),
        check_of({'b': value}),
        check_of({'a': value.half()}),
        check_of({'a': value.reshape(1, 2, 4, 2)}),
        check_of({'a': value, 'b': value}),
    }
    assert len(seen) == 5
