import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmkd.distill.cache.claims import Claim
from mmkd.distill.cache.layout import make_folders


@pytest.fixture
def cache(tmp_path):
    make_folders(str(tmp_path))
    return str(tmp_path)


def _rewrite(claim, **changes):
    with open(claim.file) as file:
        owner = json.load(file)
    with open(claim.file, 'w') as file:
        json.dump({**owner, **changes}, file)


def test_one_of_many_gets_it(cache):
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: Claim(cache, 3).take(), range(40)))
    assert sum(taken) == 1


def test_what_is_released_can_be_taken(cache):
    first, second = Claim(cache, 0), Claim(cache, 0)
    assert first.take()
    assert not second.take()
    second.release()
    assert not Claim(cache, 0).take(), 'only its owner gives it up'
    first.release()
    assert second.take()


def test_a_dead_process_of_this_machine_holds_nothing(cache):
    claim = Claim(cache, 0)
    code = (
        'import sys\n'
        'from mmkd.distill.cache.claims import Claim\n'
        'assert Claim(sys.argv[1], 0).take()\n'
    )
    subprocess.run([sys.executable, '-c', code, cache], check=True)
    assert os.path.exists(claim.file)
    assert claim.take()


def test_another_machine_is_given_time(cache):
    other = Claim(cache, 0)
    assert other.take()
    _rewrite(other, host='elsewhere')
    assert not Claim(cache, 0).take()
    os.utime(other.file, (time.time() - 601,) * 2)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: Claim(cache, 0).take(), range(20)))
    assert sum(taken) == 1


def test_a_sign_of_life_keeps_it(cache):
    other = Claim(cache, 0)
    assert other.take()
    _rewrite(other, host='elsewhere')
    os.utime(other.file, (time.time() - 601,) * 2)
    other.refresh()
    assert not Claim(cache, 0).take()


def test_a_claim_that_was_made_a_moment_ago_may_be_empty(cache):
    claim = Claim(cache, 0)
    open(claim.file, 'w').close()
    assert not claim.take()
    os.utime(claim.file, (time.time() - 601,) * 2)
    assert claim.take()


def test_long_work_gives_signs_of_life_by_itself(cache):
    claim = Claim(cache, 0, stale_s=0.5)
    assert claim.take()
    _rewrite(claim, host='elsewhere')
    long_ago = time.time() - 100
    with claim.kept():
        for _ in range(3):
            os.utime(claim.file, (long_ago, long_ago))
            deadline = time.time() + 20
            while os.path.getmtime(claim.file) < long_ago + 50 and time.time() < deadline:
                time.sleep(0.01)
            assert os.path.getmtime(claim.file) > long_ago + 50
    os.utime(claim.file, (long_ago, long_ago))
    time.sleep(0.2)
    assert os.path.getmtime(claim.file) == pytest.approx(long_ago, abs=1), 'the work is over'


def test_what_a_dead_process_left_is_swept(cache):
    claim = Claim(cache, 0)
    claim.sweep()
    assert claim.take()
    Claim(cache, 0).sweep()
    assert os.path.exists(claim.file), 'its owner lives'
    _rewrite(claim, host='elsewhere')
    Claim(cache, 0).sweep()
    assert os.path.exists(claim.file), 'it may live elsewhere'
    os.utime(claim.file, (time.time() - 601,) * 2)
    Claim(cache, 0).sweep()
    assert not os.listdir(os.path.dirname(claim.file))
