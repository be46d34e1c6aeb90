"""Backbones that mmtrack and mmdet lack."""

from .alexnet import SOTAlexNet
from .dla import DLA
from .input_norm import InputNorm
from .mobilenet_v2 import SOTMobileNetV2
from .resnet import SOTResNet
from .sot_backbone import SOTBackbone
from .timm_backbone import SOTTimmBackbone

__all__ = [
    'DLA',
    'InputNorm',
    'SOTAlexNet',
    'SOTBackbone',
    'SOTMobileNetV2',
    'SOTResNet',
    'SOTTimmBackbone',
]
