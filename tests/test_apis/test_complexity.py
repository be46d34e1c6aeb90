"""Counts against numbers worked out elsewhere, and timing in turns."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmkd.apis import complexity
from mmkd.apis.complexity import (
    analyze,
    as_markdown,
    count_macs,
    count_parameters,
    input_shape,
    measure_fps,
)
from mmkd.errors import MMKDError
from mmkd.models.necks import DCNv2
from mmkd.registry import MODELS
from tests.toy import REPO, toy_fairmot

BASES = REPO / 'configs' / '_base_' / 'models'


def build(name):
    cfg = Config.fromfile(BASES / f'fairmot_{name}.py')
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model).eval()


def test_hrnetv2_w18_has_the_counts_of_the_original():
    model = build('hrnetv2-w18')
    # Every map is a whole number of cells for multiples of 32, so that work goes with the area.
    macs, _ = count_macs(model, (64, 64))
    assert set(macs) == {'conv'}
    assert round(macs['conv'] * (608 * 1088) / (64 * 64) / 1e9, 1) == 147.6
    params, _ = count_parameters(model)
    assert round(params / 1e6, 2) == 12.09


class Deformable(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.conv = DCNv2(3, 8, 3, padding=1, **kwargs)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(('stride', 'cells'), [(1, 16 * 24), (2, 8 * 12)])
def test_a_deformable_convolution_is_a_convolution_and_the_one_of_its_offsets(stride, cells):
    macs, left_out = count_macs(Deformable(stride=stride), (16, 24))
    assert macs == {'deform_conv': cells * 8 * 3 * 9, 'conv': cells * 27 * 3 * 9}
    assert not any('PythonOp' in name for name in left_out)


def test_the_dla_neck_is_counted_whole():
    model = build('dla34')
    macs, left_out = count_macs(model, (64, 96))
    # (channels in, channels out, stride) of proj and node in each of the eight steps.
    steps = [(512, 256, 32, 16), (256, 128, 16, 8), (256, 128, 16, 8)]
    steps += [(128, 64, 8, 4)] * 3 + [(128, 64, 8, 4), (256, 64, 16, 4)]
    expected = 0
    for wide, narrow, coarse, fine in steps:
        expected += 9 * narrow * wide * 64 * 96 // coarse**2
        expected += 9 * narrow * narrow * 64 * 96 // fine**2
    assert macs['deform_conv'] == expected
    assert {'batch_norm', 'max_pool2d'} <= set(left_out)


class Unknown(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2


class WithUnknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return Unknown.apply(self.conv(x))


def test_what_is_not_counted_is_named():
    macs, left_out = count_macs(WithUnknown(), (4, 4))
    assert macs == {'conv': 16 * 3 * 4}
    assert left_out == {'PythonOp.Unknown': 1}


def test_the_mode_of_the_model_stays():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = model[1].running_mean.clone()
    count_macs(model, (4, 4))
    assert model.training
    assert torch.equal(model[1].running_mean, before)


def test_the_classifier_is_for_training_only():
    model = MODELS.build(toy_fairmot())
    params, same = count_parameters(model)
    model.set_num_ids(100)
    deployed, training = count_parameters(model)
    assert params == same == deployed
    assert training - deployed == 100 * 8 + 100


def config(**kwargs):
    model = dict(type='x', data_preprocessor=dict(pad_size_divisor=32))
    return Config(dict(model=model, **kwargs))


def test_the_input_is_the_test_pipelines_and_padded():
    steps = [dict(type='mmkd.Letterbox', scale=(1088, 600)), dict(type='mmtrack.PackTrackInputs')]
    cfg = config(test_dataloader=dict(dataset=dict(pipeline=steps)))
    assert input_shape(cfg) == (608, 1088)
    assert input_shape(cfg, (100, 320)) == (128, 320)
    cfg.model = dict(type='distiller', student=cfg.model)
    assert input_shape(cfg, (100, 320)) == (128, 320)


def test_an_unknown_input_is_told():
    with pytest.raises(MMKDError, match='--shape 608 1088'):
        input_shape(config())
    with pytest.raises(MMKDError, match='no height and width'):
        input_shape(config(), (0, 5))


def test_models_are_timed_in_turns(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr(complexity.time, 'perf_counter', lambda: clock[0])

    class Sleeper(nn.Module):
        def __init__(self, name, seconds):
            super().__init__()
            self.name, self.seconds, self.tracker = name, seconds, object()

        def forward(self, *args, mode):
            if mode == 'predict':
                assert self.tracker is None
                assert not self.training
                log.append(self.name)
                clock[0] += self.seconds

    models = [Sleeper('slow', 0.5), Sleeper('fast', 0.125)]
    fps, speed = measure_fps(models, [(4, 4), (4, 4)], rounds=3)
    assert log == ['slow', 'fast'] * 4
    assert fps == [2, 8]
    assert speed == [1, 4]


def test_the_table_of_two_configs(tmp_path):
    names = []
    for width in (4, 8):
        path = tmp_path / f'w{width}.py'
        path.write_text(f'model = {toy_fairmot(channels=width)!r}\n')
        names.append(str(path))
    small, large = analyze(names, shape=(64, 96), rounds=1, num_ids=7)
    assert small.params < large.params
    assert small.macs < large.macs
    assert small.train_params == small.params + 7 * 8 + 7
    assert small.speed == 1
    assert large.fps > 0
    table = as_markdown([small, large]).splitlines()
    assert table[0] == (
        '| Model | Input | Params (M) | with id classifier (M) | GMACs | fps | speed |'
    )
    assert table[2].startswith('| w4 | 64 x 96 | ')
    assert len({line.count('|') for line in table[:4]}) == 1
    assert 'batch_norm' in table[-1]
    small.train_params, small.fps = small.params, None
    assert as_markdown([small]).splitlines()[0] == '| Model | Input | Params (M) | GMACs |'
