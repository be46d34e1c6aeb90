"""PySOT's checkpoints: every key has a place, and the outputs are those of PySOT's own layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.apis.convert_pysot import (
    ARCHS,
    build_model,
    convert_checkpoint,
    convert_state_dict,
    pysot_anchors,
)
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from .pysot_reference import RATIOS, Weights, forward, original, scores_and_boxes

ALEX, MOBILE, R50 = (
    'siamrpn_alex_dwxcorr',
    'siamrpn_mobilev2_l234_dwxcorr',
    'siamrpn_r50_l234_dwxcorr',
)
CASES = {ALEX: ALEX, ALEX + ' legacy': ALEX, MOBILE: MOBILE, R50: R50}
SIZES = {ALEX: 255, MOBILE: 191, R50: 167}


@pytest.fixture(scope='module', params=CASES)
def case(request):
    """PySOT's file and maps, of a picture that made neither its weights nor its statistics.

    Both sides compute in float64: what differs then is the network, not the order of sums.
    """
    arch = CASES[request.param]
    state = original(request.param)
    generator = torch.Generator().manual_seed(5)
    size = SIZES[arch]
    z, x = (torch.rand(1, 3, s, s, generator=generator).double() * 255 for s in (127, size))
    with torch.no_grad():
        cls, loc = forward(Weights(doubles(state)), request.param, z, x)
    return arch, state, z, x, cls, loc


def doubles(state):
    return {k: v.double() if v.is_floating_point() else v for k, v in state.items()}


def ours(arch, state, z, x, **options):
    converted, report = convert_state_dict(dict(state), **options)
    model = build_model(arch).double().eval()
    model.load_state_dict(converted, strict=True)
    with torch.no_grad():
        cls, reg = model(dict(img=z[:, None], search_img=x[:, None]), None, mode='tensor')
    return model, report, cls, reg


def test_maps_are_pysots(case):
    arch, state, z, x, cls, loc = case
    _, report, our_cls, our_reg = ours(arch, state, z, x, anchors='pysot')
    assert 0.1 < cls.std() < 30
    assert 0.1 < loc.std() < 30
    assert (our_cls - cls).abs().max() < 1e-6
    assert (our_reg - loc).abs().max() < 1e-6
    assert report.rewritten == {}


def test_boxes_are_pysots_on_mmtracks_anchors(case):
    arch, state, z, x, cls, loc = case
    loc = loc * 0.1  # sizes that exp() keeps reasonable
    state = {key: value * 0.1 if '.loc.head.3.' in key else value for key, value in state.items()}
    model, report, our_cls, our_reg = ours(arch, state, z, x)
    scores, boxes = scores_and_boxes(cls, loc)

    # mmtrack's own way from maps to boxes: the coder, on the anchors of the head.
    height, width = our_cls.shape[-2:]
    deltas = our_reg.view(4, -1, height, width).permute(2, 3, 1, 0).reshape(-1, 4)
    anchors = model.head.grid((height, width), 'cpu').anchors.double()
    x1, y1, x2, y2 = model.head.bbox_coder.decode(anchors, deltas).double().unbind(1)
    got = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=1)
    got = got.view(height, width, 5, 4).permute(2, 0, 1, 3).numpy()
    front = our_cls.view(2, 5, height, width).softmax(0)[1].double().numpy()
    assert np.allclose(front, scores, atol=1e-4)
    assert np.allclose(got, boxes, rtol=1e-5, atol=1e-3)
    assert len(report.rewritten) == 2 * len(model.head.reg_heads)


def test_without_rewriting_boxes_would_be_too_high():
    """Why it is done: two of the five anchors are higher in mmtrack."""
    theirs = pysot_anchors(8, RATIOS, [8])
    base = build_model(ALEX).head.anchor_generator.base_anchors[0]
    ours = base[:, 2:] - base[:, :2]
    assert theirs.tolist() == [[104, 32], [88, 40], [64, 64], [40, 80], [32, 96]]
    assert (ours[:3] == theirs[:3]).all()
    assert (ours[:, 0] == theirs[:, 0]).all()
    assert ours[3:].tolist() == [[40, 88], [32, 104]]


def test_every_key_is_taken(case):
    arch, state, *_ = case
    converted, report = convert_state_dict(dict(state))
    assert set(report.mapped) == set(state)
    assert (
        sorted(report.mapped.values())
        == sorted(converted)
        == sorted(build_model(arch).state_dict())
    )
    for left in ('extra', 'missing', 'left_out', 'filled', 'dropped'):
        assert not getattr(report, left), left
    for key, target in report.mapped.items():
        if target not in report.rewritten:
            assert torch.equal(converted[target], state[key])


@pytest.fixture(scope='module')
def alex():
    return original(ALEX)


def test_the_r50_has_the_names_of_mmtracks_own():
    stock = (
        'mmtrack::sot/siamese_rpn/siamese-rpn_r50_8xb28-20e_imagenetvid-imagenetdet-coco_base.py'
    )
    cfg = Config.fromstring(f'_base_ = {stock!r}', '.py')
    with DefaultScope.overwrite_default_scope('mmtrack'):
        model = MODELS.build(dict(cfg.model, type='mmtrack.SiamRPN'))
    theirs = {key: value.shape for key, value in model.state_dict().items()}
    assert theirs == {key: value.shape for key, value in build_model(R50).state_dict().items()}


def test_prefixes_and_old_files(alex):
    old = {f'module.{k}': v for k, v in alex.items() if not k.endswith('num_batches_tracked')}
    converted, report = convert_state_dict(old)
    assert len(report.filled) == sum(k.endswith('num_batches_tracked') for k in alex)
    assert len(converted) == len(alex)
    with pytest.raises(MMKDError, match='twice, with and without a prefix'):
        convert_state_dict({**alex, 'module.rpn_head.cls.head.3.bias': torch.zeros(10)})
    with pytest.raises(MMKDError, match='twice, under two names'):
        convert_state_dict({**alex, 'backbone.features.0.bias': torch.zeros(96)})


@pytest.mark.parametrize(
    'key',
    [
        'surplus',
        'backbone.layer9.0.weight',
        'backbone.features.2.weight',
        'neck.downsample2.downsample.0.weight',
        'rpn_head.rpn3.cls.head.3.bias',
        'rpn_head.rpn1.cls.head.3.bias',
        'rpn_head.cls.head.2.weight',
        'rpn_head.cls_weight',
    ],
)
def test_an_unknown_key_is_an_error(alex, key):
    state = {**alex, key: torch.zeros(3)}
    with pytest.raises(MMKDError, match=f'unknown here.*{key}'):
        convert_state_dict(state)
    converted, report = convert_state_dict(state, allow_extra=True)
    assert report.extra == [key]
    assert len(converted) == len(alex)


def test_a_missing_key_is_an_error(alex):
    state = {k: v for k, v in alex.items() if k != 'rpn_head.loc.head.3.bias'}
    with pytest.raises(
        MMKDError, match=r'nothing fills.*head\.reg_heads\.0\.head_convs\.1\.conv\.bias'
    ):
        convert_state_dict(state)
    converted, report = convert_state_dict(state, allow_missing=True)
    assert report.missing == ['head.reg_heads.0.head_convs.1.conv.bias']
    assert report.missing[0] not in converted


def test_what_does_not_fit_is_an_error(alex):
    state = {**alex, 'rpn_head.cls.head.3.bias': torch.zeros(6), 'epoch': 3}
    with pytest.raises(
        MMKDError, match=r'another size.*6 in the file, 10 in ours.*unknown here.*epoch'
    ):
        convert_state_dict(state)
    with pytest.raises(MMKDError, match='no architecture.*siamrpn_alex_dwxcorr'):
        convert_state_dict(alex, 'siamrpn_alex')
    with pytest.raises(MMKDError, match="no anchors 'pysots'. Did you mean 'pysot'"):
        convert_state_dict(alex, anchors='pysots')
    with pytest.raises(MMKDError, match=f'no {R50}: it looks like an AlexNet'):
        convert_state_dict(alex, R50)


@pytest.mark.parametrize(
    ('keys', 'words'),
    [
        (['mask_head.head.0.weight'], 'SiamMask'),
        (['rpn_head.template_cls_conv.weight'], 'without depth-wise correlation'),
        (['head.cls_heads.0.kernel_convs.conv.weight'], 'needs no conversion'),
        (['layer1.0.weight'], 'backbone alone'),
        (['rpn_head.x', 'backbone.layer0.0.weight'], 'first layer has 3 channels'),
        (['rpn_head.x', 'backbone.layer1.0.conv2.weight'], 'ResNet-18 or 34'),
        (['rpn_head.x'], 'no network of PySOT'),
    ],
)
def test_another_network_is_named(keys, words):
    with pytest.raises(MMKDError, match=words):
        convert_state_dict({key: torch.zeros(3) for key in keys})


def test_a_file_is_written_whole_and_says_what_it_is(alex, tmp_path):
    source, target = tmp_path / 'model.pth', tmp_path / 'out' / 'alex.pth'
    torch.save(dict(epoch=19, state_dict=alex), source)
    report = convert_checkpoint(str(source), str(target))
    content = torch.load(target, weights_only=True)
    meta = content['meta']
    assert (meta['arch'], meta['anchors'], meta['source_epoch']) == (ALEX, 'mmtrack', 19)
    build_model(ALEX).load_state_dict(content['state_dict'], strict=True)
    assert 'head.reg_heads' in report.text()
    assert 'rewritten' in report.text()
    with pytest.raises(MMKDError, match='--force'):
        convert_checkpoint(str(source), str(target))
    with pytest.raises(MMKDError, match='source itself'):
        convert_checkpoint(str(source), str(source), force=True)
    with pytest.raises(MMKDError, match='folder'):
        convert_checkpoint(str(source), str(tmp_path))


def test_archs_are_pysots_names():
    assert list(ARCHS) == [ALEX, MOBILE, R50]
