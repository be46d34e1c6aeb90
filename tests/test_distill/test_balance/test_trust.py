import math

import pytest
import torch

from mmkd.distill.balance import GateTrust, SoftmaxTrust
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..test_losses.test_every_loss import _NoWaiting

NAN, INF = float('nan'), float('inf')
GENERAL = [1.0, 0.5, 2.0, 0.2, 1.5]
SPECIALISTS = [[0.7, 1.2, 1.0], [NAN, 0.4, INF], [NAN, -INF, NAN], [0.1, 0.2, 0.3], [3.0, 0.0, NAN]]
ACTIVE = [[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]]


def _given(dtype=torch.float64):
    return (
        torch.tensor(GENERAL, dtype=dtype),
        torch.tensor(SPECIALISTS, dtype=dtype),
        torch.tensor(ACTIVE, dtype=torch.bool),
    )


def _slow_gate(margin):
    rows = []
    for i, general in enumerate(GENERAL):
        row = []
        for k, loss in enumerate(SPECIALISTS[i]):
            wins = ACTIVE[i][k] and not math.isnan(loss) and general - loss > margin
            row.append(1.0 if wins else 0.0)
        rows.append(row)
    return [1.0] * len(GENERAL), rows


def _slow_softmax(temperature, with_general):
    left, right = [], []
    for i, general in enumerate(GENERAL):
        sizes = {}
        if with_general:
            sizes['general'] = math.exp(-general / temperature)
        for k, loss in enumerate(SPECIALISTS[i]):
            if ACTIVE[i][k] and math.isfinite(loss):
                sizes[k] = math.exp(-loss / temperature)
        total = sum(sizes.values())
        shares = {key: size / total for key, size in sizes.items()}
        left.append(shares.get('general', 0.0) if with_general else 1.0)
        right.append([shares.get(k, 0.0) for k in range(3)])
    return left, right


def _compare(found, expected):
    for got, wanted in zip(found, expected):
        torch.testing.assert_close(got, torch.tensor(wanted, dtype=got.dtype))


@pytest.mark.parametrize('margin', [0.0, 0.25, -0.15])
def test_gate_equals_the_slow_definition(margin):
    _compare(GateTrust(margin)(*_given()), _slow_gate(margin))


@pytest.mark.parametrize('temperature', [1.0, 0.1, 7.0])
@pytest.mark.parametrize('with_general', [True, False])
def test_softmax_equals_the_slow_definition(temperature, with_general):
    trust = SoftmaxTrust(temperature, with_general)
    _compare(trust(*_given()), _slow_softmax(temperature, with_general))


def test_equal_is_not_better():
    general, specialists = torch.tensor([1.0]), torch.tensor([[1.0, 0.5]])
    active = torch.ones(1, 2, dtype=torch.bool)
    assert GateTrust()(general, specialists, active)[1].tolist() == [[0, 1]]
    assert GateTrust(0.5)(general, specialists, active)[1].tolist() == [[0, 0]]
    assert GateTrust(-0.1)(general, specialists, active)[1].tolist() == [[1, 1]]


@pytest.mark.parametrize('trust', [GateTrust(), SoftmaxTrust(), SoftmaxTrust(with_general=False)])
def test_what_both_promise(trust):
    general, specialists, active = _given()
    found = trust(general.requires_grad_(), specialists.requires_grad_(), active)
    assert [x.shape for x in found] == [(5,), (5, 3)]
    assert not any(x.requires_grad for x in found)
    assert torch.isfinite(found[1]).all()
    assert (found[1][~active] == 0).all()
    # A sample's coefficients are its own.
    for i in range(5):
        alone = trust(general[i : i + 1], specialists[i : i + 1], active[i : i + 1])
        assert torch.equal(alone[0], found[0][i : i + 1])
        assert torch.equal(alone[1], found[1][i : i + 1])
    with _NoWaiting():
        trust(*_given())
    none = trust(general, specialists[:, :0], active[:, :0])
    assert none[0].tolist() == [1] * 5
    assert none[1].shape == (5, 0)
    empty = trust(general[:0], specialists[:0], active[:0])
    assert [x.shape for x in empty] == [(0,), (0, 3)]


def test_no_teacher_with_a_loss_gives_zeros():
    general, active = torch.tensor([NAN]), torch.ones(1, 2, dtype=torch.bool)
    found = SoftmaxTrust()(general, torch.tensor([[INF, NAN]]), active)
    assert found[0].tolist() == [0]
    assert found[1].tolist() == [[0, 0]]


def test_large_losses_neither_overflow_nor_vanish():
    found = SoftmaxTrust(0.01)(
        torch.tensor([1e4]), torch.tensor([[1e4, 2e4]]), torch.ones(1, 2, dtype=torch.bool)
    )
    assert found[0].tolist() == [0.5]
    assert found[1].tolist() == [[0.5, 0]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_losses_are_compared_in_float32(dtype):
    for trust in (GateTrust(0.1), SoftmaxTrust(0.3)):
        general, specialists, active = _given(dtype)
        found = trust(general, specialists, active)
        expected = trust(general.float(), specialists.float(), active)
        assert all(x.dtype == torch.float32 for x in found)
        assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_configs_and_mistakes():
    assert repr(MODELS.build(dict(type='mmkd.GateTrust', margin=0.5))) == 'GateTrust(margin=0.5)'
    assert 'temperature=0.3' in repr(MODELS.build(dict(type='mmkd.SoftmaxTrust', temperature=0.3)))
    general, specialists, active = _given()
    for trust in (GateTrust(), SoftmaxTrust()):
        for wrong in (
            (general[:3], specialists, active),
            (general, specialists[:, :2], active),
            (general, specialists[:, 0], active[:, 0]),
            (general, specialists, active.float()),
            (general[:, None], specialists, active),
        ):
            with pytest.raises(MMKDError, match=rf'{type(trust).__name__} takes the losses'):
                trust(*wrong)
    for build in (lambda: GateTrust('0'), lambda: GateTrust(NAN), lambda: GateTrust(True)):
        with pytest.raises(MMKDError, match='margin= as a number'):
            build()
    with pytest.raises(MMKDError, match='more than 0'):
        SoftmaxTrust(0)
