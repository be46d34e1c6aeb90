import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch.nn import functional as F

from mmkd.distill.cache.warp import canvas_matrix, sampling_matrices, warp
from mmkd.errors import MMKDError

SHAPE = (60, 100)  # of the picture
CANVAS = (75, 110)
SIZE = (64, 96)  # of the input
STRIDE = 4


def _sample(matrix, shape=SHAPE):
    return BaseDataElement(metainfo=dict(homography_matrix=matrix, ori_shape=shape))


def _field(points):
    """A smooth function of (x, y) in pixels of the picture, three channels."""
    x, y = points[..., 0] / SHAPE[1], points[..., 1] / SHAPE[0]
    return np.stack([x, y, np.sin(3 * x) * y], axis=-1)


def _centres(size):
    h, w = size[0] // STRIDE, size[1] // STRIDE
    x, y = np.meshgrid((np.arange(w) + 0.5) * size[1] / w, (np.arange(h) + 0.5) * size[0] / h)
    return np.stack([x, y], axis=-1)


def _apply(matrix, points):
    moved = np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1) @ matrix.T
    return moved[..., :2] / moved[..., 2:]


def _random_matrix(seed, mirrored):
    random = np.random.default_rng(seed)
    angle, scale = random.uniform(-0.09, 0.09), random.uniform(0.6, 1.1)
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D((50, 30), np.degrees(angle), scale)
    matrix[:2, 2] += random.uniform(-8, 8, 2)
    matrix[0, 1] += 0.03
    if mirrored:
        matrix = np.array([[-1, 0, SIZE[1]], [0, 1, 0], [0, 0, 1.0]]) @ matrix
    return matrix


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_features_arrive_where_the_picture_does(seed, mirrored):
    """Against the function itself, read at each place's own point of the picture."""
    matrix = _random_matrix(seed, mirrored)
    on_canvas = canvas_matrix(SHAPE, CANVAS, mirrored)
    stored = _field(_apply(np.linalg.inv(on_canvas), _centres((76, 112))))
    stored = torch.from_numpy(stored).permute(2, 0, 1)[None].float()
    matrices = sampling_matrices([_sample(matrix)], CANVAS, (76, 112), SIZE, SIZE)
    found = warp(stored, matrices, (SIZE[0] // STRIDE, SIZE[1] // STRIDE))
    points = _apply(np.linalg.inv(matrix), _centres(SIZE))
    expected = torch.from_numpy(_field(points)).permute(2, 0, 1).float()
    margin = 2 * STRIDE
    inside = (
        (points[..., 0] > margin)
        & (points[..., 0] < SHAPE[1] - margin)
        & (points[..., 1] > margin)
        & (points[..., 1] < SHAPE[0] - margin)
    )
    assert inside.mean() > 0.15
    assert torch.allclose(found[0][:, inside], expected[:, inside], atol=0.01)


def test_a_batch_is_its_samples():
    matrices = [_random_matrix(seed, seed % 2 == 1) for seed in range(3)]
    stored = torch.randn(3, 5, 19, 28)
    samples = [_sample(matrix) for matrix in matrices]
    whole = warp(stored, sampling_matrices(samples, CANVAS, CANVAS, SIZE, SIZE), (16, 24))
    for n, sample in enumerate(samples):
        alone = sampling_matrices([sample], CANVAS, CANVAS, SIZE, SIZE)
        assert torch.allclose(whole[n : n + 1], warp(stored[n : n + 1], alone, (16, 24)))


def test_an_untouched_picture_is_only_resized():
    scale = np.diag([SIZE[1] / 100, SIZE[0] / 60, 1.0])
    stored = torch.randn(1, 2, 12, 20)
    matrices = sampling_matrices([_sample(scale)], (60, 100), (60, 100), SIZE, SIZE)
    expected = F.interpolate(stored, (16, 24), mode='bilinear', align_corners=False)
    assert torch.allclose(warp(stored, matrices, (16, 24)), expected, atol=1e-5)


def test_samples_that_do_not_say_where_the_picture_went():
    with pytest.raises(MMKDError, match='no homography_matrix and ori_shape'):
        sampling_matrices([BaseDataElement()], CANVAS, CANVAS, SIZE, SIZE)
