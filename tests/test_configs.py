"""Every shipped FairMOT config: what its name promises is what it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

import mmkd  # noqa: F401
from mmkd.registry import MODELS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / 'configs' / 'mot' / 'fairmot').glob('*.py'))
BACKBONES = {
    'dla34': 'mmkd.DLA',
    'hrnetv2-w18': 'mmdet.HRNet',
    'hrnetv2-w32': 'mmdet.HRNet',
    'r18': 'mmdet.ResNet',
    'r34': 'mmdet.ResNet',
    'mobilenetv2': 'mmdet.MobileNetV2',
}


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def named(request):
    return request.param.stem, Config.fromfile(request.param)


def test_the_name_tells_gpus_batch_and_epochs(named):
    name, cfg = named
    gpus, batch, epochs = map(int, re.search(r'_(\d+)xb(\d+)-(\d+)e_', name).groups())
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch


def test_the_rate_falls_before_the_end(named):
    _, cfg = named
    for scheduler in cfg.param_scheduler:
        if scheduler.type == 'MultiStepLR':
            assert 0 < scheduler.milestones[-1] < cfg.train_cfg.max_epochs
            assert scheduler.end == cfg.train_cfg.max_epochs


def test_the_name_tells_the_backbone(named):
    name, cfg = named
    backbone = name.split('_')[1]
    for variant in ('-h64', '-lite', '-nodcn', '-dcn'):
        backbone = backbone.replace(variant, '')
    assert cfg.model.backbone.type == BACKBONES[backbone]
    if backbone in ('r18', 'r34', 'dla34'):
        has_dcn = '-nodcn' not in name if backbone == 'dla34' else '-dcn' in name
        assert cfg.model.neck.get('use_dcn', True) == has_dcn
    assert (cfg.model.head.get('feat_channels', 256) == 64) == (
        '-h64' in name or '-lite' in name or backbone == 'mobilenetv2'
    )


def test_the_model_builds_without_frozen_batchnorm(named):
    _, cfg = named
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train()
    norms = [m for m in model.backbone.modules() if 'BatchNorm' in type(m).__name__]
    assert norms
    assert all(m.training for m in norms)
    assert all(p.requires_grad for p in model.parameters())


def test_every_config_trains_in_the_originals_geometry(named):
    _, cfg = named
    pipelines = [cfg.train_dataloader.dataset.get('pipeline'), cfg.val_dataloader.dataset.pipeline]
    for dataset in cfg.train_dataloader.dataset.get('datasets', []):
        pipelines.append(dataset.pipeline)
    for pipeline in filter(None, pipelines):
        steps = {step.type: step for step in pipeline}
        assert steps['mmkd.Letterbox'].mapping == 'fairmot'
        if 'mmkd.IdAwareRandomAffine' in steps:
            assert steps['mmkd.IdAwareRandomAffine'].style == 'fairmot'


def test_pedestrians_are_filtered_and_dancers_are_not(named):
    name, cfg = named
    tracker = cfg.model.tracker
    wanted = (0, None) if 'dancetrack' in name else (100, 1.6)
    assert (tracker.min_area, tracker.max_aspect) == wanted


def test_the_metafile_names_every_config_once():
    meta = yaml.safe_load((ROOT / 'configs/mot/fairmot/metafile.yml').read_text())
    assert sorted(model['Name'] for model in meta['Models']) == [path.stem for path in CONFIGS]


def test_the_readme_links_every_config():
    text = (ROOT / 'configs/mot/fairmot/README.md').read_text()
    for path in CONFIGS:
        assert f'({path.name})' in text or ('pets' in path.stem and 'h64_1xb4-8e_pets' in text)
