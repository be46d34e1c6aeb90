"""A cache and a training from it, two processes each, through the user's own commands."""

import json
import math
import re
import socket

import pytest

from ..test_end_to_end import REPO, draw_sets, options, run, scalars

TOOL = 'tools/cache_teacher.py'
FRAMES, VARIANTS, SHARDS = 16, 4, 16

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    return draw_sets(folder, {'train': FRAMES, 'val': 2}, (160, 96))


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """In fp32, so that a cached step can be compared with a live one."""
    folder = tmp_path_factory.mktemp('config')
    file = folder / 'cached.py'
    file.write_text(
        f"_base_ = '{REPO}/configs/kd/fairmot_dinov2_synthetic.py'\n"
        "model = dict(teacher=dict(_delete_=True, type='mmkd.CachedTeacher', "
        f"teacher={{{{_base_.model.teacher}}}}, path='{folder}/cache', variants={VARIANTS}, "
        "storage='fp32', missing='refuse'))\n"
    )
    return file


@pytest.fixture(scope='module')
def cache(config):
    return config.parent / 'cache'


def _build(config, data, *more):
    with socket.socket() as free:
        # torchrun's own port is the same for every job on the machine.
        free.bind(('', 0))
        port = free.getsockname()[1]
    return run(
        *('-m', 'torch.distributed.run', '--nproc_per_node', 2, '--master_port', port),
        *(TOOL, config, '--batch', 1, '--workers', 0, '--shard-mb', 0.4, *more),
        *('--cfg-options', *options(data)),
    )


@pytest.fixture(scope='module')
def built(config, data):
    """What two processes said while they built the cache."""
    return _build(config, data)


def _shares(told):
    """Process to how many shards it built."""
    lines = [line for line in told.splitlines() if 'built  ' in line]
    found = [
        re.fullmatch(r'built     (\d+) shard\(s\), \d+ records in .* by process (\d) of 2', line)
        for line in lines
    ]
    assert all(found), lines
    return {int(each.group(2)): int(each.group(1)) for each in found}


def _train(config, data, work, *more):
    told = run(
        *('tools/dist_train.sh', config, 2, '--work-dir', work),
        *('--cfg-options', *options(data), 'train_cfg.val_interval=9', 'randomness.seed=0', *more),
        program=('bash',),
    )
    return told, [line for line in scalars(work) if 'loss' in line]


def test_two_processes_share_the_building(built, cache):
    shares = _shares(built)
    assert set(shares) == {1, 2}
    assert min(shares.values()) > 0
    # Nothing was made twice.
    assert sum(shares.values()) == SHARDS
    names = {path.name for path in cache.glob('shards/*')}
    assert names == {f'{n:06d}.{kind}' for n in range(SHARDS) for kind in ('json', 'safetensors')}
    assert not list(cache.glob('.*')), 'a draft'


def test_one_of_them_speaks_for_both(built):
    for what in ('teacher   ', 'cache     ', 'samples   ', 'size      ', 'fidelity  '):
        assert sum(line.startswith(what) for line in built.splitlines()) == 1, what


def test_two_processes_train_from_it_as_with_the_live_teacher(built, config, data, cache, tmp_path):
    told, steps = _train(config, data, tmp_path / 'cached')
    assert f'has {SHARDS} of {SHARDS} shards (exact mode, {VARIANTS} variant(s)' in told
    compared = re.findall(r"against the live teacher, 'last' .* error ([\d.]+)%", told)
    assert [float(each) for each in compared] == [0.0]
    # missing='refuse' would have stopped it as well.
    assert 'runs live there' not in told
    assert len(steps) == FRAMES // 4 // 2
    for step in steps:
        numbers = [value for value in step.values() if isinstance(value, (int, float))]
        assert all(map(math.isfinite, numbers)), step

    none = tmp_path / 'none'
    told, live = _train(
        *(config, data, tmp_path / 'live'),
        *("model.teacher.missing='live'", f'model.teacher.path={none}'),
    )
    assert 'there is no cache yet' in told
    assert not none.exists()
    assert len(live) == len(steps)
    for name in ('kd_neck', 'loss_kd_neck', 'loss'):
        assert steps[0][name] == pytest.approx(live[0][name], rel=1e-5), name
    # The second step also has what the first one's gradient was.
    assert steps[1]['kd_neck'] == pytest.approx(live[1]['kd_neck'], rel=1e-3)


def test_two_processes_train_and_build_it_first(config, data, tmp_path):
    path = tmp_path / 'cache'
    told, steps = _train(
        *(config, data, tmp_path / 'work'),
        *("model.teacher.missing='build'", f'model.teacher.path={path}'),
    )
    assert 'runs live there' not in told
    assert len(re.findall('against the live teacher', told)) == 1
    assert len(steps) == FRAMES // 4 // 2
    layout = json.loads((path / 'manifest.json').read_text())['layout']
    assert layout['samples'] * layout['variants'] == FRAMES * VARIANTS
    assert not list(path.glob('shards/*.claim'))


def test_two_processes_mend_it(built, config, data, cache):
    shard = cache / 'shards' / '000005.safetensors'
    good = shard.read_bytes()
    shard.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
    told = _build(config, data, '--verify', '--repair')
    assert told.count('shard 5:') == 1
    assert told.count('1 shard(s) damaged, 0 not built') == 1
    assert sum(_shares(told).values()) == 1
    assert shard.read_bytes() == good, 'the same bytes again'
