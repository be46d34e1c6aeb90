"""configs/kd/README.md is the reference of the KD keys: it names all there are, as they are."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config

import mmkd  # noqa: F401
from mmkd import distill
from mmkd.distill import balance, foreground, losses, schedules, teachers, transforms
from mmkd.distill.distillers import pair
from mmkd.registry import DATA_SAMPLERS, MODELS

from .test_distill.toys import batch

README = (Path(__file__).parents[1] / 'configs' / 'kd' / 'README.md').read_text()
ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in README.splitlines()
    if line.startswith('|')
]
TYPE = re.compile(r'mmkd\.([A-Z]\w+)')
OPTION = re.compile(r'`(\w+)=([^`]+)`')


def types_in(cells) -> list:
    return TYPE.findall(' '.join(cells))


def defaults(kind) -> dict:
    """Options of a class and those that it hands to its parents."""
    found: dict = {}
    for cls in reversed(kind.__mro__):
        if '__init__' in vars(cls):
            parameters = inspect.signature(cls.__init__).parameters.values()
            found.update({p.name: p.default for p in parameters})
    return found


def keys_of(title: str) -> set:
    """The first column of the first table under a heading."""
    section = re.split(rf'^#+ {re.escape(title)}$', README, flags=re.M)[1]
    table = re.search(r'(^\|.*\n)+', section, re.M).group()
    cells = [line.split('|')[1] for line in table.splitlines()[2:]]
    return set(re.findall(r'`(\w+)', ' '.join(cells)))


def test_every_type_that_it_names_exists():
    for name in TYPE.findall(README):
        assert MODELS.get(f'mmkd.{name}') or DATA_SAMPLERS.get(f'mmkd.{name}'), name


@pytest.mark.parametrize('module', [losses, teachers, transforms, balance])
def test_every_part_of_the_engine_is_named(module):
    public = {
        name
        for name in module.__all__
        if inspect.isclass(getattr(module, name)) and MODELS.get(f'mmkd.{name}') is not None
    }
    assert public
    assert public <= set(TYPE.findall(README))
    assert {'FeatureDistiller', 'ForegroundWeight'} <= set(TYPE.findall(README))


def test_options_and_their_defaults_are_the_codes():
    checked = 0
    for cells in ROWS:
        # 'mmkd.X' is said first, then its options; a row of two types shares them.
        for cell, kinds in zip(cells[1:], [types_in(cells[:1])] * len(cells)):
            for name, text in OPTION.findall(cell):
                if not kinds or name in ('teacher', 'contrast_weight') and 'with' in cell:
                    continue
                known = defaults(MODELS.get(f'mmkd.{kinds[-1]}'))
                assert name in known, f'{kinds[-1]} has no {name}'
                if cell == cells[-1]:
                    assert ast.literal_eval(text) == known[name], f'{kinds[-1]}.{name}'
                    checked += 1
    assert checked > 30


def test_the_keys_of_the_model_are_all_there():
    known = set(inspect.signature(distill.FeatureDistiller.__init__).parameters)
    ours = {'self', 'data_preprocessor', 'init_cfg'}  # mmengine's
    assert keys_of('The keys of a KD config') - {'dict'} == known - ours


def test_the_defaults_of_the_model_are_the_codes():
    parameters = inspect.signature(distill.FeatureDistiller.__init__).parameters
    for cells in ROWS:
        key = cells[0].strip('`')
        if len(cells) == 3 and key in parameters and cells[1]:
            assert ast.literal_eval(cells[1].strip('`')) == parameters[key].default, key


def test_the_keys_of_an_entry_are_all_there():
    assert keys_of('What is compared') == set(pair.KEYS)


def test_the_keys_of_every_teacher_are_all_there():
    known = set(inspect.signature(teachers.Teacher.__init__).parameters) - {'self', 'patch'}
    section = README.split('Keys of all of them:')[1]
    table = re.search(r'(^\|.*\n)+', section, re.M).group()
    cells = ' '.join(line.split('|')[1] for line in table.splitlines()[2:])
    assert set(re.findall(r'`(\w+)`', cells)) == known


def test_the_keys_of_a_schedule_are_all_there():
    section = README.split('## Weights')[1].split('\n## ')[0]
    for key in schedules.KEYS:
        assert re.search(
            rf'\b{key.replace("_iters", "_epochs").replace("_iter", "_epoch")}\b', section
        )


def test_the_weighting_is_the_codes():
    known = inspect.signature(foreground.ForegroundWeight.__init__).parameters
    (row,) = (cells for cells in ROWS if cells[0] == '`weighting`')
    for name, text in re.findall(r'(\w+)=([\d.]+)', row[2]):
        assert float(text) == known[name].default


def test_the_schedules_that_it_shows_are_read():
    section = README.split('## Weights')[1].split('\n## ')[0]
    shown = re.findall(r'^    weight=(dict\(.*\))$', section, re.M)
    assert len(shown) == 4
    for text in shown:
        assert schedules.parse_schedule(eval(text), 'neck').peak > 0


def test_ones_own_teacher_transform_and_loss_work_as_shown(tmp_path, monkeypatch):
    section = README.split('# Your own teacher')[1].split('# From another')[0]
    module, config = re.findall(r'^```python\n(.*?)^```$', section, re.M | re.S)
    (tmp_path / 'my_kd.py').write_text(module)
    (tmp_path / 'my_config.py').write_text(config)
    (tmp_path / 'your_config.py').write_text("model = dict(type='mmkd.ToyStudent')")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'resnet18.pth')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    own = ('ResNetTeacher', 'ConvTransform', 'L1DistillLoss')
    try:
        cfg = Config.fromfile('my_config.py')
        distiller = MODELS.build(cfg.model).train()
        inputs, samples = batch()
        losses = distiller.loss(inputs, samples)
        assert losses['loss_kd_neck_0'] > 0
        distiller.parse_losses(losses)[0].backward()
        assert distiller.student.backbone[0].weight.grad.any()
        pair = distiller.distill['neck_0']
        assert [type(x).__name__ for x in (distiller.teacher, pair.transform, pair.loss)] == list(
            own
        )
        maps = [torch.randn(2, 3, 2, 2) for _ in range(2)]
        mask = torch.tensor([True, False, True, True]).view(1, 1, 2, 2).expand(2, 1, 2, 2)
        gaps = [
            (maps[0] - maps[1])[n, :, i, j].abs().mean()
            for n in range(2)
            for i, j in ((0, 0), (1, 0), (1, 1))
        ]
        torch.testing.assert_close(pair.loss(*maps, mask), torch.stack(gaps).mean())
    finally:
        for name in own:
            MODELS.root.module_dict.pop(name, None)
        sys.modules.pop('my_kd', None)
