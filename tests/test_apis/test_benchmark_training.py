import runpy

import pytest
import torch
from mmengine.config import Config

from mmkd.apis import benchmark_training
from mmkd.apis.benchmark_training import Settings, Training, benchmark
from mmkd.distill.teachers import CachedTeacher
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..replay_toy import ColourTeacher, draw_pictures
from ..test_distill import toys
from ..test_end_to_end import REPO

pytestmark = pytest.mark.usefixtures('progress_stays')

TOOL = 'tools/analysis_tools/benchmark_training.py'


@MODELS.register_module(force=True)
class TickingTeacher(ColourTeacher):
    """Moves the clock of a test."""

    clock = None

    def __init__(self, seconds, **kwargs):
        super().__init__(**kwargs)
        self.seconds = seconds

    def extract(self, x):
        self.clock.now += self.seconds
        return super().extract(x)


def config(tmp_path, teacher=None, **more):
    root = tmp_path / 'pictures'
    if not root.exists():
        draw_pictures(root)
    model = toys.config(
        teacher=teacher or dict(type='mmkd.ColourTeacher'),
        distill=[dict(student='neck[0]', teacher='map')],
        mask=False,
    )
    return Config(
        dict(
            model=model,
            train_dataloader=dict(
                batch_size=3, dataset=dict(type='mmkd.ToyPictures', root=str(root))
            ),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
            default_scope='mmkd',
            **more,
        )
    )


def test_what_one_arm_does_more_shows(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(TickingTeacher, 'clock', clock)
    monkeypatch.setitem(benchmark_training.CLOCKS, 'wall', clock)
    arms = {
        name: config(tmp_path, dict(type='mmkd.TickingTeacher', seconds=seconds))
        for name, seconds in (('slow', 3), ('fast', 1))
    }
    found = benchmark(arms, Settings(rounds=3, batch=1))
    assert list(found) == ['slow', 'fast']
    assert found['slow'] == dict(seconds=pytest.approx(3, rel=0.01), speed=1)
    assert found['fast'] == dict(
        seconds=pytest.approx(1, rel=0.01), speed=pytest.approx(3, rel=0.01)
    )


def test_an_iteration_is_one_of_training(tmp_path):
    training = Training('toy', config(tmp_path, channels_last=True), Settings())
    weights = [p for p in training.model.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    before = [p.clone() for p in weights]
    training.step()
    assert training.optimiser._inner_count == 1
    # The rate is 0: a benchmark trains nothing away.
    assert all(torch.equal(a, b) for a, b in zip(before, weights))
    first, second = (Training('toy', config(tmp_path), Settings(batch=2)) for _ in range(2))
    one, other = next(first._batches), next(second._batches)
    assert len(one['inputs']) == 2
    paths = [[s.img_path for s in batch['data_samples']] for batch in (one, other)]
    assert paths[0] == paths[1], 'all arms see the same samples'


def test_a_cache_is_past_its_comparison(tmp_path):
    cfg = config(tmp_path)
    cfg.model.teacher = dict(
        type='mmkd.CachedTeacher', teacher=cfg.model.teacher, path=str(tmp_path / 'c'), verify=5
    )
    built = Training('cached', cfg, Settings())
    built.model.teacher.missing = 'build'
    built.model.prepare_data(built.dataset)
    seen = []
    compare = CachedTeacher._compare

    def noted(self, *args):
        seen.append(1)
        return compare(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CachedTeacher, '_compare', noted)
        benchmark(dict(cached=cfg), Settings(rounds=1, warmup=1, batch=1))
    assert len(seen) == 5, 'so many one-sample steps of warm-up compared'
    cfg.model.teacher.verify = 50
    with pytest.raises(MMKDError, match='cached still checks .* model.teacher.verify='):
        benchmark(dict(cached=cfg), Settings(rounds=1, batch=1))


def test_what_cannot_be_timed(tmp_path):
    with pytest.raises(MMKDError, match='x is no config of a training: it has no model'):
        benchmark(dict(x=Config(dict(optim_wrapper=dict()))), Settings())
    with pytest.raises(MMKDError, match='1 or more rounds'):
        benchmark(dict(x=config(tmp_path)), Settings(rounds=0))
    cfg = config(tmp_path)
    (tmp_path / 'none').mkdir()
    cfg.train_dataloader.dataset.root = str(tmp_path / 'none')
    with pytest.raises(MMKDError, match='training set of x is empty'):
        benchmark(dict(x=cfg), Settings())


def test_arms_of_a_command_line(tmp_path):
    read_arms = runpy.run_path(str(REPO / TOOL))['read_arms']
    file = tmp_path / 'a.py'
    file.write_text("work_dir = 'w'\nx = 1\ny = dict(z=2)\n")
    arms = [['one', str(file)], ['two', str(file), 'x=3', 'y.z=True', 'v=[1,2]']]
    found = read_arms(arms, {'y.z': 5})
    assert (found['one'].x, found['one'].y.z) == (1, 5)
    assert (found['two'].x, found['two'].y.z, found['two'].v) == (3, True, [1, 2])
    with pytest.raises(MMKDError, match="--arm takes a name and a config, but got 'one' alone"):
        read_arms([['one']], {})
    with pytest.raises(MMKDError, match="two arms of the name 'one'"):
        read_arms([arms[0], arms[0]], {})
    with pytest.raises(MMKDError, match='no config file'):
        read_arms([['one', str(tmp_path / 'b.py')]], {})
