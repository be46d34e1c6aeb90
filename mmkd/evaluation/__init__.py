"""Metrics that mmtrack lacks."""

from .mot_metric import MOTMetric
from .mot_results import MOTResults

__all__ = ['MOTMetric', 'MOTResults']
