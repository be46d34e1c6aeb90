import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmkd.distill import CosineDistillLoss, FeatureTransform
from mmkd.errors import MMKDError

from ..toys import TINY, ToyStudent, batch, build, config, sample

TWO = [
    {'student': 'neck[0]', 'teacher': 'last', 'name': 'fine', 'weight': 2.0},
    {
        'student': 'backbone',
        'teacher': 'block_0',
        'loss': {'type': 'mmkd.MSEDistillLoss'},
        'transform': {'type': 'mmkd.FeatureTransform', 'layers': 'multi'},
    },
]


def _still(distiller):
    """Without dropout, so that two passes agree; the teacher loaded."""
    distiller.train()
    for module in distiller.modules():
        if isinstance(module, (nn.Dropout, nn.BatchNorm2d)):
            module.eval()
    return distiller


def test_the_arithmetic():
    alpha = 0.3
    distiller = _still(build(distill=TWO, alpha=alpha))
    inputs, samples = batch()
    task = distiller.student(inputs, samples, mode='loss')
    out = distiller(inputs, samples, mode='loss')
    assert torch.equal(out['loss_heat'], task['loss_heat'] * (1 - alpha))
    for ours, theirs in zip(out['loss_levels'], task['loss_levels']):
        assert torch.equal(ours, theirs * (1 - alpha))
    assert torch.equal(out['accuracy'], task['accuracy'])
    raw = task['loss_heat'] + sum(task['loss_levels'])
    torch.testing.assert_close(out['task_raw'], raw.detach())
    torch.testing.assert_close(out['loss_kd_fine'], out['kd_fine'] * alpha * 2)
    torch.testing.assert_close(out['loss_kd_backbone'], out['kd_backbone'] * alpha)
    total, _ = distiller.parse_losses(out)
    expected = (1 - alpha) * raw + alpha * (2 * out['kd_fine'] + out['kd_backbone'])
    torch.testing.assert_close(total, expected)
    assert not any(out[k].requires_grad for k in ('task_raw', 'kd_fine', 'kd_backbone'))


def test_the_loss_is_what_its_parts_give():
    distiller = _still(build())
    inputs, samples = batch()
    mean, std = (getattr(distiller.data_preprocessor, k) for k in ('mean', 'std'))
    target = distiller.teacher(inputs * std + mean)['last']
    assert target.shape[2:] == (4, 6)
    tapped = distiller.student.neck(distiller.student.backbone(inputs))[0]
    pair = distiller.distill['neck_0']
    mask = torch.ones(2, 1, 4, 6, dtype=torch.bool)
    mask[:, :, 3] = False  # 14 of the 56 rows are padding
    expected = CosineDistillLoss()(pair.transform(tapped, (4, 6)), target, mask)
    out = distiller(inputs, samples, mode='loss')
    torch.testing.assert_close(out['kd_neck_0'], expected.detach())
    unmasked = _still(build(mask=False))(inputs, samples, mode='loss')['kd_neck_0']
    assert not torch.equal(unmasked, out['kd_neck_0'])


def test_padding_never_contributes():
    distiller = _still(build(teacher=dict(config()['teacher'], blocks=('last',))))
    inputs, _ = batch()
    nothing = [sample(img_shape=(1, 1)), sample(img_shape=(1, 1))]
    out = distiller(inputs, nothing, mode='loss')
    assert out['loss_kd_neck_0'].item() == 0
    out['loss_kd_neck_0'].backward()


def test_gradients_reach_the_student_and_the_transform_only():
    distiller = _still(build(distill=TWO))
    out = distiller(*batch(), mode='loss')
    (out['loss_kd_fine'] + out['loss_kd_backbone']).backward()
    for name in ('student.backbone.0.weight', 'student.neck.lateral.weight'):
        assert dict(distiller.named_parameters())[name].grad.abs().sum() > 0
    for name, parameter in distiller.distill.named_parameters():
        assert parameter.grad is not None, name
    assert distiller.student.head.weight.grad is None
    assert all(p.grad is None for p in distiller.teacher.parameters())


def test_training_teaches_the_student_and_not_the_teacher():
    distiller = build(alpha=0.9).train()
    before = distiller.teacher.fingerprint()
    wrapper = OptimWrapper(torch.optim.Adam(distiller.parameters(), lr=1e-2))
    inputs = [torch.randint(0, 256, (3, 56, 84), dtype=torch.uint8) for _ in range(2)]
    data = {'inputs': inputs, 'data_samples': [sample(), sample()]}
    logs = [distiller.train_step(data, wrapper) for _ in range(30)]
    assert logs[-1]['kd_neck_0'] < 0.7 * logs[0]['kd_neck_0']
    assert distiller.teacher.fingerprint() == before
    assert not any(module._forward_hooks for module in distiller.modules())


def test_no_graph_survives_the_step():
    distiller = build().train()
    seen = []

    def watch(module, args, output):
        import weakref

        seen.append(weakref.ref(output[0]))

    distiller.student.neck.register_forward_hook(watch)
    losses = distiller(*batch(), mode='loss')
    total, _ = distiller.parse_losses(losses)
    total.backward()
    del losses, total
    assert seen[0]() is None


def test_alpha_zero_needs_no_teacher_and_trains_nothing_besides():
    missing = dict(config()['teacher'], weights='no/such/file.pth')
    distiller = build(alpha=0, teacher=missing).train()
    inputs, samples = batch()
    out = _still(distiller)(inputs, samples, mode='loss')
    task = distiller.student(inputs, samples, mode='loss')
    assert torch.equal(out['loss_heat'], task['loss_heat'])
    assert not any('kd' in key for key in out)
    assert not any(p.requires_grad for p in distiller.distill.parameters())
    assert all(p.requires_grad for p in distiller.student.parameters())
    assert not distiller.teacher.loaded


def test_alpha_one_leaves_the_task_no_weight():
    with pytest.warns(UserWarning, match='alpha=1'):
        distiller = build(alpha=1).train()
    out = distiller(*batch(), mode='loss')
    assert out['loss_heat'].item() == 0
    assert out['task_raw'].item() > 0


def test_a_weight_of_zero_leaves_a_pair_out():
    off = dict(TWO[1], weight=0)
    distiller = build(distill=[TWO[0], off]).train()
    out = distiller(*batch(), mode='loss')
    assert [key for key in out if key.startswith('loss_kd')] == ['loss_kd_fine']
    assert not any(p.requires_grad for p in distiller.distill['backbone'].parameters())
    assert list(distiller.teacher(batch()[0])) == ['last']
    # Its name is still checked.
    with pytest.raises(MMKDError, match="no feature 'lats'"):
        build(distill=[TWO[0], dict(off, teacher='lats')])


def test_teacher_to_student():
    entry = dict(TWO[0], direction='teacher_to_student')
    distiller = _still(build(distill=[entry]))
    transform = distiller.distill['fine'].transform
    assert (transform.in_channels, transform.out_channels) == (24, 10)
    distiller(*batch(), mode='loss')['loss_kd_fine'].backward()
    assert transform.project.weight.grad.abs().sum() > 0
    assert distiller.student.neck.lateral.weight.grad.abs().sum() > 0


def test_parts_may_be_given_as_modules():
    transform, loss = FeatureTransform(10, 24), CosineDistillLoss(flatten=True)
    distiller = build(
        student=ToyStudent(fail_dry=True),
        distill=[{'student': 'neck[0]', 'teacher': 'last', 'transform': transform, 'loss': loss}],
    ).train()
    assert distiller.distill['neck_0'].transform is transform
    assert torch.isfinite(distiller(*batch(), mode='loss')['loss_kd_neck_0'])


def test_bfloat16_autocast_trains():
    distiller = build().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = distiller(*batch(), mode='loss')
    assert out['kd_neck_0'].dtype == torch.float32
    total, _ = distiller.parse_losses(out)
    total.backward()
    assert all(math.isfinite(p.grad.sum()) for p in distiller.parameters())


def test_the_report_tells_what_is_done(caplog):
    distiller = build(distill=TWO)
    assert distiller.report()['teachers']['teacher']['fingerprint'] is None
    with caplog.at_level('INFO', logger='mmengine'):
        distiller.train()
    report = distiller.report()
    assert report['teachers']['teacher']['random']
    assert report['teachers']['teacher']['fingerprint'] == distiller.teacher.fingerprint()
    fine, coarse = report['pairs']
    assert (fine['student_channels'], fine['teacher_channels']) == (10, 24)
    assert (fine['student_stride'], fine['teacher_stride']) == ('4', 14)
    assert fine['transform_parameters'] == 10 * 24 + 24
    assert coarse['loss'] == 'MSEDistillLoss'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'distill': []}, 'not empty'),
        ({'distill': dict(TWO[0])}, 'is a list'),
        ({'distill': [TWO[0], TWO[0]]}, "2 entries of distill are named 'fine'"),
        ({'distill': ['neck']}, r'is a dict\(student'),
        ({'distill': [{'student': 'neck[0]'}]}, 'needs teacher='),
        ({'distill': [dict(TWO[0], student='nek')]}, "Did you mean 'neck'"),
        ({'distill': [dict(TWO[0], student='neck')]}, r'Choose one of .neck\[0\]'),
        ({'distill': [dict(TWO[0], teacher='block_9')]}, "no feature 'block_9'"),
        ({'distill': [dict(TWO[0], weigth=1)]}, "Did you mean 'weight'"),
        ({'distill': [dict(TWO[0], weight=-1)]}, '0 or more'),
        ({'distill': [dict(TWO[0], name='my_loss')]}, "without 'loss'"),
        ({'distill': [dict(TWO[0], name='a.b')]}, 'letters, digits'),
        ({'distill': [dict(TWO[0], name='keys')]}, 'cannot be named'),
        ({'distill': [dict(TWO[0], direction='student')]}, "Did you mean.*'student_to_teacher'"),
        (
            {
                'distill': [
                    dict(TWO[0], transform={'type': 'mmkd.FeatureTransform', 'in_channels': 9})
                ]
            },
            'in_channels=9, but it is 10',
        ),
    ],
)
def test_mistakes_are_told_before_training(changes, message):
    with pytest.raises(MMKDError, match=message):
        build(**changes)


def test_a_name_that_the_student_logs_is_told():
    class Logs(ToyStudent):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            out = super().forward(inputs, data_samples, mode)
            if mode == 'loss':
                out['kd_fine'] = torch.zeros(())
            return out

    distiller = build(student=Logs(), distill=TWO)
    with pytest.raises(MMKDError, match="logs 'kd_fine' itself"):
        distiller(*batch(), mode='loss')


def test_maps_of_another_batch_are_told():
    class Halves(ToyStudent):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return super().forward(inputs[:1] if mode == 'loss' else inputs, data_samples, mode)

    with pytest.raises(MMKDError, match='gives 1 maps .* and the teacher 2'):
        build(student=Halves())(*batch(), mode='loss')


def test_several_teacher_features_come_from_one_run():
    distiller = build(distill=TWO).train()
    runs = []
    extract = distiller.teacher.extract
    distiller.teacher.extract = lambda x: (runs.append(1), extract(x))[1]
    distiller(*batch(), mode='loss')
    assert len(runs) == 1
    assert len(distiller.teacher.net.blocks) == TINY['depth']


@pytest.mark.parametrize('mask', [True, False])
def test_labels_in_the_place_of_samples_are_the_students_business(mask):
    distiller = build(mask=mask).train()
    inputs, _ = batch()
    assert torch.isfinite(distiller(inputs, torch.zeros(2), mode='loss')['kd_neck_0'])


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_a_student_may_be_given_in_another_precision(dtype):
    distiller = build(student=ToyStudent().to(dtype)).train()
    inputs, samples = batch()
    out = distiller(inputs.to(dtype), samples, mode='loss')
    distiller.parse_losses(out)[0].backward()
    assert all(p.dtype == dtype and p.grad is not None for p in distiller.distill.parameters())


def test_vectors_have_no_places_to_weigh():
    class Pooled(ToyStudent):
        def __init__(self):
            super().__init__()
            self.pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

        def forward(self, inputs, data_samples=None, mode='tensor'):
            vector = self.pool(self.neck(self.backbone(inputs))[0])
            return {'loss': vector.square().mean()} if mode == 'loss' else vector

    distiller = build(
        student=Pooled(),
        teacher={'type': 'mmkd.EMATeacher'},
        distill=[
            {'student': 'pool', 'teacher': 'pool', 'weighting': {'type': 'mmkd.ForegroundWeight'}}
        ],
    ).train()
    with pytest.raises(MMKDError, match=r'weighting= weighs the places .* \(2, 10\)'):
        distiller(*batch(), mode='loss')
