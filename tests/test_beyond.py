"""Students of mmdet and mmpretrain are distilled where mmtrack was never installed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

import mmkd  # noqa: F401

ROOT = Path(__file__).parents[1]
CONFIGS = {path.stem: path for path in (ROOT / 'configs' / 'kd' / 'beyond').glob('*.py')}
PROJECTS = {'retinanet_r18_dinov2_coco': 'mmdet', 'resnet18_dinov2_imagenet': 'mmpretrain'}


def need(project: str) -> None:
    if find_spec(project) is None:
        pytest.skip(f'{project} is not installed here; requirements/ says how')


def test_every_config_is_tested():
    assert set(CONFIGS) == set(PROJECTS)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_config_changes_what_differs_and_no_more(name):
    need(PROJECTS[name])
    text = CONFIGS[name].read_text()
    assert len(text.splitlines()) <= 12
    cfg = Config.fromfile(CONFIGS[name])
    assert cfg.model.type == 'mmkd.FeatureDistiller'
    assert cfg.model.teacher.weights == 'timm'
    assert cfg.default_scope == PROJECTS[name]


@pytest.fixture(scope='module', params=list(PROJECTS))
def found(request, tmp_path_factory):
    need(PROJECTS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    script = ROOT / 'tests' / 'beyond.py'
    result = subprocess.run(
        [sys.executable, str(script), str(CONFIGS[request.param]), str(folder)],
        cwd=str(folder),
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    report['project'] = PROJECTS[request.param]
    return report


@pytest.mark.slow
def test_the_student_is_the_projects_own_and_mmtrack_is_not_there(found):
    assert found['student'] == found['project']
    assert found['tracking'] == []


@pytest.mark.slow
def test_it_learns_from_the_teacher_beside_its_task(found):
    assert found['steps'] == 6
    assert all(math.isfinite(value) for value in (*found['kd'], *found['task']))
    # The same batch every time.
    assert found['kd'][-1] < found['kd'][0]


@pytest.mark.slow
def test_what_is_saved_is_the_plain_student(found):
    """Loaded strictly, it is the trained one bit for bit; of the teacher there is a fingerprint."""
    assert found['same']
    sizes = {key.split('.')[-1]: size for key, size in found['of_teacher'].items()}
    assert set(sizes) == {'fingerprint', 'identity'}
    assert sizes['fingerprint'] == 32
    # names and short hashes of its tensors, no weights
    assert sizes['identity'] < 64_000
