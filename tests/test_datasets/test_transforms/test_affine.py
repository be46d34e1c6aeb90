from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import TransformBroadcaster

from mmkd.datasets.transforms import IdAwareRandomAffine
from mmkd.errors import MMKDError

from .cases import boxes, enclose, make_results, sizes

KEEP_ALL = {'min_size': -1, 'min_area_ratio': -1, 'max_aspect_ratio': np.inf}


@settings(max_examples=80, deadline=None)
@given(boxes(), sizes, st.integers(0, 2**32 - 1))
def test_kept_boxes_enclose_their_corners_and_keep_their_ids(gt_bboxes, size, seed):
    np.random.seed(seed)
    results = IdAwareRandomAffine()(make_results(gt_bboxes, size))
    expected = enclose(gt_bboxes, results['homography_matrix'])
    chosen = results['gt_instances_id'] - 100
    np.testing.assert_allclose(results['gt_bboxes'], expected[chosen], rtol=1e-3, atol=0.05)
    assert results['gt_names'] == [f'name {i}' for i in chosen]
    np.testing.assert_array_equal(results['gt_bboxes_labels'], chosen % 2)
    np.testing.assert_array_equal(results['gt_ignore_flags'], chosen % 3 == 0)
    assert results['img'].shape[:2] == (size[1], size[0])


@settings(max_examples=80, deadline=None)
@given(boxes(), sizes, st.integers(0, 2**32 - 1))
def test_the_filter_is_fairmots(gt_bboxes, size, seed):
    np.random.seed(seed)
    results = IdAwareRandomAffine()(make_results(gt_bboxes, size))
    before = gt_bboxes.astype(np.float64)
    after = enclose(gt_bboxes, results['homography_matrix'])
    kept = set(results['gt_instances_id'] - 100)
    for i, (x1, y1, x2, y2) in enumerate(after):
        w, h = x2 - x1, y2 - y1
        area = (before[i, 2] - before[i, 0]) * (before[i, 3] - before[i, 1])
        margins = [
            w - 4, h - 4, w * h / area - 0.1, 10 - max(w / h, h / w),
            size[0] - x1, size[1] - y1, x2, y2,
        ]  # fmt: skip
        if min(abs(margin) for margin in margins) > 0.05:  # else rounding decides
            assert (i in kept) == (min(margins) > 0)


@settings(max_examples=30, deadline=None)
@given(boxes(), st.integers(0, 2**32 - 1))
def test_without_shear_and_rotation_the_inverse_returns_the_boxes(gt_bboxes, seed):
    np.random.seed(seed)
    transform = IdAwareRandomAffine(degrees=0, shear=0, **KEEP_ALL)
    results = transform(make_results(gt_bboxes, (400, 400)))
    back = enclose(
        results['gt_bboxes'], np.linalg.inv(results['homography_matrix'].astype(np.float64))
    )
    np.testing.assert_allclose(back, gt_bboxes[results['gt_instances_id'] - 100], atol=0.05)


def test_pixels_go_where_the_homography_says():
    np.random.seed(3)
    size = (200, 160)
    results = make_results(np.array([[90, 70, 110, 90]], np.float32), size)
    results['img'][:] = 0
    results['img'][70:90, 90:110] = 255
    results = IdAwareRandomAffine(degrees=0, scale=(2, 2), shear=0, pad_val=0)(results)
    weight = results['img'][..., 0].astype(float)
    y, x = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    centre = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
    x1, y1, x2, y2 = results['gt_bboxes'][0]
    np.testing.assert_allclose(centre, ((x1 + x2) / 2, (y1 + y2) / 2), atol=0.05)
    assert weight.sum() / 255 == pytest.approx((x2 - x1) * (y2 - y1), rel=0.02)


def test_the_same_seed_gives_the_same_result():
    def run():
        np.random.seed(5)
        return IdAwareRandomAffine()(make_results(np.array([[5, 5, 40, 40]], np.float32)))

    np.testing.assert_array_equal(run()['img'], run()['img'])
    np.testing.assert_array_equal(run()['gt_bboxes'], run()['gt_bboxes'])


def test_frames_of_one_sample_can_share_the_transform():
    frames = [make_results(np.array([[5, 5, 40, 40]], np.float32)) for _ in range(2)]
    results = {key: [frame[key] for frame in frames] for key in ('img', 'gt_bboxes', 'img_shape')}
    shared = TransformBroadcaster(
        [IdAwareRandomAffine()], share_random_params=True, auto_remap=True
    )
    a, b = shared(dict(results))['homography_matrix']
    np.testing.assert_array_equal(a, b)
    single = TransformBroadcaster([IdAwareRandomAffine()], auto_remap=True)
    a, b = single(dict(results))['homography_matrix']
    assert not np.array_equal(a, b)


def test_parameters_stay_within_their_ranges():
    transform = IdAwareRandomAffine()
    drawn = np.array([transform._random_params() for _ in range(500)])
    bound = np.array([[-5, 0.5, -0.1, -0.1, -2, -2], [5, 1.2, 0.1, 0.1, 2, 2]])
    assert (drawn >= bound[0]).all()
    assert (drawn <= bound[1]).all()
    # and fill them
    np.testing.assert_allclose(drawn.min(axis=0), bound[0], atol=0.03 * (bound[1] - bound[0]).max())


def test_what_comes_from_outside_is_grey():
    np.random.seed(0)
    results = make_results(np.zeros((0, 4), np.float32), (64, 64))
    results['img'][:] = 0
    image = IdAwareRandomAffine(degrees=0, translate=0, scale=(0.5, 0.5), shear=0)(results)['img']
    assert image[0, 0].tolist() == [128, 128, 128]
    assert image[32, 32].tolist() == [0, 0, 0]


def test_matches_opencv_s_own_warp_of_a_point():
    # A rotation about the centre leaves the centre in place.
    np.random.seed(1)
    results = make_results(np.array([[45, 45, 55, 55]], np.float32), (100, 100))
    results = IdAwareRandomAffine(translate=0, shear=0, **KEEP_ALL)(results)
    centre = cv2.perspectiveTransform(
        np.array([[[50.0, 50.0]]]), results['homography_matrix'].astype(np.float64)
    )
    np.testing.assert_allclose(centre[0, 0], (50, 50), atol=1e-3)


def test_boxes_that_are_no_array_are_refused():
    results = make_results(np.zeros((0, 4), np.float32))
    results['gt_bboxes'] = object()
    with pytest.raises(MMKDError, match='LoadTrackAnnotations'):
        IdAwareRandomAffine()(results)


@settings(max_examples=40, deadline=None)
@given(boxes(), sizes, st.integers(0, 2**32 - 1))
def test_clipped_boxes_are_the_part_inside_the_image(gt_bboxes, size, seed):
    def transformed(**kwargs):
        np.random.seed(seed)
        return IdAwareRandomAffine(**kwargs)(make_results(gt_bboxes, size))

    whole = transformed(**KEEP_ALL)
    kept = whole['gt_instances_id'].tolist()
    clipped = transformed(clip_border=True)
    width, height = size
    for box, name in zip(clipped['gt_bboxes'], clipped['gt_instances_id'].tolist()):
        x1, y1, x2, y2 = whole['gt_bboxes'][kept.index(name)]
        inside = [max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)]
        np.testing.assert_allclose(box, inside, atol=1e-3)


def test_a_box_is_judged_by_what_is_left_of_it_when_clipped():
    # 20 of 40 pixels wide, 100 high; then 3 wide, which is less than min_size.
    def kept(x1, **kwargs):
        results = make_results(np.array([[x1, 0, x1 + 40, 100]], np.float32), (100, 100))
        still = IdAwareRandomAffine(degrees=0, translate=0, scale=(1, 1), shear=0, **kwargs)
        return len(still(results)['gt_bboxes'])

    assert kept(-20, clip_border=True) == 1
    assert kept(-37, clip_border=True) == 0
    assert kept(-37) == 1
