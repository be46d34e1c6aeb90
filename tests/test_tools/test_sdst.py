"""The whole SDST chain, as a user starts it: teachers, specialists, students, comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'kd' / 'sdst' / 'synthetic'
pytestmark = pytest.mark.slow

# The shipped configs with fewer pairs and narrower networks.
SMALL = """
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    sampler=dict(samples_per_epoch={pairs}), dataset=dict(data_root='set/'),
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='set/'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs})
default_hooks = dict(logger=dict(interval=1))
"""
TABLE = """
work_dir = 'runs'
runs = [
    dict(name='general', config='general.py'),
    dict(name='occlusion', config='occlusion.py', options={'load_from': '{general}'}, test=False),
    dict(name='student', config='student.py', seeds=[0, 1]),
    dict(
        name='sdst',
        config='sdst.py',
        options={
            'model.general.weights': '{general}',
            'model.specialists.occlusion.teacher.weights': '{occlusion}',
        },
    ),
]
compare = dict(arms={'no KD': 'student', 'SDST': 'sdst', 'teacher': 'general'}, resamples=200)
"""


def run(*command, cwd, expect=0):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    environment['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{environment["PATH"]}'
    environment.pop('VIRTUAL_ENV', None)
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == expect, result.stdout[-4000:]
    return result.stdout


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with a small set and small configs, which inherit the shipped ones."""
    root = tmp_path_factory.mktemp('sdst')
    run(
        sys.executable, ROOT / 'tools/dataset_converters/make_synthetic_sot.py', 'set',
        '--train', 6, '--test', 2, '--frames', 40, '--size', '240x180',
        '--share', 'POC=0.5', 'FOC=0.5', cwd=root,
    )  # fmt: skip

    def write(name, base, pairs=8, epochs=1, more=''):
        text = f"_base_ = '{CONFIGS / base}'\n" + SMALL.format(pairs=pairs, epochs=epochs) + more
        (root / f'{name}.py').write_text(text)

    big = 'model = dict(backbone=dict(width_mult=0.25), head=dict(in_channels=[64]))\n'
    small = 'dict(backbone=dict(width_mult=0.125), head=dict(in_channels=[32]))'
    write('general', 'sdst_synthetic_general.py', epochs=2, more=big)
    write('occlusion', 'sdst_synthetic_specialist_occlusion.py', more=big)
    write('student', 'sdst_synthetic_student.py', more=f'model = {small}\n')
    teacher = f"config='{root}/general.py', dtype=None"
    write(
        'sdst',
        'sdst_synthetic_student_sdst.py',
        more=f"""
model = dict(
    student={small},
    general=dict({teacher}),
    specialists=dict(
        _delete_=True,
        occlusion=dict(teacher=dict(type='mmkd.BatchTeacher', {teacher}, weights='')),
    ),
)
""",
    )
    (root / 'table.py').write_text(TABLE)
    return root


def test_the_chain_runs_resumes_and_compares(project):
    command = [ROOT / 'tools/sdst.sh', 'table.py', 1]
    listed = run(*command, '--list', cwd=project)
    assert listed.count('not trained') == 5
    # Stopped within the first training: its first epoch is there, nothing says that it is done.
    run(sys.executable, ROOT / 'tools/train.py', 'general.py', '--work-dir', 'runs/general',
        '--cfg-options', 'train_cfg.max_epochs=1', cwd=project)  # fmt: skip
    assert 'begun, at epoch_1.pth' in run(*command, '--list', cwd=project)
    said = run(*command, '--only', 'student', 'sdst', cwd=project, expect=1)
    assert "'sdst' builds on 'general', which is not trained yet" in said
    said = run(*command, '--only', 'general', '--no-test', cwd=project)
    assert said.count('--resume') == 1
    assert 'trained, not tested' in run(*command, '--list', cwd=project)
    said = run(*command, cwd=project)
    assert '--resume' not in said
    assert (
        'runs/general/epoch_2.pth'
        in json.loads((project / 'runs/general/trained.json').read_text())['checkpoint']
    )
    for name in ('student_seed0', 'student_seed1', 'sdst', 'general'):
        results = json.loads((project / 'runs' / name / 'results.json').read_text())
        assert results['schema'] == 'mmkd-sot-results-1'
        assert len(results['videos']) == 2
    assert not (project / 'runs/occlusion/results.json').exists()
    table = (project / 'runs/comparison.md').read_text()
    assert 'SDST' in table
    assert 'POC' in table
    log = next((project / 'runs/sdst').glob('*/vis_data/scalars.json')).read_text()
    first = json.loads(log.splitlines()[0])
    assert {'loss_kd_cls_general', 'loss_kd_cls_occlusion', 'routed_occlusion'} <= set(first)
    # Everything is there: the second call trains and tests nothing.
    again = run(*command, cwd=project)
    assert 'train.py' not in again
    assert 'test.py' not in again
    listed = run(*command, '--list', cwd=project)
    assert listed.count('trained and tested') == 4


def test_another_table_does_not_pass_for_this_one(project):
    if not (project / 'runs/student_seed0/trained.json').is_file():
        pytest.skip('the chain has not run')
    other = TABLE.replace("config='student.py', seeds=[0, 1]", "config='sdst.py', seeds=[0, 1]")
    (project / 'other.py').write_text(other)
    said = run(ROOT / 'tools/sdst.sh', 'other.py', 1, '--only', 'student', cwd=project, expect=1)
    assert 'holds the run' in said
    assert 'Move that folder away' in said


def test_mistakes_are_told(project):
    assert 'usage' in run(ROOT / 'tools/sdst.sh', 'table.py', cwd=project, expect=2)
    said = run(ROOT / 'tools/sdst.sh', 'table.py', 1, '--only', 'studnt', cwd=project, expect=1)
    assert "no run 'studnt'" in said
    assert "'student'" in said
    said = run(ROOT / 'tools/sdst.sh', 'table.py', 0, cwd=project, expect=1)
    assert 'positive number' in said
