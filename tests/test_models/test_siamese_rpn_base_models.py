"""Every shipped SiamRPN++ model: its size, its maps, and that all of it trains."""

from __future__ import annotations

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

import mmkd  # noqa: F401
from mmkd.registry import MODELS
from tests.toy import REPO

FOLDER = REPO / 'configs' / '_base_' / 'models'
BASES = {path.stem[len('siamese_rpn_') :]: path for path in sorted(FOLDER.glob('siamese_rpn_*.py'))}
TEACHER = 53_950_624
# Counted here, of the whole tracker; for R50, R18, MobileNetV2 and AlexNet PySOT's are the same.
PARAMETERS = {
    'alexnet': 6_251_102,
    'mobilenetv2-w10': 9_431_392,
    'mobilenetv2-w10-h192': 6_125_664,
    'mobilenetv2-w14': 11_150_446,
    'mobilenetv2-w14-h128': 5_450_094,
    'r18': 20_287_136,
    'r18-l23-h192': 6_002_816,
    'r50': TEACHER,
    'timm-mobilenetv3': 10_761_616,
    'timm-mobilenetv3-h128': 4_999_056,
}
# One of each family is at least eight times smaller than the teacher.
PRESETS = (
    'alexnet',
    'mobilenetv2-w10-h192',
    'mobilenetv2-w14-h128',
    'r18-l23-h192',
    'timm-mobilenetv3-h128',
)


def build(name: str, **model):
    torch.manual_seed(0)
    config = Config.fromfile(BASES[name])
    config.merge_from_dict({f'model.{key}': value for key, value in model.items()})
    with DefaultScope.overwrite_default_scope('mmtrack'):
        return MODELS.build(config.model)


def size(model) -> int:
    return sum(p.numel() for p in model.parameters())


def batch(search: int = 255):
    from mmtrack.structures import TrackDataSample

    samples = []
    for positive in (1, 0):
        sample = TrackDataSample()
        for name in ('gt_instances', 'search_gt_instances'):
            instances = InstanceData()
            instances.bboxes = torch.tensor([[90.0, 92.0, 160.0, 158.0]])
            instances.labels = torch.tensor([positive])
            setattr(sample, name, instances)
        samples.append(sample)
    sizes = dict(img=127, search_img=search)
    inputs = {key: torch.rand(2, 1, 3, side, side) * 255 for key, side in sizes.items()}
    return inputs, samples


def test_all_are_listed():
    assert set(BASES) == set(PARAMETERS)


@pytest.mark.parametrize('name', PARAMETERS)
def test_the_size(name):
    parameters = size(build(name))
    assert parameters == PARAMETERS[name]
    ratio = TEACHER / parameters
    assert (ratio >= 8) == (name in PRESETS)
    told = re.sub(r'\n# ', ' ', BASES[name].read_text())
    assert f'{parameters / 1e6:.2f} M parameters' in told
    if name != 'r50':
        assert f'{ratio:.1f}x smaller than' in told


@pytest.mark.parametrize('name', PRESETS)
def test_one_step_reaches_every_parameter(name):
    model = build(name).train()
    inputs, samples = batch()
    losses = model(inputs, samples, mode='loss')
    assert set(losses) == {'loss_rpn_cls', 'loss_rpn_bbox'}
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))


@pytest.mark.parametrize(
    ('name', 'search', 'cells'),
    [
        ('alexnet', 255, 17),
        ('alexnet', 287, 21),
        ('r18-l23-h192', 255, 25),
        ('mobilenetv2-w14-h128', 255, 25),
        ('mobilenetv2-w10-h192', 255, 25),
        ('timm-mobilenetv3-h128', 255, 25),
    ],
)
def test_the_response(name, search, cells):
    model = build(name).eval()
    assert model.test_cfg.search_size == (287 if name == 'alexnet' else 255)
    assert model.train_cfg.rpn.search_size == 255
    inputs, _ = batch(search)
    with torch.no_grad():
        cls, reg = model(inputs, None, mode='tensor')
    assert cls.shape == (2, 10, cells, cells)
    assert reg.shape == (2, 20, cells, cells)


def test_any_width_by_config():
    model = build(
        'r18',
        **{'backbone.base_channels': 8, 'neck.in_channels': [16, 32, 64], 'neck.out_channels': 16},
        **{'head.in_channels': [16, 16, 16]},
    )
    assert size(model) < 0.3e6
    inputs, _ = batch()
    assert model.eval()(inputs, None, mode='tensor')[0].shape == (2, 10, 25, 25)


def test_random_weights_need_no_network():
    """What a training starts with, without the download that a config may ask for."""
    model = build('timm-mobilenetv3-h128', **{'backbone.weights': None})
    model.init_weights()
    model = build('alexnet')
    before = model.backbone.layer5[0].weight.clone()
    model.init_weights()
    assert not torch.equal(model.backbone.layer5[0].weight, before)
