"""tools/dist_*.sh and slurm_train.sh: the command lines they make, told by stand-in programs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launch(tmp_path):
    """Runs a launcher with a python and an srun that print their arguments."""
    for name in ('python', 'srun'):
        program = tmp_path / name
        # Only the question for a free port goes to the real interpreter.
        program.write_text(
            '#!/bin/sh\nif [ "$1" = -c ]; then exec python3 "$@"; fi\n'
            'echo "PYTHONPATH=$PYTHONPATH"\nfor word in "$@"; do echo "$word"; done\n'
        )
        program.chmod(0o755)

    def run(script: str, *arguments: str, expect: int = 0, **variables: str) -> list:
        keep = ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT', 'CONDA_PREFIX', 'PYTHONPATH')
        environment = {key: value for key, value in os.environ.items() if key not in keep}
        environment.update(
            PATH=f'{tmp_path}:{os.environ["PATH"]}', VIRTUAL_ENV='active', **variables
        )
        result = subprocess.run(
            ['bash', str(ROOT / 'tools' / script), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == expect, result.stderr
        return (result.stdout + result.stderr).splitlines()

    return run


def test_training_on_one_node(launch):
    words = launch('dist_train.sh', 'some config.py', '8', '--amp', '--cfg-options', 'a="[1, 2]"')
    assert words[0] == f'PYTHONPATH={ROOT}'
    assert words[1:3] == ['-m', 'torch.distributed.run']
    assert '--nproc_per_node=8' in words
    assert '--nnodes=1' in words
    assert '--master_addr=127.0.0.1' in words
    tail = ['some config.py', '--launcher', 'pytorch', '--amp', '--cfg-options', 'a="[1, 2]"']
    assert words[words.index(f'{ROOT}/tools/train.py') + 1 :] == tail


def test_a_port_is_chosen_unless_it_is_given(launch):
    def port(**variables):
        words = launch('dist_train.sh', 'c.py', '2', **variables)
        return int(re.search(r'--master_port=(\d+)', ' '.join(words)).group(1))

    assert port(PORT='29999') == 29999
    assert 1024 <= port() <= 65535
    assert len({port() for _ in range(4)}) > 1, 'two jobs on one machine would meet'


def test_several_nodes(launch):
    variables = {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': '10.0.0.1', 'PORT': '1234'}
    words = launch('dist_train.sh', 'c.py', '8', **variables)
    for word in ('--nnodes=2', '--node_rank=1', '--master_addr=10.0.0.1', '--master_port=1234'):
        assert word in words
    # every node has to come to the same port by itself
    del variables['PORT']
    assert '--master_port=29500' in launch('dist_train.sh', 'c.py', '8', **variables)


@pytest.mark.parametrize('missing', ['MASTER_ADDR', 'NODE_RANK'])
def test_several_nodes_need_an_address_and_a_rank(launch, missing):
    variables = {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': '10.0.0.1'}
    del variables[missing]
    assert missing in launch('dist_train.sh', 'c.py', '8', expect=2, **variables)[0]


@pytest.mark.parametrize(
    'arguments',
    [
        ('c.py', 'epoch_1.pth', '4', '--work-dir', 'w'),
        ('c.py', '4', 'epoch_1.pth', '--work-dir', 'w'),
    ],
)
def test_testing_takes_the_checkpoint_before_or_after_the_gpus(launch, arguments):
    words = launch('dist_test.sh', *arguments)
    assert '--nproc_per_node=4' in words
    tail = words[words.index(f'{ROOT}/tools/test.py') + 1 :]
    assert sorted(tail) == sorted(
        ['c.py', 'epoch_1.pth', '--launcher', 'pytorch', '--work-dir', 'w']
    )
    assert tail[0] == 'c.py'
    assert tail.index('epoch_1.pth') < tail.index('--work-dir')


@pytest.mark.parametrize('gpus', ['0', 'two', '-1', ''])
def test_the_number_of_gpus_is_a_number(launch, gpus):
    assert 'positive number' in launch('dist_train.sh', 'c.py', gpus, expect=2)[0]


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_too_few_arguments_show_the_usage(launch, script):
    assert launch(script, 'c.py', expect=2)[0].startswith(f'usage: tools/{script}')


def test_slurm(launch):
    words = launch('slurm_train.sh', 'gpu', 'job', 'c.py', 'w d', '16', '--amp', SRUN_ARGS='-x n1')
    for word in (
        '--partition=gpu',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--gres=gpu:8',
        '-x',
        'n1',
    ):
        assert word in words
    tail = ['c.py', '--work-dir', 'w d', '--launcher', 'slurm', '--amp']
    assert words[words.index(f'{ROOT}/tools/train.py') + 1 :] == tail
    assert '--gres=gpu:2' in launch('slurm_train.sh', 'gpu', 'job', 'c.py', 'w', '2')
