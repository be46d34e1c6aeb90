"""Synthetic sequences of walkers, seeded, with exact ground truth.

They replace a data set where none can be fetched: in the quickstart and in the tests. Persons with
their own clothes walk, run, stop, hide each other, pass behind posts and trees, leave and come
back under the same id, before a camera that pans, zooms and jerks, in light that changes.
"""

from __future__ import annotations

from .scene import Frame, SceneConfig, Target, render
from .writer import ATTRIBUTES, write_sequence

__all__ = ['ATTRIBUTES', 'Frame', 'SceneConfig', 'Target', 'render', 'write_sequence']
