"""SiamRPN++ against mmtrack's: weights, maps, losses and tracks."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmtrack.engine.hooks import SiamRPNBackboneUnfreezeHook
from mmtrack.models.sot import base as stock_base
from mmtrack.models.track_heads import SiameseRPNHead as StockHead

from mmkd.distill.taps import Tap, TapRecorder
from mmkd.errors import MMKDError
from mmkd.models.sot import crop as crop_module
from mmkd.models.sot import siamrpn as siamrpn_module
from mmkd.registry import MODELS
from tests.test_distill.test_losses.test_objects_no_sync import NoWaiting

from .toys import build, images, random_pairs, siamrpn_cfg, video


def both(**kwargs):
    """mmtrack's model and ours, with its weights."""
    stock, ours = build(ours=False, **kwargs), build(**{**kwargs, 'seed': 9})
    # strict: the same names
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def stock_maps(stock, inputs):
    z = stock.forward_template(inputs['img'][:, 0])
    return stock.head(z, stock.forward_search(inputs['search_img'][:, 0]))


@pytest.mark.parametrize('deep', [False, True], ids=['levels', 'alexnet-like'])
def test_maps_are_mmtracks(deep):
    stock, ours = both(deep=deep)
    inputs = images(3)
    cls, reg = ours(inputs, mode='tensor')
    side = 17 if deep else 25
    assert cls.shape == (3, 10, side, side)
    assert ours.map_size == (side, side)
    for found, expected in zip((cls, reg), stock_maps(stock, inputs)):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('deep', [False, True], ids=['levels', 'alexnet-like'])
def test_losses_are_mmtracks(deep, monkeypatch):
    stock, ours = both(deep=deep)
    inputs, samples = images(4), random_pairs(4, seed=3)
    targets = ours.sample_targets(samples)
    n = len(samples)
    parts = (targets[0], targets[1] / n, targets[2], targets[3] / n)
    monkeypatch.setattr(StockHead, 'get_targets', lambda self, *args: parts)
    expected = stock(inputs, samples, mode='loss')
    found = ours(inputs, samples, mode='loss', targets=targets)
    assert list(found) == list(expected) == ['loss_rpn_cls', 'loss_rpn_bbox']
    for name in found:
        torch.testing.assert_close(found[name], expected[name])
    assert found['loss_rpn_bbox'] > 0

    maps = dict(zip(('cls', 'reg'), ours(inputs, mode='tensor')))
    by_sample = ours.sample_losses(maps, targets)
    torch.testing.assert_close(by_sample.mean(), sum(expected.values()))
    some = torch.tensor([2, 0])
    part = ours.sample_losses({k: v[some] for k, v in maps.items()}, targets.index(some))
    torch.testing.assert_close(part, by_sample[some])
    for same in (targets.index([2, 0]), targets.index(slice(1, 3))):
        assert same.labels.shape[0] == 2
    torch.testing.assert_close(targets.index([2, 0]).bbox_targets, targets.bbox_targets[some])


def test_losses_train_every_weight():
    model = build().train()
    losses = model(images(2), random_pairs(2, seed=1), mode='loss')
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_a_batch_of_negative_pairs_trains_no_box():
    model = build().train()
    samples = random_pairs(2)
    for sample in samples:
        sample.search_gt_instances.labels[:] = 0
    losses = model(images(2), samples, mode='loss')
    assert losses['loss_rpn_bbox'] == 0
    losses['loss_rpn_bbox'].backward()
    assert model.head.reg_heads[0].kernel_convs.conv.weight.grad is not None


def test_masks_lie_on_the_maps():
    model = build()
    samples = random_pairs(6, seed=2)
    targets = model.sample_targets(samples)
    masks = model.response_masks(targets)
    # The order in which the head flattens its own maps.
    cls = torch.arange(6 * 10 * 25 * 25).view(6, 2, 5, 25, 25)
    flat = cls.permute(0, 3, 4, 2, 1).reshape(6, -1, 2)[..., 1]
    on_map = cls[:, 1]
    assert masks['matched'].dtype == torch.float32
    assert masks['positive'].dtype == torch.bool
    for i in range(6):
        expected = flat[i][targets.label_weights[i] > 0].sort()[0]
        assert torch.equal(on_map[i][masks['matched'][i] > 0].sort()[0], expected)
        expected = flat[i][targets.labels[i] == 1].sort()[0]
        assert torch.equal(on_map[i][masks['positive'][i]].sort()[0], expected)
    assert masks['positive'].any()


def test_taps_see_responses_and_both_runs_of_the_neck():
    model = build()
    paths = [*model.response_taps.values(), 'neck[0]', 'head.cls_heads.1']
    recorder = TapRecorder([Tap(model, path) for path in paths])
    inputs = images(2)
    with recorder.record(model):
        model(inputs, random_pairs(2), mode='loss')
    cls, reg = (recorder.get(path) for path in model.response_taps.values())
    assert (cls.shape[1], reg.shape[1]) == (10, 20)
    assert recorder.get('neck[0]', 0).shape[-1] == 15
    assert recorder.get('neck[0]', 1).shape[-1] == 31
    assert recorder.calls('head.cls_heads.1') == 1


def test_the_map_size_leaves_the_model_alone():
    model = build().train()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    assert model.map_size == (25, 25)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize('deep', [False, True], ids=['levels', 'alexnet-like'])
@pytest.mark.parametrize('seed', range(3))
def test_tracks_are_mmtracks(deep, seed):
    models = both(deep=deep, seed=seed, test_search_size=287 if deep else None)
    tracks = []
    with torch.no_grad():
        for model in models:
            found = [model.test_step(batch)[0].pred_track_instances for batch in video(15)]
            tracks.append(torch.cat([torch.cat([f.bboxes[0], f.scores]) for f in found]))
    torch.testing.assert_close(tracks[1], tracks[0], atol=1e-3, rtol=0)
    # It moves, and scores are no constants, so that there was something to differ in.
    assert tracks[0].view(15, 5).std(dim=0).min() > 1e-3


def test_a_memory_format_changes_no_track():
    model = build()
    tracks, formats = [], []
    model.neck.register_forward_hook(
        lambda *args: formats.append(args[-1][0].is_contiguous(memory_format=torch.channels_last))
    )
    with torch.no_grad():
        for model.test_cfg.channels_last in (False, True):
            found = [model.test_step(batch)[0].pred_track_instances for batch in video(8)]
            tracks.append(torch.cat([f.bboxes for f in found]))
    torch.testing.assert_close(*tracks, atol=1e-3, rtol=0)
    assert formats == [False] * 8 + [True] * 8


def test_training_and_testing_have_maps_of_their_own():
    model = build(deep=True, test_search_size=287)
    with torch.no_grad():
        for batch in video(2):
            model.test_step(batch)
    model(images(1), random_pairs(1), mode='loss')
    assert {key[:2] for key in model.head._grids} == {(21, 21), (17, 17)}


def test_a_frame_of_floats_is_tracked_as_one_of_bytes():
    model = build()
    tracks = []
    with torch.no_grad():
        for dtype in (torch.uint8, torch.float32):
            for batch in video(6):
                batch['inputs']['img'][0] = batch['inputs']['img'][0].to(dtype)
                (result,) = model.test_step(batch)
            tracks.append(result.pred_track_instances.bboxes)
    torch.testing.assert_close(tracks[0], tracks[1])


@pytest.mark.parametrize(
    'settings',
    [dict(mean=[1.0] * 3, std=[2.0] * 3), dict(bgr_to_rgb=True), dict(pad_size_divisor=32)],
)
def test_a_preprocessor_that_does_something_is_not_passed_over(settings):
    cfgs = [siamrpn_cfg(ours) for ours in (False, True)]
    for cfg in cfgs:
        cfg.data_preprocessor.update(settings)
    stock, ours = (build(cfg=cfg) for cfg in cfgs)
    with torch.no_grad():
        for model in (stock, ours):
            for batch in video(3):
                (model.last,) = model.test_step(batch)
    found, expected = (m.last.pred_track_instances.bboxes for m in (ours, stock))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_samples_keep_what_mmtrack_writes_into_them():
    models = both()
    with torch.no_grad():
        metas = [model.test_step(next(video(1)))[0].metainfo for model in models]
    assert metas[0] == metas[1]


def test_tracking_never_waits(monkeypatch):
    model = build()
    monkeypatch.setattr(crop_module, 'crop_slices', crop_module.crop_gathered)
    batches = list(video(3))
    with torch.no_grad():
        model.test_step(batches[0])
        model.test_step(batches[1])
        with NoWaiting():
            model.test_step(batches[2])


def test_samples_are_not_copied(monkeypatch):
    model = build()

    def refuse(*args):
        raise AssertionError('copied')

    monkeypatch.setattr(stock_base, 'deepcopy', refuse)
    batch = next(video(1))
    with torch.no_grad():
        img = batch['inputs']['img'][0][None]
        (result,) = model.predict(dict(img=img), batch['data_samples'])
    assert result is batch['data_samples'][0]
    assert result.pred_track_instances.scores.tolist() == [-1]


def test_the_template_is_seen_once(monkeypatch):
    model = build()
    calls = []
    for head in (*model.head.cls_heads, *model.head.reg_heads):
        head.kernel_convs.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for batch in video(4):
            model.test_step(batch)
    assert len(calls) == 4


def test_vot_mode_starts_again_five_frames_after_a_failure(monkeypatch):
    # The toolkit that measures the overlap need not be there.
    monkeypatch.setattr(stock_base, 'bbox2region', lambda box: box)
    overlaps = iter([0.5, 0.0, 0.5])
    monkeypatch.setattr(
        stock_base, 'calculate_region_overlap', lambda *args, **kwargs: next(overlaps)
    )
    model = build()
    model.test_cfg.test_mode = 'VOT'
    with torch.no_grad():
        found = [model.test_step(b)[0].pred_track_instances.bboxes for b in video(9)]
    assert [x.numel() for x in found] == [1, 4, 1, 1, 1, 1, 1, 1, 4]
    assert [x.item() for x in found if x.numel() == 1] == [1, 2, 0, 0, 0, 0, 1]
    model.test_cfg.test_mode = 'VOTE'
    with pytest.raises(MMKDError, match='VOTE'):
        model.test_step(next(video(1)))


def test_the_backbone_can_be_unfrozen():
    model = build().train()
    model.backbone.requires_grad_(False)
    model.backbone.eval()
    hook = SiamRPNBackboneUnfreezeHook(2, ['layer2', 'layer3'])
    for epoch, trains in ((1, False), (2, True)):
        hook.before_train_epoch(SimpleNamespace(epoch=epoch, model=model))
        assert all(p.requires_grad is trains for p in model.backbone.layer3.parameters())
        assert model.backbone.layer2[1].training is trains
    assert not any(p.requires_grad for p in model.backbone.layer1.parameters())


def test_mmtracks_own_config_with_our_type():
    with DefaultScope.overwrite_default_scope('mmtrack'):
        name = 'siamese-rpn_r50_8xb28-20e_imagenetvid-imagenetdet-coco_base.py'
        cfg = Config.fromfile(_stock_config(name))
        cfg.model.backbone.init_cfg = None
        names = []
        for kind in ('mmtrack.SiamRPN', 'mmkd.SiamRPN'):
            cfg.model.type = kind
            with torch.device('meta'):
                model = MODELS.build(copy.deepcopy(cfg.model))
            names.append({k: v.shape for k, v in model.state_dict().items()})
    assert names[0] == names[1]
    assert type(model.head).__module__.startswith('mmkd')


def _stock_config(name):
    from pathlib import Path

    import mmtrack

    return Path(mmtrack.__file__).parent / '.mim' / 'configs' / 'sot' / 'siamese_rpn' / name


def test_mistakes_are_told():
    with pytest.raises(MMKDError, match='test_cfg'):
        siamrpn_module.SiamRPN(backbone={}, head={}, train_cfg=dict(rpn={}))
    with pytest.raises(MMKDError, match=r'search_img.*\(1, 1, 3, 127, 127\)'):
        build()(dict(img=torch.zeros(1, 1, 3, 127, 127)), mode='tensor')
    with pytest.raises(MMKDError, match='a Tensor'):
        build()(torch.zeros(1, 3, 127, 127), mode='tensor')
    model = build()
    with pytest.raises(MMKDError, match='have'):
        model(
            images(1), random_pairs(1), mode='loss', targets=model.sample_targets(random_pairs(2))
        )
    small = build(cfg=siamrpn_cfg(search_size=31))
    with pytest.raises(MMKDError, match='search image of 31'):
        small.sample_targets(random_pairs(1))


@pytest.mark.parametrize('found', [None, InstanceData(), InstanceData(bboxes=torch.zeros(0, 4))])
def test_a_first_frame_without_box_is_told(found):
    """As of a video that the demo reads, which knows no boxes."""
    model = build()
    batch = next(video(2))
    del batch['data_samples'][0].gt_instances
    if found is not None:
        batch['data_samples'][0].gt_instances = found
    with pytest.raises(MMKDError, match='first frame .* one box, .* has 0'):
        model.test_step(batch)


def test_a_video_that_begins_in_its_middle_is_told():
    frames = video(3)
    next(frames)
    with pytest.raises(MMKDError, match=r'frame 1 .* without its first .*VideoSampler'):
        build().test_step(next(frames))


def test_maps_of_half_precision_are_decoded_in_single():
    model = build()
    cls, reg = model(images(1), mode='tensor')
    cls, reg = cls.detach().bfloat16(), reg.detach().bfloat16()
    last = torch.tensor([60.0, 50, 40, 45])
    args = (last, torch.tensor(1.3), [dict(ori_shape=(150, 200))])
    with torch.autocast('cpu', torch.bfloat16):
        (found,) = model.head.predict_by_feat(cls, reg, *args)
    (expected,) = model.head.predict_by_feat(cls.float(), reg.float(), *args)
    assert found.scores.dtype == found.bboxes.dtype == torch.float32
    assert torch.equal(found.bboxes, expected.bboxes)
    assert torch.equal(found.scores, expected.scores)
