from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmtrack')

from mmkd.apis import init_tracker, track_video
from mmkd.apis.inference import class_names, inference_pipeline, load_weights
from mmkd.errors import MMKDError

from . import toy


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'toy.py'
    path.write_text(toy.CONFIG)
    return path


def save(model, path, **extra):
    torch.save({'state_dict': {**model.state_dict(), **extra}, 'meta': {}}, path)
    return path


def test_tracks_in_pixels_of_the_frame(config):
    model = init_tracker(config)
    frames = [toy.scene(i) for i in range(8)]
    results = list(track_video(model, frames, fps=10))
    assert len(results) == 8
    for index, (image, tracks) in enumerate(results):
        assert image is frames[index]
        found = dict(zip(tracks.instances_id.tolist(), tracks.bboxes.tolist()))
        assert found.keys() == {1, 2}
        for i, box in toy.truth(index).items():
            # The Kalman filter lags a little behind, and the letterbox rounds.
            assert found[i] == pytest.approx(box, abs=5), (index, i)


def test_a_second_video_starts_anew(config):
    model = init_tracker(config)
    for _ in range(2):
        (*_, (_, tracks)) = track_video(model, [toy.scene(i) for i in range(3)])
        assert tracks.instances_id.tolist() == [1, 2]


def test_fps_of_the_source_reaches_the_tracker(config, monkeypatch):
    model = init_tracker(config)
    seen = []
    original = model.tracker.track
    monkeypatch.setattr(
        model.tracker, 'track', lambda *a, **k: seen.append(k['fps']) or original(*a, **k)
    )

    class Source(list):
        fps = 12.5

    list(track_video(model, Source([toy.scene(0)])))
    list(track_video(model, Source([toy.scene(0)]), fps=5))
    list(track_video(model, [toy.scene(0)]))
    assert seen == [12.5, 5, 30]


def test_checkpoints_of_plain_model_wrapper_and_distiller(config, tmp_path):
    source = init_tracker(config)
    torch.nn.init.constant_(source.conv.weight, 7)
    kd = {'distill.transform.weight': torch.ones(2, 2)}
    plain = save(source, tmp_path / 'plain.pth')
    distilled = save(source, tmp_path / 'kd.pth', **kd)
    wrapped = tmp_path / 'ddp.pth'
    torch.save({f'module.{k}': v for k, v in source.state_dict().items()}, wrapped)
    for path in (plain, distilled, wrapped):
        assert (init_tracker(config, path).conv.weight == 7).all()


def test_a_kd_config_gives_the_student(config, tmp_path):
    cfg = Config.fromfile(str(config))
    plain = init_tracker(cfg)
    cfg.model = {'type': 'mmkd.ToyDistiller', 'student': cfg.model}
    student = init_tracker(cfg, save(plain, tmp_path / 'kd.pth'))
    assert type(student) is type(plain)
    assert torch.equal(student.conv.weight, plain.conv.weight)
    assert len(list(track_video(student, [toy.scene(0)]))) == 1


@pytest.fixture
def log(caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    ('key', 'silent'),
    [
        ('head.id_classifier.weight', True),
        ('module.head.id_classifier.bias', True),
        ('distill.neck.transform.weight', True),
        ('head.id_classifiers.weight', False),
        ('id_classifier', False),
        ('head.id_branch.weight', False),
        ('backbone.distill.weight', False),
    ],
)
def test_only_what_training_alone_needs_is_silent(config, tmp_path, log, key, silent):
    model = init_tracker(config)
    log.clear()
    load_weights(model, save(model, tmp_path / 'a.pth', **{key: torch.ones(2)}))
    assert ('in the checkpoint but not in the model' in log.text) is not silent
    if silent:
        assert all(record.levelname == 'INFO' for record in log.records)


def test_what_does_not_fit_is_told(config, tmp_path, log):
    model = init_tracker(config)
    state = model.state_dict()
    state['conv.weight'] = torch.ones(9, 3, 1, 1)
    state['other.weight'] = torch.ones(1)
    del state['conv.bias']
    torch.save(state, tmp_path / 'odd.pth')
    load_weights(model, tmp_path / 'odd.pth')
    assert "missing in the checkpoint, so they keep their initial values: 'conv.bias'" in log.text
    assert "of another size in the checkpoint, so they keep their initial values: 'conv.w" in (
        log.text
    )
    assert "not in the model: 'other.weight'" in log.text


def test_a_checkpoint_of_something_else_is_refused(config, tmp_path):
    torch.save({'state_dict': {'layer.weight': torch.ones(2)}}, tmp_path / 'other.pth')
    with pytest.raises(MMKDError, match="no weight of ToyTracker: it holds 'layer.weight'"):
        init_tracker(config, tmp_path / 'other.pth')
    # A counter that every network has is not kinship.
    counter = {'norm.num_batches_tracked': torch.tensor(3), 'x': torch.ones(2)}
    torch.save(counter, tmp_path / 'other.pth')
    with pytest.raises(MMKDError, match='no weight'):
        init_tracker(config, tmp_path / 'other.pth')
    torch.save(torch.ones(3), tmp_path / 'tensor.pth')
    with pytest.raises(MMKDError, match='it holds nothing'):
        init_tracker(config, tmp_path / 'tensor.pth')
    (tmp_path / 'text.pth').write_text('hello')
    with pytest.raises(MMKDError, match='cannot be read as a checkpoint'):
        init_tracker(config, tmp_path / 'text.pth')
    with pytest.raises(MMKDError, match='There is no checkpoint'):
        init_tracker(config, tmp_path / 'nothing.pth')


def test_mistakes_in_the_config(config, tmp_path):
    with pytest.raises(MMKDError, match='There is no config file'):
        init_tracker(tmp_path / 'nothing.py')
    with pytest.raises(MMKDError, match='has no model'):
        init_tracker(Config({'a': 1}))
    bad = tmp_path / 'bad.py'
    bad.write_text('model = dict(')
    with pytest.raises(MMKDError, match='bad.py cannot be read as a config'):
        init_tracker(bad)
    cfg = Config.fromfile(str(config))
    cfg.model.type = 'mmkd.NoSuchTracker'
    with pytest.raises(MMKDError, match='cannot be built.*NoSuchTracker'):
        init_tracker(cfg)
    with pytest.raises(MMKDError, match="'cuda:77'|'cuda:77' cannot be used"):
        init_tracker(config, device='cuda:77')
    with pytest.raises(MMKDError, match='cannot be used'):
        init_tracker(config, device='gpu')


def test_a_detector_is_no_tracker(config):
    model = init_tracker(config, cfg_options={'model.tracker': None})
    with pytest.raises(MMKDError, match='no pred_track_instances'):
        list(track_video(model, [toy.scene(0)]))


def test_pipeline_without_files(config):
    cfg = Config.fromfile(str(config))
    kinds = [step['type'] for step in inference_pipeline(cfg)]
    assert kinds == ['mmkd.Letterbox', 'mmtrack.PackTrackInputs']
    inner = cfg.test_dataloader.dataset
    wrapped = Config(
        {'test_dataloader': {'dataset': {'type': 'ConcatDataset', 'datasets': [inner]}}}
    )
    assert inference_pipeline(wrapped) == inference_pipeline(cfg)
    assert class_names(cfg) == ('box',)
    with pytest.raises(MMKDError, match='no test pipeline'):
        inference_pipeline(Config({'model': 1}))
    with pytest.raises(MMKDError, match='pack the inputs'):
        inference_pipeline(Config({'test_pipeline': [{'type': 'LoadImageFromFile'}]}))
