"""Every shipped SiamRPN++ config: what its name promises is what it does, on mmtrack's recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmtrack.registry import DATASETS, HOOKS, PARAM_SCHEDULERS

import mmkd  # noqa: F401
from mmkd.registry import MODELS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs' / 'sot' / 'siamese_rpn'
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob('*.py'))}
TESTED = {name: path for name, path in CONFIGS.items() if '_test-' in name}
DATA = 'imagenetvid-imagenetdet-coco'
STOCK = f'mmtrack::sot/siamese_rpn/siamese-rpn_r50_8xb28-20e_{DATA}_base.py'
DATASET = {
    'lasot': 'LaSOTDataset',
    'otb100': 'OTB100Dataset',
    'uav123': 'UAV123Dataset',
    'trackingnet': 'TrackingNetDataset',
}
PRESETS = ('alexnet', 'mobilenetv2-w10-h192', 'mobilenetv2-w14-h128', 'r18-l23-h192')


@pytest.fixture(params=CONFIGS)
def named(request):
    return request.param, Config.fromfile(CONFIGS[request.param])


def model_base(name: str) -> Path:
    backbone = name.split('_')[1]
    return ROOT / 'configs' / '_base_' / 'models' / f'siamese_rpn_{backbone}.py'


def plain(value):
    """Without the scope that mmengine notes in what is inherited from another package."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != '_scope_'}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def test_the_name_tells_gpus_batch_and_epochs(named):
    name, cfg = named
    gpus, size, epochs = map(int, re.search(r'_(\d+)xb(\d+)-(\d+)e_', name).groups())
    assert cfg.train_dataloader.batch_size == size
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[-1].end == epochs
    assert cfg.auto_scale_lr.base_batch_size == gpus * size
    assert cfg.runner_type == 'mmkd.TrackRunner'


def test_the_name_tells_the_model(named):
    name, cfg = named
    base = Config.fromfile(model_base(name)).model
    for part in ('neck', 'head', 'train_cfg'):
        if part == 'head' and 'r50' in name:
            assert cfg.model.head.type == base.head.type
            assert cfg.model.head.in_channels == base.head.in_channels
        else:
            assert plain(cfg.model[part]) == plain(base[part])
    for key, value in base.backbone.items():
        if key not in ('frozen_stages', 'norm_eval'):
            assert cfg.model.backbone[key] == value


def test_the_name_tells_the_test_set(named):
    name, cfg = named
    if name.endswith('_base'):
        assert 'test_dataloader' not in cfg
        return
    wanted = DATASET[name.split('_test-')[1]]
    assert cfg.val_dataloader.dataset.type == cfg.test_dataloader.dataset.type == wanted
    assert cfg.test_evaluator.type == 'SOTMetric'
    assert DATASETS.get(wanted) is not None


def test_the_model_builds_and_the_hook_finds_its_layers(named):
    name, cfg = named
    if not name.endswith(('_base', '_test-lasot')):
        return  # the others are these with another test set
    with DefaultScope.overwrite_default_scope('mmtrack'):
        model = MODELS.build(cfg.model).train()
        frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
        pretrained = cfg.model.backbone.get('init_cfg') or cfg.model.backbone.get('weights')
        assert bool(frozen) == bool(pretrained) == cfg.get('find_unused_parameters', False)
        assert all(n.startswith('backbone.') for n in frozen)
        for hook in cfg.get('custom_hooks', []):
            built = HOOKS.build(hook)
            assert all(hasattr(model.backbone, layer) for layer in built.backbone_train_layers)
        if pretrained:
            last = f'layer{max(model.backbone.stages())}'
            assert cfg.custom_hooks[0].backbone_train_layers[-1] == last
        for scheduler in cfg.param_scheduler:
            assert PARAM_SCHEDULERS.get(scheduler.type) is not None


def test_the_backbone_learns_slowly_where_it_starts_from_imagenet(named):
    _, cfg = named
    pretrained = cfg.model.backbone.get('init_cfg') or cfg.model.backbone.get('weights')
    custom = cfg.optim_wrapper.get('paramwise_cfg', {}).get('custom_keys', {})
    assert custom.get('backbone', {}).get('lr_mult', 1) == (0.1 if pretrained else 1)


def test_the_teacher_is_mmtracks_with_our_tracker():
    """mmtrack's own R50 config and ours build models with the same tensors."""
    ours = Config.fromfile(CONFIGS[f'siamese-rpn_r50_8xb28-20e_{DATA}_test-lasot'])
    stock = Config.fromstring(f'_base_ = {STOCK!r}', '.py')
    for key, value in stock.items():
        if key != 'model':
            assert plain(ours[key]) == plain(value), key
    base = Config.fromfile(model_base('siamese-rpn_r50_')).model
    for part in ('test_cfg', 'train_cfg', 'neck'):
        assert plain(ours.model[part]) == plain(stock.model[part]) == plain(base[part])
    unlike = {
        key: value
        for key, value in plain(stock.model.head).items()
        if key not in ('type', 'anchor_generator') and plain(base.head)[key] != value
    }
    assert unlike == {}
    anchors = dict(plain(base.head.anchor_generator), type='SiameseRPNAnchorGenerator')
    assert anchors == plain(stock.model.head.anchor_generator)


def test_students_see_mmtracks_pairs_on_its_schedule():
    stock = Config.fromstring(f'_base_ = {STOCK!r}', '.py')
    ours = Config.fromfile(CONFIGS[f'siamese-rpn_r18-l23-h192_8xb28-20e_{DATA}_base'])
    for key in ('train_dataloader', 'train_cfg', 'param_scheduler', 'optim_wrapper', 'randomness'):
        assert plain(ours[key]) == plain(stock[key]), key
    assert ours.find_unused_parameters == stock.find_unused_parameters


def test_every_preset_is_tested_on_every_set():
    for preset in (*PRESETS, 'timm-mobilenetv3-h128', 'r50'):
        sets = {name.split('_test-')[1] for name in TESTED if name.split('_')[1] == preset}
        assert sets == set(DATASET), preset


def test_alexnet_trains_at_255_and_tracks_at_287():
    cfg = Config.fromfile(CONFIGS[f'siamese-rpn_alexnet_8xb16-50e_{DATA}_test-lasot'])
    assert cfg.model.train_cfg.rpn.search_size == 255
    assert cfg.model.test_cfg.search_size == 287
    (step,) = (s for s in cfg.train_pipeline if s.type == 'SeqShiftScaleAug')
    assert step.target_size == [127, 255]


def test_the_metafile_names_every_config_once():
    meta = yaml.safe_load((FOLDER / 'metafile.yml').read_text())
    assert sorted(model['Name'] for model in meta['Models']) == sorted(TESTED)


def test_the_readme_links_every_config_and_tells_sizes():
    text = (FOLDER / 'README.md').read_text()
    for path in TESTED.values():
        assert f'({path.name})' in text
