"""Converted weights give the original's outputs, and no key of a file goes unnoticed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from torch import nn

import mmkd
from mmkd.apis import inference
from mmkd.apis.convert_fairmot import convert_checkpoint, convert_state_dict, read_model_config
from mmkd.apis.convert_rules import ARCHS
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .originals import BRANCHES, Deformable, original, randomise

NETWORKS = list(ARCHS)


def build(arch, **head):
    cfg = read_model_config(arch)
    cfg['head'].update(head)
    with DefaultScope.overwrite_default_scope('mmtrack'):
        return MODELS.build(cfg)


@pytest.fixture(scope='module')
def nets():
    """Each network of the original, made once."""
    made = {}
    return lambda arch: made.setdefault(arch, original(arch))


@pytest.fixture
def dla(nets):
    """A copy of the DLA's weights that a test may spoil."""
    return dict(nets('dla34').state_dict())


# -- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize('arch', NETWORKS)
def test_outputs_are_the_originals(nets, arch):
    net, model = nets(arch), build(arch)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    model.load_state_dict(convert_state_dict(before, arch)[0], strict=True)
    # 96 x 160 has 3 x 5 cells at stride 32: no even number that would forgive a wrong resizing.
    images = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(5))
    try:
        for training in (False, True):
            net.train(training)
            model.train(training)
            with torch.no_grad():
                expected, found = net(images), model(images, mode='tensor')
            for name in BRANCHES.values():
                spread = expected[name].std(dim=(2, 3)).mean()
                assert spread > 0.01, 'an output that is flat would hide mistakes'
                torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)
    finally:
        net.load_state_dict(before)
        net.eval()


def test_the_reference_deforms(nets):
    net = nets('dla34')
    offsets = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: offsets.append(out[:, :18].abs().mean()))
        for name, module in net.named_modules()
        if name.endswith('conv_offset_mask')
    ]
    with torch.no_grad():
        net(torch.rand(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    assert len(offsets) == 16
    assert min(offsets) > 0.2


@pytest.mark.skipif('MMKD_FAIRMOT' not in os.environ, reason='MMKD_FAIRMOT names no checkout')
@pytest.mark.parametrize('arch', NETWORKS)
def test_outputs_are_those_of_a_checkout(arch, monkeypatch):
    """``MMKD_FAIRMOT=path/to/FairMOT pytest ...`` runs the original's own networks."""
    networks = Path(os.environ['MMKD_FAIRMOT']) / 'src' / 'lib' / 'models' / 'networks'
    monkeypatch.syspath_prepend(str(networks.parents[1]))
    monkeypatch.setattr(np, 'int', int, raising=False)  # NumPy has dropped it since
    if importlib.util.find_spec('dcn_v2') is None:
        compiled = types.ModuleType('dcn_v2')
        compiled.DCN = Deformable
        monkeypatch.setitem(sys.modules, 'dcn_v2', compiled)
    heads = {'hm': 1, 'wh': 4, 'id': 128, 'reg': 2}
    try:
        if arch == 'dla34':
            module = importlib.import_module('models.networks.pose_dla_dcn')
            monkeypatch.setattr(module.DLA, 'load_pretrained_model', lambda *_, **__: None)
            net = module.get_pose_net(34, heads, 256)
        else:
            module = importlib.import_module('models.networks.pose_hrnet')
            module.update_config(module.cfg, str(networks / f'config/hrnet_w{arch[-2:]}.yaml'))
            net = module.PoseHighResolutionNet(module.cfg, heads)
    finally:
        for name in [name for name in sys.modules if name.split('.')[0] == 'models']:
            del sys.modules[name]
    randomise(net)
    model = build(arch)
    model.load_state_dict(convert_state_dict(net.state_dict(), arch)[0], strict=True)
    images = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        expected, found = net.eval()(images)[0], model.eval()(images, mode='tensor')
    for theirs, ours in BRANCHES.items():
        torch.testing.assert_close(found[ours], expected[theirs], rtol=1e-4, atol=1e-4)


# -- every key ------------------------------------------------------------------------------------


@pytest.mark.parametrize('arch', NETWORKS)
def test_every_key_is_accounted_for_once(nets, arch):
    state = nets(arch).state_dict()
    converted, report = convert_state_dict(state, arch)
    assert set(report.mapped) | set(report.dropped) == set(state)
    assert not set(report.mapped) & set(report.dropped)
    assert len(set(report.mapped.values())) == len(report.mapped)
    assert set(converted) == set(build(arch).state_dict())
    assert set(report.filled) == {'head.s_det', 'head.s_id'}
    assert not report.extra + report.missing + list(report.left_out)
    for source, target in report.mapped.items():
        assert torch.equal(converted[target], state[source])
    dropped = {'fc', 'level3', 'level4'} if arch == 'dla34' else set()
    assert {key.split('.')[1] for key in report.dropped} == dropped


def test_a_converted_tensor_is_a_copy(dla):
    converted, report = convert_state_dict(dla, 'dla34')
    converted[report.mapped['hm.2.bias']].fill_(123)
    assert not (dla['hm.2.bias'] == 123).any()


@pytest.mark.parametrize('prefix', ['module.', 'model.', 'module.model.', 'model.module.'])
def test_wrappers_are_taken_off(dla, prefix):
    plain = convert_state_dict(dla, 'dla34')[0]
    wrapped = convert_state_dict({prefix + key: value for key, value in dla.items()}, 'dla34')[0]
    assert plain.keys() == wrapped.keys()
    assert all(torch.equal(plain[key], wrapped[key]) for key in plain)


def test_one_name_under_two_prefixes_is_told(dla):
    dla['module.hm.2.bias'] = dla['hm.2.bias']
    with pytest.raises(MMKDError, match=r"'hm\.2\.bias' twice"):
        convert_state_dict(dla, 'dla34')


@pytest.mark.parametrize('prefix', ['', 'loss.', 'module.loss.'])
def test_the_losses_parameters_come_along(dla, prefix):
    dla.update(
        {
            prefix + 'classifier.weight': torch.rand(7, 128),
            prefix + 'classifier.bias': torch.rand(7),
            # vectors of one number in the original
            prefix + 's_det': torch.tensor([-0.5]),
            prefix + 's_id': torch.tensor([0.25]),
        }
    )
    converted, report = convert_state_dict(dla, 'dla34')
    assert not report.filled
    assert report.head['num_ids'] == 7
    model = build('dla34')
    model.load_state_dict(converted, strict=True)
    assert model.head.s_det.item() == -0.5
    assert model.head.s_id.item() == 0.25
    assert torch.equal(model.head.id_classifier.weight, dla[prefix + 'classifier.weight'])
    assert torch.equal(model.head.id_classifier.bias, dla[prefix + 'classifier.bias'])


def test_without_the_losses_parameters_training_starts_them_as_the_config_says(dla):
    converted, report = convert_state_dict(dla, 'dla34')
    assert converted['head.s_det'].item() == pytest.approx(-1.85)
    assert converted['head.s_id'].item() == pytest.approx(-1.05)
    assert 'head.s_det, head.s_id' in report.text()
    assert not any('id_classifier' in key for key in converted)


def test_files_older_than_batchnorms_counters(dla):
    state = {key: value for key, value in dla.items() if 'num_batches_tracked' not in key}
    converted, report = convert_state_dict(state, 'dla34')
    build('dla34').load_state_dict(converted, strict=True)
    counters = [key for key in report.filled if key.endswith('num_batches_tracked')]
    assert len(counters) > 30
    assert all(converted[key].item() == 0 for key in counters)


def test_dtypes_stay(dla):
    dla['hm.2.bias'] = dla['hm.2.bias'].half()
    converted, report = convert_state_dict(dla, 'dla34')
    for source, target in report.mapped.items():
        assert converted[target].dtype == dla[source].dtype
    assert converted['head.heatmap.2.bias'].dtype == torch.float16


def test_classes_embedding_and_width_are_the_files():
    net = original('dla34', classes=3, embed=64, head=32)
    converted, report = convert_state_dict(net.state_dict(), 'dla34')
    expected = dict(num_classes=3, feat_channels=32, embed_dims=64)
    assert report.head == dict(expected, num_ids=0)
    build('dla34', **expected).load_state_dict(converted, strict=True)
    assert 'num_classes 3' in report.text()


def test_an_unknown_key_is_an_error_unless_allowed(dla):
    dla['attention.weight'] = torch.rand(3)
    dla['note'] = 'not a tensor'
    with pytest.raises(MMKDError, match=r'note, attention\.weight') as caught:
        convert_state_dict(dla, 'dla34')
    assert '--allow-extra' in str(caught.value)
    converted, report = convert_state_dict(dla, 'dla34', allow_extra=True)
    assert report.extra == ['note', 'attention.weight']
    assert 'attention.weight' in report.text()
    build('dla34').load_state_dict(converted, strict=True)


def test_a_missing_key_is_an_error_unless_allowed(dla):
    del dla['base.level2.root.bn.running_mean']
    ours = 'backbone.level2.root.bn.running_mean'
    with pytest.raises(MMKDError, match=ours) as caught:
        convert_state_dict(dla, 'dla34')
    assert '--allow-missing' in str(caught.value)
    converted, report = convert_state_dict(dla, 'dla34', allow_missing=True)
    assert report.missing == [ours]
    assert ours not in converted
    assert ours in report.text()


def test_a_tensor_of_another_size_is_an_error_with_both_sizes(dla):
    dla['base.level2.root.bn.weight'] = torch.rand(63)
    for allowed in ({}, dict(allow_extra=True, allow_missing=True)):
        with pytest.raises(MMKDError, match='63 in the file, 64 in ours'):
            convert_state_dict(dla, 'dla34', **allowed)
    converted, report = convert_state_dict(dla, 'dla34', init=True)
    assert list(report.left_out) == ['base.level2.root.bn.weight']
    assert 'backbone.level2.root.bn.weight' not in converted


# -- files of other kinds -------------------------------------------------------------------------


@pytest.mark.parametrize('arch', NETWORKS)
@pytest.mark.parametrize('claimed', NETWORKS)
def test_a_wrong_arch_is_told_with_the_right_one(nets, arch, claimed):
    if arch != claimed:
        with pytest.raises(MMKDError, match=f'no {claimed}: .* --arch {arch}'):
            convert_state_dict(nets(arch).state_dict(), claimed, init=True)


def test_networks_that_are_not_ours_are_named(nets, dla):
    def message(state, arch='dla34'):
        with pytest.raises(MMKDError) as caught:
            convert_state_dict(state, arch, init=True)
        return str(caught.value)

    plain = {key: value for key, value in dla.items() if 'conv_offset_mask' not in key}
    assert 'without deformable convolutions' in message(plain)
    deep = {**dla, 'base.level2.tree1.conv3.weight': torch.rand(1)}
    assert 'another depth' in message(deep)
    assert 'ResNet' in message({'layer4.0.conv1.weight': torch.rand(1)})
    wide = {
        key: torch.rand(48, *value.shape[1:]) if value.dim() else value
        for key, value in nets('hrnetv2_w18').state_dict().items()
        if key.startswith(('stage2', 'stage4'))
    }
    assert 'HRNet of width 48' in message(wide, 'hrnetv2_w18')
    ours = convert_state_dict(dla, 'dla34')[0]
    assert 'checkpoint of mmkd' in message(ours)
    assert 'no network of FairMOT' in message({'weight': torch.rand(1)})


def test_an_unknown_arch_is_told(dla):
    with pytest.raises(MMKDError, match="'dla_34'.*'dla34'"):
        convert_state_dict(dla, 'dla_34')


def test_the_hrnets_of_before_september_2020_do_not_fit(nets):
    state = dict(nets('hrnetv2_w18').state_dict())
    state['last_layer.0.weight'] = torch.rand(64, 270, 1, 1)
    for name in BRANCHES:
        state[f'{name}.0.weight'] = torch.rand(256, 64, 3, 3)
    with pytest.raises(MMKDError, match='last_layer.*given up since'):
        convert_state_dict(state, 'hrnetv2_w18')
    converted, report = convert_state_dict(state, 'hrnetv2_w18', init=True)
    assert set(report.left_out) == {f'{name}.0.weight' for name in BRANCHES}
    assert report.extra == ['last_layer.0.weight']
    assert 'backbone.conv1.weight' in converted


def test_a_coco_detector_is_a_start_only(dla):
    state = {key: value for key, value in dla.items() if not key.startswith('id.')}
    state['hm.2.weight'], state['hm.2.bias'] = torch.rand(80, 256, 1, 1), torch.rand(80)
    state['wh.2.weight'], state['wh.2.bias'] = torch.rand(2, 256, 1, 1), torch.rand(2)
    with pytest.raises(MMKDError, match='no branch for embeddings.*--init'):
        convert_state_dict(state, 'dla34')
    converted, report = convert_state_dict(state, 'dla34', init=True)
    assert set(report.left_out) == {'hm.2.weight', 'hm.2.bias', 'wh.2.weight', 'wh.2.bias'}
    expected = {f'head.embedding.{i}.{what}' for i in (0, 2) for what in ('weight', 'bias')}
    assert expected < set(report.missing)
    assert not expected & set(converted)
    assert torch.equal(converted['head.heatmap.0.weight'], state['hm.0.weight'])
    assert torch.equal(converted['neck.ida_up.up_1.weight'], state['ida_up.up_1.weight'])
    missing, unexpected = build('dla34').load_state_dict(converted, strict=False)
    assert not unexpected
    assert set(missing) == set(report.missing)


@pytest.mark.parametrize('arch', NETWORKS)
def test_an_imagenet_file_gives_the_backbone(arch):
    import timm

    net = timm.create_model(arch if arch == 'dla34' else f'hrnet_w{arch[-2:]}')
    state = net.state_dict()
    if arch == 'dla34':  # the original's file has what timm leaves out
        state['level3.project.0.weight'] = torch.rand(128, 64, 1, 1)
    converted, report = convert_state_dict(state, arch)
    assert all(key.startswith('backbone.') for key in converted)
    build(arch).backbone.load_state_dict(
        {key[len('backbone.') :]: value for key, value in converted.items()}, strict=True
    )
    parts = {key.split('.')[0] for key in report.dropped}
    if arch == 'dla34':
        assert parts == {'fc', 'level3'}
    else:
        assert parts == {'incre_modules', 'downsamp_modules', 'final_layer', 'classifier'}
    assert not report.head
    assert 'backbone alone' in report.text()


def test_a_converted_backbone_is_what_init_cfg_takes(dla, tmp_path):
    source, target = tmp_path / 'imagenet.pth', tmp_path / 'converted.pth'
    prefix = 'base.'
    state = {k[len(prefix) :]: v for k, v in dla.items() if k.startswith(prefix)}
    torch.save(state, source)
    convert_checkpoint(str(source), str(target), 'dla34')
    init_cfg = dict(type='Pretrained', checkpoint=str(target), prefix='backbone.')
    backbone = MODELS.build(dict(type='mmkd.DLA', init_cfg=init_cfg))
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[key]), key


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def source(dla, tmp_path):
    """A checkpoint as the original saves it while training on several GPUs."""
    layer = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.rand(1, 2)).sum().backward()
    optimiser.step()
    path = tmp_path / 'model_30.pth'
    state = {f'module.{key}': value for key, value in dla.items()}
    torch.save(dict(epoch=30, state_dict=state, optimizer=optimiser.state_dict()), path)
    return str(path)


def test_a_file_becomes_one_that_loads_without_a_word(source, tmp_path, monkeypatch):
    target = tmp_path / 'new' / 'dla34.pth'
    report = convert_checkpoint(source, str(target), 'dla34')
    model = build('dla34')
    content = load_checkpoint(model, str(target), map_location='cpu', strict=True)
    assert set(content) == {'meta', 'state_dict'}
    with open(source, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert content['meta'] == dict(
        arch='dla34',
        kind='fairmot',
        source='model_30.pth',
        sha256=digest,
        mmkd_version=mmkd.__version__,
        source_epoch=30,
        head=report.head,
    )
    assert torch.load(target, weights_only=True)['meta'] == content['meta']
    assert [path.name for path in target.parent.iterdir()] == ['dla34.pth']

    said = []
    monkeypatch.setattr(inference, 'print_log', lambda *args, **_: said.append(args))
    inference.load_weights(build('dla34'), target)
    assert not said


def test_nothing_is_overwritten_unasked(source, tmp_path):
    target = tmp_path / 'mine.pth'
    target.write_text('mine')
    with pytest.raises(MMKDError, match=r'mine\.pth.*--force'):
        convert_checkpoint(source, str(target), 'dla34')
    assert target.read_text() == 'mine'
    convert_checkpoint(source, str(target), 'dla34', force=True)
    assert torch.load(target, weights_only=True)['meta']['arch'] == 'dla34'
    with pytest.raises(MMKDError, match='the source itself'):
        convert_checkpoint(source, source, 'dla34', force=True)
    with pytest.raises(MMKDError, match='a folder'):
        convert_checkpoint(source, str(tmp_path), 'dla34', force=True)


def test_a_failed_conversion_writes_nothing_and_names_the_file(source, tmp_path):
    target = tmp_path / 'out' / 'x.pth'
    with pytest.raises(MMKDError, match=r'model_30\.pth.*--arch dla34'):
        convert_checkpoint(source, str(target), 'hrnetv2_w18')
    assert not target.parent.exists()


class Bomb:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def test_a_files_code_is_not_run(dla, tmp_path):
    path, mark = tmp_path / 'evil.pth', tmp_path / 'mark'
    torch.save(dict(state_dict=dla, extra=Bomb(str(mark))), path)
    with pytest.raises(MMKDError, match='cannot be read as tensors alone') as caught:
        convert_checkpoint(str(path), str(tmp_path / 'x.pth'), 'dla34')
    assert 'weights_only=False' in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'There is no file'),
        (b'nonsense', 'cannot be read'),
        ([1, 2], 'found list'),
        ({'epoch': 3}, r"found \['epoch'\]"),
        ({'state_dict': {}}, 'holds no weights'),
    ],
)
def test_what_is_no_checkpoint_is_told(tmp_path, content, message):
    path = tmp_path / 'x.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(MMKDError, match=message):
        convert_checkpoint(str(path), str(tmp_path / 'y.pth'), 'dla34')


def test_a_bare_state_dict_is_read(dla, tmp_path):
    torch.save(dla, tmp_path / 'bare.pth')
    convert_checkpoint(str(tmp_path / 'bare.pth'), str(tmp_path / 'y.pth'), 'dla34')
    content = torch.load(tmp_path / 'y.pth', weights_only=True)
    assert 'source_epoch' not in content['meta']
    build('dla34').load_state_dict(content['state_dict'], strict=True)
