import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from torch import nn

from mmkd.distill.images import to_rgb, valid_mask, valid_quads
from mmkd.errors import MMKDError

from .toys import PREPROCESSOR, sample


def _bgr(n=2, height=6, width=8):
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize('swaps', [True, False])
@pytest.mark.parametrize('normalises', [True, False])
def test_undoes_mmengines_preprocessor(swaps, normalises):
    files = _bgr()
    stats = {k: PREPROCESSOR[k] for k in ('mean', 'std')} if normalises else {}
    preprocessor = ImgDataPreprocessor(bgr_to_rgb=swaps, **stats)
    inputs = preprocessor({'inputs': list(files)})['inputs']
    torch.testing.assert_close(
        to_rgb(inputs, preprocessor), files.flip(1).float(), atol=1e-3, rtol=0
    )


def test_undoes_a_clip_preprocessor_of_mmtracks_kind():
    preprocessor = nn.Module()
    preprocessor.channel_conversion = True
    preprocessor._enable_normalize = True
    preprocessor.register_buffer('mean', torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
    preprocessor.register_buffer('std', torch.tensor([4.0, 5.0, 6.0]).view(1, 3, 1, 1))
    rgb = torch.rand(2, 4, 3, 6, 8) * 255
    inputs = {'img': (rgb - preprocessor.mean) / preprocessor.std}
    torch.testing.assert_close(to_rgb(inputs, preprocessor), rgb.flatten(0, 1))


def test_keeps_no_gradient_and_no_half_precision():
    inputs = torch.rand(1, 3, 4, 4, dtype=torch.float16, requires_grad=True)
    out = to_rgb(inputs, BaseDataPreprocessor())
    assert out.dtype == torch.float32
    assert not out.requires_grad


def test_what_is_no_picture_is_refused():
    with pytest.raises(MMKDError, match=r'\(1, 1, 4, 4\)'):
        to_rgb(torch.zeros(1, 1, 4, 4), BaseDataPreprocessor())
    with pytest.raises(MMKDError, match="no 'img'.*'search_img'"):
        to_rgb({'search_img': torch.zeros(1, 3, 4, 4)}, BaseDataPreprocessor())


def _mask(samples, size, grid, n=1):
    return valid_mask(valid_quads(samples, n, size), size, grid)


def test_without_information_everything_is_valid():
    assert _mask(None, (10, 20), (3, 4)).all()
    assert _mask([sample()], (10, 20), (3, 4)).all()


def test_img_shape_leaves_the_padding_out():
    mask = _mask([sample(img_shape=(5, 10))], (10, 20), (4, 4))[0, 0]
    assert mask.tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2


@pytest.mark.parametrize('mirrored', [False, True])
def test_a_letterbox_is_left_out_flipped_or_not(mirrored):
    # 100 x 200 scaled by a half into 100 x 100: 25 rows above and below.
    matrix = np.array([[0.5, 0, 0], [0, 0.5, 25], [0, 0, 1]])
    if mirrored:
        matrix = np.array([[-1, 0, 100], [0, 1, 0], [0, 0, 1]]) @ matrix
    info = sample(homography_matrix=matrix.astype(np.float32), ori_shape=(100, 200))
    mask = _mask([info], (100, 100), (10, 10))[0, 0]
    expected = [25 <= (i + 0.5) * 10 <= 75 for i in range(10)]
    assert mask.all(dim=1).tolist() == mask.any(dim=1).tolist() == expected


def test_a_clip_shares_its_samples_mask_and_a_prefix_is_read():
    samples = [sample(search_img_shape=(5, 20)), sample(search_img_shape=(10, 20))]
    quads = valid_quads(samples, 4, (10, 20), 'search_')
    assert quads[:2, :, 1].max() == 5
    assert quads[2:, :, 1].max() == 10
    with pytest.raises(MMKDError, match='3 images'):
        valid_quads(samples, 3, (10, 20))


@pytest.mark.parametrize('frames', [1, 2, 4])
def test_every_frame_of_a_clip_has_its_own_mask(frames):
    matrices = [np.diag([0.5, (i + 1) / 8, 1.0]) for i in range(frames)]
    clip = sample(homography_matrix=matrices, ori_shape=[(80, 40)] * frames)
    quads = valid_quads([clip, clip], 2 * frames, (50, 20))
    assert quads.shape == (2 * frames, 4, 2)
    assert quads[:, 2].tolist() == [[20, 10 * (i + 1)] for i in range(frames)] * 2
    shapes = [(10 * (i + 1), 20) for i in range(frames)]
    assert (valid_quads([sample(img_shape=shapes)] * 2, 2 * frames, (50, 20)) == quads)[:, 2].all()


def test_metainfo_of_other_frames_is_told():
    with pytest.raises(MMKDError, match=r'img_shape .*\(3, 2\).* 2 image'):
        valid_quads([sample(img_shape=[(5, 5)] * 3)], 2, (10, 20))


@settings(max_examples=40, deadline=None)
@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.2, 2),
    shift=st.tuples(st.floats(-30, 60), st.floats(-30, 60)),
    shear=st.floats(-0.5, 0.5),
    flip=st.booleans(),
)
def test_agrees_with_mapping_every_centre_back(angle, scale, shift, shear, flip):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[c, -s + shear, shift[0]], [s, c, shift[1]], [0, 0, 1]])
    if flip:
        matrix = matrix @ np.diag([-1, 1, 1])
    if abs(np.linalg.det(matrix)) < 1e-2:
        return
    size, grid, ori = (60, 80), (9, 11), (40, 50)
    info = sample(homography_matrix=matrix, ori_shape=ori)
    got = _mask([info], size, grid)[0, 0]
    for i in range(grid[0]):
        for j in range(grid[1]):
            centre = np.array([(j + 0.5) * size[1] / grid[1], (i + 0.5) * size[0] / grid[0], 1])
            x, y, _ = np.linalg.inv(matrix) @ centre
            margin = min(x, ori[1] - x, y, ori[0] - y)
            if abs(margin) > 1e-3:
                assert got[i, j].item() == (margin > 0)


def test_a_picture_without_area_is_nowhere_valid():
    info = sample(homography_matrix=np.diag([0.0, 1.0, 1.0]), ori_shape=(10, 10))
    assert not _mask([info], (10, 10), (4, 4)).any()
