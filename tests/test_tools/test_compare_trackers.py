"""tools/analysis_tools/compare_trackers.py on a command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mmkd.evaluation.attribute_sot_curves import count_hits
from mmkd.evaluation.attribute_sot_results import SOTResults, VideoResult, write_results
from tests.toy import REPO


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Results of two arms with two seeds each, and of a teacher."""
    folder = tmp_path_factory.mktemp('results')
    random = np.random.default_rng(0)
    names = [f'v-{i}' for i in range(12)]
    attributes = {n: tuple(a for a in ('POC', 'FM', 'OV') if random.random() < 0.6) for n in names}
    for arm, noise in (('plain_0', 9), ('plain_1', 9), ('sdst_0', 5), ('sdst_1', 5), ('big', 3)):
        videos = {}
        for name in names:
            corner, size = random.uniform(50, 200, (2, 40, 2))
            truth = np.hstack([corner, corner + size]).astype(np.float32)
            predicted = truth + random.normal(0, noise, truth.shape).astype(np.float32)
            videos[name] = VideoResult(
                name, 40, 40, count_hits(truth, predicted), attributes[name], ()
            )
        write_results(str(folder / arm), SOTResults(videos))
    return folder


def run(folder, *arguments):
    return subprocess.run(
        [
            sys.executable,
            str(REPO / 'tools/analysis_tools/compare_trackers.py'),
            *map(str, arguments),
        ],
        cwd=folder,
        env={'PYTHONPATH': str(REPO), 'PATH': '', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


ARMS = ('no KD=plain_*', 'SDST=sdst_0.json', 'SDST=sdst_1.json', 'big.json')


@pytest.mark.slow
def test_table_files_and_plots(folder, tmp_path):
    out = tmp_path / 'out' / 'table'
    done = run(
        folder, *ARMS, *('--difference', 'SDST', 'no KD', '--difference', 'SDST', 'big'),
        *('--out', out, '--plots', tmp_path / 'plots', '--metrics', 'success', 'precision'),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '### Success' in done.stdout
    assert '### Normalised' not in done.stdout
    assert 'SDST above no KD on 3 of 3 attributes' in done.stdout
    assert 'no KD: 2, SDST: 2, big: 1' in done.stdout
    result = json.loads((tmp_path / 'out/table.json').read_text())
    assert result['schema'] == 'mmkd-sot-comparison-1'
    assert result['arms']['no KD'] == ['plain_0.json', 'plain_1.json']
    difference = result['rows'][0]['differences'][0]['norm_precision']
    assert 0 < difference['low'] < difference['mean'] < difference['high']
    assert (tmp_path / 'out/table.md').read_text() + '\n' == done.stdout.partition(str(out))[0]
    assert sorted(path.name for path in (tmp_path / 'plots').iterdir()) == [
        'curves_overall.png',
        *(f'radar_{metric}.png' for metric in ('norm_precision', 'precision', 'success')),
    ]
    again = run(folder, *ARMS, '--out', out)
    assert again.returncode == 1
    assert 'exists already' in again.stderr


@pytest.mark.slow
def test_mistakes_are_told(folder):
    for arguments, words in (
        (['a=none*.json'], "no results 'none*.json'"),
        ([*ARMS, '--difference', 'SDST', 'teacher'], "no arm 'teacher'"),
        (['a=plain_0.csv'], 'is not JSON'),
        ([*ARMS, '--configs', 'x.py'], 'expected ARM=CONFIG'),
    ):
        done = run(folder, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith('error: ')
        assert words in done.stderr
        assert 'Traceback' not in done.stderr
