"""Frozen models that a student learns from."""

from .dinov2 import DINOv2Teacher
from .teacher import Teacher

__all__ = ['DINOv2Teacher', 'Teacher']
