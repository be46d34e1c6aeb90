import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmkd.distill import foreground as module
from mmkd.distill.foreground import ForegroundWeight
from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from . import boxes

GRID = (7, 9)


def cells_of(box, size, grid):
    """The cells of a box, each with its centre in cells; by a loop."""
    (height, width), (h, w) = size, grid
    x1, y1, x2, y2 = (box[k] * (w / width if k % 2 == 0 else h / height) for k in range(4))
    if min(x2, w) <= max(x1, 0) or min(y2, h) <= max(y1, 0):
        return []

    def along(low, high, cells):
        low, high = min(max(low, 0), cells), min(max(high, 0), cells)
        found = [i for i in range(cells) if low <= i + 0.5 < high]
        return found or [min(int((low + high) / 2), cells - 1)]

    return [(i, j) for i in along(y1, y2, h) for j in along(x1, x2, w)]


def slow(instances, grid, mask, foreground, background, by_area, scale_range, gaussian, sigma):
    out = torch.zeros(instances.num_images, 1, *grid, dtype=torch.float64)
    for n in range(instances.num_images):
        best = torch.zeros(grid, dtype=torch.float64)
        for image, box in zip(instances.image.tolist(), instances.boxes.tolist()):
            scale = (max(box[2] - box[0], 0) * max(box[3] - box[1], 0)) ** 0.5
            if image != n or not scale_range[0] <= scale < scale_range[1]:
                continue
            cells = cells_of(box, instances.size, grid)
            values = {}
            for i, j in cells:
                exponent = 0.0
                for k, place, cell in ((1, i, grid[0]), (0, j, grid[1])):
                    unit = cell / instances.size[1 - k]
                    centre = (box[k] + box[k + 2]) / 2 * unit
                    spread = max((box[k + 2] - box[k]) * unit * sigma, 0.5)
                    exponent += ((place + 0.5 - centre) / spread) ** 2
                values[i, j] = 2.718281828459045 ** (-exponent / 2) if gaussian else 1.0
            total = sum(values.values()) if by_area else 1.0
            for (i, j), value in values.items():
                best[i, j] = max(best[i, j].item(), value / total)
        real = torch.ones(grid, dtype=torch.bool) if mask is None else mask[n, 0]
        places = ((best == 0) & real).sum().item()
        for i in range(grid[0]):
            for j in range(grid[1]):
                value = best[i, j].item()
                if by_area:
                    weight = foreground * value if value else background / places
                else:
                    weight = background + (foreground - background) * value
                out[n, 0, i, j] = weight if real[i, j] else 0
    return out


@pytest.mark.parametrize('normalise', [None, 'area'])
@pytest.mark.parametrize('form', ['box', 'gaussian'])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('scale_range', [None, (10, 40), (None, 10), (10, None)])
def test_equals_the_slow_definition(normalise, form, masked, scale_range):
    torch.manual_seed(1)
    mask = torch.rand(3, 1, *GRID) > 0.2 if masked else None
    weight = ForegroundWeight(2.0, 0.3, normalise, scale_range, form, sigma=0.3)
    instances = boxes.make()
    low, high = scale_range or (None, None)
    expected = slow(
        instances, GRID, mask, 2.0, 0.3, normalise == 'area',
        (low or 0, high or float('inf')), form == 'gaussian', 0.3,
    )  # fmt: skip
    found = weight(instances, GRID, mask)
    assert found.shape == (3, 1, *GRID)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


def test_chunks_change_nothing():
    weight = ForegroundWeight(normalise='area')
    instances = boxes.make()
    whole = weight(instances, GRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, '_CHUNK', 1)
        assert torch.equal(weight(instances, GRID), whole)


def test_an_object_weighs_the_same_at_every_size():
    weight = ForegroundWeight(foreground=3.0, background=0.0, normalise='area', form='gaussian')
    for box in ((1, 1, 3, 4), (5, 5, 55, 38), (50, 30, 90, 90)):
        assert weight(boxes.make([[box]], [[1]]), GRID).sum().item() == pytest.approx(3.0)


def test_no_boxes():
    instances = boxes.empty()
    assert (ForegroundWeight(background=0.2)(instances, GRID) == 0.2).all()
    by_area = ForegroundWeight(background=2.0, normalise='area')(instances, GRID)
    torch.testing.assert_close(by_area.sum((1, 2, 3)), torch.full((3,), 2.0))
    hidden = ForegroundWeight(normalise='area')(instances, GRID, torch.zeros(3, 1, *GRID).bool())
    assert (hidden == 0).all()


def test_the_background_alone():
    found = ForegroundWeight(foreground=0.0, background=1.0)(boxes.make(), GRID)
    inside = ForegroundWeight(foreground=1.0, background=0.0)(boxes.make(), GRID)
    assert torch.equal(found, 1 - inside)


def test_memory_is_bounded_and_a_crowd_is_quick():
    torch.manual_seed(0)
    corner = torch.rand(200, 2) * torch.tensor([1000.0, 560.0])
    crowd = torch.cat([corner, corner + torch.rand(200, 2) * 80], dim=1).tolist()
    instances = boxes.make([crowd] * 2, [[-1] * 200] * 2, size=(608, 1088))
    largest = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest.append(out.numel())
            return out

    with pytest.MonkeyPatch.context() as patch, Watch():
        patch.setattr(module, '_CHUNK', 2**20)
        ForegroundWeight(normalise='area')(instances, (152, 272))
    assert 2**19 < max(largest) <= 2**20


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(foreground=-1), 'foreground is a weight'),
        (dict(foreground=0, background=0), 'nothing to distil'),
        (dict(normalise='size'), "normalise='size'"),
        (dict(form='gausian'), "Did you mean 'gaussian'"),
        (dict(sigma=0), 'sigma'),
        (dict(scale_range=5), 'low, high'),
        (dict(scale_range=(8, 8)), 'no box'),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(MMKDError, match=message):
        ForegroundWeight(**options)


def test_a_config_finds_it():
    assert isinstance(MODELS.build(dict(type='mmkd.ForegroundWeight')), ForegroundWeight)
