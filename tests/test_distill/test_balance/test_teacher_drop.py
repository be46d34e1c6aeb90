import pytest
import torch

from mmkd.distill.balance import TeacherDrop
from mmkd.errors import MMKDError
from mmkd.registry import MODELS


def _slow(losses, luck, p, active=None):
    """The published rule with given random numbers, one image and one teacher after the other."""
    out = torch.zeros_like(losses)
    for n in range(losses.shape[0]):
        has = [t for t in range(losses.shape[1]) if active is None or active[n, t]]
        worst = max(has, key=lambda t: losses[n, t].item()) if has else None
        for t in has:
            dropped = t != worst and luck[n, t].item() < p
            out[n, t] = 0 if dropped else 1
    return out


@pytest.mark.parametrize('p', [0, 0.3, 0.5, 1])
@pytest.mark.parametrize('partial', [False, True])
def test_is_the_slow_rule(p, partial):
    torch.manual_seed(1)
    losses = torch.rand(64, 4)
    active = torch.rand(64, 4) > 0.4 if partial else None
    if partial:
        active[:3] = False
        losses = losses.masked_fill(~active, float('nan'))
    torch.manual_seed(7)
    out = TeacherDrop(p)(losses, active)
    torch.manual_seed(7)
    assert torch.equal(out, _slow(losses, torch.rand(64, 4), p, active))


def test_the_worst_stays_and_others_go_as_often_as_asked():
    torch.manual_seed(0)
    losses = torch.rand(5000, 3)
    out = TeacherDrop(0.3)(losses)
    worst = losses.argmax(1, keepdim=True)
    assert (out.gather(1, worst) == 1).all()
    rest = out.scatter(1, worst, 0).sum() / (2 * 5000)
    assert rest.item() == pytest.approx(0.7, abs=0.02)


def test_eval_keeps_all():
    losses = torch.rand(6, 3)
    drop = TeacherDrop(1).eval()
    assert torch.equal(drop(losses), torch.ones(6, 3))
    active = torch.rand(6, 3) > 0.5
    assert torch.equal(drop(losses, active), active.float())


def test_one_teacher_is_never_dropped():
    assert (TeacherDrop(1)(torch.rand(6, 1)) == 1).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_coefficients_are_constants_of_the_losses_type(dtype):
    losses = torch.rand(6, 3).to(dtype).requires_grad_()
    out = MODELS.build(dict(type='mmkd.TeacherDrop'))(losses)
    assert out.dtype == dtype
    assert not out.requires_grad


@pytest.mark.parametrize('p', [-0.1, 1.1, None, True])
def test_p_is_a_probability(p):
    with pytest.raises(MMKDError, match='p= as a probability'):
        TeacherDrop(p)


def test_shapes_are_told():
    with pytest.raises(MMKDError, match=r'got \(4,\)'):
        TeacherDrop()(torch.rand(4))
    with pytest.raises(MMKDError, match=r'\(4, 2\) with active \(4,\)'):
        TeacherDrop()(torch.rand(4, 2), torch.ones(4, dtype=torch.bool))
