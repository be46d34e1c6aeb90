"""Sizes of images, read from their first bytes only."""

from __future__ import annotations

import warnings
from typing import NamedTuple, Tuple

from PIL import Image

_ORIENTATION = 0x0112  # EXIF's tag
_ON_THEIR_SIDE = (5, 6, 7, 8)


class Header(NamedTuple):
    """What an image file says of itself."""

    width: int  # of the stored pixels
    height: int
    turned: bool  # EXIF says that the camera was held on its side

    @property
    def loaded_size(self) -> Tuple[int, int]:
        """(width, height) as OpenCV loads the image: upright."""
        return (self.height, self.width) if self.turned else (self.width, self.height)


def read_header(path) -> Header | None:
    """Reads an image's size without decoding it, or returns None if there is no readable image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd EXIF data and of very large images
            with Image.open(path) as image:
                turned = 'exif' in image.info and image.getexif().get(_ORIENTATION)
                return Header(*image.size, turned in _ON_THEIR_SIDE)
    # Pillow raises the most different things at files that are not what they claim to be.
    except Exception:
        return None
