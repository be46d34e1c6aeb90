"""tools/run_tests.sh and .ci/run around a setup and a pytest that only say how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE_SETUP = """#!/bin/sh
echo "SETUP $* in $MMKD_VENV links '$PIP_FIND_LINKS'"
mkdir -p "$MMKD_VENV/bin"
cp fake_python "$MMKD_VENV/bin/python"
"""
# ruff and pytest fail where they are told to, by a word of their command line.
FAKE_PYTHON = """#!/bin/sh
echo "CALL $* by $0 path $PYTHONPATH threads $OMP_NUM_THREADS"
case "$0 $*" in *"${FAILS:-nothing}"*) echo '1 failed, 2 passed in 0.1s'; exit 1 ;; esac
echo '3 passed in 0.1s'
"""


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / 'mmkd'
    for name in ('tools/run_tests.sh', '.ci/run'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name, text in {'tools/setup_env.sh': FAKE_SETUP, 'fake_python': FAKE_PYTHON}.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    (root / 'requirements').mkdir()
    (root / 'requirements/modern.txt').write_text('torch==1\n')
    return root


def run(root: Path, script: str, *arguments: str, expect: int = 0, **variables: str) -> list:
    keep = ('PATH', 'HOME')
    environment = {key: os.environ[key] for key in keep if key in os.environ}
    result = subprocess.run(
        ['bash', script, *arguments],
        cwd=str(root),
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == expect, result.stdout + result.stderr
    return (result.stdout + result.stderr).splitlines()


def calls(lines: list, word: str) -> list:
    return [line for line in lines if line.startswith('CALL') and word in line]


def test_both_stacks_by_default(checkout):
    lines = run(checkout, 'tools/run_tests.sh')
    setups = [line for line in lines if line.startswith('SETUP')]
    assert [line.split(' links')[0] for line in setups] == [
        f'SETUP --stack modern in {checkout}/.venv',
        f'SETUP --stack stock in {checkout}/.venv-stock',
    ]
    assert len(calls(lines, 'ruff check .')) == len(calls(lines, 'ruff format --check .')) == 1
    modern, stock = calls(lines, '-m pytest')
    assert f'by {checkout}/.venv/bin/python' in modern
    assert f'by {checkout}/.venv-stock/bin/python' in stock
    assert f'path {checkout} threads 1' in modern
    assert lines[-2:] == ['modern: 3 passed in 0.1s', 'stock: 3 passed in 0.1s']


def test_one_stack_and_options_for_pytest(checkout):
    lines = run(checkout, 'tools/run_tests.sh', '--stack', 'stock', '--', '-k', 'one or two')
    (call,) = calls(lines, '')
    assert '-k one or two by' in call
    assert '.venv-stock/' in call


def test_quick(checkout):
    (call,) = calls(run(checkout, 'tools/run_tests.sh', '--quick'), '')
    assert '-m not slow' in call


def test_another_place(checkout):
    lines = run(checkout, 'tools/run_tests.sh', MMKD_VENV='place')
    modern, stock = calls(lines, '-m pytest')
    assert f'by {checkout}/place/bin/python' in modern
    assert f'by {checkout}/place-stock/bin/python' in stock
    (call,) = calls(run(checkout, 'tools/run_tests.sh', '--stack=stock', MMKD_VENV='place'), '')
    assert f'by {checkout}/place/bin/python' in call


@pytest.mark.parametrize('what', ['ruff check', 'ruff format', '.venv/bin/python -m pytest'])
def test_a_failure_fails_the_whole_yet_everything_runs(checkout, what):
    lines = run(checkout, 'tools/run_tests.sh', expect=1, FAILS=what)
    assert len(calls(lines, '-m pytest')) == 2
    assert lines[-1] == 'stock: 3 passed in 0.1s'
    wrong = [line for line in lines[-4:] if '1 failed' in line or 'ruff' in line]
    assert wrong, 'the summary says what failed'


def test_wrong_arguments_name_the_right_ones(checkout):
    assert 'all, modern or stock' in run(checkout, 'tools/run_tests.sh', '--stack=x', expect=2)[-1]
    assert 'go after --' in run(checkout, 'tools/run_tests.sh', '-k', expect=2)[-1]


def test_ci_keeps_its_environments_outside_the_checkout(checkout, tmp_path):
    cache = tmp_path / 'cache'
    lines = run(checkout, '.ci/run', XDG_CACHE_HOME=str(cache))
    places = sorted(path.name for path in (cache / 'mmkd').iterdir())
    assert len(places) == 2
    assert places[1] == f'{places[0]}-stock'
    assert not (checkout / '.venv').exists()
    assert "links ''" in '\n'.join(lines)
    (checkout / 'requirements/modern.txt').write_text('torch==2\n')
    run(checkout, '.ci/run', XDG_CACHE_HOME=str(cache))
    assert len(list((cache / 'mmkd').iterdir())) == 4


def test_ci_takes_the_wheels_where_there_are_some(checkout, tmp_path):
    wheels = tmp_path / 'shared' / 'wheels'
    wheels.mkdir(parents=True)
    lines = run(checkout, '.ci/run', XDG_CACHE_HOME=str(tmp_path / 'c'), PIP_FIND_LINKS='/before')
    assert f"links '/before {wheels}'" in '\n'.join(lines)


def test_ci_fails_if_a_test_fails(checkout, tmp_path):
    run(checkout, '.ci/run', expect=1, XDG_CACHE_HOME=str(tmp_path), FAILS='-stock/bin/python')


def test_ci_removes_environments_that_nobody_used_for_weeks(checkout, tmp_path):
    old, recent = tmp_path / 'mmkd/env-old', tmp_path / 'mmkd/env-recent'
    for path in (old, recent):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    run(checkout, '.ci/run', XDG_CACHE_HOME=str(tmp_path))
    assert not old.exists()
    assert recent.exists()
