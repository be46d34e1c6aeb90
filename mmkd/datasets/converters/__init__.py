"""From folders of frames and text files to annotation files."""

from __future__ import annotations

from .mot import convert
from .video import extract_sequence

__all__ = ['convert', 'extract_sequence']
