import pytest
import torch

from mmkd.distill.losses import DISTLoss, PKDLoss
from mmkd.errors import MMKDError

from .maps import MASKS, make_mask, maps, pearson, places, softmax


@pytest.mark.parametrize('kind', MASKS)
@pytest.mark.parametrize('probabilities', [True, False])
def test_equals_the_slow_definition(kind, probabilities):
    student, teacher = maps(c=4)
    mask = make_mask(kind)
    temperature = 2.0
    seen = [(n, *place) for n in range(2) for place in places(mask, n, student)]
    weights = [weight for *_, weight in seen]
    rows = []
    for x in (student, teacher):
        logits = [[v.item() / temperature for v in x[n, :, i, j]] for n, i, j, _ in seen]
        rows.append([softmax(v) for v in logits] if probabilities else logits)
    inter = [1 - pearson(s, t) for s, t in zip(*rows)]
    inter = sum(v * w for v, w in zip(inter, weights)) / sum(weights)
    columns = [list(zip(*x)) for x in rows]
    intra = sum(1 - pearson(s, t, weights) for s, t in zip(*columns)) / 4
    expected = (0.5 * inter + 3.0 * intra) * temperature**2
    loss = DISTLoss(beta=0.5, gamma=3.0, temperature=temperature, softmax=probabilities)
    assert loss(student, teacher, mask).item() == pytest.approx(expected, abs=1e-12)


def test_across_samples_alone_it_is_pkd():
    student, teacher = maps()
    torch.testing.assert_close(
        DISTLoss(beta=0, softmax=False)(student, teacher), PKDLoss()(student, teacher)
    )


def test_many_classes_are_no_constants():
    """Probabilities of a thousand classes differ in the sixth digit."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 1000) * 1e-2
    slow = [
        1 - pearson(*(x.double().softmax(0).tolist() for x in pair))
        for pair in zip(student, teacher)
    ]
    got = DISTLoss(gamma=0)(student, teacher)
    assert got.item() == pytest.approx(sum(slow) / 4, rel=1e-3)


def test_one_sample_alone_and_equal_logits():
    student = torch.zeros(1, 4, requires_grad=True)
    loss = DISTLoss()(student, torch.randn(1, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_one_class():
    with pytest.raises(MMKDError, match='DISTLoss compares channels'):
        DISTLoss()(*maps(c=1))
