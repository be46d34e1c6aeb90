"""mapping='fairmot' and style='fairmot': the original's own arithmetic, worked out by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.datasets.transforms import IdAwareRandomAffine, Letterbox
from mmkd.errors import MMKDError
from mmkd.models.heads.fairmot_decode import to_original

from .cases import boxes, make_results, sizes

NONE = np.zeros((0, 4), np.float32)


# -- letterbox ---------------------------------------------------------------------------------


def test_a_frame_of_mot17_by_hand():
    # 608 / 1080 shrinks 1920 to 1080.89, drawn 1081 wide with 3 and 4 pixels beside it.
    box = np.array([[960, 540, 1060, 740]], np.float32)
    results = Letterbox(scale=(1088, 608), mapping='fairmot')(make_results(box, (1920, 1080)))
    r = 608 / 1080
    assert results['scale_factor'] == (r, r)
    np.testing.assert_allclose(
        results['gt_bboxes'], [[960 * r + 3.5, 540 * r, 1060 * r + 3.5, 740 * r]], rtol=1e-6
    )
    # The way back is centred: the image's middle is the input's middle.
    matrix = results['homography_matrix']
    np.testing.assert_allclose(matrix @ (960, 540, 1), (544, 304, 1), rtol=1e-6)
    np.testing.assert_allclose(matrix[0, 2], (1088 - 1920 * r) / 2, rtol=1e-6)


def centred(point, size, scale):
    """The original's test-time transform: a square as wide as the padded image, about the middle.

    It is made of three points in the original; here of the one factor that they share.
    """
    side = max(scale[0] / scale[1] * size[1], size[0])
    return [(p - s / 2) * scale[0] / side + o / 2 for p, s, o in zip(point, size, scale)]


@settings(max_examples=60, deadline=None)
@given(boxes(), sizes, sizes)
def test_boxes_move_by_the_rounded_padding_and_return_about_the_middle(gt_bboxes, size, scale):
    results = Letterbox(scale=scale, mapping='fairmot')(make_results(gt_bboxes, size))
    ratio = min(scale[0] / size[0], scale[1] / size[1])
    pad = [(scale[i] - round(size[i] * ratio)) / 2 for i in (0, 1)]
    expected = gt_bboxes.astype(np.float64) * ratio + np.array(pad * 2)
    if min(round(size[i] * ratio) for i in (0, 1)) > 0:
        np.testing.assert_allclose(results['gt_bboxes'], expected, rtol=1e-5, atol=1e-4)

    seen = [centred(box[:2], size, scale) + centred(box[2:], size, scale) for box in gt_bboxes]
    back = to_original(
        torch.tensor(seen, dtype=torch.float64).view(-1, 4),
        torch.from_numpy(results['homography_matrix'].astype(np.float64)),
    )
    np.testing.assert_allclose(back.numpy(), gt_bboxes, rtol=1e-5, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes)
def test_the_two_mappings_are_less_than_a_pixel_apart(size, scale):
    corners = np.array([[0, 0, *size]], np.float32)
    ratio = min(scale[0] / size[0], scale[1] / size[1])
    if min(size) * ratio < 1:  # 'exact' keeps a whole pixel of what would vanish
        return
    exact = Letterbox(scale=scale)(make_results(corners, size))
    fairmot = Letterbox(scale=scale, mapping='fairmot')(make_results(corners, size))
    assert np.abs(exact['gt_bboxes'] - fairmot['gt_bboxes']).max() < 1.01


def test_shrinking_draws_the_same_image():
    make = lambda: make_results(NONE, (161, 97))  # noqa: E731
    exact = Letterbox(scale=(64, 64))(make())['img']
    np.testing.assert_array_equal(
        Letterbox(scale=(64, 64), mapping='fairmot')(make())['img'], exact
    )


def test_growing_is_by_area():
    results = make_results(NONE, (20, 10))
    image = Letterbox(scale=(50, 25), mapping='fairmot')(dict(results))['img']
    np.testing.assert_array_equal(
        image, cv2.resize(results['img'], (50, 25), interpolation=cv2.INTER_AREA)
    )
    assert not np.array_equal(image, Letterbox(scale=(50, 25))(dict(results))['img'])


def test_unknown_mapping_names_the_nearest():
    with pytest.raises(MMKDError, match="unknown mapping 'fairmott'.*'fairmot'"):
        Letterbox(scale=(8, 8), mapping='fairmott')


# -- affine ------------------------------------------------------------------------------------


def fixed(angle=0.0, scale=1.0, shift=(0.0, 0.0), shear=(0.0, 0.0), **kwargs):
    transform = IdAwareRandomAffine(style='fairmot', **kwargs)
    transform._random_params = lambda: (angle, scale, *shift, *shear)
    return transform


def test_the_shift_in_x_is_measured_by_the_height():
    results = make_results(np.array([[10, 10, 30, 30]], np.float32), (200, 100))
    before = results['img'].copy()
    results = fixed(shift=(0.1, -0.02))(results)  # 0.1 * 100 and -0.02 * 200
    np.testing.assert_allclose(results['gt_bboxes'], [[20, 6, 40, 26]])
    np.testing.assert_array_equal(results['img'][:96, 10:], before[4:, :190])


def test_pixels_take_whole_coordinates():
    # Half the size about (32, 24): the point (x, y) goes to (x / 2 + 16, y / 2 + 12), and so does
    # the centre of pixel (x, y). In the coordinates of edges it would land a quarter further.
    results = make_results(NONE, (64, 48))
    before = results['img'].copy()
    image = fixed(scale=0.5)(results)['img']
    np.testing.assert_array_equal(image[12:36, 16:48], before[::2, ::2])


def test_a_turned_box_shrinks_about_its_centre():
    results = make_results(np.array([[40, 20, 60, 70]], np.float32), (100, 90))
    (found,) = fixed(angle=4.0)(results)['gt_bboxes']
    sin, cos = math.sin(math.radians(4)), math.cos(math.radians(4))
    # OpenCV turns counter-clockwise, about the image's middle, here also the box's.
    half_w = (10 * cos + 25 * sin) * cos**0.5
    half_h = (25 * cos + 10 * sin) * cos**0.5
    np.testing.assert_allclose(
        found, [50 - half_w, 45 - half_h, 50 + half_w, 45 + half_h], rtol=1e-6
    )


def slow_boxes(gt_bboxes, params, size):
    """One box at a time: the corners' enclosure, made smaller, or None where it is dropped."""
    angle, scale, shift_x, shift_y, shear_x, shear_y = params
    width, height = size
    a, b = math.radians(angle), (math.tan(math.radians(shear_x)), math.tan(math.radians(shear_y)))
    shrink = max(abs(math.sin(a)), abs(math.cos(a))) ** 0.5

    def move(x, y):
        x, y = x - width / 2, y - height / 2
        x, y = (
            scale * (x * math.cos(a) + y * math.sin(a)),
            scale * (-x * math.sin(a) + y * math.cos(a)),
        )
        x, y = x + width / 2 + shift_x * height, y + height / 2 + shift_y * width
        return x + b[0] * y, y + b[1] * x

    for x1, y1, x2, y2 in gt_bboxes.tolist():
        xs, ys = zip(*[move(x, y) for x in (x1, x2) for y in (y1, y2)])
        cx, cy = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        w, h = (max(xs) - min(xs)) * shrink, (max(ys) - min(ys)) * shrink
        box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        margins = [
            w - 4, h - 4, w * h / ((x2 - x1) * (y2 - y1)) - 0.1, 10 - max(w / h, h / w),
            width - box[0], height - box[1], box[2], box[3],
        ]  # fmt: skip
        yield box, min(margins)


@settings(max_examples=80, deadline=None)
@given(boxes(), sizes, st.integers(0, 2**32 - 1))
def test_boxes_equal_the_loop_and_keep_their_ids(gt_bboxes, size, seed):
    np.random.seed(seed)
    sampler = IdAwareRandomAffine()
    params = sampler._random_params()
    results = fixed(*params[:2], params[2:4], params[4:])(make_results(gt_bboxes, size))
    kept = (results['gt_instances_id'] - 100).tolist()
    for i, (box, margin) in enumerate(slow_boxes(gt_bboxes, params, size)):
        if abs(margin) > 1e-3:  # else rounding decides
            assert (i in kept) == (margin > 0)
        if i in kept:
            np.testing.assert_allclose(
                results['gt_bboxes'][kept.index(i)], box, rtol=1e-5, atol=1e-3
            )


def test_unknown_style_names_the_nearest():
    with pytest.raises(MMKDError, match="unknown style 'fair'.*'fairmot'"):
        IdAwareRandomAffine(style='fair')
