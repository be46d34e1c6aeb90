"""tools/setup_env.sh with a Python, a pip and a disk that only pretend: stages, stamps, errors."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A Python that answers what the script asks; "-m venv" makes an environment with itself in it.
# What pip is called with goes to $CALLS; calls that match $PIP_FAILS print $PIP_SAYS and fail.
FAKE_PYTHON = f"""#!{sys.executable}
import os, re, shutil, sys, time
arguments = sys.argv[1:]
line = ' '.join(arguments)
if arguments == ['--version']:
    print('Python', os.environ['FAKE_VERSION'])
elif arguments[:2] == ['-m', 'venv']:
    binaries = os.path.join(arguments[-1], 'bin')
    os.makedirs(binaries, exist_ok=True)
    shutil.copy(os.environ['FAKE_PYTHON'], os.path.join(binaries, 'python'))
elif arguments[:2] == ['-m', 'pip']:
    with open(os.environ['CALLS'], 'a') as calls:
        calls.write(line + chr(10))
        if 'MAX_JOBS' in os.environ:
            calls.write('compiled with ' + os.environ['PATH'] + chr(10))
    if re.search(os.environ.get('PIP_SLEEPS') or '(?!)', line):
        time.sleep(600)
    if re.search(os.environ.get('PIP_FAILS') or '(?!)', line):
        sys.exit(os.environ['PIP_SAYS'])
elif 'sys.version_info' in line:
    print(os.environ['FAKE_VERSION'])
elif 'ensurepip' in line:
    sys.exit(int(os.environ.get('NO_ENSUREPIP') or 0))
elif 'get_paths' in line:
    print(os.environ['HEADERS'])
elif 'torch.version.cuda' in line:
    print(os.environ.get('TORCH_CUDA') or False)
elif 'mmcv.ops' in line:
    if os.environ.get('WHEEL_IS_BROKEN') and '--no-binary' not in open(os.environ['CALLS']).read():
        sys.exit('undefined symbol')
"""
FAKE_DF = """#!/bin/sh
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo "/dev/fake 0 0 $((${FREE_GB:-100} * 1048576)) 0% /"
"""
NO_WHEEL = r'--dry-run'


class Machine:
    """A checkout in a folder of its own and a PATH with nothing but what is put there."""

    def __init__(self, folder: Path):
        self.root, self.bin, self.calls = folder / 'mmkd', folder / 'bin', folder / 'calls'
        for name in ('tools/setup_env.sh', 'setup.py', 'mmkd/version.py'):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        shutil.copytree(ROOT / 'requirements', self.root / 'requirements')
        (self.root / 'mmkd/.mim').mkdir()
        (self.root / 'mmkd/.mim/model-index.yml').touch()
        self.bin.mkdir()
        for tool in (
            *('awk', 'bash', 'cat', 'cut', 'dirname', 'env', 'flock', 'grep', 'kill', 'mkdir'),
            *('nproc', 'rm', 'sed', 'setsid', 'sha256sum', 'sh', 'sleep', 'tail', 'touch'),
        ):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.program('python3.11', FAKE_PYTHON)
        self.program('c++', '#!/bin/sh\n')
        self.program('df', FAKE_DF)
        (folder / 'include').mkdir()
        (folder / 'include/Python.h').touch()
        self.environment = {
            'PATH': str(self.bin),
            'HOME': str(folder),
            'FAKE_PYTHON': str(self.bin / 'python3.11'),
            'FAKE_VERSION': '3.11.7',
            'CALLS': str(self.calls),
            'HEADERS': str(folder / 'include'),
            'PIP_SAYS': 'ERROR: something',
        }

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        return subprocess.Popen(
            [str(self.root / 'tools/setup_env.sh'), *arguments],
            env={**self.environment, **variables},
            cwd=str(self.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def setup(self, *arguments: str, expect: int = 0, **variables: str) -> str:
        process = self.start(*arguments, **variables)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == expect, output
        return output

    def pip_calls(self) -> list:
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.write_text('')
        return calls


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def numbers(output: str) -> list:
    return [int(number) for number in re.findall(r'^\[(\d)/8\]', output, re.MULTILINE)]


@pytest.mark.parametrize(
    ('stack', 'place', 'mmcv'),
    [('modern', '.venv', 'onedl-mmcv==2.3.6'), ('stock', '.venv-stock', 'mmcv==2.0.0rc4')],
)
def test_all_stages_in_their_order_then_none(machine, stack, place, mmcv):
    output = machine.setup('--stack', stack)
    assert numbers(output) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert 'a wheel was found' in output
    assert 'compiling' not in output.split('[4/8]')[1]
    calls = [call for call in machine.pip_calls() if '--dry-run' not in call]
    ends = [call.split()[-1].split('/')[-1] for call in calls]
    assert ends == ['build.in', 'torch.in', mmcv, 'packages.in', 'mmtrack.in', 'tests.txt', 'mmkd']
    assert '--no-deps' in calls[4].split()
    assert f'-e {machine.root}' in calls[6]
    assert (machine.root / place / 'bin/python').exists()

    again = machine.setup('--stack', stack)
    assert numbers(again) == []
    assert 'ready' in again
    assert machine.pip_calls() == []


def test_pins_hold_in_every_installation(machine):
    machine.setup()
    for call in machine.pip_calls():
        if '--dry-run' not in call and ' -e ' not in call:
            for name in ('modern.txt', 'modern.constraints.txt', 'tests.txt'):
                assert f'-c {machine.root}/requirements/{name}' in call


def test_what_is_there_already_needs_no_more_space(machine):
    machine.setup(expect=1, PIP_FAILS='packages.in')
    assert numbers(machine.setup(FREE_GB='4')) == [5, 6, 7, 8]


def test_a_failed_stage_is_the_first_of_the_next_call(machine):
    output = machine.setup(expect=1, PIP_FAILS='packages.in', PIP_SAYS='ERROR: broken package')
    assert numbers(output) == [1, 2, 3, 4, 5]
    assert 'broken package' in output
    assert 'setup.log' in output
    assert numbers(machine.setup()) == [5, 6, 7, 8]


def test_an_interrupted_stage_is_the_first_of_the_next_call(machine):
    process = machine.start(PIP_SLEEPS='torch.in')
    deadline = time.time() + 300
    while 'torch.in' not in (machine.calls.read_text() if machine.calls.exists() else ''):
        assert time.time() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert 'the next call goes on' in output
    # pip went with it: the lock is free and nothing is waited for
    output = machine.setup()
    assert numbers(output) == [3, 4, 5, 6, 7, 8]
    assert 'waiting' not in output


@pytest.mark.parametrize(
    ('old', 'new', 'stages'),
    [
        ('timm==1.0.31', 'timm==1.0.32', [5, 6, 7, 8]),
        ('torch==2.11.0', 'torch==2.11.1', [3, 4, 5, 6, 7, 8]),
        ('# mmtrack imports', '# mmtrack needs', []),
    ],
)
def test_another_pin_redoes_its_stage_and_what_follows(machine, old, new, stages):
    machine.setup()
    pins = machine.root / 'requirements/modern.txt'
    pins.write_text(pins.read_text().replace(old, new))
    assert numbers(machine.setup()) == stages


def test_another_checkout_takes_the_environment_over(machine, tmp_path):
    machine.setup(MMKD_VENV=str(tmp_path / 'cached'))
    (tmp_path / 'elsewhere').mkdir()
    machine.root.rename(tmp_path / 'elsewhere/mmkd')
    machine.root = tmp_path / 'elsewhere/mmkd'
    machine.pip_calls()
    assert numbers(machine.setup(MMKD_VENV=str(tmp_path / 'cached'))) == [8]
    assert machine.pip_calls()[-1].endswith(f'-e {machine.root}')


def test_a_fresh_clone_in_the_old_place_gets_its_mim_folder(machine):
    machine.setup()
    shutil.rmtree(machine.root / 'mmkd/.mim')
    assert numbers(machine.setup()) == [8]


def test_without_a_wheel_mmcv_is_compiled_and_the_time_told(machine):
    output = machine.setup(PIP_FAILS=NO_WHEEL)
    assert re.search(r'compiling takes about \d+ minutes on \d+ cores \(11 on 2\)', output)
    calls = machine.pip_calls()
    (path,) = [number for number, call in enumerate(calls) if call.startswith('compiled with')]
    assert calls[path] == f'compiled with {machine.root}/.venv/bin:{machine.bin}', 'for ninja'
    assert calls[path - 1].endswith('onedl-mmcv==2.3.6')
    assert '--no-build-isolation' in calls[path - 1]


def test_a_wheel_for_another_torch_is_compiled_again(machine):
    output = machine.setup(WHEEL_IS_BROKEN='yes')
    assert 'does not load' in output
    assert 'compiling takes' in output


def test_a_gpu_without_its_toolkit_compiles_for_the_cpu(machine):
    output = machine.setup(PIP_FAILS=NO_WHEEL, TORCH_CUDA='13')
    assert 'no toolkit of CUDA 13' in output
    machine.program('nvcc', '#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13.0.88"\n')
    shutil.rmtree(machine.root / '.venv')
    assert 'with its CUDA operators' in machine.setup(PIP_FAILS=NO_WHEEL, TORCH_CUDA='13')


def test_no_compiler_matters_only_without_a_wheel(machine):
    (machine.bin / 'c++').unlink()
    machine.setup()
    shutil.rmtree(machine.root / '.venv')
    machine.pip_calls()
    output = machine.setup(expect=1, PIP_FAILS=NO_WHEEL)
    assert 'there is no C++ compiler' in output
    assert 'apt install g++' in output
    assert not any('torch.in' in call for call in machine.pip_calls()), 'told after the download'


def test_missing_headers_are_told_before_compiling(machine, tmp_path):
    (tmp_path / 'include/Python.h').unlink()
    output = machine.setup(expect=1, PIP_FAILS=NO_WHEEL)
    assert 'Python.h' in output
    assert 'python3.11-dev' in output


@pytest.mark.parametrize(
    ('version', 'word'),
    [('3.8.10', 'too old'), ('3.10.13', 'too old'), ('3.12.1', 'too new'), ('2.7.18', 'too old')],
)
def test_another_python_is_refused_by_its_version(machine, version, word):
    output = machine.setup(expect=1, FAKE_VERSION=version)
    assert version in output
    assert word in output
    assert 'MMKD_PYTHON' in output
    assert not (machine.root / '.venv').exists()


def test_no_python_at_all(machine):
    (machine.bin / 'python3.11').rename(machine.bin / 'hidden')
    assert 'there is no python3.11 or python3' in machine.setup(expect=1)
    assert 'there is no /no/python' in machine.setup(expect=1, MMKD_PYTHON='/no/python')
    hidden = str(machine.bin / 'hidden')
    machine.setup(MMKD_PYTHON=hidden, FAKE_PYTHON=hidden)


def test_a_shim_that_does_not_run_is_passed_over(machine):
    (machine.bin / 'python3.11').rename(machine.bin / 'python3')
    machine.program(
        'python3.11', '#!/bin/sh\necho "pyenv: python3.11: command not found"; exit 127\n'
    )
    machine.setup(FAKE_PYTHON=str(machine.bin / 'python3'))


def test_a_python_without_ensurepip(machine):
    assert 'apt install python3.11-venv' in machine.setup(expect=1, NO_ENSUREPIP='1')


def test_no_space(machine):
    output = machine.setup(expect=1, FREE_GB='4')
    assert 'needs 9 GB' in output
    assert 'has 4 GB free' in output
    assert 'MMKD_VENV' in output
    assert 'needs 8 GB' in machine.setup('--stack', 'stock', expect=1, FREE_GB='4')
    assert not (machine.root / '.venv').exists()


@pytest.mark.parametrize(
    ('says', 'told'),
    [
        ("NewConnectionError('[Errno 101] Network is unreachable')", 'registry cannot be reached'),
        ('Temporary failure in name resolution', 'registry cannot be reached'),
        ('ERROR: No matching distribution found for torch==2.11.0', 'does not have this version'),
        ('OSError: [Errno 28] No space left on device', 'no space left'),
        ('ImportError: libGL.so.1: cannot open shared object file', 'apt install libgl1'),
    ],
)
def test_why_pip_failed_is_told_in_words(machine, says, told):
    output = machine.setup(expect=1, PIP_FAILS='torch.in', PIP_SAYS=says)
    assert told in output
    assert "stage 'torch' failed" in output


def test_the_environment_of_one_stack_is_not_made_the_others(machine):
    machine.setup()
    output = machine.setup('--stack', 'stock', expect=1, MMKD_VENV='.venv')
    assert 'holds the modern stack' in output


def test_wrong_arguments_name_the_right_ones(machine):
    assert 'choose modern or stock' in machine.setup('--stack', 'moderm', expect=1)
    assert "unknown argument '--stock'" in machine.setup('--stock', expect=1)
    assert 'needs a name' in machine.setup('--stack', expect=1)
    assert 'MMKD_PYTHON' in machine.setup('--help')


@pytest.mark.parametrize('stack', ['modern', 'stock'])
def test_every_line_of_the_requirements_is_pinned_and_in_a_stage(stack):
    stages, name = {}, None
    for line in (ROOT / f'requirements/{stack}.txt').read_text().splitlines():
        if line.startswith('# stage '):
            name = line.split()[2]
            stages[name] = []
        elif line and not line.startswith('#'):
            assert re.fullmatch(r'[\w.-]+==[\w.]+', line), line
            stages[name].append(line)
    assert list(stages) == ['build', 'torch', 'mmcv', 'packages', 'mmtrack']
    assert len(stages['mmcv']) == 1
    for file in (f'{stack}.constraints.txt', 'tests.txt'):
        for line in (ROOT / 'requirements' / file).read_text().splitlines():
            assert line.startswith('#') or re.fullmatch(r'[\w.-]+==[\w.+]+', line), line


def test_the_compat_layer_names_the_versions_that_are_installed():
    from mmkd.compat import TESTED

    names = {'onedl-mmengine': 'mmengine', 'onedl-mmcv': 'mmcv', 'onedl-mmdetection': 'mmdet'}
    for stack, tested in TESTED.items():
        lines = (ROOT / f'requirements/{stack}.txt').read_text().splitlines()
        pins = dict(line.split('==') for line in lines if '==' in line and line[0] != '#')
        pins = {names.get(name, name): version for name, version in pins.items()}
        for package, version in tested.items():
            assert (pins[package] + '.').startswith(version + '.'), (stack, package)
