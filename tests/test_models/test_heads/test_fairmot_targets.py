"""FairMOT's targets against the published loop over boxes, and hand-made cases."""

import math

import numpy as np
import pytest
import torch

from mmkd.models.heads.fairmot_targets import (
    _draw_dense,
    _draw_windows,
    fairmot_targets,
    gaussian_radius,
)


def slow_radius(height, width, min_overlap=0.7):
    b1, c1 = height + width, width * height * (1 - min_overlap) / (1 + min_overlap)
    r1 = (b1 + math.sqrt(b1**2 - 4 * c1)) / 2
    b2, c2 = 2 * (height + width), (1 - min_overlap) * width * height
    r2 = (b2 + math.sqrt(b2**2 - 4 * 4 * c2)) / 2
    a3, b3 = 4 * min_overlap, -2 * min_overlap * (height + width)
    c3 = (min_overlap - 1) * width * height
    r3 = (b3 + math.sqrt(b3**2 - 4 * a3 * c3)) / 2
    return min(r1, r2, r3)


def slow_heatmap(boxes, labels, num_classes, height, width):
    """One box, one cell at a time."""
    heatmap = np.zeros((num_classes, height, width))
    for (x1, y1, x2, y2), label in zip(boxes, labels):
        if x2 <= x1 or y2 <= y1:
            continue
        cx = min(max((x1 + x2) / 2, 0), width - 1)
        cy = min(max((y1 + y2) / 2, 0), height - 1)
        radius = max(0, int(slow_radius(math.ceil(y2 - y1), math.ceil(x2 - x1))))
        sigma = (2 * radius + 1) / 6
        for y in range(height):
            for x in range(width):
                dy, dx = y - int(cy), x - int(cx)
                if abs(dy) <= radius and abs(dx) <= radius:
                    value = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
                    heatmap[label, y, x] = max(heatmap[label, y, x], value)
    return heatmap


def random_boxes(generator, count, width, height):
    """Boxes that may leave the map on every side."""
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([width + 20.0, height + 20.0])
    size = torch.rand(count, 2, generator=generator) * 30 + 0.2
    return torch.cat([centre - 10 - size / 2, centre - 10 + size / 2], dim=1)


@pytest.mark.parametrize('seed', range(4))
def test_heatmap_equals_the_loop_over_boxes(seed):
    generator = torch.Generator().manual_seed(seed)
    height, width, stride = 24, 40, 4
    boxes = [random_boxes(generator, n, width, height) for n in (9, 0, 3)]
    labels = [torch.randint(0, 2, (len(b),), generator=generator) for b in boxes]
    ids = [torch.arange(len(b)) for b in boxes]
    targets = fairmot_targets([b * stride for b in boxes], labels, ids, 2, (height, width), stride)
    for i in range(3):
        expected = slow_heatmap(boxes[i].tolist(), labels[i].tolist(), 2, height, width)
        np.testing.assert_allclose(targets.heatmap[i].numpy(), expected, atol=1e-5)


def test_dense_and_windowed_drawing_agree():
    generator = torch.Generator().manual_seed(0)
    shape = (6, 30, 50)
    count = 300  # more than one chunk
    plane = torch.randint(0, 6, (count,), generator=generator)
    y = torch.randint(0, 30, (count,), generator=generator)
    x = torch.randint(0, 50, (count,), generator=generator)
    radius = torch.randint(-1, 9, (count,), generator=generator)
    torch.testing.assert_close(
        _draw_dense(shape, plane, y, x, radius), _draw_windows(shape, plane, y, x, radius)
    )


def test_radius_equals_the_three_cases():
    generator = torch.Generator().manual_seed(1)
    size = (torch.rand(50, 2, generator=generator) * 60).ceil()
    fast = gaussian_radius(size[:, 0], size[:, 1], 0.7)
    slow = [slow_radius(h, w) for h, w in size.tolist()]
    np.testing.assert_allclose(fast.numpy(), slow, rtol=1e-4, atol=1e-4)


def one_image(boxes, ids=None, labels=None, **kwargs):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.long) if labels is None else labels
    ids = torch.arange(len(boxes)) if ids is None else torch.tensor(ids)
    return fairmot_targets([boxes], [labels], [ids], 1, (10, 20), 4, **kwargs)


def test_a_box_half_outside_keeps_its_amodal_sides():
    # Centre at (-2, 20) pixels = (-0.5, 5) cells, clipped to (0, 5).
    targets = one_image([[-22, 10, 18, 30]])
    assert (targets.y.item(), targets.x.item()) == (5, 0)
    torch.testing.assert_close(targets.ltrb, torch.tensor([[5.5, 2.5, 4.5, 2.5]]))
    torch.testing.assert_close(targets.offset, torch.tensor([[0.0, 0.0]]))


def test_the_offset_is_what_the_cell_loses():
    targets = one_image([[10, 10, 20, 16]])  # centre (15, 13) pixels = (3.75, 3.25) cells
    assert (targets.y.item(), targets.x.item()) == (3, 3)
    torch.testing.assert_close(targets.offset, torch.tensor([[0.75, 0.25]]))
    assert targets.heatmap[0, 0, 3, 3] == 1


def test_a_box_without_area_trains_nothing():
    targets = one_image([[10, 10, 10, 20], [8, 8, 16, 16]], ids=[3, 4])
    assert targets.valid.tolist() == [0, 1]
    assert targets.ids.tolist() == [-1, 4]
    assert targets.heatmap.eq(1).sum() == 1


def test_no_object_at_all():
    targets = one_image([])
    assert targets.heatmap.shape == (1, 1, 10, 20)
    assert targets.heatmap.sum() == 0
    assert targets.ltrb.shape == (0, 4)


def test_at_most_max_objects_of_an_image():
    targets = one_image([[4 * i, 4, 4 * i + 4, 8] for i in range(6)], max_objects=4)
    assert len(targets.x) == 4
