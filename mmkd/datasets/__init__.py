"""Data: MOTChallenge-like datasets, id-aware transforms, converters, synthetic sequences.

The converters, the synthetic sequences and the transforms need no tracker code, so this package
also imports where mmtrack is not installed; the dataset itself does need it.
"""

from __future__ import annotations

from importlib.util import find_spec

from .ids import assign_id_offsets

__all__ = ['assign_id_offsets']

if find_spec('mmtrack') is not None:
    from .mot import MOTDataset

    __all__ += ['MOTDataset']
