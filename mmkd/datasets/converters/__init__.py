"""From folders of frames and text files to annotation files."""

from __future__ import annotations

from .crowdhuman import convert_crowdhuman
from .jde import convert_jde
from .mot import convert
from .video import extract_sequence

__all__ = ['convert', 'convert_crowdhuman', 'convert_jde', 'extract_sequence']
