"""Necks that mmtrack and mmdet lack."""

from .hr_concat_neck import HRConcatNeck

__all__ = ['HRConcatNeck']
