"""Backbones that mmtrack and mmdet lack."""

from .dla import DLA

__all__ = ['DLA']
