"""Metrics that mmtrack lacks."""

from .attribute_sot_metric import AttributeSOTMetric
from .mot_metric import MOTMetric
from .mot_results import MOTResults

__all__ = ['AttributeSOTMetric', 'MOTMetric', 'MOTResults']
