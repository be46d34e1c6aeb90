"""Schedules that cross, names that look like the distiller's own, and clips."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.model import BaseModel
from torch.overrides import TorchFunctionMode

from mmkd.distill.distillers.routing import GENERAL
from mmkd.errors import MMKDError
from mmkd.registry import MODELS
from tests.test_distill import siamese_toy as toy

from .test_specialized_distiller import Everyone, at

ANSWER = dict(name='cls', student='head[0]', loss=dict(type='ToyAnswerLoss'))
TRUST = dict(trust=Everyone(), transfers=[ANSWER])


@pytest.mark.parametrize(
    'changes',
    [
        dict(specialist_weight=dict(stop_epoch=2)),
        dict(specialist_weight=0.0),
    ],
    ids=['over', 'never'],
)
def test_the_general_teacher_outlasts_specialists_that_it_measures(changes, monkeypatch):
    distiller = toy.build(**TRUST, **changes)
    for iter in (0, 20):
        at(distiller, monkeypatch, iter=iter, epoch=iter / 10)
        out = distiller(*toy.batch(), mode='loss')
        assert float(out['loss_kd_cls_general']) > 0


def test_the_general_teacher_measures_specialists_though_it_gives_nothing(monkeypatch):
    only = dict(ANSWER, to='specialists')
    distiller = toy.build(trust=Everyone(), transfers=[only])
    for iter in (0, 20):
        at(distiller, monkeypatch, iter=iter, epoch=iter / 10)
        assert float(distiller(*toy.batch(), mode='loss')['kd_cls_occlusion']) > 0
    # Both have something to give until epoch 2, then the specialists alone.
    passing = dict(ANSWER, name='first', to='general', weight=dict(stop_epoch=2))
    distiller = toy.build(trust=Everyone(), transfers=[passing, only])
    for iter in (0, 20):
        at(distiller, monkeypatch, iter=iter, epoch=iter / 10)
        assert float(distiller(*toy.batch(), mode='loss')['kd_cls_occlusion']) > 0
    at(distiller, monkeypatch, iter=20, epoch=2.0)
    assert distiller.teachers[GENERAL].loaded


def test_the_general_teacher_opens_the_gate_between_students_though_it_gives_nothing(monkeypatch):
    distiller = toy.build(
        mutual=dict(student=dict(type='ToyPair', width=4), margin=-1e9, weight=dict(stop_epoch=3)),
        transfers=[dict(ANSWER, to='specialists')],
    )
    for iter, loaded in ((20, True), (30, False)):
        at(distiller, monkeypatch, iter=iter, epoch=iter / 10)
        # Nobody is so much better than it.
        assert float(distiller(*toy.batch(), mode='loss')['kd_share_cls']) == 0
        assert distiller.teachers[GENERAL].loaded == loaded


def test_an_entry_may_be_called_as_the_second_student_is():
    named = dict(ANSWER, name='peer_answer')
    out = toy.build(transfers=[named])(*toy.batch(), mode='loss')
    assert float(out['loss_kd_peer_answer_general']) > 0
    shared = dict(ANSWER, name='share_answer')
    distiller = toy.build(
        transfers=[shared], mutual=dict(student=dict(type='ToyPair', width=4), margin=1e9)
    )
    out = distiller(*toy.batch(), mode='loss')
    assert float(out['loss_kd_share_answer_general']) > 0
    assert float(out['loss_kd_share_share_answer']) > 0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(
                transfers=[ANSWER, dict(ANSWER, name='peer_cls')],
                mutual=dict(student=dict(type='ToyPair')),
            ),
            "'peer_cls_general' is taken",
        ),
        (
            dict(
                transfers=[ANSWER, dict(ANSWER, name='share')],
                specialists=dict(cls=toy.teacher(2)),
                mutual=dict(student=dict(type='ToyPair')),
            ),
            "'share_cls' is taken",
        ),
        (dict(specialists=dict(peer=toy.teacher(2))), "not 'general' or 'peer'"),
        # mmengine would add routed_target_loss to the losses.
        (dict(specialists=dict(target_loss=toy.teacher(2))), "without 'loss'"),
    ],
)
def test_names_that_are_taken(changes, message):
    with pytest.raises(MMKDError, match=message):
        toy.build(**changes)


def test_students_may_share_what_no_teacher_gives():
    own = dict(name='maps', student='neck@1', loss=dict(type='mmkd.MSEDistillLoss'), weight=0.0)
    distiller = toy.build(
        transfers=[ANSWER, own],
        mutual=dict(student=dict(type='ToyPair', seed=5), transfers=['maps'], margin=1e9),
    )
    assert float(distiller(*toy.batch(), mode='loss')['loss_kd_share_maps']) > 0


def test_a_copy_has_no_second_set_of_teachers():
    teacher = MODELS.build(toy.teacher(2))
    distiller = toy.build(specialists=dict(occlusion=dict(teacher=teacher, attributes='POC')))
    distiller.train()
    found = copy.deepcopy(distiller)
    assert found.teachers['occlusion'] is teacher
    assert found._specialists['occlusion'].teacher is None


@MODELS.register_module(force=True)
class ToyClip(BaseModel):
    """A map of each frame, and one of each clip."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.backbone = torch.nn.Conv2d(3, 6, 8, 8)
        self.late = torch.nn.Conv2d(6, 6, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        clips = inputs['img']
        maps = self.backbone(clips.flatten(0, 1) / 255)
        out = self.late(maps.unflatten(0, clips.shape[:2]).mean(1))
        return {'loss_task': out.square().mean()} if mode == 'loss' else out


TINY = dict(
    type='mmkd.DINOv2Teacher',
    arch=dict(embed_dim=24, depth=3, num_heads=2, grid=4),
    weights='random',
)


def clips(frames=2, names=((), ('POC',), ('FM',))):
    """Clips whose frames all differ."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(len(names), frames, 3, 16, 16, generator=generator) * 255
    return {'img': images}, [toy.sample(each) for each in names]


def clip_distiller(tap, **changes):
    return toy.build(
        student=dict(type='ToyClip'),
        general=TINY,
        transfers=[dict(name='maps', student=tap, teacher='last', align='resize')],
        image_key='img',
        dry_input=dict(img=(1, 2, 3, 16, 16)),
        **{'specialists': dict(occlusion=dict(teacher=TINY, attributes='all')), **changes},
    )


def test_clips_of_several_frames_have_one_value_per_sample():
    distiller = clip_distiller('backbone')
    inputs, samples = clips()
    out = distiller(inputs, samples, mode='loss')
    one = clip_distiller('backbone')(
        {'img': inputs['img'].flatten(0, 1)[:, None]},
        [sample for sample in samples for _ in range(2)],
        mode='loss',
    )
    for name in ('kd_maps_general', 'kd_maps_occlusion'):
        torch.testing.assert_close(out[name], one[name])


def test_a_part_of_a_batch_of_clips_is_shown_to_teachers_of_images():
    """All frames of the sample, and no frame of another."""
    distiller = clip_distiller(
        'late', specialists=dict(occlusion=dict(teacher=TINY, attributes='POC'))
    )
    seen = []
    teacher = distiller.teachers['occlusion']
    real = teacher.launch
    teacher.launch = lambda images, samples=None: seen.append(images) or real(images, samples)
    inputs, samples = clips()
    # The student has one map per clip, which no image of a clip belongs to.
    with pytest.raises(MMKDError, match='3 maps .* the teacher 6'):
        distiller(inputs, samples, mode='loss')
    assert torch.equal(seen[0].flip(1), inputs['img'][1])


class Waits(TorchFunctionMode):
    """Refuses what makes the host wait for a GPU: to make a tensor of a number there, to read."""

    names = ('new_tensor', 'item', 'tolist', 'nonzero', '__bool__', '__float__', '__int__', 'cpu')

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        assert name not in self.names, f'the host waits in {name}'
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('divide_by', ['active', 'batch'])
def test_no_step_waits(divide_by):
    distiller = toy.build(
        divide_by=divide_by,
        trust=dict(type='mmkd.SoftmaxTrust'),
        mutual=dict(student=dict(type='ToyPair', width=4)),
        transfers=[ANSWER, dict(name='hard', loss=dict(type='mmkd.AdaptiveHardLoss'))],
    ).train()
    inputs, samples = toy.batch()
    for _ in range(2):
        # The first steps look at the gradients and at the teachers.
        distiller(inputs, samples, mode='loss')
    distiller.guard.read()
    distiller._arrival = None
    with Waits():
        distiller(inputs, samples, mode='loss')


def test_answers_of_enlarged_pictures_are_refused():
    """Its cells are other cells, and its anchors other anchors, than the student's."""
    large = dict(toy.teacher(1), input_size=2.0)
    with pytest.raises(MMKDError, match="'general' sees pictures 2 times as large"):
        toy.build(general=large, specialists=None)
    maps = dict(name='neck', student='neck@1', align='resize')
    out = toy.build(general=large, specialists=None, transfers=[maps])(*toy.batch(), mode='loss')
    assert float(out['loss_kd_neck_general']) > 0


@pytest.mark.parametrize(
    'changes',
    [
        dict(specialists=None, transfers=[dict(ANSWER, to='specialists')]),
        dict(specialists=None, transfers=[dict(ANSWER, weight=0)]),
        dict(general_weight=0, specialist_weight=0),
    ],
)
def test_a_distillation_without_anything_to_give_is_refused(changes):
    with pytest.raises(MMKDError, match='no teacher gives anything'):
        toy.build(**changes)
    toy.build(alpha=0.0, **changes)


def test_teachers_of_images_do_not_meet_at_the_centre():
    """Their maps cover the picture with cells of their own size."""
    teacher = dict(TINY, input_size=(28, 28))
    distiller = toy.build(
        general=teacher,
        specialists=None,
        transfers=[dict(name='neck', student='neck@1', teacher='last')],
    )
    with pytest.raises(MMKDError, match=r"neck_general: .*\(2, 2\).*\(4, 4\).*align='resize'"):
        distiller(*toy.batch(), mode='loss')
