import json
import os
import shutil
import socket
import time
from dataclasses import replace

import pytest
import torch

from mmkd.distill.cache import builder
from mmkd.distill.cache.builder import Builder, Work, begin, check_room, fit_codecs, plan, verify
from mmkd.distill.cache.layout import Layout, make_folders, seal_file
from mmkd.distill.cache.reader import CacheReader
from mmkd.distill.teachers.fingerprint import Fingerprint
from mmkd.errors import MMKDError

SHAPES = {'last': (2, 6, 3, 4)}  # frames, channels, h, w
FIELDS = dict(
    mode='exact',
    storage='fp32',
    seed=0,
    canvas=None,
    teacher=Fingerprint('a' * 64, {}, {}),
    data={},
    augmentation={},
)


def _teacher(images):
    return {'last': images.expand(-1, 6, 3, 4) * torch.arange(1.0, 7.0).view(6, 1, 1)}


def _batches(groups):
    """Two frames of each item, of one number that tells the item."""
    for items in groups:
        numbers = [10.0 * sample + variant for sample, variant in items]
        images = torch.tensor(numbers).repeat_interleave(2).view(-1, 1, 1, 1)
        yield items, images, [(12, 16)] * len(items)


def _fit(manifest):
    features = (_teacher(images) for _, images, _ in _batches([[(0, 0)], [(1, 1)]]))
    return fit_codecs(manifest, features)


def _plan(path, **changes):
    planned = plan(str(path), 5, 2, SHAPES, 1200, **{**FIELDS, **changes})
    assert planned.record == 2 * 6 * 3 * 4 * 4
    assert planned.manifest.layout == Layout(5, 2, 2)
    return planned


def _build(path, work=None):
    manifest, codecs = begin(str(path), _plan(path).manifest, _fit)
    work = work or Work(str(path), manifest.layout, 2)
    return Builder(str(path), manifest, codecs, _teacher).run(work, _batches(work))


def _check(path):
    reader = CacheReader(str(path))
    for sample in range(5):
        for variant in range(2):
            record = reader.read(sample, variant)
            assert record.problem == ''
            assert record.picture == (12, 16)
            value = record.tensors['last']
            assert value.shape == SHAPES['last']
            expected = (10.0 * sample + variant) * torch.arange(1.0, 7.0)
            assert torch.equal(value[1, :, 2, 3], expected)


def test_every_record_is_in_its_place(tmp_path):
    assert _build(tmp_path) == 5
    _check(tmp_path)
    assert verify(str(tmp_path)) == {}
    assert _build(tmp_path) == 0


def test_claims_that_outlived_their_shards_are_swept(tmp_path):
    _build(tmp_path)
    # As if it had been killed between the shard's seal and giving the claim back.
    left = tmp_path / 'shards' / '000002.claim'
    left.write_text(json.dumps({'host': socket.gethostname(), 'pid': 2**22 + 1}))
    assert _build(tmp_path) == 0
    assert not left.exists()


def test_builders_share_the_work(tmp_path):
    manifest, codecs = begin(str(tmp_path), _plan(tmp_path).manifest, _fit)
    works = [Work(str(tmp_path), manifest.layout, 1, start) for start in (0, 2)]
    streams = [iter(work) for work in works]
    first, second = ([next(stream) for _ in range(2)] for stream in streams)
    assert first == [[(0, 0)], [(0, 1)]]
    assert second == [[(2, 0)], [(2, 1)]]
    shards = [
        Builder(str(tmp_path), manifest, codecs, _teacher).run(work, _batches(rest))
        for work, rest in zip(works, ([*first, *streams[0]], [*second, *streams[1]]))
    ]
    assert sum(shards) == 5
    _check(tmp_path)


def test_what_breaks_gives_its_claims_back(tmp_path):
    make_folders(str(tmp_path))

    def broken(groups):
        for number, batch in enumerate(_batches(groups)):
            if number == 3:
                raise RuntimeError('a picture is broken')
            yield batch

    manifest, codecs = begin(str(tmp_path), _plan(tmp_path).manifest, _fit)
    work = Work(str(tmp_path), manifest.layout, 2)
    with pytest.raises(RuntimeError, match='a picture is broken'):
        Builder(str(tmp_path), manifest, codecs, _teacher).run(work, broken(work))
    assert not list(tmp_path.glob('shards/*.claim'))
    assert CacheReader(str(tmp_path)).missing() == [3, 4]
    assert CacheReader(str(tmp_path)).read(4, 0).problem == 'shard 4 has not been built'
    assert _build(tmp_path) == 2
    _check(tmp_path)


def test_what_killed_builders_left_half_is_swept_away(tmp_path):
    make_folders(str(tmp_path))
    drafts = [tmp_path / '.a.tmp', tmp_path / 'shards' / '.000001.safetensors.b.tmp']
    for draft in drafts:
        draft.write_bytes(b'half')
        os.utime(draft, (time.time() - 601,) * 2)
    fresh = tmp_path / 'shards' / '.000002.safetensors.c.tmp'
    fresh.write_bytes(b'in the making')
    _build(tmp_path)
    assert not any(draft.exists() for draft in drafts)
    assert fresh.exists()


def test_damaged_shards_are_taken_out_and_made_again(tmp_path):
    _build(tmp_path)
    with open(seal_file(str(tmp_path), 1), 'w') as file:
        file.write('{}')
    shard = tmp_path / 'shards' / '000003.safetensors'
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    found = verify(str(tmp_path), repair=True)
    assert sorted(found) == [1, 3]
    assert _build(tmp_path) == 2
    _check(tmp_path)


def test_a_cache_of_something_else_is_never_overwritten(tmp_path):
    _build(tmp_path)
    other = replace(_plan(tmp_path).manifest, storage='bf16')
    with pytest.raises(MMKDError, match="storage was 'fp32' and is 'bf16'.*another folder"):
        begin(str(tmp_path), other, _fit)
    _check(tmp_path)


def test_a_disk_that_is_too_small_is_refused(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(builder.shutil, 'disk_usage', lambda _: usage._replace(free=5_000))
    planned = _plan(tmp_path / 'not' / 'there')
    assert planned.total > 10 * planned.record
    with pytest.raises(MMKDError, match='would take 0.0 GB more.*fewer variants= .now 2.'):
        check_room(planned, 'cache')
    check_room(planned, 'cache', planned.total)


def test_the_size_that_is_told_is_the_size_that_it_has(tmp_path):
    planned = _plan(tmp_path)
    _build(tmp_path)
    real = builder.built_bytes(str(tmp_path))
    assert real <= planned.total <= 1.5 * real
