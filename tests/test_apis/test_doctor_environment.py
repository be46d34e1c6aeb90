import os

import pytest
import torch

import mmkd
from mmkd.apis import doctor_environment
from tests.test_apis.doctor_toy import case, look, told


def test_what_is_installed_and_where_it_runs(tmp_path):
    section = look(doctor_environment.look, case(tmp_path, ready=False))
    assert section.data['versions']['torch'] == torch.__version__.split('+')[0]
    assert section.data['versions']['mmengine']
    assert f'{doctor_environment.cores()} cores' in told(section)
    assert not section.problems


def test_a_package_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(
        doctor_environment, 'find_spec', lambda name: None if name == 'mmcv' else object()
    )
    section = look(doctor_environment.look, case(tmp_path, ready=False))
    assert section.data['versions']['mmcv'] is None
    assert [problem.text for problem in section.problems] == ['mmcv is not installed.']


def state(**changes):
    tested = {'modern': {'torch': '2.11'}}
    return dict(dict(shown={}, imported=True, stack='modern', tested=tested), **changes)


@pytest.mark.parametrize(
    ('found', 'expected', 'problems'),
    [
        (state(), 'nothing had to be bridged', 0),
        (state(shown={'mmtrack': ['mmcv 2 as 1', 'mmdet 3 as 2']}), 'mmcv 2 as 1; mmdet 3 as 2', 0),
        (state(stack=None), 'modern: torch 2.11', 1),
        # Whether a combination was tried is known once mmtrack is imported.
        (state(stack=None, imported=False), 'nothing had to be bridged', 0),
    ],
)
def test_compat(tmp_path, monkeypatch, found, expected, problems):
    monkeypatch.setattr(mmkd, 'compat_state', lambda: found)
    section = look(doctor_environment.look, case(tmp_path, ready=False))
    assert expected in told(section)
    assert len(section.problems) == problems
    assert not any(problem.stops for problem in section.problems)


def test_the_real_state_of_the_compat_layer():
    import mmtrack  # noqa: F401

    found = mmkd.compat_state()
    assert found['imported']
    assert found['stack'] in found['tested']
    # The stock stack is inside mmtrack's bounds: there is nothing to show.
    assert bool(found['shown'].get('mmtrack')) == (found['stack'] == 'modern')


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    import shutil

    free = doctor_environment.free_disk(os.path.join(str(tmp_path), 'a', 'b'))
    assert abs(free - shutil.disk_usage(str(tmp_path)).free) < 2**30
