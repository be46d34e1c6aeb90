"""Frozen models that a student learns from."""

from .batch_teacher import BatchTeacher
from .cached_teacher import CachedTeacher
from .dinov2 import DINOv2Teacher
from .dinov3 import DINOv3Teacher
from .ema_teacher import EMATeacher
from .model_teacher import ModelTeacher
from .teacher import Teacher
from .timm_teacher import TimmTeacher

__all__ = [
    'BatchTeacher',
    'CachedTeacher',
    'DINOv2Teacher',
    'DINOv3Teacher',
    'EMATeacher',
    'ModelTeacher',
    'Teacher',
    'TimmTeacher',
]
