"""Distillation for any OpenMMLab model: nothing here knows about tracking."""

from . import losses
from .balance import EMAStandardize, GateTrust, GradientRatio, SoftmaxTrust, TeacherDrop
from .distillers import Distiller, FeatureDistiller, SpecializedTeacherDistiller
from .foreground import ForegroundWeight
from .losses import *  # noqa: F403
from .teachers import (
    BatchTeacher,
    DINOv2Teacher,
    DINOv3Teacher,
    EMATeacher,
    ModelTeacher,
    Teacher,
    TimmTeacher,
)
from .transforms import (
    AlignedResize,
    CentreAlign,
    FeatureTransform,
    MLPTransform,
    SpatialAttentionTransform,
)

__all__ = [
    'AlignedResize',
    'BatchTeacher',
    'CentreAlign',
    'DINOv2Teacher',
    'DINOv3Teacher',
    'Distiller',
    'EMAStandardize',
    'EMATeacher',
    'FeatureDistiller',
    'FeatureTransform',
    'ForegroundWeight',
    'GateTrust',
    'GradientRatio',
    'MLPTransform',
    'ModelTeacher',
    'SoftmaxTrust',
    'SpatialAttentionTransform',
    'SpecializedTeacherDistiller',
    'Teacher',
    'TeacherDrop',
    'TimmTeacher',
    *losses.__all__,
]
