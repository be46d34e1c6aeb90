"""Trackers: what joins the detections of one frame to those of the frames before."""

from .jde_tracker import JDETracker

__all__ = ['JDETracker']
