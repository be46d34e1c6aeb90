"""From one feature space and grid to another."""

from .aligned_resize import AlignedResize
from .feature_transform import FeatureTransform
from .mlp import MLPTransform
from .resize import resize_to_grid
from .spatial_attention import SpatialAttentionTransform

__all__ = [
    'AlignedResize',
    'FeatureTransform',
    'MLPTransform',
    'SpatialAttentionTransform',
    'resize_to_grid',
]
