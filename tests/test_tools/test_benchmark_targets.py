"""The benchmark of the targets: that it compares the same things, and says what it cannot do."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from mmkd.errors import MMKDError

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'benchmark_targets.py'
# Two functions that draw nothing but the centre; the original's have the same names.
IMAGE = """
def gaussian_radius(size, min_overlap=0.7):
    return 0.0


def draw_umich_gaussian(heatmap, center, radius, k=1):
    heatmap[center[1], center[0]] = 1
"""


@pytest.fixture
def run(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('benchmark_targets', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*args) -> str:
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        tool.main()
        return capsys.readouterr().out

    return call


def test_both_make_the_same_targets(run):
    told = run('--boxes', 30, '--map', 19, 34, '--batch', 1, 3, '--rounds', 2)
    apart = re.findall(r'batch (\d): .*ratio [\d.]+; largest difference (\S+)', told)
    assert [batch for batch, _ in apart] == ['1', '3']
    assert all(float(value) < 1e-5 for _, value in apart)


def test_an_original_is_used_and_its_differences_told(tmp_path, run):
    folder = tmp_path / 'src' / 'lib' / 'utils'
    folder.mkdir(parents=True)
    (folder / 'image.py').write_text(IMAGE)
    told = run(
        '--boxes', 5, '--map', 38, 68, '--batch', 1, '--rounds', 2, '--original', tmp_path
    )  # fmt: skip
    (line,) = [text for text in told.splitlines() if "FairMOT's functions" in text]
    # Our Gaussians are wider than this one's dots.
    assert float(line.rsplit(' ', 1)[1]) > 0.1


def test_a_folder_that_is_no_checkout(tmp_path, run):
    with pytest.raises(MMKDError, match='--original .*no checkout of FairMOT'):
        run('--original', tmp_path)


def test_a_burst_runs_each_so_often(monkeypatch, run):
    import mmkd.models.heads.fairmot_targets as targets

    calls = []
    draw = targets.draw_gaussians
    monkeypatch.setattr(targets, 'draw_gaussians', lambda *a: calls.append(1) or draw(*a))
    run('--boxes', 5, '--map', 19, 34, '--batch', 1, '--rounds', 1, '--burst', 4)
    assert len(calls) == (1 + 2) * 4  # two rounds fill caches


def test_no_rounds_at_all(run):
    with pytest.raises(MMKDError, match='--burst are 1 or more'):
        run('--burst', 0)
