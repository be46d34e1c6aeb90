"""tools/analysis_tools/model_complexity.py on a command line."""

import runpy
import sys

import pytest

from mmkd.errors import MMKDError
from tests.toy import REPO, toy_fairmot


@pytest.fixture
def tool(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['model_complexity.py', *map(str, arguments)])
        path = REPO / 'tools' / 'analysis_tools' / 'model_complexity.py'
        return runpy.run_path(str(path))['main']()

    return run


def test_prints_a_table_and_the_machine(tool, tmp_path, capsys):
    config = tmp_path / 'toy.py'
    config.write_text(f'model = {toy_fairmot()!r}\n')
    tool(config, '--shape', 64, 96, '--fps', '--rounds', 1, '--device', 'cpu')
    out = capsys.readouterr().out
    assert '| toy | 64 x 96 |' in out
    assert '1.00x' in out
    assert 'relative to toy' in out
    assert 'random' not in out


def test_mistakes_are_told(tool, tmp_path):
    config = tmp_path / 'toy.py'
    config.write_text(f'model = {toy_fairmot()!r}\n')
    with pytest.raises(MMKDError, match='--shape'):
        tool(config)
    with pytest.raises(MMKDError, match='--rounds is 0'):
        tool(config, '--shape', 64, 96, '--fps', '--rounds', 0)
    with pytest.raises(MMKDError, match=r'none\.py'):
        tool(tmp_path / 'none.py')
