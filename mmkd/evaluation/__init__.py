"""Metrics that mmtrack lacks."""

from .mot_metric import MOTMetric

__all__ = ['MOTMetric']
