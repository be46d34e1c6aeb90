import random

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile

from mmkd.datasets.transforms import (
    FusedAugment,
    HSVJitter,
    IdAwareRandomAffine,
    IdAwareRandomFlip,
    Letterbox,
)
from mmkd.datasets.transforms.fused import reduction
from mmkd.errors import MMKDError

SCALE = (192, 112)


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    """Smooth, so that interpolation matters little; with edges that show where it went."""
    size = (640, 360)
    small = np.random.default_rng(0).integers(30, 226, (6, 9, 3), dtype=np.uint8)
    image = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    cv2.rectangle(image, (200, 100), (330, 260), (250, 250, 250), 8)
    file = tmp_path_factory.mktemp('pictures') / 'a.jpg'
    cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return str(file)


def results_of(picture, **more):
    return dict(
        img_path=picture,
        gt_bboxes=np.array(
            [[200, 100, 330, 260], [5, 5, 12, 11], [500, 20, 630, 350], [0, 0, 640, 360]],
            np.float32,
        ),
        gt_instances_id=np.array([7, 8, 9, 10]),
        **more,
    )


def chain(picture, seed, **affine):
    np.random.seed(seed)
    random.seed(seed)
    results = results_of(picture)
    for step in (
        LoadImageFromFile(),
        HSVJitter(),
        Letterbox(SCALE),
        IdAwareRandomAffine(**affine),
        IdAwareRandomFlip(),
    ):
        results = step(results)
    return results


def fused(picture, seed, size=True, **options):
    np.random.seed(seed)
    random.seed(seed)
    known = dict(width=640, height=360) if size else {}
    return FusedAugment(SCALE, **options)(results_of(picture, **known))


@pytest.mark.parametrize('size', [True, False])
@pytest.mark.parametrize('seed', range(8))
def test_it_is_the_chain(picture, seed, size):
    expected, found = chain(picture, seed), fused(picture, seed, size)
    assert np.allclose(found['gt_bboxes'], expected['gt_bboxes'], atol=2e-3)
    assert found['gt_instances_id'].tolist() == expected['gt_instances_id'].tolist()
    assert np.allclose(found['homography_matrix'], expected['homography_matrix'], atol=1e-3)
    for key in ('flip', 'flip_direction', 'img_shape', 'ori_shape', 'scale_factor'):
        assert found[key] == expected[key], key
    assert found['img'].shape == expected['img'].shape
    difference = np.abs(found['img'].astype(float) - expected['img'])
    assert difference.mean() < 3
    # Shifted by a pixel it would be much further away.
    shifted = np.abs(np.roll(found['img'], 1, axis=1).astype(float) - expected['img'])
    assert difference.mean() < 0.6 * shifted.mean()


def test_the_fill_keeps_its_grey(picture):
    found = fused(picture, 1, scale_range=(0.5, 0.5), degrees=0, shear=0, translate=0)['img']
    assert (found[:20] == 128).all()
    assert not (found[50:60, 90:100] == 128).all()


def test_small_pictures_are_decoded_small(picture, monkeypatch):
    seen = []
    real = cv2.imdecode

    def decode(data, flag):
        seen.append(flag)
        return real(data, flag)

    monkeypatch.setattr(cv2, 'imdecode', decode)
    quiet = dict(degrees=0, shear=0, translate=0)
    fused(picture, 0, scale_range=(1.0, 1.0), **quiet)  # 0.3 of its size
    fused(picture, 0, scale_range=(0.8, 0.8), **quiet)  # 0.24
    fused(picture, 0, scale_range=(2.0, 2.0), **quiet)  # 0.6
    fused(picture, 0, scale_range=(0.8, 0.8), reduce=False, **quiet)
    assert seen == [
        cv2.IMREAD_REDUCED_COLOR_2,
        cv2.IMREAD_REDUCED_COLOR_4,
        cv2.IMREAD_COLOR,
        cv2.IMREAD_COLOR,
    ]


def test_other_formats_are_decoded_whole(picture, tmp_path, monkeypatch):
    file = str(tmp_path / 'same.png')
    cv2.imwrite(file, cv2.imread(picture))
    seen = []
    real = cv2.imdecode
    monkeypatch.setattr(
        cv2, 'imdecode', lambda data, flag: (seen.append(flag), real(data, flag))[1]
    )
    fused(file, 0, scale_range=(0.8, 0.8), degrees=0, shear=0, translate=0)
    assert seen == [cv2.IMREAD_COLOR]


@pytest.mark.parametrize(('scale', 'factor'), [(1.5, 1), (0.51, 1), (0.5, 2), (0.2, 4), (0.01, 8)])
def test_no_pixel_is_magnified(scale, factor):
    turn = cv2.getRotationMatrix2D((3, 4), 30, scale)
    assert reduction(np.vstack([turn, [0, 0, 1]])) == factor


def test_a_wrong_size_in_the_annotation_is_overruled(picture):
    expected = fused(picture, 3, size=False)
    np.random.seed(3)
    found = FusedAugment(SCALE)(results_of(picture, width=360, height=640))
    assert np.array_equal(found['img'], expected['img'])
    assert np.array_equal(found['gt_bboxes'], expected['gt_bboxes'])


def test_colours_can_be_left_alone(picture):
    quiet = dict(degrees=0, shear=0, translate=0, scale_range=(1, 1), flip_prob=0)
    plain = fused(picture, 0, hsv=0, **quiet)['img']
    source = cv2.resize(cv2.imread(picture), (192, 108), interpolation=cv2.INTER_AREA)
    assert np.abs(plain[2:110].astype(float) - source).mean() < 1.5


def test_a_file_that_is_no_picture(tmp_path):
    file = tmp_path / 'a.jpg'
    file.write_bytes(b'not a picture')
    with pytest.raises(MMKDError, match='a.jpg. is no picture'):
        FusedAugment(SCALE)(results_of(str(file), width=640, height=360))
