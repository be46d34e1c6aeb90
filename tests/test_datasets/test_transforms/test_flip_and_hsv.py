from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings

from mmkd.datasets.transforms import HSVJitter, IdAwareRandomFlip

from .cases import boxes, enclose, make_results, sizes


@settings(max_examples=50, deadline=None)
@given(boxes(), sizes)
def test_flip_follows_its_homography_and_flipping_again_undoes_it(gt_bboxes, size):
    before = make_results(gt_bboxes, size)
    image = before['img'].copy()
    results = IdAwareRandomFlip(prob=1)(before)
    np.testing.assert_allclose(
        results['gt_bboxes'], enclose(gt_bboxes, results['homography_matrix']), atol=1e-3
    )
    np.testing.assert_array_equal(results['img'], image[:, ::-1])
    assert (results['flip'], results['flip_direction']) == (True, 'horizontal')
    again = IdAwareRandomFlip(prob=1)(results)
    np.testing.assert_allclose(again['gt_bboxes'], gt_bboxes, atol=1e-3)
    np.testing.assert_allclose(again['homography_matrix'], np.eye(3), atol=1e-4)
    np.testing.assert_array_equal(again['gt_instances_id'], np.arange(len(gt_bboxes)) + 100)
    np.testing.assert_array_equal(again['img'], image)


def test_pixels_of_an_object_stay_inside_its_flipped_box():
    results = make_results(np.array([[3, 2, 9, 12]], np.float32), (40, 20))
    results['img'][:] = 0
    results['img'][2:12, 3:9] = 255
    results = IdAwareRandomFlip(prob=1)(results)
    x1, y1, x2, y2 = results['gt_bboxes'][0].astype(int)
    assert (results['img'][y1:y2, x1:x2] == 255).all()
    assert (results['img'] == 255).sum() == 3 * 6 * 10


def test_flip_with_probability_zero_changes_nothing():
    before = make_results(np.array([[1, 2, 3, 4]], np.float32))
    image = before['img'].copy()
    results = IdAwareRandomFlip(prob=0)(before)
    np.testing.assert_array_equal(results['img'], image)
    np.testing.assert_array_equal(results['homography_matrix'], np.eye(3))
    assert (results['flip'], results['flip_direction']) == (False, None)


def test_flip_happens_half_of_the_time():
    np.random.seed(0)
    transform = IdAwareRandomFlip()
    assert 60 < sum(transform._random_flip() for _ in range(150)) < 90


def test_hsv_scales_saturation_and_value_and_leaves_the_hue():
    class Fixed(HSVJitter):
        def _random_gains(self):
            return 0.5, 1.5

    colour = cv2.cvtColor(np.uint8([[[90, 200, 100]]]), cv2.COLOR_HSV2BGR)
    results = make_results(np.zeros((0, 4), np.float32))
    results['img'][:] = colour
    image = Fixed()(results)['img']
    hue, saturation, value = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[0, 0].astype(int)
    assert abs(hue - 90) <= 1
    assert abs(saturation - 100) <= 3
    assert abs(value - 150) <= 1
    assert image.dtype == np.uint8


def test_hsv_does_not_wrap_around_at_white():
    class Bright(HSVJitter):
        def _random_gains(self):
            return 1.0, 1.5

    results = make_results(np.zeros((0, 4), np.float32))
    results['img'][:] = 250
    assert Bright()(results)['img'].min() == 255


def test_hsv_gains_are_within_half():
    np.random.seed(0)
    transform = HSVJitter()
    gains = np.array([transform._random_gains() for _ in range(300)])
    assert gains.min() >= 0.5
    assert gains.max() <= 1.5
    assert (gains.max() - gains.min()) > 0.9


def test_hsv_equals_a_product_per_pixel():
    results = make_results(np.zeros((0, 4), np.float32), (37, 23))
    transform = HSVJitter()
    for gains in ((0.5, 1.5), (1.37, 0.81), (1.0, 1.0)):
        transform._random_gains = lambda gains=gains: gains
        hsv = cv2.cvtColor(results['img'], cv2.COLOR_BGR2HSV)
        for y, x in np.ndindex(hsv.shape[:2]):
            for channel in (1, 2):
                value = np.float32(hsv[y, x, channel]) * np.float32(gains[channel - 1])
                hsv[y, x, channel] = int(min(value, 255))
        np.testing.assert_array_equal(
            transform(dict(results))['img'], cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        )


def test_the_flip_is_one_minus_x_of_the_normalised_label():
    results = make_results(np.array([[10, 5, 30, 25]], np.float32), (64, 48))
    flipped = IdAwareRandomFlip(prob=1)(results)
    centre = 1 - (10 + 30) / 2 / 64
    np.testing.assert_allclose(flipped['gt_bboxes'], [[64 * centre - 10, 5, 64 * centre + 10, 25]])
