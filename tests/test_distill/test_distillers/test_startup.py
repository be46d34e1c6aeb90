"""A distillation that does nothing does not run."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmkd.distill.distillers import startup
from mmkd.distill.distillers.startup import nearest_parameters
from mmkd.errors import MMKDError

from ..toys import ToyStudent, batch, build


class Detached(ToyStudent):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = self.backbone(inputs)
        with torch.no_grad():
            heat = self.neck(features)[0]
        heat = self.head(heat + self.neck.lateral(features))
        return {'loss_heat': heat.square().mean()} if mode == 'loss' else heat


class Zero(nn.Module):
    """Connected, and of no consequence."""

    def forward(self, student, teacher, mask=None):
        return (student * 0).sum()


class Late(nn.Module):
    """Has nothing to say about the first batches."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, student, teacher, mask=None):
        self.calls += 1
        return (student * float(self.calls > 3)).sum()


def _pair(loss, **changes):
    return build(distill=[{'student': 'neck[0]', 'teacher': 'last', 'loss': loss}], **changes)


def test_a_loss_that_arrives_is_looked_at_once(monkeypatch):
    distiller = build().train()
    looks = []
    original = startup.ArrivalCheck.look
    monkeypatch.setattr(
        startup.ArrivalCheck, 'look', lambda self, *args: (looks.append(1), original(self, *args))
    )
    for _ in range(3):
        distiller(*batch(), mode='loss')
    assert len(looks) == 1


def test_the_norm_is_that_of_the_nearest_parameters():
    distiller = build().train()
    distiller.student.backbone[3].p = 0.0
    check = startup.ArrivalCheck()
    out = distiller(*batch(), mode='loss')
    check.look('x', out['loss_kd_neck_0'], distiller.student, 'neck', out['loss_kd_neck_0'])
    out['loss_kd_neck_0'].backward()
    student = distiller.student
    reached = [p.grad for p in student.parameters() if p.grad is not None]
    expected = torch.stack([g.norm() for g in reached]).norm()
    assert check.arrived['x'] == pytest.approx(expected.item(), rel=1e-5)


def test_a_detached_map_stops_the_training():
    with pytest.raises(MMKDError, match=r"'neck' gives has no gradient"):
        build(student=Detached()).train()(*batch(), mode='loss')


def test_a_frozen_student_stops_the_training():
    distiller = build().train()
    for part in (distiller.student.backbone, distiller.student.neck):
        part.requires_grad_(False)
    with pytest.raises(MMKDError, match="'neck' is frozen, and everything before it"):
        distiller(*batch(), mode='loss')


def test_a_frozen_tap_behind_which_something_learns_is_fine():
    distiller = build().train()
    distiller.student.neck.requires_grad_(False)
    distiller(*batch(), mode='loss')
    assert distiller._arrival is None


def test_a_gradient_of_nothing_is_waited_for_and_then_told(monkeypatch):
    monkeypatch.setattr(startup, 'PATIENCE', 3)
    distiller = _pair(Zero()).train()
    for _ in range(2):
        distiller(*batch(), mode='loss')
    with pytest.raises(MMKDError, match='exactly 0 at .* in the first 3 steps'):
        distiller(*batch(), mode='loss')


def test_a_loss_may_come_late():
    distiller = _pair(Late()).train()
    for _ in range(3):
        distiller(*batch(), mode='loss')
        assert distiller._arrival is not None
    distiller(*batch(), mode='loss')
    assert distiller._arrival is None


def test_a_bad_first_batch_proves_nothing():
    distiller = _pair(Zero(), nan_policy='skip').train()
    inputs, samples = batch()
    distiller(inputs * float('nan'), samples, mode='loss')
    assert distiller._arrival.arrived == {}


@pytest.mark.parametrize('reentrant', [True, False])
def test_checkpointed_students_pass(reentrant):
    class Checkpointed(ToyStudent):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode != 'loss':
                return super().forward(inputs, data_samples, mode)
            inputs.requires_grad_()
            features = checkpoint(self.backbone, inputs, use_reentrant=reentrant)
            heat = self.head(self.neck(features)[0])
            return {'loss_heat': heat.square().mean()}

    distiller = build(student=Checkpointed()).train()
    losses = distiller(*batch(), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None for p in distiller.student.parameters())


def test_nearest_parameters_come_first():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5))
    loss = net(torch.ones(1, 2)).sum()
    assert nearest_parameters(loss, net, count=1)[0] is net[2].bias
    assert len(nearest_parameters(loss, net)) == 6
    assert nearest_parameters(loss.detach().requires_grad_() * 1, net) == []


def test_a_teacher_that_changes_is_found_after_the_first_step():
    distiller = build().train()
    distiller(*batch(), mode='loss')
    with torch.no_grad():
        distiller.teacher.net.blocks[0].mlp.fc1.weight[0, 0] += 1e-3
    with pytest.raises(
        MMKDError,
        match='changed by the first step.*1 of .* tensors differ: blocks.0.mlp.fc1.weight',
    ):
        distiller(*batch(), mode='loss')


def test_an_unchanged_teacher_is_hashed_twice_and_no_more():
    distiller = build().train()
    hashes = []
    original = distiller.teacher.identity
    distiller.teacher.identity = lambda: (hashes.append(1), original())[1]
    for _ in range(4):
        distiller(*batch(), mode='loss')
    assert len(hashes) == 1  # the other one was taken by train()


def test_a_student_that_would_be_saved_under_other_names_is_told():
    distiller = build().train()
    inner = distiller.student.neck

    def rename(module, state, prefix, metadata):
        if 'student' in prefix:
            state[f'{prefix}renamed'] = state.pop(f'{prefix}lateral.bias')

    inner._register_state_dict_hook(rename)
    with pytest.raises(MMKDError, match='would not fit the plain model.*neck.lateral.bias'):
        distiller(*batch(), mode='loss')


def test_processes_with_different_teachers_are_told(monkeypatch):
    monkeypatch.setattr(startup, 'get_world_size', lambda: 2)
    other = {'teacher': 'b' * 64}
    monkeypatch.setattr(startup, 'all_gather_object', lambda mine: [mine, other])
    startup.check_ranks(other)
    with pytest.raises(MMKDError, match='rank 0: aaaaaaaaaaaaaaaa, rank 1: bbbbbbbbbbbbbbbb'):
        startup.check_ranks({'teacher': 'a' * 64})
