"""Every FairMOT config of configs/kd/ takes a step: each of its losses teaches the student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

import mmkd  # noqa: F401
from mmkd.registry import DATA_SAMPLERS, MODELS

from .test_distill.toys import TINY
from .toy import toy_fairmot

FOLDER = Path(__file__).parents[1] / 'configs' / 'kd'
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob('*.py'))}
HEIGHT, WIDTH = 64, 96
EXPECTED = {
    'fairmot_dinov2': {'neck'},
    'fairmot_dinov2_cached': {'neck'},
    'fairmot_dinov2_cached-fused': {'neck'},
    'fairmot_dinov2_cached-fused-bf16': {'neck'},
    'fairmot_dinov2_cached-warp': {'neck'},
    'fairmot_dinov2_pets-s2l1': {'neck'},
    'fairmot_dinov2_synthetic': {'neck'},
    'fairmot_dinov2_temporal': {'places', 'identities'},
    'fairmot_dla34_mobilenetv2_pets-s2l1': {'neck', 'heatmap', 'embedding'},
    'fairmot_ema': {'head_heatmap', 'head_embedding'},
    'fairmot_multi-teacher': {'dino', 'map', 'heatmap', 'embedding'},
    'fairmot_specialists_mot17-half': {
        f'{name}_{teacher}'
        for name in ('neck', 'head_heatmap', 'hard')
        for teacher in ('general', 'camera_motion')
    },
}


def small(name: str) -> dict:
    """The config's model with a narrow student and teachers that need no files."""
    model = Config.fromfile(CONFIGS[name]).model.to_dict()
    model['student'] = toy_fairmot()
    teachers = list(model.get('teachers', {}).values())
    teachers += [model[key] for key in ('teacher', 'general') if key in model]
    teachers += [each['teacher'] for each in model.get('specialists', {}).values()]
    if 'trust' in model:
        # Two random teachers are one as good as the other.
        model['trust']['margin'] = -1.0
    for entry in model.get('transfers', ()):
        if entry['loss']['type'] == 'mmkd.AdaptiveHardLoss':
            # A student that knows nothing may well be better than such a teacher.
            entry['loss']['margin'] = 1e9
    # A cache that nobody has built yet asks its teacher.
    teachers = [each.get('teacher', each) for each in teachers]
    for teacher in teachers:
        if teacher['type'] == 'mmkd.DINOv2Teacher':
            teacher.update(arch=dict(TINY), weights='random')
        elif teacher['type'] in ('mmkd.ModelTeacher', 'mmkd.BatchTeacher'):
            assert Path(teacher['config']).is_file()
            teacher.update(config=toy_fairmot(channels=6), weights='random')
    return model


def build(name: str, iter: int, max_iters: int = 300):
    """The distiller at some step of a training of 30 epochs."""
    hub = MessageHub.get_current_instance()
    for key, value in dict(iter=iter, max_iters=max_iters, epoch=0, max_epochs=30).items():
        hub.update_info(key, value)
    torch.manual_seed(0)
    distiller = MODELS.build(small(name))
    distiller.student.set_num_ids(4)
    distiller.student.init_weights()
    return distiller.train()


@pytest.fixture(autouse=True)
def _hub_stays():
    info = MessageHub.get_current_instance().runtime_info
    before = dict(info)
    yield
    info.clear()
    info.update(before)


def clip() -> dict:
    """Two frames of a video in which three people walk, one of them seen once."""
    from mmtrack.structures import TrackDataSample

    samples = []
    for frame, ids in enumerate(([0, 1], [0, 1, 2])):
        boxes = [[8.0 + 26 * i + 3 * frame, 10.0, 30.0 + 26 * i + 3 * frame, 58.0] for i in ids]
        gt = InstanceData()
        gt.bboxes = torch.tensor(boxes)
        gt.labels = torch.zeros(len(ids), dtype=torch.long)
        gt.instances_id = torch.tensor(ids, dtype=torch.int32)
        sample = TrackDataSample()
        sample.gt_instances = gt
        shape = (HEIGHT, WIDTH)
        sample.set_metainfo(dict(frame_id=frame, ori_shape=shape, img_shape=shape))
        sample.set_metainfo(dict(attributes=('CM',), attribute_groups=('camera_motion',)))
        samples.append(sample)
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (1, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)
        for _ in samples
    ]
    return dict(inputs=dict(img=images), data_samples=samples)


def step(distiller) -> dict:
    data = distiller.data_preprocessor(clip(), True)
    return distiller(**data, mode='loss')


def test_every_config_is_expected_here_and_named_in_the_readme():
    assert set(CONFIGS) == set(EXPECTED)
    text = (FOLDER / 'README.md').read_text()
    for path in FOLDER.rglob('*.py'):
        if not {'ablations', 'sdst'} & set(path.parts):  # they have their own
            assert path.name in text, f'{path.name} is not in the README'


@pytest.mark.parametrize('name', EXPECTED)
def test_each_loss_teaches_the_student(name):
    # At half of the training no weight is warming up any more.
    distiller = build(name, iter=150)
    if name == 'fairmot_ema':
        with torch.no_grad():
            # One step's student and the average of all before it: they differ.
            for parameter in distiller.student.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
            distiller.teacher.warm_up = False
    losses = step(distiller)
    terms = {key[len('loss_kd_') :]: losses[key] for key in losses if key.startswith('loss_kd_')}
    assert set(terms) == EXPECTED[name]
    parameters = [p for p in distiller.student.parameters() if p.requires_grad]
    for term, value in terms.items():
        assert torch.isfinite(value), term
        assert value > 0, term
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients), term
    total, _ = distiller.parse_losses(losses)
    total.backward()


@pytest.mark.parametrize('name', EXPECTED)
def test_the_checkpoint_is_the_plain_students(name):
    distiller = build(name, iter=0)
    plain = MODELS.build(toy_fairmot())
    plain.set_num_ids(4)
    state = distiller.state_dict()
    own = {key: value for key, value in state.items() if not key.startswith('distill.')}
    plain.load_state_dict(own, strict=True)
    assert list(own) == list(plain.state_dict())


def test_the_average_joins_slowly():
    for iter, share in ((0, 0.0), (25, 0.25 * 2.5 / 5), (50, 0.25), (299, 0.25)):
        distiller = build('fairmot_ema', iter=iter)
        losses = step(distiller)
        assert distiller.alpha == pytest.approx(share)
        assert ('loss_kd_head_heatmap' in losses) == (share > 0)


def test_the_temporal_config_puts_frames_of_a_video_side_by_side():
    cfg = Config.fromfile(CONFIGS['fairmot_dinov2_temporal'])
    loader = cfg.train_dataloader
    assert loader.batch_size % loader.sampler.frames == 0

    class Videos:
        """Three videos of eight frames."""

        def __len__(self):
            return 24

        def get_data_info(self, index):
            return dict(video_id=index // 8, frame_id=index % 8)

    order = list(DATA_SAMPLERS.build(dict(loader.sampler, dataset=Videos(), seed=0)))
    pairs = list(zip(order[::2], order[1::2]))
    assert sorted(order) == list(range(24))
    assert all(a // 8 == b // 8 and a != b for a, b in pairs)
    assert 'shuffle' not in loader.sampler


def test_without_a_second_frame_identities_cost_nothing():
    distiller = build('fairmot_dinov2_temporal', iter=150)
    data = clip()
    data['data_samples'][1].gt_instances.instances_id[:] = torch.tensor([2, 3, -1])
    losses = distiller(**distiller.data_preprocessor(data, True), mode='loss')
    assert losses['kd_identities'] == 0
    assert losses['kd_places'] > 0
