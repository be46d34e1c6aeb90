"""tools/quickstart.py: the chain that it plans, its table, and what it refuses."""

import argparse
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mmkd.errors import MMKDError

REPO = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(REPO / 'tools' / 'quickstart.py'))


def arguments(tmp_path, **kwargs):
    defaults = dict(teacher='random', epochs=2, data=str(tmp_path / 'data'), out=None)
    return argparse.Namespace(**{**defaults, **kwargs})


def test_every_script_and_config_of_the_plan_exists(tool, tmp_path):
    stages = tool['plan'](arguments(tmp_path), tmp_path / 'out')
    assert len(stages) == 9
    for stage in stages:
        assert stage.command[0] == sys.executable
        named = [part for part in stage.command if part.startswith(('tools/', 'configs/'))]
        assert named
        for part in named:
            assert (REPO / part).is_file(), part


def test_only_the_distilled_run_gets_the_teacher(tool, tmp_path):
    stages = tool['plan'](arguments(tmp_path, teacher='timm'), tmp_path / 'out')
    trains = {stage.title: stage.command for stage in stages if 'training' in stage.title}
    assert 'model.teacher.weights=timm' in trains['training student+KD']
    assert not any('teacher' in part for part in trains['training student'])


def test_drawn_data_is_used_again(tool, tmp_path):
    (tmp_path / 'data' / 'annotations').mkdir(parents=True)
    (tmp_path / 'data' / 'annotations' / 'train.json').write_text('{}')
    titles = [stage.title for stage in tool['plan'](arguments(tmp_path), tmp_path / 'out')]
    assert 'drawing train sequences' not in titles
    assert 'drawing val sequences' in titles


def test_the_table_has_both_runs_and_names_a_random_teacher(tool, tmp_path):
    for i, name in enumerate(('student', 'student+KD')):
        scores = dict(HOTA=30.04 + i, MOTA=40.0, IDF1=50.0, IDSW=6)
        logs = tmp_path / name / '20260101_000000' / 'vis_data'
        logs.mkdir(parents=True)
        (tmp_path / name / 'scores.json').write_text(
            json.dumps(dict(overall=dict(COMBINED=scores)))
        )
        # The first line is the warm-up; a line without a loss is no step.
        lines = [dict(loss=1, time=9.0), dict(loss=1, time=0.5 + i), dict(step=1)]
        (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    table = tool['table'](tmp_path, 'random')
    rows = {row.split('|')[0].strip(): row.split('|')[1:] for row in table.splitlines()}
    assert [cell.strip() for cell in rows['HOTA']] == ['30.0', '31.0']
    assert [cell.strip() for cell in rows['IDs']] == ['6', '6']
    assert [cell.strip() for cell in rows['s/step']] == ['0.50', '1.50']
    assert 'random weights' in table


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--teacher', 'nowhere.pth'], "no file 'nowhere.pth'"),
        (['--out', 'docs'], "'docs' exists"),
        (['--epochs', '0'], '--epochs is 0'),
    ],
)
def test_mistakes_are_told_before_anything_runs(tool, monkeypatch, options, message):
    monkeypatch.setattr(sys, 'argv', ['quickstart.py', *options])
    with pytest.raises(MMKDError, match=message):
        tool['main']()


def test_help_needs_no_environment(tmp_path):
    environment = dict(os.environ, MMKD_VENV=str(tmp_path / 'none'))
    environment.pop('PYTHONPATH', None)
    result = subprocess.run(
        ['bash', str(REPO / 'tools' / 'quickstart.sh'), '--help'],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    assert '--teacher' in result.stdout
