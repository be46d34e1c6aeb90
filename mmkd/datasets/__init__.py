"""Data: MOTChallenge-like datasets, id-aware transforms, converters, synthetic sequences.

The converters, the synthetic sequences and the transforms need no tracker code. The dataset does,
and mmtrack takes seconds to import, so it is imported when somebody asks for it.
"""

from __future__ import annotations

__all__ = ['MOTDataset']


def __getattr__(name: str):
    if name == 'MOTDataset':
        from .mot import MOTDataset

        return MOTDataset
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
