"""What the tools call, for use from Python.

    from mmkd.apis import init_tracker, track_video

Imported when first asked for: some of the tools run before there is a torch to import.
"""

from __future__ import annotations

import importlib

__all__ = ['init_tracker', 'track_video']


def __getattr__(name: str):
    if name in __all__:
        return getattr(importlib.import_module('mmkd.apis.inference'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
