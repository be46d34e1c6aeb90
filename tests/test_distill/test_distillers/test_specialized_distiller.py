from __future__ import annotations

import copy

import pytest
import torch

from mmkd.distill.distillers.routing import GENERAL, PATIENCE
from mmkd.distill.schedules import Progress
from mmkd.errors import MMKDError
from mmkd.registry import MODELS
from tests.test_distill import siamese_toy as toy


def calls(distiller):
    """Counts the samples that each teacher is given; returns the dict that is filled."""
    seen = {}
    for name, teacher in distiller.teachers.items():
        real = teacher.read

        def read(inputs, *args, _real=real, _name=name, **kwargs):
            seen.setdefault(_name, []).append(inputs)
            return _real(inputs, *args, **kwargs)

        teacher.read = read
    return seen


def at(distiller, monkeypatch, **where):
    from mmkd.distill.distillers import distiller as module

    progress = Progress(**{'iter': 0, 'max_iters': 100, 'epoch': 0.0, 'max_epochs': 10.0, **where})
    monkeypatch.setattr(module, 'read_progress', lambda: progress)


def total(out):
    return sum(value for key, value in out.items() if 'loss' in key)


def test_specialists_see_their_samples_only():
    distiller = toy.build()
    seen = calls(distiller)
    inputs, samples = toy.batch()
    out = distiller(inputs, samples, mode='loss')
    assert [len(each['img']) for each in seen[GENERAL]] == [4]
    assert torch.equal(seen['occlusion'][0]['search_img'].flip(2), inputs['search_img'][[1, 3]])
    assert torch.equal(seen['fast_motion'][0]['img'].flip(2), inputs['img'][[2, 3]])
    assert float(out['routed_occlusion']) == 0.5
    assert float(out['trust_fast_motion']) == 1


def test_a_specialist_without_samples_does_not_run():
    distiller = toy.build()
    seen = calls(distiller)
    inputs, samples = toy.batch([(), ('POC',)])
    out = distiller(inputs, samples, mode='loss')
    assert 'fast_motion' not in seen
    assert float(out['loss_kd_cls_fast_motion']) == 0
    keys = set(out)
    inputs, samples = toy.batch([('FM',), ()])
    assert set(distiller(inputs, samples, mode='loss')) == keys


def test_every_value_by_hand():
    """The whole objective, from the models' own outputs, sample by sample."""
    distiller = toy.build(
        alpha=0.25,
        general_weight=2.0,
        specialist_weight=3.0,
        transfers=[
            dict(name='cls', student='head[0]', loss=dict(type='ToyAnswerLoss'), weight=0.5),
            dict(
                name='neck',
                student='neck@1',
                loss=dict(type='mmkd.MSEDistillLoss'),
                to='general',
                transform=None,
                align='none',
            ),
        ],
        general=toy.teacher(1, width=6),
        specialists=dict(
            occlusion=dict(teacher=toy.teacher(2), attributes=('POC', 'FOC'), weight=0.1),
            fast_motion=dict(teacher=toy.teacher(3), attributes='FM'),
        ),
    ).train()
    inputs, samples = toy.batch()
    plain = copy.deepcopy(distiller.student)
    out = distiller(inputs, samples, mode='loss')
    teachers = {name: copy.deepcopy(each.net) for name, each in distiller.teachers.items()}
    maps = {}
    plain.neck.register_forward_hook(lambda m, a, o: maps.setdefault('student', []).append(o))
    teachers[GENERAL].neck.register_forward_hook(
        lambda m, a, o: maps.setdefault(GENERAL, []).append(o)
    )
    ours = plain(inputs, mode='tensor')
    with torch.no_grad():
        theirs = {name: net(dict(inputs), mode='tensor') for name, net in teachers.items()}
    each = {name: (ours[0] - cls).square().mean((1, 2, 3)) for name, (cls, _) in theirs.items()}
    general = each[GENERAL].mean()
    neck = (maps['student'][1] - maps[GENERAL][1]).square().mean((1, 2, 3)).mean()
    active = 4  # samples 1 and 3 for one, 2 and 3 for the other
    occlusion = each['occlusion'][[1, 3]].sum() / active
    fast = each['fast_motion'][[2, 3]].sum() / active
    expected = {
        'loss_task': 0.75 * plain(inputs, samples, mode='loss')['loss_task'],
        'loss_kd_cls_general': 0.25 * 2 * 0.5 * general,
        'loss_kd_neck_general': 0.25 * 2 * neck,
        'loss_kd_cls_occlusion': 0.25 * 3 * 0.1 * 0.5 * occlusion,
        'loss_kd_cls_fast_motion': 0.25 * 3 * 0.5 * fast,
    }
    found = {key: value for key, value in out.items() if 'loss' in key}
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=lambda m, k=key: f'{k}: {m}')
    torch.testing.assert_close(out['kd_cls_occlusion'], occlusion.detach())


def test_divided_by_the_batch():
    inputs, samples = toy.batch()
    active = toy.build()(inputs, samples, mode='loss')
    batch = toy.build(divide_by='batch')(inputs, samples, mode='loss')
    assert float(active['kd_cls_occlusion']) == pytest.approx(float(batch['kd_cls_occlusion']))
    inputs, samples = toy.batch([('POC',), (), ()])
    active = toy.build()(inputs, samples, mode='loss')
    batch = toy.build(divide_by='batch')(inputs, samples, mode='loss')
    assert float(active['kd_cls_occlusion']) == pytest.approx(3 * float(batch['kd_cls_occlusion']))


def test_routing_is_exact():
    """What a sample without the attribute holds changes nothing of a specialist's term."""
    inputs, samples = toy.batch()
    first = toy.build(transfers=toy.TRANSFERS[:1]).eval()
    one = first(inputs, samples, mode='loss')['kd_cls_occlusion']
    inputs['search_img'][0] = 255 - inputs['search_img'][0]
    two = toy.build(transfers=toy.TRANSFERS[:1]).eval()(inputs, samples, mode='loss')
    # Batch statistics of the student in training would couple samples; so it is in eval mode.
    assert float(one) == pytest.approx(float(two['kd_cls_occlusion']), rel=1e-6)


def test_targets_are_sampled_once():
    distiller = toy.build()
    inputs, samples = toy.batch()
    distiller(inputs, samples, mode='loss')
    assert distiller.student.sampled == 1


@pytest.mark.parametrize('trained', [dict(name='neck', student='neck@1')], ids=['transform'])
def test_widths_that_differ_get_a_transform_each(trained):
    distiller = toy.build(transfers=[trained])
    assert type(distiller.distill['neck_general'].transform).__name__ == 'FeatureTransform'
    assert distiller.distill['neck_occlusion'].transform.out_channels == 8
    same = toy.build(transfers=[trained], general=toy.teacher(1, width=6))
    assert same.distill['neck_general'].transform is None


def test_resting_parts_get_a_gradient_of_zero():
    """DDP waits for every parameter."""
    distiller = toy.build(transfers=[dict(name='neck', student='neck@1')])
    inputs, samples = toy.batch([(), ()])
    total(distiller(inputs, samples, mode='loss')).backward()
    lacking = [n for n, p in distiller.named_parameters() if p.requires_grad and p.grad is None]
    assert not [name for name in lacking if name.startswith('distill.')]
    grad = distiller.distill['neck_occlusion'].transform.project.weight.grad
    assert grad is not None
    assert not grad.any()


def test_a_smaller_student_grid_meets_at_the_centre():
    distiller = toy.build(student=dict(type='ToyPair', trim=1))
    inputs, samples = toy.batch()
    out = distiller(inputs, samples, mode='loss')
    assert torch.isfinite(total(out))
    response = distiller.distill['cls_general'].loss.last
    whole = (
        distiller.teachers[GENERAL]
        .read({key: value.flip(2) for key, value in inputs.items()})
        .wait()['head[0]']
    )
    assert torch.equal(response.teacher['cls'], whole[:, :, 1:3, 1:3])


def test_a_teacher_with_a_smaller_answer_is_refused():
    distiller = toy.build(general=toy.teacher(1, trim=1), specialists=None)
    with pytest.raises(MMKDError, match="teacher 'general' is a map of .2, 2."):
        distiller(*toy.batch(), mode='loss')


class Trusting(torch.nn.Module):
    """Halves the general teacher, believes a specialist on the samples where it is better."""

    def forward(self, general, specialists, active):
        self.seen = (general, specialists, active)
        return 0.5 * torch.ones_like(general), ((specialists < general[:, None]) & active).float()


class Everyone(torch.nn.Module):
    def forward(self, general, specialists, active):
        return torch.ones_like(general), active.float()


def test_trust_weighs_each_sample():
    distiller = toy.build(trust=Trusting(), transfers=toy.TRANSFERS[:1])
    inputs, samples = toy.batch()
    out = distiller(inputs, samples, mode='loss')
    general, specialists, active = distiller.distill['trust'].seen
    assert active.tolist() == [[False, False], [True, False], [False, True], [True, True]]
    plain = toy.build(transfers=toy.TRANSFERS[:1])(inputs, samples, mode='loss')
    assert float(out['kd_cls_general']) == pytest.approx(float(plain['kd_cls_general']) / 2)
    targets = distiller.student.sample_targets(samples)
    net = distiller.teachers['occlusion'].net
    with torch.no_grad():
        cls, reg = net(inputs, mode='tensor')
    losses = distiller.student.sample_losses(dict(cls=cls, reg=reg), targets)
    assert torch.allclose(specialists[[1, 3], 0], losses[[1, 3]])
    counted = ((specialists < general[:, None]) & active).float()[:, 0]
    assert float(out['trust_occlusion']) == pytest.approx(float(counted.sum()) / 2)


def test_a_teacher_that_gives_nan_is_named():
    distiller = toy.build(transfers=toy.TRANSFERS[:1])
    distiller.train()
    with torch.no_grad():
        distiller.teachers['occlusion'].net.head.cls.weight.fill_(float('nan'))
    inputs, samples = toy.batch()
    distiller(inputs, samples, mode='loss')
    with pytest.raises(MMKDError, match=r'head\[0\] of occlusion \(of sample 1, 3\)'):
        distiller.guard.read()


def test_stages(monkeypatch):
    distiller = toy.build(
        general_weight=dict(stop_epoch=2), specialist_weight=dict(begin_epoch=2), alpha=0.5
    )
    inputs, samples = toy.batch()
    at(distiller, monkeypatch, iter=1, epoch=0.5)
    out = distiller(inputs, samples, mode='loss')
    assert float(out['loss_kd_cls_general']) > 0
    assert float(out['loss_kd_cls_occlusion']) == 0
    at(distiller, monkeypatch, iter=20, epoch=2.0)
    out = distiller(inputs, samples, mode='loss')
    assert float(out['loss_kd_cls_general']) == 0
    assert float(out['loss_kd_cls_occlusion']) > 0
    assert not distiller.teachers[GENERAL].loaded


def test_the_general_teacher_stays_while_specialists_are_measured_by_it(monkeypatch):
    distiller = toy.build(general_weight=dict(stop_epoch=2), trust=Everyone())
    at(distiller, monkeypatch, iter=20, epoch=2.0)
    out = distiller(*toy.batch(), mode='loss')
    assert float(out['loss_kd_cls_general']) == 0
    assert distiller.teachers[GENERAL].loaded
    assert float(out['kd_cls_occlusion']) > 0


def test_alpha_0_is_the_plain_student():
    distiller = toy.build(alpha=0.0)
    inputs, samples = toy.batch()
    out = distiller(inputs, samples, mode='loss')
    plain = distiller.student(inputs, samples, mode='loss')
    assert float(out['loss_task']) == pytest.approx(float(plain['loss_task']))
    assert not any(teacher.loaded for teacher in distiller.teachers.values())


def test_state_dict_is_the_students_first():
    distiller = toy.build(transfers=[dict(name='neck', student='neck@1')]).train()
    keys = list(distiller.state_dict())
    plain = list(distiller.student.state_dict())
    assert keys[: len(plain)] == plain
    rest = {key.split('.')[1] for key in keys[len(plain) :]}
    assert rest == {'neck_general', 'neck_occlusion', 'neck_fast_motion', 'teachers'}
    MODELS.build(dict(type='ToyPair')).load_state_dict(
        {key: value for key, value in distiller.state_dict().items() if key in plain}, strict=True
    )


def test_two_students():
    distiller = toy.build(
        mutual=dict(
            student=dict(type='ToyPair', width=4), weight=2.0, peer_weight=0.25, margin=1e9
        ),
        transfers=toy.TRANSFERS[:1],
    )
    inputs, samples = toy.batch()
    out = distiller(inputs, samples, mode='loss')
    assert {'peer_loss_task', 'loss_kd_peer_cls_general', 'loss_kd_peer_cls_occlusion'} <= set(out)
    shared = (distiller.student(inputs)[0] - distiller.distill['peer'](inputs)[0]).square().mean()
    # Both were in training mode, where the second pass gives the same numbers as the first.
    torch.testing.assert_close(out['loss_kd_share_cls'], 0.5 * 2 * shared)
    torch.testing.assert_close(out['loss_kd_peer_share_cls'], 0.5 * 2 * 0.25 * shared)
    out['loss_kd_share_cls'].backward(retain_graph=True)
    assert all(p.grad is None for p in distiller.distill['peer'].parameters())
    assert any(p.grad is not None for p in distiller.student.parameters())
    assert [k for k in distiller.state_dict() if k.startswith('distill.peer.')]


def test_a_student_that_is_far_behind_does_not_listen_to_the_other():
    distiller = toy.build(
        mutual=dict(student=dict(type='ToyPair', width=4), margin=-1e9),
        transfers=toy.TRANSFERS[:1],
    )
    out = distiller(*toy.batch(), mode='loss')
    assert float(out['loss_kd_share_cls']) == float(out['loss_kd_peer_share_cls']) == 0


def test_teachers_of_images_teach_along():
    tiny = dict(embed_dim=24, depth=3, num_heads=2, grid=4)
    distiller = toy.build(
        general=dict(type='mmkd.DINOv2Teacher', arch=tiny, weights='random'),
        specialists=None,
        transfers=[dict(student='neck@1', teacher='last', align='resize')],
        image_key='search_img',
    )
    out = distiller(*toy.batch(), mode='loss')
    assert float(out['loss_kd_neck_1_general']) > 0


def test_samples_without_attributes_are_told():
    inputs, samples = toy.batch()
    for sample in samples:
        sample.pop('attributes')
        sample.pop('attribute_groups')
    distiller = toy.build()
    # A mixture of data sets may begin with those that have none.
    for _ in range(PATIENCE - 1):
        assert float(distiller(inputs, samples, mode='loss')['routed_occlusion']) == 0
    with pytest.raises(MMKDError, match='no data sample of 5 batches has .attributes. or'):
        distiller(inputs, samples, mode='loss')
    everything = dict(occlusion=dict(teacher=toy.teacher(2), attributes='all'))
    out = toy.build(specialists=everything)(inputs, samples, mode='loss')
    assert float(out['routed_occlusion']) == 1


def test_groups_route_as_names_do():
    inputs, samples = toy.batch([(), ()])
    samples[1].set_metainfo(dict(attribute_groups=('fast_motion',)))
    distiller = toy.build(specialists=dict(fast_motion=toy.teacher(3)))
    assert float(distiller(inputs, samples, mode='loss')['routed_fast_motion']) == 0.5


class WholeBatchLoss(torch.nn.Module):
    reductions = ('mean',)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(transfers=[]), 'not empty'),
        (dict(transfers=[dict(student='nek')]), "no module 'nek'.*'neck'"),
        (dict(transfers=[dict(student='neck', los={})]), "no key 'los'.*'loss'"),
        (dict(transfers=[dict(student='neck@x')]), 'counted from 0'),
        (dict(transfers=[dict(loss=dict(type='mmkd.MSEDistillLoss'))]), 'needs student='),
        (dict(transfers=[dict(student='neck@1')] * 2), "named 'neck_1'"),
        (dict(transfers=[dict(student='neck', to='everyone')]), "no to='everyone'"),
        (dict(transfers=[dict(student='neck', align='left')]), "no align='left'"),
        (
            dict(transfers=[dict(student='neck', loss=WholeBatchLoss())]),
            'no value for each sample',
        ),
        (dict(specialists=[1]), 'specialists is a dict'),
        (dict(specialists=dict(general=toy.teacher(2))), "not 'general'"),
        (dict(specialists=dict(a=dict(attributes='FM'))), "specialist 'a' is a teacher"),
        (dict(specialists=dict(a=dict(teacher={}, attribute='FM'))), "'attribute'.*'attributes'"),
        (dict(specialists=dict(a=dict(teacher={}, attributes=3))), 'attributes are names'),
        (dict(image_key='search'), "image_key='search'.*'search_img'"),
        (dict(divide_by='two'), "no divide_by='two'"),
        (dict(mutual=dict(margin=1)), r'mutual is dict\(student='),
        (dict(mutual=dict(student=dict(type='ToyPair'), wait=1)), "no key 'wait'.*'weight'"),
        (
            dict(mutual=dict(student=dict(type='ToyPair'), transfers=['x'])),
            "no entry 'x'",
        ),
        (
            dict(mutual=dict(student=dict(type='ToyPair')), transfers=[dict(student='neck@1')]),
            'nothing to tell each other',
        ),
    ],
)
def test_mistakes_are_told(changes, message):
    with pytest.raises(MMKDError, match=message):
        toy.build(**changes)(*toy.batch(), mode='loss')


def test_answers_need_a_student_that_gives_them():
    from tests.test_distill import toys

    with pytest.raises(MMKDError, match='ToyStudent lacks response_taps'):
        toy.build(
            student=dict(type='ToyStudent'),
            general=dict(type='mmkd.DINOv2Teacher', arch=dict(toys.TINY), weights='random'),
            specialists=None,
            transfers=[dict(student='head', teacher='last', loss=dict(type='ToyAnswerLoss'))],
        )


def test_losses_that_know_their_channels():
    """MGD generates the teacher's map: of its width, found, not typed."""
    distiller = toy.build(
        transfers=[dict(name='mgd', student='neck@1', loss=dict(type='mmkd.MGDLoss'))]
    )
    out = distiller(*toy.batch(), mode='loss')
    assert float(out['loss_kd_mgd_occlusion']) > 0
    assert distiller.distill['mgd_occlusion'].loss.channels == 8


def test_a_part_of_a_batch_of_clips():
    from mmkd.distill.distillers.step import Step

    images = torch.arange(6.0).reshape(3, 2, 1, 1, 1).expand(3, 2, 3, 8, 8)
    samples = [toy.sample() for _ in range(3)]
    preprocessor = torch.nn.Module()
    step = Step({'img': images}, samples, preprocessor)
    part = step.take([0, 2], torch.tensor([0, 2]))
    assert part.images[:, 0, 0, 0].tolist() == [0, 1, 4, 5]
    assert part.data_samples == [samples[0], samples[2]]
    assert part.mask((4, 4), (8.0, 8.0)).shape == (4, 1, 4, 4)
    # A map per frame has no row per sample.
    distiller = toy.build(transfers=[dict(student='neck')])
    with pytest.raises(MMKDError, match='ran 2 times'):
        distiller(*toy.batch(), mode='loss')
