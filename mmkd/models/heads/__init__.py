"""Heads that mmtrack and mmdet lack."""

from .fairmot_head import FairMOTHead
from .siamese_rpn_head import SiameseRPNHead

__all__ = ['FairMOTHead', 'SiameseRPNHead']
