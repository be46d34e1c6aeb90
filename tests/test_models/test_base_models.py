"""Every shipped FairMOT model trains all that it has, tracks, and runs in mixed precision."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmkd.registry import MODELS
from tests.toy import REPO

BASES = sorted((REPO / 'configs' / '_base_' / 'models').glob('fairmot_*.py'))
SIZE = (64, 96)


def build(path, **head):
    config = Config.fromfile(path).model
    config.backbone.init_cfg = None  # tests download nothing
    config.head.update(head)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.set_num_ids(3)
    model.init_weights()
    return model


def batch(size=2):
    from mmtrack.structures import TrackDataSample

    samples = []
    for i in range(size):
        gt = InstanceData()
        gt.bboxes = torch.tensor([[8.0, 8.0, 24.0, 48.0], [40.0, 4.0, 60.0, 60.0]])
        gt.labels = torch.zeros(2, dtype=torch.long)
        gt.instances_id = torch.tensor([i, 2])
        sample = TrackDataSample()
        sample.gt_instances = gt
        sample.set_metainfo(dict(frame_id=0, ori_shape=SIZE, img_shape=SIZE))
        samples.append(sample)
    images = list(torch.randint(0, 256, (size, 1, 3, *SIZE), dtype=torch.uint8))
    return dict(inputs=dict(img=images), data_samples=samples)


@pytest.fixture(params=BASES, ids=lambda path: path.stem, scope='module')
def base(request):
    return request.param


def test_one_step_reaches_every_parameter(base):
    """Otherwise distributed training stops, or needs find_unused_parameters."""
    model = build(base, feat_channels=16, embed_dims=64).train()
    losses = model(**model.data_preprocessor(batch(), True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert all(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert model.head.embedding[0].out_channels == 16
    assert model.head.id_classifier.in_features == 64


def adapted(path):
    """The model with BatchNorm's statistics of a batch; with its own it would fade or explode."""
    model = build(path, score_thr=0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    data = batch()
    images = model.data_preprocessor(data, False)['inputs']['img'][:, 0]
    with torch.no_grad():
        model(images, mode='tensor')
    return model.eval(), data, images


def test_predicts_and_tracks(base):
    model, data, _ = adapted(base)
    model.tracker = MODELS.build(dict(type='mmkd.JDETracker', conf_thr=0.0))
    torch.nn.init.constant_(model.head.ltrb[-1].bias, 3.0)  # boxes with an area
    for sample in model.test_step(data):
        assert len(sample.pred_det_instances) > 0
        assert len(sample.pred_track_instances) > 0


@torch.no_grad()
def test_mixed_precision_and_channels_last_compute_the_same(base):
    model, _, images = adapted(base)
    exact = model(images, mode='tensor')
    assert exact['heatmap'].shape == (2, 1, SIZE[0] // 4, SIZE[1] // 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = model(images, mode='tensor')
    model.to(memory_format=torch.channels_last)
    last = model(images.to(memory_format=torch.channels_last), mode='tensor')
    for name, value in exact.items():
        assert (last[name] - value).norm() < 1e-3 * value.norm(), name
        # Dozens of untrained layers with 8-bit mantissas; what is wrong is off by more than itself.
        assert (mixed[name].float() - value).norm() < 0.6 * value.norm(), name


def test_each_can_be_distilled_into(base):
    """The KD config's tap fits every backbone: channels and grid are found from the modules."""
    student = Config.fromfile(base).model
    student.backbone.init_cfg = None
    student.head.update(feat_channels=8, embed_dims=8)
    distiller = MODELS.build(
        dict(
            type='mmkd.FeatureDistiller',
            student=student,
            teacher=dict(type='mmkd.DINOv2Teacher', arch='small', weights='random'),
            distill=[dict(student='neck', teacher='last')],
            alpha=0.5,
        )
    ).train()
    distiller.set_num_ids(3)
    losses = distiller(**distiller.data_preprocessor(batch(), True), mode='loss')
    loss, _ = distiller.parse_losses(losses)
    loss.backward()
    kd = [value for name, value in losses.items() if name.startswith('loss_kd')]
    assert len(kd) == 1
    assert torch.isfinite(kd[0])
    assert any(p.grad.abs().sum() > 0 for p in distiller.backbone.parameters())
