from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmkd.datasets.converters.images import read_header


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp'])
def test_the_size_is_that_of_the_pixels(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    assert read_header(path) == (30, 20, False)
    assert read_header(str(path)).loaded_size == (30, 20)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_loaded_size_is_opencvs(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (30, 20)).save(path, exif=exif.tobytes())
    header = read_header(path)
    assert (header.width, header.height) == (30, 20)
    assert header.loaded_size == cv2.imread(str(path)).shape[1::-1]
    assert header.turned == (header.loaded_size == (20, 30))


def test_only_the_header_is_read(tmp_path):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    assert read_header(path) == (300, 200, False)


@settings(max_examples=100, deadline=None)
@given(start=st.sampled_from([b'', b'\xff\xd8\xff\xe1', b'\x89PNG\r\n\x1a\n', b'BM']),
       rest=st.binary(max_size=200))  # fmt: skip
def test_no_bytes_raise(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / 'any.jpg'
    path.write_bytes(start + rest)
    header = read_header(path)
    assert header is None or min(header[:2]) >= 0
