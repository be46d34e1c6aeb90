from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from mmkd.datasets.transforms import Letterbox
from mmkd.errors import MMKDError

from .cases import boxes, enclose, make_results, sizes


@settings(max_examples=50, deadline=None)
@given(boxes(), sizes, sizes)
def test_boxes_follow_the_homography_exactly_and_come_back(gt_bboxes, size, scale):
    results = Letterbox(scale=scale)(make_results(gt_bboxes, size))
    matrix = results['homography_matrix']
    np.testing.assert_allclose(
        results['gt_bboxes'], enclose(gt_bboxes, matrix), rtol=1e-5, atol=1e-2
    )
    back = enclose(results['gt_bboxes'], np.linalg.inv(matrix.astype(np.float64)))
    np.testing.assert_allclose(back, gt_bboxes, rtol=1e-3, atol=0.05)
    assert results['img'].shape == (scale[1], scale[0], 3)
    assert results['img_shape'] == (scale[1], scale[0])
    assert len(results['gt_instances_id']) == len(gt_bboxes)


@settings(max_examples=50, deadline=None)
@given(sizes, sizes)
def test_the_image_s_rectangle_is_where_the_homography_says(size, scale):
    results = make_results(np.zeros((0, 4), np.float32), size)
    results['img'][:] = 7
    results = Letterbox(scale=scale, pad_val=200)(results)
    x1, y1, x2, y2 = enclose(np.array([[0, 0, *size]], float), results['homography_matrix'])[0]
    inside = np.zeros(results['img'].shape[:2], bool)
    inside[round(y1) : round(y2), round(x1) : round(x2)] = True
    assert (results['img'][inside] == 7).all()
    assert (results['img'][~inside] == 200).all()


@settings(max_examples=50, deadline=None)
@given(sizes, sizes)
def test_the_image_is_centred_and_touches_two_borders(size, scale):
    results = Letterbox(scale=scale)(make_results(np.zeros((0, 4), np.float32), size))
    x1, y1, x2, y2 = enclose(np.array([[0, 0, *size]], float), results['homography_matrix'])[0]
    assert abs(x1 - (scale[0] - x2)) <= 1.001
    assert abs(y1 - (scale[1] - y2)) <= 1.001
    assert min(x1, y1) == pytest.approx(0, abs=1)
    assert x1 >= 0
    assert y1 >= 0


def test_grey_is_128_in_bytes_and_127_5_in_floats():
    results = make_results(np.zeros((0, 4), np.float32), (20, 10))
    results['img'][:] = 0
    assert Letterbox(scale=(20, 20))(dict(results))['img'][0, 0, 0] == 128
    results['img'] = results['img'].astype(np.float32)
    assert Letterbox(scale=(20, 20))(results)['img'][0, 0, 0] == 127.5


def test_the_size_of_fairmot():
    results = Letterbox(scale=(1088, 608))(make_results(np.zeros((0, 4), np.float32), (1920, 1080)))
    # 1920x1080 shrinks by 608/1080 to 1081x608, 3 or 4 pixels from the left border.
    assert results['scale_factor'] == (1081 / 1920, 608 / 1080)
    assert results['homography_matrix'][0, 2] == 3


def test_homographies_compose():
    once = make_results(np.array([[4, 5, 20, 30]], np.float32))
    first = Letterbox(scale=(100, 50))(once)
    boxes_before = np.array([[4, 5, 20, 30]], np.float32)
    twice = Letterbox(scale=(60, 60))(first)
    np.testing.assert_allclose(
        twice['gt_bboxes'], enclose(boxes_before, twice['homography_matrix']), atol=1e-3
    )


@pytest.mark.parametrize('scale', [(0, 5), (5,), (-1, 1)])
def test_a_wrong_scale_is_told(scale):
    with pytest.raises(MMKDError, match='width, height'):
        Letterbox(scale=scale)


def test_results_without_annotations_are_fine():
    results = make_results(np.zeros((0, 4), np.float32))
    del results['gt_bboxes']
    assert 'gt_bboxes' not in Letterbox(scale=(32, 32))(results)
