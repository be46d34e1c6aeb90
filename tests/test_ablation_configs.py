"""configs/kd/ablations/: what a file's name says is what it changes, and nothing else."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import mmkd  # noqa: F401
from mmkd.distill import DINOv2Teacher
from mmkd.registry import MODELS

from .test_distill.toys import TINY
from .toy import toy_fairmot

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs' / 'kd' / 'ablations'
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob('*.py'))}
CENTRE = 'fairmot_dinov2-base_cosine_single_alpha050'
NAME = re.compile(
    r'fairmot_dinov2-(?P<size>small|base|large)_(?P<loss>cosine|mse)_(?P<transform>single|multi)'
    r'_alpha(?P<alpha>025|050|075)(?P<published>_as_published)?'
)
CHANNELS = {'small': 384, 'base': 768, 'large': 1024}


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'misc' / 'make_ablation_configs.py'))


@pytest.fixture(scope='module')
def read():
    return {name: Config.fromfile(path).to_dict() for name, path in CONFIGS.items()}


def flat(value, path=()):
    """Dotted path to leaf, lists and dicts alike."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    out = {}
    for key, item in items:
        if isinstance(item, (dict, list)) and item:
            out.update(flat(item, (*path, str(key))))
        else:
            out['.'.join((*path, str(key)))] = item
    return out


def expected_changes(name: str) -> dict:
    """What the config of that name has otherwise than the central one, by the paper's facts."""
    said = NAME.fullmatch(name).groupdict()
    changes = {}
    pair = 'model.distill.0'
    if said['size'] != 'base':
        changes['model.teacher.arch'] = said['size']
    if said['alpha'] != '050':
        changes['model.alpha'] = int(said['alpha']) / 100
    if said['loss'] == 'mse':
        changes[f'{pair}.loss.type'] = 'mmkd.MSEDistillLoss'
    if said['transform'] == 'multi':
        changes[f'{pair}.transform.layers'] = 'multi'
    if said['published']:
        changes['model.teacher.input_size'] = (1088, 608)
        changes['model.mask'] = False
        if said['loss'] == 'cosine':
            changes[f'{pair}.loss.flatten'] = True
        if said['transform'] == 'multi':
            changes[f'{pair}.transform.last_relu'] = True
            changes[f'{pair}.transform.resize'] = 'last'
    return changes


def test_the_files_are_what_the_table_makes(tool):
    on_disk = {path.name: path.read_text() for path in CONFIGS.values()}
    assert on_disk == tool['files']()


def test_the_tool_writes_them_and_removes_what_is_not_in_the_table(tool, tmp_path, monkeypatch):
    monkeypatch.setitem(tool['main'].__globals__, 'FOLDER', tmp_path)
    monkeypatch.setattr(sys, 'argv', ['make_ablation_configs.py'])
    (tmp_path / 'old.py').touch()
    (tmp_path / '_base_').mkdir()
    tool['main']()
    assert {p.name: p.read_text() for p in tmp_path.glob('*.py')} == tool['files']()
    assert (tmp_path / '_base_').is_dir()


def test_the_grid_is_full_and_the_published_ones_change_one_thing_each():
    plain = {name for name in CONFIGS if not NAME.fullmatch(name)['published']}
    assert len(plain) == 3 * 2 * 2 * 3
    published = [name.replace('_as_published', '') for name in set(CONFIGS) - plain]
    changed = sorted(len(expected_changes(name)) for name in published)
    assert changed == [0, 1, 1, 1, 1, 1, 1]
    assert set(published) <= plain


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_differs_from_the_central_one_by_its_name(name, read):
    ours, centre = flat(read[name]), flat(read[CENTRE])
    changed = {key: value for key, value in ours.items() if centre.get(key, ...) != value}
    assert changed == expected_changes(name)
    assert set(centre) <= set(ours)


def test_the_central_one_is_the_papers_best_setting_trained_as_its_jobs_did(read):
    cfg = read[CENTRE]
    best = Config.fromfile(ROOT / 'configs' / 'kd' / 'fairmot_dinov2.py').to_dict()
    assert cfg['model'] == best['model']
    assert cfg['train_dataloader'] == dict(best['train_dataloader'], batch_size=1)
    assert cfg['train_dataloader']['dataset']['ann_file'] == 'annotations/half-train.json'
    assert cfg['val_dataloader']['dataset']['ann_file'] == 'annotations/half-val.json'
    assert cfg['val_dataloader'] == best['val_dataloader']
    assert cfg['train_cfg'] == dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
    assert cfg['optim_wrapper'] == dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
    assert cfg['param_scheduler'] == []
    assert cfg['model']['student']['tracker']['conf_thr'] == 0.4


def test_a_file_is_short():
    assert all(len(path.read_text().splitlines()) <= 20 for path in CONFIGS.values())


@pytest.mark.parametrize('name', CONFIGS)
def test_the_distiller_builds_with_what_the_name_says(name, read):
    said = NAME.fullmatch(name).groupdict()
    model = Config(read[name]).to_dict()['model']
    teacher = MODELS.build(dict(model['teacher'], weights='random'))
    assert teacher.channels['last'] == CHANNELS[said['size']]
    model['student'] = toy_fairmot()
    model['teacher'].update(arch=dict(TINY), weights='random')
    distiller = MODELS.build(model)
    (pair,) = distiller.distill.values()
    assert distiller.alpha == int(said['alpha']) / 100
    assert type(pair.loss).__name__.lower().startswith(said['loss'])
    convolutions = [m for m in pair.transform.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == (1 if said['transform'] == 'single' else 2)
    assert distiller.mask == (not said['published'])


def test_published_the_teacher_sees_the_picture_on_its_side():
    """608 x 1088 becomes 1088 x 608: 77 patches down and 43 across, by dropping what is over."""
    sides = {True: (77, 43), False: (43, 77)}
    for published, grid in sides.items():
        name = CENTRE + ('_as_published' if published else '')
        cfg = Config.fromfile(CONFIGS[name]).model.teacher
        teacher = MODELS.build(dict(cfg, arch=dict(TINY, depth=1, embed_dim=4), weights='random'))
        assert isinstance(teacher, DINOv2Teacher)
        features = teacher(torch.zeros(1, 3, 608, 1088))
        assert tuple(features['last'].shape[2:]) == grid


def test_the_readme_names_the_folder_and_quotes_no_figure_of_the_paper():
    text = (FOLDER / 'README.md').read_text()
    assert 'make_ablation_configs.py' in text
    assert CENTRE in text
    for word in ('MOTA', 'IDF1', 'HOTA'):
        assert not re.search(rf'{word}\D{{0,20}}\d\d\.\d', text)
