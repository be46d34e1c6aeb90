import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from mmkd.distill.cache.publish import publish, publish_json, sweep


def test_what_fails_leaves_what_was_there(tmp_path):
    file = tmp_path / 'a.json'
    publish_json(str(file), {'a': 1})

    def half(draft):
        with open(draft, 'w') as stream:
            stream.write('{"a": 2')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(str(file), half)
    assert file.read_text() == '{"a": 1}'
    assert os.listdir(tmp_path) == ['a.json']


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_others_may_read_what_the_umask_lets_them(tmp_path, umask, mode):
    def private(draft):
        with open(draft, 'w') as file:
            file.write('x')
        os.chmod(draft, 0o600)

    before = os.umask(umask)
    try:
        publish(str(tmp_path / 'shard'), private)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / 'shard').st_mode) == mode


def test_a_process_that_is_killed_leaves_no_half_file(tmp_path):
    code = (
        'import sys, time\n'
        'from mmkd.distill.cache.publish import publish\n'
        'def slow(draft):\n'
        "    open(draft, 'w').write('half')\n"
        "    print('begun', flush=True)\n"
        '    time.sleep(60)\n'
        'publish(sys.argv[1], slow)\n'
    )
    file = tmp_path / 'shard'
    process = subprocess.Popen(
        [sys.executable, '-c', code, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'begun\n'
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not file.exists()
    (draft,) = os.listdir(tmp_path)
    assert sweep(str(tmp_path), 600, time.time()) == 0, 'it may still be written'
    assert sweep(str(tmp_path), 600, time.time() + 601) == 1
    assert os.listdir(tmp_path) == []
    assert draft.startswith('.shard.')
