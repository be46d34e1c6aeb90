"""tools/model_converters/pysot2mmkd.py: its report, its files and its mistakes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from ..test_apis.pysot_reference import original

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'pysot2mmkd.py'


@pytest.fixture
def run(monkeypatch):
    def run(*arguments) -> None:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


def test_command_line(run, tmp_path, capsys):
    state = original('siamrpn_alex_dwxcorr legacy')
    state['surplus'] = torch.rand(2)
    source, target = tmp_path / 'model.pth', tmp_path / 'converted.pth'
    torch.save(dict(epoch=3, state_dict=state), source)

    with pytest.raises(SystemExit, match='error: .*surplus'):
        run(source, target)
    with pytest.raises(SystemExit, match='looks like an AlexNet'):
        run(source, target, '--arch', 'siamrpn_r50_l234_dwxcorr')
    assert not target.exists()

    run(source, target, '--allow-extra')
    said = capsys.readouterr().out
    for words in ('backbone', 'head.reg_heads', 'rewritten', 'surplus', f'wrote {target}'):
        assert words in said
    bias = 'head.reg_heads.0.head_convs.1.conv.bias'
    theirs = state['rpn_head.loc.head.3.bias']
    converted = torch.load(target, weights_only=True)['state_dict']
    assert not torch.equal(converted[bias], theirs)

    with pytest.raises(SystemExit, match='--force'):
        run(source, target, '--allow-extra')
    run(source, target, '--allow-extra', '--force', '--anchors', 'pysot')
    converted = torch.load(target, weights_only=True)['state_dict']
    assert torch.equal(converted[bias], theirs)

    del state['surplus'], state['rpn_head.cls.head.3.bias']
    torch.save(state, source)
    with pytest.raises(SystemExit, match='nothing fills'):
        run(source, target, '--force')
    run(source, target, '--force', '--allow-missing')
    assert len(torch.load(target, weights_only=True)['state_dict']) == len(converted) - 1


def test_help_tells_the_networks(run, capsys):
    with pytest.raises(SystemExit):
        run('--help')
    said = ' '.join(capsys.readouterr().out.split())
    assert 'siamrpn_mobilev2_l234_dwxcorr' in said
    assert 'default: mmtrack' in said
