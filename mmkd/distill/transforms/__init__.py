"""From one feature space and grid to another."""

from .aligned_resize import AlignedResize
from .centre_align import CentreAlign, centre_align
from .feature_transform import FeatureTransform
from .mlp import MLPTransform
from .resize import resize_to_grid
from .spatial_attention import SpatialAttentionTransform

__all__ = [
    'AlignedResize',
    'CentreAlign',
    'FeatureTransform',
    'MLPTransform',
    'SpatialAttentionTransform',
    'centre_align',
    'resize_to_grid',
]
