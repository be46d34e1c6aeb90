"""Necks that mmtrack and mmdet lack."""

from .ct_resnet_neck import CTResNetNeck
from .deform_conv import DCNv2
from .dla_up_neck import DLAUpNeck
from .hr_concat_neck import HRConcatNeck
from .top_down_neck import TopDownNeck

__all__ = ['CTResNetNeck', 'DCNv2', 'DLAUpNeck', 'HRConcatNeck', 'TopDownNeck']
