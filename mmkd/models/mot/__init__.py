"""Multi-object trackers that mmtrack lacks."""

from .fairmot import FairMOT

__all__ = ['FairMOT']
