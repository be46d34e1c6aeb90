"""Speed of toy trackers, with the numbers that can be known beforehand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmkd.apis import benchmark_sot
from mmkd.apis.benchmark_sot import Settings, Tracked, as_markdown, benchmark, count, make_video
from mmkd.errors import MMKDError
from tests.test_models.test_sot.toys import build, siamrpn_cfg

REPO = Path(__file__).resolve().parents[2]
TINY = dict(size=(120, 160), box=(30, 24), frames=2, rounds=3, warmup=1)


def write_config(folder, ours=True, name='toy.py', **kwargs):
    """A config file of the toy that a process of its own can read."""
    cfg = Config(
        dict(
            default_scope='mmtrack',
            custom_imports=dict(imports=['tests.test_models.test_sot.toys']),
            model=siamrpn_cfg(ours, **kwargs),
        )
    )
    cfg.dump(folder / name)
    return str(folder / name)


def run_tool(name, *args):
    path = os.pathsep.join([str(REPO), os.environ.get('PYTHONPATH', '')])
    env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1')
    command = [sys.executable, str(REPO / 'tools' / name), *map(str, args)]
    return subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, check=False)


def test_trackers_side_by_side(tmp_path):
    configs = [
        write_config(tmp_path, ours=False, name='stock.py'),
        write_config(tmp_path, name='ours.py'),
        write_config(tmp_path, deep=True, test_search_size=287, name='deep.py'),
    ]
    result = benchmark(Settings(configs=configs, **TINY))
    assert result['schema'] == 'mmkd-sot-speed-1'
    stock, ours, deep = result['trackers']
    assert [entry['name'] for entry in result['trackers']] == ['stock', 'ours', 'deep']
    assert stock['speed'] == stock['compression'] == stock['fewer_macs'] == 1
    assert ours['params'] == stock['params']
    # mmtrack runs the template's half of the head in each frame: 2 branches, 2 levels, 3 x 3
    # convolutions from 6 to 6 channels, 5 x 5 cells.
    assert stock['macs'] - ours['macs'] == 2 * 2 * 9 * 6 * 6 * 25
    assert ours['template_macs'] - stock['template_macs'] == 2 * 2 * 9 * 6 * 6 * 25
    assert (deep['search_size'], deep['template_size']) == (287, 127)
    assert deep['compression'] == pytest.approx(stock['params'] / deep['params'])
    for entry in result['trackers']:
        assert entry['ms']['least'] <= entry['ms']['median'] <= entry['ms']['most']
        assert entry['fps'] == pytest.approx(1e3 / entry['ms']['median'])
        assert entry['weights'] == 'random'
    table = as_markdown(result)
    assert 'Weights are random' in table
    assert 'Crop and post-processing are in it' in table
    assert json.loads(json.dumps(result)) is not None


def test_ratios_are_those_within_a_round(tmp_path, monkeypatch):
    # The machine is twice as slow in the second round, for both.
    slowness = iter([1, 1, 2, 2, 1, 1])
    speed = {'a': 4.0, 'b': 1.0}
    names = []

    def run(self, clock):
        names.append(self.name)
        return next(slowness) * speed[self.name] * 2

    made = iter('ab')
    monkeypatch.setattr(Tracked, 'run', run)
    start = Tracked.__init__

    def init(self, *args):
        start(self, *args)
        self.name = next(made)

    monkeypatch.setattr(Tracked, '__init__', init)
    config = write_config(tmp_path)
    first, second = benchmark(Settings(configs=[config] * 2, **{**TINY, 'warmup': 0}))['trackers']
    assert (first['fps'], second['fps'], second['speed']) == (0.25, 1, 4)
    # They take turns, and in being the first.
    assert names == ['a', 'b', 'b', 'a', 'a', 'b']


def test_all_crop_the_same_squares(monkeypatch):
    model = build()
    settings = Settings(configs=['x'], **TINY)
    seen = []
    crop = model.get_cropped_img
    monkeypatch.setattr(
        model, 'get_cropped_img', lambda img, xy, *rest: seen.append(xy) or crop(img, xy, *rest)
    )
    tracked = Tracked(model, settings)
    assert tracked.run(iter([1.0, 3.5]).__next__) == 2.5
    truth = [box[:2] for _, box in make_video(settings.size, settings.box, 3)]
    # the template, the first box again, and the second
    torch.testing.assert_close(torch.stack(seen), torch.tensor([truth[0], truth[0], truth[1]]))


@pytest.mark.parametrize('read', [True, False])
def test_boxes_are_read_when_they_are_asked_for(monkeypatch, read):
    model = build()
    calls = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, 'tolist', lambda x: calls.append(x.shape) or tolist(x))
    Tracked(model, Settings(configs=['x'], read=read, **TINY)).run(lambda: 0.0)
    assert calls.count((1, 4)) == (2 if read else 0)


def test_counting_leaves_the_model_alone():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = count(model, 127, 255)
    assert count(model, 127, 255) == first
    assert first['params'] == sum(p.numel() for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_threads_are_as_before(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark_sot, '_benchmark', lambda _: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    benchmark(Settings(configs=['x'], threads=before + 1))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(configs=[]), 'at least one config'),
        (dict(configs=['a', 'b'], checkpoints=['c']), '2 configs but 1 checkpoints'),
        (dict(configs=['a'], frames=0), '1 or more'),
        (dict(configs=['a'], threads=0), 'threads=0'),
        (dict(configs=['a'], clock='sand'), "'sand'"),
    ],
)
def test_mistakes_are_told(settings, message):
    with pytest.raises(MMKDError, match=message):
        Settings(**settings)


def test_another_kind_of_model_is_told(tmp_path):
    (tmp_path / 'mot.py').write_text("model = dict(type='mmdet.ResNet', depth=18)")
    with pytest.raises(MMKDError):
        benchmark(Settings(configs=[str(tmp_path / 'mot.py')], **TINY))


@pytest.mark.slow
def test_the_tool(tmp_path):
    out = tmp_path / 'deep' / 'speed.json'
    options = ['--size', 120, 160, '--box', 30, 24, '--frames', 2, '--rounds', 1]
    options += ['--device', 'cpu', '--threads', 1]
    result = run_tool(
        'analysis_tools/benchmark_sot.py', write_config(tmp_path), *options, '--json', out
    )
    assert result.returncode == 0, result.stderr
    assert '| toy |' in result.stdout
    (entry,) = json.loads(out.read_text())['trackers']
    assert entry['fps'] > 0
    result = run_tool('analysis_tools/benchmark_sot.py', 'no_such_config.py', *options)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
