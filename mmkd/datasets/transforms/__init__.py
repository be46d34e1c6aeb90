"""FairMOT's augmentation with the ids kept beside their boxes."""

from __future__ import annotations

from .affine import IdAwareRandomAffine
from .flip import IdAwareRandomFlip
from .hsv import HSVJitter
from .letterbox import Letterbox

__all__ = ['HSVJitter', 'IdAwareRandomAffine', 'IdAwareRandomFlip', 'Letterbox']
