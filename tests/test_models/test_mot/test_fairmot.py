"""FairMOT as a whole, built from the shipped config with a narrow backbone."""

import copy

import pytest
import torch
from mmengine.structures import InstanceData

from mmkd.distill.taps import Tap, TapRecorder
from mmkd.errors import MMKDError
from mmkd.registry import MODELS
from tests.toy import toy_fairmot

HEIGHT, WIDTH = 64, 96


def build(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(toy_fairmot(**kwargs))
    model.set_num_ids(4)
    model.init_weights()
    return model


def batch(size=2, frames=1, frame_id=0, boxes=True):
    from mmtrack.structures import TrackDataSample

    samples = []
    for _ in range(size):
        element = TrackDataSample()
        gt = InstanceData()
        gt.bboxes = torch.tensor([[8.0, 8.0, 24.0, 48.0]] if boxes else []).view(-1, 4)
        gt.labels = torch.zeros(len(gt.bboxes), dtype=torch.long)
        gt.instances_id = torch.arange(len(gt.bboxes), dtype=torch.int32)
        element.gt_instances = gt
        element.set_metainfo(
            dict(frame_id=frame_id, ori_shape=(HEIGHT, WIDTH), img_shape=(HEIGHT, WIDTH))
        )
        samples.append(element)
    images = [torch.randint(0, 256, (frames, 3, HEIGHT, WIDTH), dtype=torch.uint8)] * size
    return dict(inputs=dict(img=images), data_samples=samples)


def test_a_training_step_trains_every_parameter():
    model = build()
    data = model.data_preprocessor(batch(), True)
    losses = model(**data, mode='loss')
    loss, logged = model.parse_losses(losses)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    torch.testing.assert_close(loss, losses['loss_det'] + losses['loss_id'])
    assert {'det_heatmap', 'det_ltrb', 'det_offset', 'id_ce'} <= set(logged)


def test_images_without_objects_train():
    model = build()
    losses = model(**model.data_preprocessor(batch(boxes=False), True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)


def test_tensor_mode_returns_the_maps():
    model = build().eval()
    out = model(torch.rand(1, 3, HEIGHT, WIDTH), mode='tensor')
    assert out['heatmap'].shape == (1, 1, HEIGHT // 4, WIDTH // 4)
    assert out['embedding'].shape[1] == model.head.embed_dims
    nested = model(dict(img=torch.rand(2, 1, 3, HEIGHT, WIDTH)), mode='tensor')
    assert nested['ltrb'].shape == (2, 4, HEIGHT // 4, WIDTH // 4)


def test_predict_tracks_over_frames_and_starts_anew_with_a_video():
    model = build().eval()
    # Scores of an untrained head are near 0.1; the lowest thresholds let some through.
    model.head.score_thr = 0.0
    model.tracker.conf_thr = model.tracker.init_thr = 0.0
    torch.nn.init.constant_(model.head.ltrb[-1].bias, 3.0)  # boxes with an area
    first = batch(1)
    ids = []
    with torch.no_grad():
        for frame_id in (0, 1, 0):
            data = copy.deepcopy(first)
            data['data_samples'][0].set_metainfo(dict(frame_id=frame_id))
            (sample,) = model.test_step(data)
            ids.append(sample.pred_track_instances.instances_id.tolist())
            assert len(sample.pred_det_instances) >= len(ids[-1]) > 0
    assert ids[0] == ids[1] == ids[2]


def test_without_a_tracker_it_detects():
    model = build(tracker=None).eval()
    (sample,) = model.test_step(batch(1))
    assert 'pred_det_instances' in sample
    assert 'pred_track_instances' not in sample


@pytest.mark.parametrize('num_classes', [1, 3])
def test_any_number_of_classes(num_classes):
    model = build(num_classes=num_classes)
    data = batch()
    data['data_samples'][0].gt_instances.labels += num_classes - 1
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    assert torch.isfinite(losses['loss_det'])


def test_several_frames_per_sample_are_refused_with_the_remedy():
    model = build()
    data = model.data_preprocessor(batch(frames=2), True)
    with pytest.raises(MMKDError, match='ref_img_sampler=None'):
        model(**data, mode='loss')


def test_the_head_reads_as_many_channels_as_the_neck_gives():
    model = build()
    assert model.head.heatmap[0].in_channels == model.neck.out_channels


# What a distiller asks of it.


def test_targets_are_sampled_before_the_network_runs():
    model = build()
    data = model.data_preprocessor(batch(), True)
    targets = model.sample_targets(data['data_samples'], torch.device('cpu'))
    assert targets.heatmap.shape == (2, 1, HEIGHT // 4, WIDTH // 4)
    torch.manual_seed(1)
    given = model.loss(**data, targets=targets)
    torch.manual_seed(1)
    made = model.loss(**data)
    # BatchNorm's batch statistics are the same in both.
    for name, value in made.items():
        torch.testing.assert_close(given[name], value)
    same = model(**data, mode='loss', targets=targets)
    assert set(same) == set(made)


def test_its_answers_are_compared_image_by_image():
    model = build().eval()
    data = model.data_preprocessor(batch(3), True)
    targets = model.sample_targets(data['data_samples'])
    recorder = TapRecorder([Tap(model, path) for path in model.response_taps.values()])
    with recorder.record(model):
        losses = model.loss(**data, targets=targets)
    outputs = {name: recorder.get(path) for name, path in model.response_taps.items()}
    found = model.sample_losses(outputs, targets)
    assert found.shape == (3,)
    raw = losses['det_heatmap'] + losses['det_ltrb'] + losses['det_offset']
    # FairMOT adds 1e-4 to the number of coordinates.
    torch.testing.assert_close(found.mean().detach(), raw, atol=1e-4, rtol=0)
    part = {name: value[1:2] for name, value in outputs.items()}
    alone = model.sample_losses(part, targets.index(torch.tensor([1])))
    torch.testing.assert_close(alone, found[1:2])
    assert model.response_masks(targets) == {}


def test_targets_need_the_size_of_the_input():
    model = build()
    samples = batch()['data_samples']
    with pytest.raises(MMKDError, match="batch_input_shape.*found .'frame_id', 'img_shape'"):
        model.sample_targets(samples)
    samples[0].set_metainfo(dict(batch_input_shape=[(62, 95), (62, 95)]))
    assert model.sample_targets(samples).heatmap.shape == (2, 1, 16, 24)
