"""Another package inherits ours: ``_base_ = 'mmkd::kd/...'``, from a wheel, from anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .test_packaging import JUNK, ROOT, build_wheel, pip

pytestmark = pytest.mark.slow

THEIRS = """\
_base_ = 'mmkd::kd/fairmot_dinov2_synthetic.py'

model = dict(
    teacher=dict(arch=dict(_delete_=True, embed_dim=24, depth=3, num_heads=2, grid=4)),
    distill=[dict(student='backbone[1]', teacher='block_1')],
    alpha=0.25,
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root='drawn/'),
)
val_dataloader = dict(dataset=dict(data_root='drawn/'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder into which a wheel of the checkout was installed; nothing links back."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in ('mmkd', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, source / name, ignore=JUNK)
    for pattern in ('*.py', '*.toml', '*.md', '*.in', '*.yml', 'LICENSE'):
        for path in ROOT.glob(pattern):
            shutil.copy(path, source)
    build_wheel(source, folder)
    (wheel,) = folder.glob('*.whl')
    pip('install', '--quiet', '--target', folder / 'site', wheel, cwd=folder)
    shutil.rmtree(source)
    return folder / 'site'


@pytest.fixture(scope='module')
def run(site, tmp_path_factory):
    """Runs Python in somebody else's project, where mmkd is what the wheel brought."""
    project = tmp_path_factory.mktemp('project')
    (project / 'theirs' / 'configs').mkdir(parents=True)
    (project / 'theirs' / '__init__.py').touch()
    (project / 'theirs' / 'configs' / 'ours.py').write_text(THEIRS)

    def python(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, '-W', 'ignore', *map(str, arguments)],
            cwd=str(project),
            env=dict(os.environ, PYTHONPATH=str(site), OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    python.project = project
    return python


READ = """
import json, mmkd
from mmengine.config import Config
cfg = Config.fromfile('theirs/configs/ours.py')
print(json.dumps(dict(file=mmkd.__file__, scope=cfg.default_scope, model=cfg.model,
                      backbone=cfg.model.student.backbone.type)))
"""


def test_the_base_is_found_in_the_wheel(run, site):
    found = json.loads(run('-c', READ).splitlines()[-1])
    assert Path(found['file']) == site / 'mmkd' / '__init__.py'
    assert found['scope'] == 'mmtrack'
    assert found['model']['type'] == 'mmkd.FeatureDistiller'
    assert found['model']['alpha'] == 0.25
    assert found['model']['student']['type'] == 'mmkd.FairMOT'
    assert found['backbone'] == 'mmdet.HRNet'


def test_every_kd_config_is_in_the_wheel_and_can_be_inherited(run):
    names = sorted(
        str(path.relative_to(ROOT / 'configs'))
        for path in (ROOT / 'configs' / 'kd').rglob('*.py')
        if '_base_' not in path.parts
        and 'beyond' not in path.parts
        # A table of runs has no model.
        and not path.stem.endswith('_chain')
    )
    code = f"""
import mmkd
from mmengine.config import Config
for name in {names!r}:
    open('one.py', 'w').write(f"_base_ = 'mmkd::{{name}}'\\n")
    model = Config.fromfile('one.py').model
    assert model.get('student', model).type in ('mmkd.FairMOT', 'mmkd.SiamRPN'), name
print('all')
"""
    assert run('-c', code).splitlines()[-1] == 'all'


def test_it_trains_with_the_wheels_own_tools(run, site):
    tools = site / 'mmkd' / '.mim' / 'tools'
    for name in ('train', 'val'):
        run(
            *(tools / 'dataset_converters' / 'make_synthetic_mot.py', 'drawn', '--name', name),
            *('--sequences', 1, '--frames', 4, '--walkers', 3, '--seed', 0, '--size', '160x96'),
        )
    log = run(
        *(tools / 'train.py', 'theirs/configs/ours.py', '--work-dir', 'work'),
        *('--cfg-options', 'train_dataloader.dataset.pipeline.3.scale=(160,96)'),
    )
    assert 'Failed to search registry' not in log
    (file,) = (run.project / 'work').glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(steps) == 2
    assert all(step['loss_kd_backbone_1'] > 0 for step in steps)
    assert (run.project / 'work' / 'epoch_1.pth').is_file()
