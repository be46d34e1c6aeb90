"""A cache through the user's own commands: planned, built by several, killed, repaired, read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..test_end_to_end import REPO, draw_sets, is_stock, openmmlab_tool, options, run

TOOL = 'tools/cache_teacher.py'
SIZE = (160, 96)
FRAMES = 16

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    return draw_sets(folder, {'train': FRAMES, 'val': 2}, SIZE)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """The quickstart's distillation; what a user adds for a cache."""
    folder = tmp_path_factory.mktemp('config')
    file = folder / 'cached.py'
    file.write_text(
        f"_base_ = '{REPO}/configs/kd/fairmot_dinov2_synthetic.py'\n"
        "model = dict(teacher=dict(_delete_=True, type='mmkd.CachedTeacher', "
        f"teacher={{{{_base_.model.teacher}}}}, path='{folder}/cache', variants=2))\n"
    )
    return file


@pytest.fixture(scope='module')
def cache(config):
    return config.parent / 'cache'


def _tool(config, data, *more, **kwargs):
    return run(
        TOOL, config, '--batch', 4, '--shard-mb', 0.4, *more, '--cfg-options', *options(data),
        **kwargs,
    )  # fmt: skip


def _sealed(cache):
    return sorted(cache.glob('shards/*.json'))


def test_what_it_will_take_is_said_before_anything_is_written(config, data, cache):
    told = _tool(config, data, '--dry-run')
    assert '16 x 2 augmentation(s) = 32 records of last (1, 384, 6, 11)' in told
    assert '0.051 MB a record' in told
    assert not cache.exists()


def test_two_processes_one_of_them_killed_build_it_all(config, data, cache):
    command = [
        *(sys.executable, str(REPO / TOOL), str(config), '--batch', '1', '--shard-mb', '0.4'),
        *('--workers', '0', '--cfg-options', *options(data)),
    ]
    environment = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1')
    victim = subprocess.Popen(
        command, cwd=REPO, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 300
    while not _sealed(cache) and time.time() < deadline:
        assert victim.poll() is None
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = len(_sealed(cache))
    assert 0 < before < 4
    others = [
        subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [other.communicate(timeout=400)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0], told
    # Between them they made what was missing, and nothing twice.
    built = [int(text.split('built     ')[1].split()[0]) for text in told]
    assert sum(built) == 4 - before
    assert len(_sealed(cache)) == 4
    assert not list(cache.glob('shards/*.claim'))
    assert 'fidelity  last: cosine 1.0000' in told[0]
    assert 'built     0 shard(s)' in _tool(config, data)


def test_training_reads_it(config, data, cache, tmp_path):
    told = run(
        *(openmmlab_tool('train'), config, '--work-dir', tmp_path),
        *('--cfg-options', *options(data), 'train_cfg.val_interval=9'),
    )
    assert 'has 4 of 4 shards (exact mode, 2 variant(s) of 16 samples)' in told
    assert 'against the live teacher' in told
    assert 'error 0.' in told
    assert 'runs live there' not in told
    (file,) = Path(tmp_path).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(line['kd_neck'] > 0 for line in lines if 'loss' in line)


def test_the_doctor_looks_at_it(config, data, cache, tmp_path):
    command = ('tools/doctor.py', config, '--out', tmp_path, '--steps', 1, '--device', 'cpu')
    told = run(*command, '--cfg-options', *options(data))
    # The page breaks lines.
    assert f"4 of 4 shards in '{cache}'" in ' '.join(told.split())
    told = run(*command, '--cfg-options', *options(data), f'model.teacher.path={tmp_path}/none')
    assert 'so that it runs live in every step' in ' '.join(told.split())


def test_damage_is_named_and_mended(config, data, cache):
    shard = cache / 'shards' / '000002.safetensors'
    good = shard.read_bytes()
    shard.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
    told = _tool(config, data, '--verify', expect=1)
    assert 'shard 2:' in told
    assert '1 shard(s) damaged, 0 not built' in told
    assert '--verify --repair' in told
    told = _tool(config, data, '--verify', '--repair')
    assert 'built     1 shard(s)' in told
    assert shard.read_bytes() == good, 'the same bytes again'
    assert '0 shard(s) damaged, 0 not built' in _tool(config, data, '--verify')


def test_another_augmentation_is_refused(config, data):
    told = run(
        *(TOOL, config, '--cfg-options', *options(data)),
        'train_dataloader.dataset.pipeline.4.degrees=6',
        expect=1,
    )
    assert 'other parameters of dataset.pipeline[4] IdAwareRandomAffine' in told


def test_any_config_of_distillation_can_be_cached(data, tmp_path):
    told = run(
        *(TOOL, 'configs/kd/fairmot_dinov2_synthetic.py', '--path', tmp_path / 'warped'),
        *('--mode', 'warp', '--storage', 'pca-16-int8', '--cfg-options', *options(data)),
    )
    assert '16 x the whole picture and its mirror image = 32 records' in told
    assert '(warp mode, pca-16-int8)' in told
    assert 'of the variance' in told
    assert 'fidelity  last, warped, against the live teacher: cosine 0.' in told
    told = run(
        *(TOOL, 'configs/kd/fairmot_dinov2_synthetic.py', '--cfg-options', *options(data)),
        expect=1,
    )
    assert 'Say --path FOLDER' in told


@pytest.mark.skipif(is_stock(), reason='the same code; one stack is enough')
def test_training_can_build_it(config, data, tmp_path):
    told = run(
        *('tools/train.py', config, '--work-dir', tmp_path),
        *('--cfg-options', *options(data), 'train_cfg.val_interval=9'),
        "model.teacher.missing='build'",
        f'model.teacher.path={tmp_path}/cache',
    )
    assert 'has 1 of 1 shards' in told
    assert 'runs live there' not in told
