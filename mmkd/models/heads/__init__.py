"""Heads that mmtrack and mmdet lack."""

from .fairmot_head import FairMOTHead

__all__ = ['FairMOTHead']
