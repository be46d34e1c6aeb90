"""The chain of commands: its progress line, its estimates, and what it says of a failure."""

import io
import sys

import pytest

from mmkd.apis.stages import Stage, StageChain, clock, fraction_done
from mmkd.errors import MMKDError


def python(code):
    return [sys.executable, '-c', code]


@pytest.mark.parametrize(
    ('text', 'epochs', 'expected'),
    [
        ('Epoch(train)  [1][ 10/100]  lr', 2, 0.05),
        ('Epoch(train)  [1][100/100]\nEpoch(train)  [2][ 50/100]', 4, 0.375),
        ('Epoch(test)  [ 30/120]', 1, 0.25),
        ('Epoch(val)  [2][120/120]', 1, None),
        ('loading', 1, None),
        ('Epoch(train)  [9][10/10]', 5, 1.0),
    ],
)
def test_the_log_tells_how_far_it_is(text, epochs, expected):
    assert fraction_done(text, epochs) == (None if expected is None else pytest.approx(expected))


def test_clock():
    assert [clock(0), clock(59.9), clock(605)] == ['0:00', '0:59', '10:05']


def test_stages_run_in_order_and_keep_their_logs(tmp_path):
    stream = io.StringIO()
    stages = [
        Stage('first one', python('print("hello"); open("mark", "w").close()'), 1),
        Stage('second', python('import os; assert os.path.exists("mark")'), 1),
    ]
    StageChain(stages, tmp_path / 'logs', tmp_path, stream).run()
    assert (tmp_path / 'logs' / '1_first_one.log').read_text() == 'hello\n'
    said = stream.getvalue()
    assert said.index('[1/2] first one done') < said.index('[2/2] second done')


def test_a_failure_stops_the_chain_with_the_end_of_its_log(tmp_path):
    stages = [
        Stage('breaks', python('import sys; print("the cause"); sys.exit(3)'), 1),
        Stage('never', python('open("ran", "w").close()'), 1),
    ]
    with pytest.raises(MMKDError, match=r'(?s)breaks.*status 3.*the cause'):
        StageChain(stages, tmp_path, tmp_path, io.StringIO()).run()
    assert not (tmp_path / 'ran').exists()


def test_a_long_stage_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr('mmkd.apis.stages._QUIET_INTERVAL', 0)
    code = 'import time; print("Epoch(train)  [1][ 5/10]", flush=True); time.sleep(1.6)'
    stream = io.StringIO()
    StageChain([Stage('training', python(code), 2)], tmp_path, tmp_path, stream).run()
    assert '[1/1] training  50%' in stream.getvalue()
    assert 'left' in stream.getvalue()


def test_the_estimate_follows_the_machines_pace(tmp_path):
    chain = StageChain(
        [Stage('a', [], 10), Stage('b', [], 10), Stage('c', [], 20)],
        tmp_path,
        tmp_path,
        io.StringIO(),
    )
    assert chain.remaining(0, 0, None) == 40
    chain._spent, chain._planned = 20.0, 10.0  # twice as slow as planned
    assert chain.remaining(1, 5, None) == 15 + 40
    # Half of b took 5 s: b is as fast as planned, so the pace falls to (20 + 10) / (10 + 10).
    assert chain.remaining(1, 5, 0.5) == 5 + 1.5 * 20
