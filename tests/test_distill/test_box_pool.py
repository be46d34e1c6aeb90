import pytest
import torch

from mmkd.distill.box_pool import per_box, pool
from mmkd.errors import MMKDError

from . import boxes

SLOW = {'box': boxes.slow_box_mean, 'centre': boxes.slow_centre}


@pytest.mark.parametrize('pooling', ['box', 'centre'])
@pytest.mark.parametrize('kind', ['none', 'bool', 'float'])
def test_equals_the_loop_over_cells(pooling, kind):
    x, _, mask = boxes.maps()
    mask = {'none': None, 'bool': mask, 'float': mask * torch.rand(mask.shape).double()}[kind]
    instances = boxes.make()
    vectors, weights = pool(x, instances, mask, pooling)
    assert vectors.shape == (7, 5)
    expected = SLOW[pooling](x, instances, mask)
    assert sum(weight > 0 for _, weight in expected) >= 3
    for vector, weight, (mean, wanted) in zip(vectors, weights, expected):
        assert weight.item() == pytest.approx(wanted, abs=1e-6)
        torch.testing.assert_close(vector, torch.zeros(5).double() if mean is None else mean)


@pytest.mark.parametrize('pooling', ['box', 'centre'])
def test_gradient_and_none_where_the_mask_hides_a_nan(pooling):
    x, _, mask = boxes.maps(2, grid=(3, 4))
    instances = boxes.make()
    assert torch.autograd.gradcheck(lambda y: pool(y, instances, mask, pooling)[0], (x,))
    y = torch.where(mask, x.detach(), torch.full_like(x, float('nan'))).requires_grad_()
    vectors, _ = pool(y, instances, mask, pooling)
    vectors.square().sum().backward()
    assert torch.isfinite(vectors).all()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize('pooling', ['box', 'centre'])
def test_no_boxes_still_have_a_gradient(pooling):
    x, _, mask = boxes.maps()
    vectors, weights = pool(x, boxes.empty(), mask, pooling)
    assert vectors.shape == (0, 5)
    assert weights.shape == (0,)
    vectors.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_a_map_may_cover_more_than_the_picture():
    x, _, _ = boxes.maps()
    wide = boxes.make(size=(48, 80))
    vectors, _ = pool(x, wide)
    for vector, (mean, _) in zip(vectors, boxes.slow_box_mean(x, wide)):
        torch.testing.assert_close(vector, torch.zeros(5).double() if mean is None else mean)


def test_maps_of_other_images_are_told():
    with pytest.raises(MMKDError, match='3 images'):
        pool(torch.zeros(2, 1, 4, 4), boxes.make())


def test_reductions():
    instances = boxes.make()
    values = torch.tensor([1.0, 2.0, float('nan'), 4.0, 5.0, 6.0, 7.0])
    weights = torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0, 1.0, 3.0])
    each = per_box(values, weights, instances, 'none')
    assert each.tolist() == [1, 1, 0, 0, 0, 6, 21]
    assert per_box(values, weights, instances, 'sum').item() == 29
    assert per_box(values, weights, instances, 'mean').item() == pytest.approx(29 / 5.5)
    sample = per_box(values, weights, instances, 'sample')
    torch.testing.assert_close(sample, torch.tensor([2 / 1.5, 0.0, 27 / 4]))
