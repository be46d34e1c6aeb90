"""The whole way through the user's own commands: draw, distil, score, render, publish.

On the stock stack, training and testing go through the tools in mmtrack's wheel.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from mmkd.registry import MODELS

REPO = Path(__file__).resolve().parent.parent
STUDENT = 'configs/mot/fairmot/fairmot_hrnetv2-w18-lite_1xb4-5e_synthetic.py'
DISTILLED = 'configs/kd/fairmot_dinov2_synthetic.py'
SIZE = (160, 96)
FRAMES = {'train': 8, 'val': 6}

pytestmark = pytest.mark.slow


def is_stock() -> bool:
    import mmcv

    return mmcv.__version__ == '2.0.0rc4'


def run(*command, expect=0, program=(sys.executable,)):
    """Runs one of the repository's tools as a user does, and returns what it printed."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(REPO))
    # As in an activated environment, which is where the shell scripts look for python.
    environment['VIRTUAL_ENV'] = sys.prefix
    environment['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    result = subprocess.run(
        [*program, *map(str, command)],
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == expect, result.stdout[-4000:]
    return result.stdout


def openmmlab_tool(name):
    """tools/<name>.py: ours, or mmtrack's own where nothing of it is patched."""
    if not is_stock():
        return REPO / 'tools' / f'{name}.py'
    import mmtrack

    return Path(mmtrack.__file__).parent / '.mim' / 'tools' / f'{name}.py'


def options(data):
    scale = f'({SIZE[0]},{SIZE[1]})'
    return [
        *(f'{kind}_dataloader.dataset.data_root={data}/' for kind in ('train', 'val', 'test')),
        f'train_dataloader.dataset.pipeline.3.scale={scale}',
        f'val_dataloader.dataset.pipeline.2.scale={scale}',
        f'test_dataloader.dataset.pipeline.2.scale={scale}',
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    ]


def draw_sets(folder, frames, size):
    """Sets of drawn sequences, name to number of frames, of pictures (width, height)."""
    for seed, (name, count) in enumerate(frames.items()):
        run(
            *('tools/dataset_converters/make_synthetic_mot.py', folder, '--name', name),
            *('--sequences', 1, '--frames', count, '--walkers', 4, '--seed', seed),
            *('--size', f'{size[0]}x{size[1]}'),
        )
    return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    return draw_sets(folder, FRAMES, SIZE)


@pytest.fixture(scope='module')
def distilled(tmp_path_factory):
    """A user's own config on top of ours: it wants TensorBoard as well."""
    config = tmp_path_factory.mktemp('config') / 'mine.py'
    config.write_text(
        f"_base_ = '{REPO / DISTILLED}'\n"
        "vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]\n"
        'visualizer = dict(vis_backends=vis_backends)\n'
    )
    return config


@pytest.fixture(scope='module')
def work(data, distilled, tmp_path_factory):
    """A work dir with the checkpoint of two distillation steps."""
    folder = tmp_path_factory.mktemp('work')
    run(
        *(openmmlab_tool('train'), distilled, '--work-dir', folder),
        *('--cfg-options', *options(data)),
    )
    return folder


@pytest.fixture(scope='module')
def checkpoint(work):
    return work / 'epoch_1.pth'


def scalars(work):
    (file,) = work.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_both_losses_are_trained_and_logged(work):
    steps = [line for line in scalars(work) if 'loss' in line]
    assert len(steps) == FRAMES['train'] // 4
    kd_names = [name for name in steps[0] if name.startswith('loss_kd_')]
    assert len(kd_names) == 1
    for step in steps:
        parts = step['loss_det'] + step['loss_id'] + step[kd_names[0]]
        assert step['loss'] == pytest.approx(parts, rel=1e-4)
        assert step[kd_names[0]] > 0


def test_tensorboard_gets_the_kd_scalars(work):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = work.glob('*/vis_data/events.out.tfevents.*')
    events = EventAccumulator(str(file))
    events.Reload()
    logged = [line for line in scalars(work) if 'loss' in line]
    for name in ('kd_neck', 'loss_kd_neck', 'task_raw'):
        values = [event.value for event in events.Scalars(name)]
        assert values == pytest.approx([line[name] for line in logged], rel=1e-4)


def test_the_checkpoint_is_the_plain_student(checkpoint):
    from mmengine.config import Config

    state = torch.load(checkpoint, map_location='cpu', weights_only=False)['state_dict']
    assert any(key.startswith('distill.') for key in state)
    of_teachers = {key.split('.')[-1]: value for key, value in state.items() if 'teacher' in key}
    assert set(of_teachers) == {'fingerprint', 'identity'}
    assert all(value.dtype == torch.uint8 for value in of_teachers.values())
    plain = {key: value for key, value in state.items() if not key.startswith('distill.')}
    student = MODELS.build(Config.fromfile(REPO / STUDENT).model).eval()
    student.load_state_dict(plain, strict=True)
    assert student.head.num_ids > 0
    wrapped = MODELS.build(Config.fromfile(REPO / DISTILLED).model).eval()
    wrapped.load_state_dict(state, strict=True)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = student(image, mode='tensor'), wrapped(image, mode='tensor')
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_training_resumes_where_it_stopped(work, distilled, data, tmp_path):
    folder = tmp_path / 'work'
    folder.mkdir()
    shutil.copy(work / 'epoch_1.pth', folder)
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    longer = [o.replace('max_epochs=1', 'max_epochs=2') for o in options(data)]
    out = run(
        *(openmmlab_tool('train'), distilled, '--work-dir', folder, '--resume'),
        *('--cfg-options', *longer),
    )
    assert (folder / 'epoch_2.pth').exists()
    assert 'Epoch(train) [2]' in out
    assert 'Epoch(train) [1]' not in out


def test_two_processes_train_and_test_without_find_unused_parameters(data, tmp_path):
    out = run(
        *('tools/dist_train.sh', DISTILLED, 2, '--work-dir', tmp_path),
        *('--cfg-options', *options(data)),
        program=('bash',),
    )
    assert (tmp_path / 'epoch_1.pth').exists()
    assert '[1][1/1]' in out  # two processes share the two steps
    # One video, two processes: the second has nothing to track.
    out = run(
        *('tools/dist_test.sh', STUDENT, tmp_path / 'epoch_1.pth', 2),
        *('--work-dir', tmp_path / 'test', '--cfg-options', *options(data)),
        program=('bash',),
    )
    assert 'mot/MOTA' in out


@pytest.mark.parametrize('config', [STUDENT, DISTILLED], ids=['plain config', 'KD config'])
def test_the_checkpoint_is_scored(checkpoint, data, tmp_path, config):
    run(
        *(openmmlab_tool('test'), config, '--checkpoint', checkpoint, '--work-dir', tmp_path),
        *('--cfg-options', *options(data), f'test_evaluator.outfile_prefix={tmp_path}/scores'),
    )
    scores = json.loads((tmp_path / 'scores.json').read_text())['overall']['COMBINED']
    assert {'HOTA', 'MOTA', 'IDF1', 'IDSW'} <= set(scores)


def test_the_demo_writes_tracks_and_a_video_that_plays(checkpoint, data, tmp_path):
    (sequence,) = (data / 'val').iterdir()
    run('tools/demo.py', sequence, STUDENT, checkpoint, '--out-dir', tmp_path, '--score-thr', 0.0)
    (video,) = tmp_path.glob('*.mp4')
    (text,) = tmp_path.glob('*.txt')
    reader = cv2.VideoCapture(str(video))
    count = 0
    while True:
        ok, frame = reader.read()
        if not ok:
            break
        count += 1
        # Small frames are enlarged so that labels can be read.
        assert frame.shape[1] * SIZE[1] == frame.shape[0] * SIZE[0]
        assert frame.std() > 5
    assert count == FRAMES['val']
    for line in text.read_text().splitlines():
        values = line.split(',')
        assert len(values) == 10
        assert 1 <= int(values[0]) <= FRAMES['val']


def test_the_published_student_is_small_and_named_by_its_hash(checkpoint, tmp_path):
    import hashlib

    out = run('tools/model_converters/publish_model.py', checkpoint, tmp_path / 'student.pth')
    published = Path(out.strip().splitlines()[-1])
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert published.name == f'student-{digest[:8]}.pth'
    content = torch.load(published, map_location='cpu', weights_only=False)
    assert set(content) == {'meta', 'state_dict'}
    assert not any(key.startswith('distill.') for key in content['state_dict'])
    assert published.stat().st_size < checkpoint.stat().st_size / 2


def test_a_missing_checkpoint_is_told_in_a_sentence():
    out = run('tools/test.py', STUDENT, 'nowhere.pth', expect=1)
    assert "error: There is no checkpoint 'nowhere.pth'." in out


def test_a_missing_config_is_told_in_a_sentence():
    out = run('tools/train.py', 'configs/nowhere.py', expect=1)
    assert "error: There is no config file 'configs/nowhere.py'." in out
