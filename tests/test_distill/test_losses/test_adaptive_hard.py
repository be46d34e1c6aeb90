import pytest
import torch

from mmkd.distill.losses import AdaptiveHardLoss
from mmkd.distill.response import Response
from mmkd.errors import MMKDError

from .test_every_loss import _NoWaiting

NAN, INF = float('nan'), float('inf')
STUDENT = [0.5, 0.5, 0.5, 0.5, 0.5, 0.0]
TEACHER = [0.2, 0.5, 0.52, 0.7, NAN, INF]


def _response(student=STUDENT, teacher=TEACHER, dtype=torch.float64):
    student = torch.tensor(student, dtype=dtype, requires_grad=True)
    return Response(student_loss=student, teacher_loss=torch.tensor(teacher, dtype=dtype))


def _slow(margin):
    """On until the student is better than its teacher by the margin."""
    values = []
    for own, theirs in zip(STUDENT, TEACHER):
        values.append(0.0 if theirs - own >= margin else own)
    return values


@pytest.mark.parametrize('margin', [0.005, 0.1, 0.0, -0.4])
def test_equals_the_slow_definition(margin):
    loss = AdaptiveHardLoss(margin)
    expected = _slow(margin)
    response = _response()
    assert loss(response=response, reduction='sample').tolist() == expected
    assert loss(response=response, reduction='none').tolist() == expected
    assert loss(response=response).item() == pytest.approx(sum(expected) / 6)
    assert loss(None, None, None, 'sum', response).item() == pytest.approx(sum(expected))


def test_the_gradient_is_the_tasks_where_it_is_on_and_exactly_0_elsewhere():
    response = _response()
    AdaptiveHardLoss(0.1)(response=response, reduction='sample').sum().backward()
    assert response.student_loss.grad.tolist() == [1, 1, 1, 0, 1, 0]
    assert torch.autograd.gradcheck(
        lambda own: AdaptiveHardLoss(0.1)(
            response=Response(student_loss=own, teacher_loss=response.teacher_loss)
        ),
        response.student_loss,
    )


def test_a_student_that_has_passed_everywhere_pays_an_exact_zero_with_a_gradient():
    for reduction in AdaptiveHardLoss.reductions:
        response = _response([0.1, 0.2], [1.0, 1.0])
        value = AdaptiveHardLoss()(response=response, reduction=reduction)
        value.sum().backward()
        assert torch.equal(value, torch.zeros_like(value))
        assert response.student_loss.grad.tolist() == [0, 0]


def test_a_samples_value_is_its_own():
    response = _response()
    whole = AdaptiveHardLoss()(response=response, reduction='sample')
    rows = torch.tensor([3, 0])
    part = Response(*(None,) * 2, {}, {}, *(x[rows] for x in response[-2:]))
    assert torch.equal(AdaptiveHardLoss()(response=part, reduction='sample'), whole[rows])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_losses_are_compared_in_float32(dtype):
    response = _response(dtype=dtype)
    value = AdaptiveHardLoss()(response=response, reduction='sample')
    exact = response._replace(
        student_loss=response.student_loss.float(), teacher_loss=response.teacher_loss.float()
    )
    assert value.dtype == torch.float32
    assert torch.equal(value, AdaptiveHardLoss()(response=exact, reduction='sample'))
    value.sum().backward()
    assert response.student_loss.grad.dtype == dtype


def test_the_host_never_waits_and_maps_are_not_read():
    response = _response()
    for reduction in AdaptiveHardLoss.reductions:
        with _NoWaiting():
            AdaptiveHardLoss()('no map', object(), None, reduction, response).sum().backward()


def test_says_that_it_may_be_silent():
    assert AdaptiveHardLoss.gated
    assert repr(AdaptiveHardLoss()) == "AdaptiveHardLoss(margin=0.005, reduction='mean')"


def test_mistakes():
    for given in (None, Response(), _response()._replace(teacher_loss=None)):
        with pytest.raises(MMKDError, match='task losses.*response='):
            AdaptiveHardLoss()(response=given)
    with pytest.raises(MMKDError, match=r'found \(6,\) and \(2,\)'):
        AdaptiveHardLoss()(response=_response(teacher=[1.0, 2.0]))
    with pytest.raises(MMKDError, match=r'found \(\) and \(\)'):
        AdaptiveHardLoss()(response=_response(1.0, 2.0))
    for margin in ('0', NAN, True):
        with pytest.raises(MMKDError, match='margin= as a number'):
            AdaptiveHardLoss(margin)
    with pytest.raises(MMKDError, match="no reduction 'meen'"):
        AdaptiveHardLoss()(response=_response(), reduction='meen')
