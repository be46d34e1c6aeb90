"""The benchmark of distillation, on the shipped student made narrow and a tiny DINOv2."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmkd.apis import benchmark_arms, benchmark_memory
from mmkd.apis.benchmark_arms import KD, STUDENT, TEACHER, bare_distiller, make_arms
from mmkd.apis.benchmark_kd import Runner, Settings, benchmark, peak_of, summarise
from mmkd.apis.benchmark_sync import syncs
from mmkd.errors import MMKDError
from tests.test_distill.toys import TINY
from tests.toy import toy_fairmot

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'benchmark_kd.py'
TEACHER_CFG = dict(type='mmkd.DINOv2Teacher', arch=dict(TINY), weights='not/there.pth')


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('kd') / 'toy.py'
    model = dict(
        type='mmkd.FeatureDistiller',
        student=toy_fairmot(),
        teacher=TEACHER_CFG,
        distill=[dict(student='neck', teacher='block_1')],
    )
    Config(dict(model=model, default_scope='mmtrack')).dump(path)
    return str(path)


@pytest.fixture(autouse=True)
def _progress():
    """Other tests train from their beginning."""
    info = MessageHub.get_current_instance()._runtime_info
    before = dict(info)
    yield
    info.clear()
    info.update(before)


@pytest.fixture
def settings(config):
    def make(**changes):
        small = dict(size=(64, 96), batch=2, boxes=3, ids=4, steps=2, warmup=1)
        return Settings(config, **{**small, 'random_teacher': True, **changes})

    return make


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('benchmark_kd', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_the_command_line(tool, config, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'more' / 'found.json'
    small = '--size 64 96 --boxes 3 --ids 4 --steps 2 --warmup 1 --device cpu --random-teacher'
    argv = [str(TOOL), config, *small.split(), '--no-memory', '--json', str(out)]
    monkeypatch.setattr(
        sys, 'argv', [*argv, '--arms', 'dtype=bf16', 'micro-batch=1', 'stopped', 'no-mask']
    )
    tool.main()
    told = capsys.readouterr().out
    found = json.loads(out.read_text())
    names = [STUDENT, TEACHER, KD, 'dtype=bf16', 'micro-batch=1', 'no-mask', 'stopped']
    assert list(found['arms']) == names
    for name, arm in found['arms'].items():
        assert f'| {name} ' in told
        assert len(arm['all_seconds']) == 2
        assert min(arm['all_seconds']) > 0
        assert set(arm) == {
            'what',
            'seconds',
            'all_seconds',
            'to_student',
            'to_kd',
            'dtype',
            'peak_bytes',
        }
    assert found['arms'][STUDENT]['to_student'] == 1
    assert found['arms'][KD]['to_kd'] == 1
    assert found['arms'][KD]['dtype'] == 'float32'
    assert found['arms']['dtype=bf16']['dtype'] == 'bfloat16'
    assert found['arms']['stopped']['dtype'] == '', 'the teacher was released'
    assert found['settings']['size'] == [64, 96]
    assert found['left_out'] == {}
    assert found['teacher_bytes'] > 10_000
    assert 'RANDOM' in found['teachers']['teacher']
    assert len(found['sum_ratios']) == 2
    assert found['sync']['how'] == 'operators'
    assert [row['what'] for row in found['summary']][0].startswith('kd step / (student step')
    assert found['summary'][0]['met'] in (True, False)
    assert 'aim at most 1.05' in told


def test_arms_of_a_config(config, settings):
    plain = bare_distiller(settings().read())
    names = [arm.name for arm in make_arms(settings().read(), plain, 'cpu', 2)]
    assert len(names) == len(set(names))
    assert {'no-truncation', 'block_0', 'block_0,no-truncation', 'compile'} <= set(names)
    assert 'kd,channels_last' in names
    assert not {'stream', 'dtype=fp16'} & set(names)
    on_gpu = [arm.name for arm in make_arms(settings().read(), plain, 'cuda', 1)]
    assert {'stream', 'dtype=fp16'} <= set(on_gpu)
    assert 'micro-batch=1' not in on_gpu


@pytest.mark.parametrize('several', [False, True])
def test_the_teacher_of_a_cache_is_timed_live(settings, tmp_path, monkeypatch, several):
    told = []
    monkeypatch.setattr(benchmark_arms, 'print_log', lambda text, **_: told.append(text))
    cfg = settings().read()
    cached = dict(type='mmkd.CachedTeacher', teacher=TEACHER_CFG, path=str(tmp_path / 'cache'))
    if several:
        cfg.model.teachers, cfg.model.teacher = dict(a=cached, b=TEACHER_CFG), None
        cfg.model.distill = [dict(student='neck', teacher=f'{n}.block_1', name=n) for n in 'ab']
    else:
        cfg.model.teacher = cached
    found = bare_distiller(cfg, random_teacher=True)
    assert {type(teacher).__name__ for teacher in found.teachers.values()} == {'DINOv2Teacher'}
    assert len(found.teachers) == 1 + several
    assert all(teacher.is_random for teacher in found.teachers.values())
    assert len(told) == 1
    assert 'benchmark_cache.py times the cache' in told[0]


def _runner(settings, name):
    cfg = settings.read()
    arms = {a.name: a for a in make_arms(cfg, bare_distiller(cfg), 'cpu', settings.batch)}
    return Runner(arms[name], settings, cfg)


def _teacher_of(runner):
    return runner.distiller.teacher


@pytest.mark.parametrize(
    ('name', 'holds'),
    [
        (KD, lambda r: len(_teacher_of(r).net.blocks) == 2),
        ('no-truncation', lambda r: len(_teacher_of(r).net.blocks) == 3),
        ('block_0', lambda r: len(_teacher_of(r).net.blocks) == 1),
        ('block_0,no-truncation', lambda r: len(_teacher_of(r).net.blocks) == 3),
        ('dtype=auto', lambda r: _teacher_of(r).dtype is not None),
        ('micro-batch=1', lambda r: _teacher_of(r).runtime.micro_batch.size == 1),
        ('no-mask', lambda r: r.distiller.mask is False),
        ('alpha=0', lambda r: not _teacher_of(r).loaded),
        (STUDENT, lambda r: not _teacher_of(r).loaded),
    ],
)
def test_an_arm_is_what_it_says(settings, name, holds):
    runner = _runner(settings(), name)
    assert holds(runner)
    assert runner.turn() > 0


def test_layout(settings):
    runner = _runner(settings(), 'kd,channels_last')
    weight = next(p for p in runner.distiller.student.parameters() if p.dim() == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_steps_train_what_they_say(settings):
    for name, distills in ((STUDENT, False), (KD, True)):
        runner = _runner(settings(), name)
        runner.turn()
        student = runner.distiller.student
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
        grads = [p.grad is not None for p in runner.distiller.distill.parameters()]
        assert all(grads) if distills else not any(grads)


def test_the_teacher_is_released_where_it_stopped(settings):
    runner = _runner(settings(), 'stopped')
    assert _teacher_of(runner).loaded
    runner.turn()
    assert _teacher_of(runner).loaded
    runner.turn()
    assert not _teacher_of(runner).loaded


def test_all_arms_see_the_same(settings):
    first, second = _runner(settings(), KD), _runner(settings(), 'no-mask')
    assert torch.equal(first.batch.inputs['img'], second.batch.inputs['img'])
    one, two = first.distiller.state_dict(), second.distiller.state_dict()
    tensors = [key for key in one if isinstance(one[key], torch.Tensor)]
    assert all(torch.equal(one[key], two[key]) for key in tensors)


def test_a_switch_that_cannot_is_left_out(settings, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('no compiler on this machine')

    monkeypatch.setattr(torch, 'compile', fail, raising=False)
    found = benchmark(settings(arms=['compile']), memory=False)
    assert list(found['arms']) == [STUDENT, TEACHER, KD]
    assert 'no compiler on this machine' in found['left_out']['compile']


def test_waiting_is_found(settings):
    runner = _runner(settings(), KD)
    runner.turn()
    runner.turn()
    pair = next(iter(runner.distiller.distill.values()))
    before = syncs(runner)['found']
    forward = pair.loss.forward

    def waits(student, teacher, mask=None, **kwargs):
        (student[student > 1e9], student.sum().item())
        return forward(student, teacher, mask, **kwargs)

    pair.loss.forward = waits
    words = [line.split()[0] for line in syncs(runner)['found'] if line not in before]
    assert words == ['index', '_local_scalar_dense']


def test_the_students_waiting_is_its_own(settings):
    runner = _runner(settings(), KD)
    runner.turn()
    runner.turn()
    before = syncs(runner)['found']
    head = runner.distiller.student.head
    forward = head.forward
    head.forward = lambda feats: (feats[0].sum().item(), forward(feats))[1]
    assert syncs(runner)['found'] == before


def test_memory_of_this_process(settings, monkeypatch):
    held = iter([100, 700])
    monkeypatch.setattr(benchmark_memory, '_status', lambda key: next(held, 1000))
    assert peak_of(settings(), STUDENT) == 900


def test_the_peak_is_reset():
    before = benchmark_memory.reset_peak('cpu')
    if before == 0:
        pytest.skip('this system does not count')
    big = torch.ones(32 * 2**20)
    del big
    assert benchmark_memory.peak('cpu', before) > 100 * 2**20
    before = benchmark_memory.reset_peak('cpu')
    assert benchmark_memory.peak('cpu', before) < 100 * 2**20


@pytest.mark.slow
def test_memory_of_a_process_of_its_own(settings):
    found = benchmark_memory.peak_in_child(settings(size=(256, 512)), KD)
    # The images alone, and far less than the libraries take.
    assert 2 * 3 * 256 * 512 * 4 < found < 450 * 2**20


def _result(**changes):
    arm = dict(to_student=1.2, peak_bytes=100)
    return {
        'arms': {STUDENT: dict(arm, peak_bytes=80), KD: arm},
        'machine': {'device': 'cpu'},
        'teacher_bytes': 20,
        'sum_ratios': [1.0, 1.06, 1.2],
        **changes,
    }


def test_aims():
    total, student, memory = summarise(_result())
    assert (total['found'], total['met']) == (1.06, False)
    assert student['met'] is None
    assert (memory['found'], memory['met']) == (1.0, True)
    total, student, _ = summarise(_result(machine={'device': 'cuda'}))
    assert total['met'] is None
    assert (student['aim'], student['met']) == (1.35, True)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'batch': 0}, '1 or more'),
        ({'warmup': 0}, '--warmup'),
        ({'amp': 'fp8'}, "no amp='fp8'"),
        ({'clock': 'sun'}, "clock is 'wall'"),
    ],
)
def test_settings(settings, changes, message):
    with pytest.raises(MMKDError, match=message):
        settings(**changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_no_gpu(settings):
    with pytest.raises(MMKDError, match="no device 'cuda'"):
        settings(device='cuda')


def test_other_configs(settings, tmp_path):
    with pytest.raises(MMKDError, match="no arm 'no-mast'.*'no-mask'"):
        benchmark(settings(arms=['no-mast']))
    with pytest.raises(MMKDError, match="There is no DINOv2 weights file 'not/there.pth'"):
        benchmark(settings(random_teacher=False, arms=[]))
    path = tmp_path / 'plain.py'
    Config(dict(model=toy_fairmot())).dump(path)
    with pytest.raises(MMKDError, match='is of a FairMOT; expected one of a distillation'):
        benchmark(Settings(str(path)))
