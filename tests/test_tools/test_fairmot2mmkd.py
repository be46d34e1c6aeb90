"""tools/model_converters/fairmot2mmkd.py: its report, its files and its mistakes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from ..test_apis.originals import original

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'fairmot2mmkd.py'


@pytest.fixture
def run(monkeypatch):
    def run(*arguments) -> None:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


def test_command_line(run, tmp_path, capsys):
    state = original('dla34', head=16).state_dict()
    state['surplus'] = torch.rand(2)
    source, target = tmp_path / 'model_last.pth', tmp_path / 'converted.pth'
    torch.save(dict(epoch=3, state_dict=state), source)

    with pytest.raises(SystemExit, match='error: .*surplus'):
        run(source, target, '--arch', 'dla34')
    assert not target.exists()

    run(source, target, '--arch', 'dla34', '--allow-extra')
    said = capsys.readouterr().out
    for words in ('backbone', 'head.heatmap', 'base.fc.weight', 'surplus', f'wrote {target}'):
        assert words in said
    content = torch.load(target, weights_only=True)
    assert content['meta']['source'] == 'model_last.pth'
    assert torch.equal(content['state_dict']['head.heatmap.2.bias'], state['hm.2.bias'])

    with pytest.raises(SystemExit, match='--force'):
        run(source, target, '--arch', 'dla34', '--allow-extra')
    run(source, target, '--arch', 'dla34', '--allow-extra', '--force')


def test_each_flag_reaches_the_conversion(run, tmp_path):
    state = original('dla34', head=16).state_dict()
    del state['hm.2.bias']
    state['wh.2.bias'] = torch.rand(2)
    source, target = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(state, source)
    with pytest.raises(SystemExit, match='another size than ours'):
        run(source, target, '--arch', 'dla34', '--allow-missing')
    run(source, target, '--arch', 'dla34', '--init')
    content = torch.load(target, weights_only=True)['state_dict']
    assert not {'head.heatmap.2.bias', 'head.ltrb.2.bias'} & set(content)
