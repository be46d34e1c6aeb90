import copy

import pytest
import torch

from mmkd.distill.losses import MGDLoss
from mmkd.errors import MMKDError

from .maps import MASKS, make_mask, maps, places


def _scramble(x):
    """The hash in Python's integers, which never overflow."""
    x = (x + 0x9E3779B9) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def _is_shown(key, place, ratio):
    state = _scramble(key)
    for number in place:
        state = _scramble(state ^ number)
    return state >= ratio * 2**32


def _convolve(x, conv, valid):
    """3x3 with zeros outside of the valid places; x is {(i, j): channels}."""
    out = {}
    for i, j in valid:
        total = conv.bias.clone()
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                if (i + di, j + dj) in valid:
                    total = total + conv.weight[:, :, di + 1, dj + 1] @ x[i + di, j + dj]
        out[i, j] = total
    return out


def _loss(**kwargs):
    torch.manual_seed(0)
    return MGDLoss(channels=3, **kwargs).double()


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('hidden', ['places', 'channels'])
def test_equals_the_slow_definition(kind, hidden):
    student, teacher = (x.detach() for x in maps())
    mask = make_mask(kind)
    loss = _loss(ratio=0.5, hidden=hidden, seed=11)
    loss.step += 4
    total = count = 0.0
    for n in range(2):
        valid = {(i, j): weight for i, j, weight in places(mask, n, student)}
        x = {}
        for i, j in valid:
            x[i, j] = student[n, :, i, j].clone()
            for c in range(3):
                place = (n, 0, i, j) if hidden == 'places' else (n, c, 0, 0)
                if not _is_shown(15, place, 0.5):
                    x[i, j][c] = 0
        x = {at: v.clamp(min=0) for at, v in _convolve(x, loss.generation[0], valid).items()}
        x = _convolve(x, loss.generation[1], valid)
        for at, weight in valid.items():
            total += weight * (x[at] - teacher[(n, slice(None), *at)]).square().sum().item()
            count += weight * 3
    assert loss(student, teacher, mask).item() == pytest.approx(total / count, rel=1e-9)


@pytest.mark.parametrize('hidden', ['places', 'channels'])
@pytest.mark.parametrize('ratio', [0.15, 0.65])
def test_hides_the_share_that_is_asked_for(hidden, ratio):
    maps_of = torch.zeros(64, 100, 10, 10)
    loss = MGDLoss(channels=100, ratio=ratio, hidden=hidden)
    shown = loss._shown(maps_of).float()
    assert shown.mean().item() == pytest.approx(1 - ratio, abs=0.02)
    # Neither rows, columns nor images are alike.
    for dim in range(4):
        if shown.shape[dim] > 1:
            rows = shown.transpose(0, dim).flatten(1)
            assert len(torch.unique(rows, dim=0)) == len(rows)


def test_nothing_hidden():
    assert _loss(ratio=0)._shown(torch.zeros(2, 3, 8, 8)).all()


def test_steps_differ_and_a_copy_goes_on_the_same_way():
    student, teacher = maps(h=4, w=4)
    loss = _loss()
    first = loss(student, teacher)
    resumed = copy.deepcopy(_loss())
    resumed.load_state_dict(loss.state_dict())
    torch.manual_seed(99)
    second = loss(student, teacher)
    assert second.item() != first.item()
    assert resumed(student, teacher).item() == second.item()
    assert _loss(seed=1)(student, teacher).item() != first.item()
    assert _loss()(student, teacher).item() == first.item()


def test_nobody_elses_random_numbers_move():
    student, teacher = maps()
    loss = _loss()
    state = torch.get_rng_state()
    loss(student, teacher)
    assert torch.equal(torch.get_rng_state(), state)


def test_two_processes_hide_what_one_would(monkeypatch):
    whole = _loss()._shown(torch.zeros(4, 3, 5, 5))
    monkeypatch.setattr('mmkd.distill.losses.mgd._rank', lambda: 1)
    assert torch.equal(_loss()._shown(torch.zeros(2, 3, 5, 5)), whole[2:])


def test_evaluation_stands_still():
    student, teacher = maps()
    loss = _loss().eval()
    assert loss(student, teacher).item() == loss(student, teacher).item()
    assert loss.step.item() == 0


def test_trains_its_generation():
    student, teacher = maps()
    loss = _loss(ratio=0.3)
    loss(student, teacher).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())


def test_mistakes():
    with pytest.raises(MMKDError, match='needs channels='):
        MGDLoss()
    with pytest.raises(MMKDError, match=r'ratio in \[0, 1\), but got 1'):
        MGDLoss(channels=3, ratio=1)
    with pytest.raises(MMKDError, match="Did you mean 'places'"):
        MGDLoss(channels=3, hidden='place')
    with pytest.raises(MMKDError, match=r'channels=4.*\(2, 3, 2, 3\)'):
        MGDLoss(channels=4)(*maps())
