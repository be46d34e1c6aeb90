"""What tools/misc/run_chain.py leaves behind when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
