"""tools/train.py and tools/test.py: their command lines, which are mmtrack's and a little more."""

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmkd.errors import MMKDError

TOOLS = Path(__file__).resolve().parent.parent.parent / 'tools'


@pytest.fixture(scope='module')
def train():
    return runpy.run_path(str(TOOLS / 'train.py'))


@pytest.fixture(scope='module')
def test_tool():
    return runpy.run_path(str(TOOLS / 'test.py'))


def parse(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['tool.py', *arguments])
    return tool['parse_args']()


@pytest.mark.parametrize('spelling', ['--local-rank', '--local_rank'])
def test_both_spellings_of_the_local_rank(train, test_tool, monkeypatch, spelling):
    assert parse(train, monkeypatch, 'c.py', f'{spelling}=3').local_rank == 3
    assert parse(test_tool, monkeypatch, 'c.py', 'x.pth', f'{spelling}=3').local_rank == 3


def test_the_checkpoint_by_place_and_by_name(test_tool, monkeypatch):
    assert parse(test_tool, monkeypatch, 'c.py', 'x.pth').checkpoint == 'x.pth'
    assert parse(test_tool, monkeypatch, 'c.py', '--checkpoint', 'x.pth').checkpoint == 'x.pth'


@pytest.mark.parametrize('arguments', [('c.py',), ('c.py', 'x.pth', '--checkpoint', 'y.pth')])
def test_one_checkpoint_is_needed(test_tool, monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit):
        parse(test_tool, monkeypatch, *arguments)
    assert 'checkpoint' in capsys.readouterr().err


def test_resume_from_the_latest_or_from_a_file(train, monkeypatch):
    assert parse(train, monkeypatch, 'c.py').resume is None
    assert parse(train, monkeypatch, 'c.py', '--resume').resume == 'auto'
    assert parse(train, monkeypatch, 'c.py', '--resume', 'x.pth').resume == 'x.pth'


def amp(train, monkeypatch, wrapper, has_gpu):
    monkeypatch.setitem(train['enable_amp'].__globals__, 'is_cuda_available', lambda: has_gpu)
    monkeypatch.setitem(train['enable_amp'].__globals__, 'is_npu_available', lambda: False)
    cfg = Config(dict(optim_wrapper=dict(type=wrapper)))
    train['enable_amp'](cfg)
    return cfg.optim_wrapper


def test_amp_on_a_gpu_is_mmengines(train, monkeypatch):
    wrapper = amp(train, monkeypatch, 'OptimWrapper', has_gpu=True)
    assert (wrapper.type, wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')


def test_amp_on_a_processor_is_bfloat16(train, monkeypatch):
    wrapper = amp(train, monkeypatch, 'OptimWrapper', has_gpu=False)
    assert wrapper.to_dict() == dict(type='mmkd.Bf16OptimWrapper')


def test_amp_twice_changes_nothing(train, monkeypatch):
    assert amp(train, monkeypatch, 'AmpOptimWrapper', has_gpu=True).type == 'AmpOptimWrapper'


def test_amp_over_a_wrapper_of_the_users_is_refused(train, monkeypatch):
    with pytest.raises(MMKDError, match='ApexOptimWrapper'):
        amp(train, monkeypatch, 'ApexOptimWrapper', has_gpu=True)


def test_auto_scale_lr_needs_the_batch_size_that_the_rate_is_for(train):
    cfg = Config(dict(auto_scale_lr=dict(enable=False, base_batch_size=16)))
    train['enable_auto_scale_lr'](cfg)
    assert cfg.auto_scale_lr.enable
    with pytest.raises(MMKDError, match='base_batch_size'):
        train['enable_auto_scale_lr'](Config({}))


def test_amp_in_a_chosen_type(train, monkeypatch):
    def wrapper(dtype, has_gpu):
        namespace = train['enable_amp'].__globals__
        monkeypatch.setitem(namespace, 'is_cuda_available', lambda: has_gpu)
        monkeypatch.setitem(namespace, 'is_npu_available', lambda: False)
        cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
        train['enable_amp'](cfg, dtype)
        return cfg.optim_wrapper.type

    assert wrapper('bfloat16', has_gpu=True) == 'mmkd.Bf16OptimWrapper'
    assert wrapper('float16', has_gpu=True) == 'AmpOptimWrapper'
    with pytest.raises(MMKDError, match='GPU'):
        wrapper('float16', has_gpu=False)


def test_scores_and_tracks_go_where_the_user_says(test_tool):
    cfg = Config(dict(test_evaluator=dict(type='mmkd.MOTMetric')))
    test_tool['add_outputs'](cfg, 'out/scores', 'out/tracks')
    assert [item.to_dict() for item in cfg.test_evaluator] == [
        dict(type='mmkd.MOTMetric', outfile_prefix='out/scores'),
        dict(type='mmkd.MOTResults', out_dir='out/tracks'),
    ]


def test_without_options_the_evaluators_stay(test_tool):
    cfg = Config(dict(test_evaluator=[dict(type='A'), dict(type='B')]))
    test_tool['add_outputs'](cfg, None, None)
    assert [item.type for item in cfg.test_evaluator] == ['A', 'B']


def test_scores_of_a_metric_that_writes_none(test_tool):
    cfg = Config(dict(test_evaluator=dict(type='mmtrack.MOTChallengeMetrics')))
    with pytest.raises(MMKDError, match='mmtrack.MOTChallengeMetrics'):
        test_tool['add_outputs'](cfg, 'out/scores', None)


def test_compile_keeps_the_options_of_the_config(train):
    import torch
    from mmengine.utils import digit_version

    cfg = Config(dict(compile=dict(backend='eager')))
    if sys.version_info >= (3, 11) and digit_version(torch.__version__) < digit_version('2.1'):
        with pytest.raises(MMKDError, match='modern'):
            train['enable_compile'](cfg)
        return
    train['enable_compile'](cfg)
    assert cfg.compile == dict(backend='eager')
    cfg = Config({})
    train['enable_compile'](cfg)
    assert cfg.compile is True


def test_a_start_that_is_not_there_is_told_before_anything_is_built(train, monkeypatch, tmp_path):
    config = tmp_path / 'c.py'
    config.write_text("load_from = 'checkpoints/none.pth'\noptim_wrapper = dict(type='X')\n")
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config), '--work-dir', str(tmp_path)])
    monkeypatch.setitem(train['main'].__globals__, 'build_runner', pytest.fail)
    with pytest.raises(MMKDError, match=r"no checkpoint 'checkpoints/none\.pth'"):
        train['main']()


def test_a_type_alone_switches_mixed_precision_on(test_tool, monkeypatch, tmp_path):
    (tmp_path / 'c.py').write_text('test_cfg = dict()\n')
    (tmp_path / 'x.pth').write_text('')
    built = []

    class Runner:
        def test(self):
            pass

    monkeypatch.setattr(
        sys,
        'argv',
        ['test.py', str(tmp_path / 'c.py'), str(tmp_path / 'x.pth'), '--amp-dtype', 'bfloat16'],
    )
    monkeypatch.setitem(
        test_tool['main'].__globals__, 'build_runner', lambda cfg: built.append(cfg) or Runner()
    )
    test_tool['main']()
    assert built[0].test_cfg.fp16 is True


@pytest.mark.parametrize(
    ('argument', 'has_run', 'resume', 'load_from'),
    [
        ('auto', True, True, None),  # not the weights that the recipe started from
        ('auto', False, False, 'start.pth'),
        ('mine.pth', True, True, 'mine.pth'),
    ],
)
def test_resuming_a_recipe_that_starts_from_other_weights(
    train, tmp_path, argument, has_run, resume, load_from
):
    if has_run:  # mmengine's note of its latest checkpoint
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    cfg = Config(dict(resume=False, load_from='start.pth', work_dir=str(tmp_path)))
    train['enable_resume'](cfg, argument)
    assert (cfg.resume, cfg.load_from) == (resume, load_from)
