"""FairMOT's augmentation with the ids kept beside their boxes; pairs of frames; attributes."""

from __future__ import annotations

from .add_attributes import AddAttributes
from .affine import IdAwareRandomAffine
from .flip import IdAwareRandomFlip
from .fused import FusedAugment
from .hsv import HSVJitter
from .letterbox import Letterbox
from .pair_sampling import VisiblePairSampling

__all__ = [
    'AddAttributes',
    'FusedAugment',
    'HSVJitter',
    'IdAwareRandomAffine',
    'IdAwareRandomFlip',
    'Letterbox',
    'VisiblePairSampling',
]
