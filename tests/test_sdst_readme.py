"""configs/kd/sdst/README.md is the reference of specialised teachers: it is held to the code."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.structures import InstanceData

import mmkd  # noqa: F401
from mmkd import distill
from mmkd.apis import chain
from mmkd.distill.distillers import mutual, routing, transfer
from mmkd.registry import DATASETS, MODELS, TRANSFORMS

from .test_kd_readme import defaults, types_in

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs' / 'kd' / 'sdst'
README = (FOLDER / 'README.md').read_text()
CONFIGS = sorted(FOLDER.rglob('*.py'))
DISTILLER = inspect.signature(distill.SpecializedTeacherDistiller.__init__).parameters


def table(title: str) -> list:
    """The rows of the first table under a heading, or behind a sentence."""
    found = re.search(rf'^#* ?{re.escape(title)}$', README, re.M)
    assert found, title
    rows = re.search(r'(^\|.*\n)+', README[found.end() :], re.M).group().splitlines()[2:]
    return [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]


def keys_of(title: str) -> dict:
    """Key to what the table says is its default; None if that is told in words."""
    found = {}
    for key, default, _ in table(title):
        code = None if 'mmkd.' in default else re.fullmatch(r'`([^`]*)`', default)
        found[key.strip('`')] = ast.literal_eval(code[1]) if code else None
    return found


def test_every_config_is_linked():
    links = set(re.findall(r'\]\(([\w./-]+\.py)\)', README))
    for path in CONFIGS:
        name = str(path.relative_to(FOLDER))
        assert name in links, f'{name} is not linked in the README'


def test_every_link_leads_somewhere():
    for file in (FOLDER / 'README.md', FOLDER.parent / 'README.md', ROOT / 'README.md'):
        for link in re.findall(r'\]\(([^)]+)\)', file.read_text()):
            place, _, anchor = link.partition('#')
            if '://' in link:
                continue
            target = (file.parent / place).resolve() if place else file
            assert target.exists(), f'{file}: {link}'
            if anchor:
                heads = re.findall(r'^#+ (.*)$', target.read_text(), re.M)
                names = {re.sub(r'[^\w\- ]', '', h).replace(' ', '-').lower() for h in heads}
                assert anchor in names, f'{file}: {link}'


def test_every_type_that_it_names_exists():
    for name in types_in([README]):
        found = [registry.get(f'mmkd.{name}') for registry in (MODELS, DATASETS, TRANSFORMS)]
        assert any(found), name


def test_the_keys_of_the_model_and_their_defaults_are_the_codes():
    found = keys_of("Of `model`, with `type='mmkd.SpecializedTeacherDistiller'`:")
    ours = {'self', 'data_preprocessor', 'init_cfg'}  # mmengine's
    assert set(found) == set(DISTILLER) - ours
    for key, default in found.items():
        if DISTILLER[key].default is not inspect.Parameter.empty:
            assert default == DISTILLER[key].default, key


def test_the_keys_of_a_specialist_and_their_defaults_are_the_codes():
    found = keys_of('Specialists')
    line = routing.parse_specialists(dict(occlusion=dict(teacher={})))['occlusion']
    assert set(found) == set(line._fields)
    assert line.attributes == ('occlusion',)
    assert found['weight'] == line.weight.peak
    assert found['response'] is line.response


def test_the_keys_of_a_transfer_and_their_defaults_are_the_codes():
    found = keys_of('Transfers')
    line = transfer.TransferConfig(dict(student='neck'))
    assert set(found) == set(transfer.KEYS)
    assert found['align'] == line.align
    assert found['to'] == line.to
    assert found['weight'] == line.schedule.peak
    assert type(line.loss) is distill.losses.CosineDistillLoss
    text = str(table('Transfers'))
    for choice in (*transfer.ALIGNS, *transfer.TO):
        assert f"`'{choice}'`" in text, choice
    for name in ('CosineDistillLoss', 'FeatureTransform'):
        assert f'mmkd.{name}' in text


def test_the_keys_of_two_students_and_their_defaults_are_the_codes():
    found = keys_of('Two students')
    known = inspect.signature(mutual.Mutual.__init__).parameters
    assert set(found) == set(known) - {'self'}
    for key, default in found.items():
        if key != 'student':
            assert default == known[key].default, key


def test_trust_and_its_options_are_the_codes():
    rows = table('Trust')
    assert {name for row in rows for name in types_in(row)} == {'GateTrust', 'SoftmaxTrust'}
    for kind, _, options in rows:
        known = inspect.signature(MODELS.get(kind.strip('`'))).parameters
        given = dict(re.findall(r'`(\w+)=([^`]+)`', options))
        assert set(given) == set(known)
        for name, text in given.items():
            assert ast.literal_eval(text) == known[name].default, name


def test_every_choice_names_an_option_with_its_default():
    """`key` is the distiller's, `transfers.key` a transfer's, `Type.key` that of a loss."""
    checked = 0
    line = transfer.TransferConfig(dict(student='neck'))
    for _, option, default, _ in table('What is inference, and the option that holds it'):
        code = re.match(r'`([^`]+)`', default)
        for name in re.findall(r'`([^`]+)`', option):
            owner, _, key = name.rpartition('.')
            if owner == 'transfers':
                assert key in transfer.KEYS
                known = {'align': line.align}
            elif owner[:1].isupper():
                known = defaults(MODELS.get(f'mmkd.{owner}'))
                assert key in known, name
            else:
                known = {key: value.default for key, value in DISTILLER.items()}
            if code is not None:
                assert ast.literal_eval(code[1]) == known[key], name
                checked += 1
    assert checked >= 14


def test_the_weights_of_the_recipe_are_the_configs():
    shown = {
        row[0].split('`')[1]: (types_in(row[:1])[0], float(row[1]))
        for row in table('The objective')
    }
    for path in sorted((FOLDER / '_base_').glob('transfers*.py')):
        entries = Config.fromfile(path).transfers
        assert {
            each.name: (each.loss.type.split('.')[1], each.get('weight', 1.0)) for each in entries
        } == shown, path.name


def test_the_keys_of_a_chain_are_all_there():
    assert set(keys_of('The chain')) == set(chain._RUN_KEYS)
    section = README.split('# The chain\n')[1].split('\n# ')[0]
    for key in chain._TABLE_KEYS:
        assert f'`{key}' in section, key
    for option in re.findall(r'(--[\w-]+)', (ROOT / 'tools/misc/run_chain.py').read_text()):
        if f"add_argument('{option}'" in (ROOT / 'tools/misc/run_chain.py').read_text():
            assert option in section, option


def test_the_log_says_what_it_says():
    from .test_distill import siamese_toy as toy

    distiller = toy.build(
        mutual=dict(student=dict(type='ToyPair')), trust=dict(type='mmkd.GateTrust')
    )
    inputs, samples = toy.batch()
    section = README.split('# Logs and checkpoints')[1].split('\n# ')[0]
    shown = [
        re.escape(name).replace('<transfer>', r'\w+').replace('<teacher>', r'\w+')
        for name in re.findall(r'`([\w<>]+)`', section)
    ]
    shown = [re.sub(r'<specialist>', r'(occlusion|fast_motion)', name) for name in shown]
    for key in distiller(inputs, samples, mode='loss'):
        own = 'loss_task'
        assert key in (own, f'peer_{own}', 'peer_task_raw') or any(
            re.fullmatch(name, key) for name in shown
        ), key
    assert any(key.startswith('distill.peer.') for key in distiller.state_dict())


def test_the_metafile_names_every_config_that_is_trained():
    meta = yaml.safe_load((FOLDER / 'metafile.yml').read_text())
    assert (ROOT / meta['Collections'][0]['README']).is_file()
    named = [model['Config'] for model in meta['Models']]
    trained = [
        str(path.relative_to(ROOT))
        for path in CONFIGS
        if '_base_' not in path.parts and not path.stem.endswith('_chain')
    ]
    assert sorted(named) == sorted(trained)
    assert [model['Name'] for model in meta['Models']] == [Path(name).stem for name in named]


@pytest.fixture
def own_tracker(tmp_path, monkeypatch):
    """The README's tracker and config, in files, with teachers that have weights."""
    pytest.importorskip('mmtrack')
    section = README.split('# Your own tracker')[1].split('\n# Logs')[0]
    module, config = re.findall(r'^```python\n(.*?)^```$', section, re.M | re.S)
    (tmp_path / 'my_tracker.py').write_text(module)
    (tmp_path / 'my_config.py').write_text(config)
    (tmp_path / 'my_teacher.py').write_text("model = dict(type='CorrelationTracker', width=8)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile('my_config.py')
    for seed, name in enumerate(('general', 'occlusion')):
        torch.manual_seed(seed)
        torch.save(
            MODELS.build(dict(type='CorrelationTracker', width=8)).state_dict(), f'{name}.pth'
        )
    torch.manual_seed(2)
    yield cfg
    MODELS.root.module_dict.pop('CorrelationTracker', None)
    sys.modules.pop('my_tracker', None)


def pairs():
    """Two training pairs; the target of the second is hidden."""
    from mmtrack.structures import TrackDataSample

    samples = []
    for number, attributes in enumerate([(), ('occlusion',)]):
        sample = TrackDataSample()
        left = 40.0 + 60 * number
        sample.search_gt_instances = InstanceData(
            bboxes=torch.tensor([[left, 60.0, left + 50, 140.0]]), labels=torch.ones(1).long()
        )
        sample.set_metainfo(dict(attributes=(), attribute_groups=attributes))
        samples.append(sample)
    inputs = {
        'img': torch.rand(2, 1, 3, 127, 127) * 255,
        'search_img': torch.rand(2, 1, 3, 255, 255) * 255,
    }
    return inputs, samples


def test_ones_own_tracker_works_as_shown(own_tracker):
    distiller = MODELS.build(own_tracker.model).train()
    inputs, samples = pairs()
    out = distiller(inputs, samples, mode='loss')
    for name in ('cls', 'hard', 'search'):
        assert out[f'kd_{name}_general'] > 0
    assert out['routed_occlusion'] == 0.5
    assert out['trust_occlusion'] in (0, 1)
    distiller.parse_losses(out)[0].backward()
    assert distiller.student.backbone[0].weight.grad.any()
    # What it says of targets: the cells of a box of 50 x 80 pixels, 8 pixels apart.
    labels = distiller.student.sample_targets(samples).labels
    assert labels.shape == (2, 31, 31)
    assert labels[0].nonzero().aminmax(dim=0)[0].tolist() == [7, 5]
    assert labels.sum((1, 2)).tolist() == [6 * 10, 7 * 10]
