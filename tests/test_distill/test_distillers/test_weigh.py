import pytest
import torch
from torch import nn

from mmkd.distill.distillers.weigh import weigh_teachers

from ..toys import TINY, batch, build

TEACHER = {'type': 'mmkd.DINOv2Teacher', 'arch': dict(TINY), 'weights': 'random'}


class Fixed(nn.Module):
    def __init__(self, shares):
        super().__init__()
        self.shares = torch.tensor(shares)
        self.seen = None

    def forward(self, losses):
        self.seen = losses
        return self.shares


def test_a_teachers_pairs_are_judged_together_and_weighed_apart():
    balance = Fixed([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    values = {
        'a': torch.tensor([1.0, 2.0, 3.0], requires_grad=True),
        'b': torch.tensor([4.0, 5.0, 6.0]),
        'c': torch.tensor([7.0, 8.0, 9.0]),
    }
    weights = {'a': 1.0, 'b': 2.0, 'c': 0.5}
    out = weigh_teachers(balance, values, weights, {'a': 'x', 'b': 'x', 'c': 'y'})
    assert balance.seen.tolist() == [[9.0, 3.5], [12.0, 4.0], [15.0, 4.5]]
    assert not balance.seen.requires_grad
    # four of six stay, so each counts one and a half times
    assert out['a'].item() == pytest.approx((1 + 2) / 3 * 1.5)
    assert out['c'].item() == pytest.approx((8 + 9) / 3 * 1.5)
    out['a'].backward()
    assert values['a'].grad.tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_whoever_is_left_alone_counts_in_full():
    value = torch.tensor([1.0, 3.0])
    out = weigh_teachers(Fixed([[1.0], [1.0]]), {'a': value}, {'a': 1.0}, {'a': 'x'})
    assert out['a'].item() == pytest.approx(2.0)


def test_dropping_needs_no_more_than_a_config():
    torch.manual_seed(0)
    distiller = build(
        teacher=None,
        teachers={'x': TEACHER, 'y': dict(TEACHER, input_size=0.5)},
        distill=[
            {'student': 'neck[0]', 'teacher': 'x.last', 'name': 'a'},
            {'student': 'neck[0]', 'teacher': 'y.last', 'name': 'b'},
        ],
        balance={'type': 'mmkd.TeacherDrop', 'p': 1.0},
    ).train()
    distiller.student.backbone[3].p = 0.0
    out = distiller(*batch(), mode='loss')
    free = build(
        teacher=None,
        teachers={'x': TEACHER, 'y': dict(TEACHER, input_size=0.5)},
        distill=[
            {'student': 'neck[0]', 'teacher': f'{t}.last', 'name': n, 'loss': loss}
            for t, n, loss in zip(
                'xy', 'ab', [{'type': 'mmkd.CosineDistillLoss', 'reduction': 'sample'}] * 2
            )
        ],
    ).train()
    free.student.backbone[3].p = 0.0
    free.load_state_dict(distiller.state_dict())
    distiller(*batch(), mode='loss')
    plain = free(*batch(), mode='loss')
    # with p=1 only the worst teacher of each sample is left
    total = out['kd_a'] + out['kd_b']
    assert total > plain['kd_a'] + plain['kd_b'] - 1e-6
