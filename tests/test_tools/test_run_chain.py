"""What tools/misc/run_chain.py leaves behind when it is stopped."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmkd.errors import MMKDError

ROOT = Path(__file__).parents[2]
TRAINING = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
CHAIN = f"""
import sys
sys.path.insert(0, '{ROOT}/tools/misc')
import run_chain
from pathlib import Path
run_chain.stop_with_children()
run_chain.call([sys.executable, '-c', {TRAINING!r}], Path('log.txt'), 'Training')
"""


@pytest.mark.skipif(os.name != 'posix', reason='there are no signals')
def test_a_stopped_chain_leaves_no_training_behind(tmp_path):
    """The next call would resume in a folder in which the old training still writes."""
    chain = subprocess.Popen(
        [sys.executable, '-c', CHAIN],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        text=True,
    )
    child = next(int(line.split()[1]) for line in chain.stdout if line.startswith('pid'))
    chain.send_signal(signal.SIGTERM)
    assert chain.wait(timeout=30) == 128 + signal.SIGTERM
    chain.stdout.close()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail('the training goes on')


TABLE = """
runs = [
    dict(name='big', config='big.py', seeds=[0, 1]),
    dict(name='small', config='big.py', options={'x': '{big}'}),
]
"""


@pytest.fixture
def run_chain(tmp_path, monkeypatch):
    """The tool as a module, in a folder of its own."""
    spec = importlib.util.spec_from_file_location('run_chain', ROOT / 'tools/misc/run_chain.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def test_a_begun_run_is_not_resumed_by_another_table(run_chain, tmp_path, monkeypatch):
    (tmp_path / 'big.py').write_text('a = 1\n')
    (tmp_path / 'table.py').write_text("runs = [dict(name='big', config='big.py')]")
    (run,) = run_chain.read_chain('table.py').runs

    def killed(command, log, what):
        (run.folder / 'last_checkpoint').write_text('epoch_1.pth')
        calls.append(command)
        raise MMKDError('killed')

    calls = []
    monkeypatch.setattr(run_chain, 'call', killed)
    for _ in range(2):
        with pytest.raises(MMKDError, match='killed'):
            run_chain.train(run, {'a': 1}, 1)
    assert ['--resume' in command for command in calls] == [False, True]
    with pytest.raises(MMKDError, match='of another table: options was'):
        run_chain.train(run, {'a': 2}, 1)
    assert len(calls) == 2


def test_others_build_on_the_first_seed(run_chain, tmp_path, monkeypatch):
    """Or a run would build on whichever was trained first, and on another one later."""
    (tmp_path / 'big.py').write_text('a = 1\n')
    (tmp_path / 'table.py').write_text(TABLE)
    done = {}

    def train(run, options, gpus):
        done[run.title] = options
        return f'{run.title}.pth'

    monkeypatch.setattr(run_chain, 'train', train)
    monkeypatch.setattr(run_chain, 'checkpoint_of', lambda run: None)
    command = ['run_chain.py', 'table.py', '1', '--no-test']
    monkeypatch.setattr(sys, 'argv', [*command, '--only', 'big_seed1', 'small'])
    with pytest.raises(MMKDError, match="'small' builds on 'big'"):
        run_chain.main()
    monkeypatch.setattr(sys, 'argv', command)
    run_chain.main()
    assert done['small'] == {'x': 'big_seed0.pth'}
