"""tools/doctor.py as scripts call it: what it prints and its exit status."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config

from mmkd.apis.doctor_model import pretrained
from mmkd.datasets.converters.mot import convert
from mmkd.errors import MMKDError
from tests.test_datasets.mot_folder import make_sequence
from tests.test_distill.toys import TINY
from tests.toy import toy_fairmot

REPO = Path(__file__).resolve().parent.parent.parent
BASE = REPO / 'configs' / 'kd' / 'fairmot_dinov2_synthetic.py'


def write_config(root: Path) -> Path:
    """The shipped synthetic config, with the toy's model and a tiny data set."""
    # frame, id, box, to be considered, class, visibility
    rows = [f'{t},{i},{10 * i},{5 * i},20,24,1,1,1' for t in (1, 2, 3, 4) for i in (1, 2)]
    for split in ('train', 'val'):
        folder = root / 'data' / split
        folder.mkdir(parents=True)
        make_sequence(folder, 'SYN-01', rows)
        convert(folder, root / 'data' / 'annotations' / f'{split}.json')
    cfg = Config.fromfile(BASE)
    cfg.model.student = toy_fairmot()
    cfg.model.teacher.arch = dict(TINY)
    scale = (64, 64)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root / 'data')
        for step in loader.dataset.pipeline:
            if 'scale' in step:
                step.scale = scale
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.dump(str(root / 'toy.py'))
    return root / 'toy.py'


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(REPO / 'tools' / 'doctor.py'), *map(str, arguments)],
        cwd=str(cwd),
        env={**os.environ, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('doctor'))


@pytest.mark.slow
def test_exit_status_0_when_nothing_stops(config):
    root = config.parent
    page = root / 'page.json'
    result = run(config, '--out', root / 'out', '--json', page, '--steps', 1, cwd=root)
    assert result.returncode == 0, result.stdout + result.stderr
    assert '\x1b' not in result.stdout
    for title in ('Environment', 'Data files', 'Teachers', 'One training step', 'The whole run'):
        assert f'\n{title}\n' in result.stdout
    assert 'backward and optimiser' in result.stdout
    assert 'Verdict: nothing that was looked at stops this training' in result.stdout
    found = json.loads(page.read_text())
    assert found['ok']
    (train, _) = found['sections']['Data files']['datasets']
    assert (train['images'], train['boxes'], train['ids']) == (4, 8, 2)
    assert found['sections']['Model']['num_ids'] == 2
    parts = found['sections']['One training step']['parts']
    assert parts['teacher'] > 0
    assert parts['student'] > 0
    for picture in found['sections']['Training samples']['pictures']:
        assert cv2.imread(str(root / picture)) is not None
    # It leaves nothing else behind: no logs, no work dir.
    assert sorted(path.name for path in root.iterdir()) == ['data', 'out', 'page.json', 'toy.py']


@pytest.mark.slow
def test_exit_status_1_when_something_stops(config, tmp_path):
    torch.save(dict(state_dict=dict(foreign=torch.zeros(1))), str(tmp_path / 'x.pth'))
    result = run(
        config,
        '--no-time',
        '--checkpoint',
        tmp_path / 'x.pth',
        '--out',
        tmp_path,
        '--cfg-options',
        f'train_dataloader.dataset.data_root={tmp_path}/none',
        cwd=tmp_path,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    # The data hide nothing of the checkpoint.
    assert 'none/annotations/train.json' in result.stdout
    assert 'nothing in the file belongs to this model' in result.stdout
    assert 'Verdict: 2 problems stop this training' in result.stdout


@pytest.mark.slow
def test_exit_status_2_when_called_wrongly(tmp_path):
    result = run('none.py', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ''
    assert result.stderr.strip().endswith("error: There is no config file 'none.py'.")


WITHOUT_MMTRACK = """
import runpy, sys
from importlib.machinery import PathFinder
from pathlib import Path

sys.path.insert(0, {tests!r})
import beyond

sys.meta_path[:] = [beyond.WithoutTracking if f is PathFinder else f for f in sys.meta_path]
from mmengine.config import Config

root = Path({root!r})
cfg = Config.fromfile({config!r})
beyond.detection(cfg, root)
beyond.shrink(cfg, root)
cfg.dump(str(root / 'c.py'))
sys.argv = ['doctor.py', str(root / 'c.py'), '--steps', '1', '--out', str(root / 'out')]
runpy.run_path({tool!r}, run_name='__main__')
"""


@pytest.mark.slow
def test_a_detector_where_mmtrack_was_never_installed(tmp_path):
    config = REPO / 'configs' / 'kd' / 'beyond' / 'retinanet_r18_dinov2_coco.py'
    script = WITHOUT_MMTRACK.format(
        tests=str(REPO / 'tests'),
        root=str(tmp_path),
        config=str(config),
        tool=str(REPO / 'tools' / 'doctor.py'),
    )
    result = subprocess.run(
        [sys.executable, '-c', script],
        cwd=str(tmp_path),
        env={**os.environ, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'mmtrack is not installed' in result.stdout
    assert 'FeatureDistiller around RetinaNet' in result.stdout
    assert 'student neck[1]       256 x 6 x 8' in result.stdout
    assert (tmp_path / 'out' / 'doctor_last_sample.png').is_file()


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(REPO / 'tools' / 'doctor.py'))


def call(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['doctor.py', *map(str, arguments)])
    return tool['make_case'](tool['parse_args']())


@pytest.mark.parametrize(
    ('text', 'arguments', 'message'),
    [
        ('x = 1', [], 'has no model'),
        ('model = (', [], 'cannot be read'),
        ('model = dict()', ['--checkpoint', 'none.pth'], "no checkpoint 'none.pth'"),
        ('model = dict()', ['--steps', '0'], '--no-time trains none'),
        ('model = dict()', ['--device', 'nonsense'], '--device nonsense'),
    ],
)
def test_wrong_calls_are_told(tool, monkeypatch, tmp_path, text, arguments, message):
    (tmp_path / 'c.py').write_text(text)
    with pytest.raises(MMKDError, match=message):
        call(tool, monkeypatch, tmp_path / 'c.py', *arguments)


def test_settings_of_a_call(tool, monkeypatch, tmp_path):
    (tmp_path / 'c.py').write_text("model = dict(type='X', width=1)")
    found = call(
        tool, monkeypatch, tmp_path / 'c.py', '--no-time', '--cfg-options', 'model.width=2'
    )
    assert found.steps == 0
    assert found.cfg.model.width == 2
    assert found.out == Path('work_dirs/c')
    found = call(tool, monkeypatch, tmp_path / 'c.py', '--work-dir', 'a', '--out', 'b')
    assert (found.cfg.work_dir, found.out, found.steps) == ('a', Path('b'), 3)


def test_the_shipped_config_starts_from_nothing_that_must_be_downloaded():
    """What the documentation shows must work on a machine without network."""
    assert not list(pretrained(Config.fromfile(BASE).model, 'model'))
