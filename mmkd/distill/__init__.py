"""Distillation for any OpenMMLab model: nothing here knows about tracking."""

from .distillers import Distiller, FeatureDistiller
from .losses import CosineDistillLoss, MSEDistillLoss
from .teachers import DINOv2Teacher, Teacher
from .transforms import FeatureTransform

__all__ = [
    'CosineDistillLoss',
    'DINOv2Teacher',
    'Distiller',
    'FeatureDistiller',
    'FeatureTransform',
    'MSEDistillLoss',
    'Teacher',
]
