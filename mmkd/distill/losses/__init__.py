"""Losses between two maps of one shape: pure functions of (student, teacher, mask)."""

from .cosine import CosineDistillLoss
from .mse import MSEDistillLoss

__all__ = ['CosineDistillLoss', 'MSEDistillLoss']
