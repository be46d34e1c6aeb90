"""What stands around a model in OpenMMLab, around a distiller: it must not matter."""

import copy
import sys

import pytest
import torch
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.utils import digit_version
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmkd.engine import Bf16OptimWrapper
from mmkd.registry import MODELS

from ..toys import ToyStudent, batch, build, sample

CAN_COMPILE = hasattr(nn.Module, 'compile') and not (
    digit_version(torch.__version__) < digit_version('2.1') and sys.version_info >= (3, 11)
)


def _raw(seed=0, n=2):
    generator = torch.Generator().manual_seed(seed)
    images = [
        torch.randint(0, 256, (3, 56, 84), dtype=torch.uint8, generator=generator) for _ in range(n)
    ]
    return {'inputs': images, 'data_samples': [sample(img_shape=(42, 84)) for _ in range(n)]}


def _quiet(distiller):
    distiller.student.backbone[3].p = 0.0
    return distiller


def _train(model, wrapper=None, steps=3):
    wrapper = wrapper or OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05))
    return [model.train_step(_raw(seed), wrapper) for seed in range(steps)]


def _plain(state):
    return {k: v for k, v in state.items() if not k.startswith('distill.')}


def test_the_exported_student_gives_the_wrapped_ones_bits():
    distiller = build().train()
    _train(distiller)
    student = MODELS.build({'type': 'ToyStudent'})
    student.load_state_dict(_plain(distiller.state_dict()), strict=True)
    for model in (distiller, student):
        model.eval()
    data = _raw(9)
    ours, theirs = (model.val_step(copy.deepcopy(data))[0] for model in (distiller, student))
    assert torch.equal(ours, theirs)
    inputs = batch()[0]
    assert torch.equal(distiller(inputs), student(inputs))


def test_a_copy_trains_as_the_original():
    distiller = _quiet(build().train())
    _train(distiller, steps=1)
    twin = copy.deepcopy(distiller)
    first, second = _train(distiller), _train(twin)
    assert first[-1]['loss'] == second[-1]['loss']
    assert first[-1]['loss'] < first[0]['loss'] * 2
    assert twin._taps is not distiller._taps
    assert not any(module._forward_hooks for module in twin.student.modules())


@pytest.mark.parametrize('convert', [convert_sync_batchnorm, nn.SyncBatchNorm])
def test_sync_batchnorm_is_for_the_student_alone(convert):
    before = build().train()
    teacher = before.teacher.fingerprint()
    names = list(before.state_dict())
    if convert is nn.SyncBatchNorm:
        after = nn.SyncBatchNorm.convert_sync_batchnorm(before)
    else:
        after = convert(before)
    assert isinstance(after.student.backbone[1], nn.modules.batchnorm._BatchNorm)
    assert 'Sync' in type(after.student.backbone[1]).__name__
    assert not any('Sync' in type(m).__name__ for m in after.teacher.modules())
    assert list(after.state_dict()) == names
    assert after.teacher.fingerprint() == teacher
    again = revert_sync_batchnorm(after)
    assert 'Sync' not in type(again.student.backbone[1]).__name__
    again(*batch(), mode='loss')


@pytest.mark.parametrize('kind', ['bf16', 'amp'])
def test_mixed_precision_trains(kind):
    distiller = build().train()
    optimiser = torch.optim.SGD(distiller.parameters(), lr=0.05)
    if kind == 'amp':
        if not torch.cuda.is_available():
            pytest.skip('mmengine asks for a GPU')
        distiller.cuda()
        wrapper = AmpOptimWrapper(optimizer=optimiser)
    else:
        wrapper = Bf16OptimWrapper(optimizer=optimiser)
    before = copy.deepcopy(distiller.student.state_dict())
    logs = _train(distiller, wrapper)
    assert all(torch.isfinite(torch.as_tensor(log['loss'])) for log in logs)
    assert logs[0]['kd_neck_0'].dtype == torch.float32
    assert not torch.equal(before['neck.lateral.weight'], distiller.neck.lateral.weight)


@pytest.mark.parametrize('reentrant', [True, False])
def test_gradient_checkpointing_gives_the_same_step(reentrant):
    class Checkpointed(ToyStudent):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode != 'loss':
                return super().forward(inputs, data_samples, mode)
            features = checkpoint(self.backbone, inputs.requires_grad_(), use_reentrant=reentrant)
            heat = self.head(checkpoint(self.neck, features, use_reentrant=reentrant)[0])
            return {
                'loss_heat': heat.square().mean(),
                'loss_levels': [heat.abs().mean(), (heat - 1).square().mean()],
            }

    torch.manual_seed(0)
    models = [_quiet(build().train()), _quiet(build(student=Checkpointed()).train())]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        losses = model(*batch(), mode='loss')
        total = model.parse_losses(losses)[0]
        total.backward()
    for (name, ours), theirs in zip(models[0].named_parameters(), models[1].parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_hooks_of_others_see_each_run_once():
    distiller = build().train()
    seen = []
    distiller.student.neck.register_forward_hook(lambda m, a, o: seen.append(tuple(o[0].shape)))
    distiller.neck.lateral.register_full_backward_hook(lambda m, i, o: seen.append('back'))
    _train(distiller, steps=1)  # its gradients are looked at once more, at the start
    seen.clear()
    _train(distiller, steps=2)
    assert seen == [(2, 10, 14, 21), 'back'] * 2
    assert len(distiller.student.neck._forward_hooks) == 1


@pytest.mark.skipif(not CAN_COMPILE, reason='this torch cannot compile under this Python')
@pytest.mark.slow
def test_a_compiled_student_learns_the_same():
    models = [_quiet(build(alpha=0.7).train()) for _ in range(2)]
    models[1].compile(backend='aot_eager')
    models[1].compile(backend='aot_eager')
    assert models[1]._compiled_call_impl is None
    logs = [_train(model, steps=4) for model in models]
    for ours, theirs in zip(*logs):
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], msg=name, rtol=1e-4, atol=1e-5)
    # each batch gave its own maps: what a step taps is never what an earlier one left
    assert len({float(log['kd_neck_0']) for log in logs[1]}) == 4
    assert list(models[0].state_dict()) == list(models[1].state_dict())
    for model in models:
        model.eval()
    first, second = (model.val_step(_raw(7))[0] for model in models)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)
    again = copy.deepcopy(models[1]).train()
    assert again(*batch(), mode='loss')['kd_neck_0'] > 0


@pytest.mark.skipif(not CAN_COMPILE, reason='this torch cannot compile under this Python')
@pytest.mark.slow
def test_a_compiled_whole_learns_the_same():
    # What somebody gets who compiles the wrapper himself.
    models = [_quiet(build().train()) for _ in range(2)]
    compiled = torch.compile(models[1], backend='aot_eager')
    for seed in range(3):
        data = batch(seed=seed)
        ours, theirs = models[0](*data, mode='loss'), compiled(*data, mode='loss')
        torch.testing.assert_close(ours['kd_neck_0'], theirs['kd_neck_0'], rtol=1e-4, atol=1e-5)


def test_a_compiled_student_is_calibrated_too():
    if not CAN_COMPILE:
        pytest.skip('this torch cannot compile under this Python')
    calibration = {'type': 'mmkd.GradientRatio', 'interval': 1}
    distiller = _quiet(build(calibration=calibration).train())
    distiller.compile(backend='aot_eager')
    logs = _train(distiller, steps=2)
    assert all(torch.isfinite(torch.as_tensor(log['loss'])) for log in logs)


def test_weights_follow_the_clock_and_the_teacher_goes_when_its_work_is_done():
    from mmengine.logging import MessageHub

    weight = {'value': 2.0, 'warmup_iters': 2, 'stop_iter': 4}
    distiller = build(distill=[{'student': 'neck[0]', 'teacher': 'last', 'weight': weight}]).train()
    hub = MessageHub.get_current_instance()
    before = dict(hub.runtime_info)
    try:
        shares = []
        for step in range(6):
            hub.update_info('iter', step)
            out = distiller(*batch(), mode='loss')
            kd = out.get('kd_neck_0')
            shares.append(0.0 if kd is None else (out['loss_kd_neck_0'] / kd / 0.5).item())
            out['loss_kd_neck_0'].backward()
            grads = [p.grad is not None for p in distiller.distill.parameters()]
            assert all(grads)  # DDP waits for each, also while the entry rests
            distiller.zero_grad()
            assert distiller.teacher.loaded == (step < 4)
    finally:
        hub.runtime_info.clear()
        hub.runtime_info.update(before)
    assert shares == pytest.approx([0.0, 1.0, 2.0, 2.0, 0.0, 0.0])


def test_a_scheduled_alpha_gives_the_task_the_rest():
    from mmengine.logging import MessageHub

    distiller = build(alpha={'value': 0.5, 'stop_iter': 1}).train()
    hub = MessageHub.get_current_instance()
    before = dict(hub.runtime_info)
    try:
        for step, share in ((0, 0.5), (1, 1.0)):
            hub.update_info('iter', step)
            out = distiller(*batch(), mode='loss')
            total = out['loss_heat'] + sum(out['loss_levels'])
            assert total.item() == pytest.approx(share * out['task_raw'].item(), rel=1e-5)
    finally:
        hub.runtime_info.clear()
        hub.runtime_info.update(before)
