"""Trained maps from one feature space to another."""

from .feature_transform import FeatureTransform

__all__ = ['FeatureTransform']
