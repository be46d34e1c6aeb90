"""Necks that mmtrack and mmdet lack."""

from .deform_conv import DCNv2
from .dla_up_neck import DLAUpNeck
from .hr_concat_neck import HRConcatNeck

__all__ = ['DCNv2', 'DLAUpNeck', 'HRConcatNeck']
