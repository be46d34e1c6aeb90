"""What a training sample depends on besides its seed: transforms, their code, their settings."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from functools import partial
from importlib import metadata
from types import FunctionType, ModuleType
from typing import Any, Dict, Iterator, List, Set, Tuple

import numpy as np
from torch import Tensor, nn

# Of these the version is enough; their code does not change beneath it.
_LIBRARIES = {'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'), 'mmdet': ('mmdet', 'onedl-mmdetection'),
              'mmengine': ('mmengine', 'onedl-mmengine'), 'mmtrack': ('mmtrack', 'mmtracking'),
              'numpy': ('numpy',), 'cv2': ('opencv-python', 'opencv-python-headless',
              'opencv-contrib-python', 'opencv-contrib-python-headless'),
              'torch': ('torch',), 'torchvision': ('torchvision',), 'PIL': ('pillow',)}  # fmt: skip
_ALWAYS = ('numpy', 'cv2')
_WRAPPED = ('datasets', 'dataset')
_PIPELINES = ('pipeline', 'transforms')
_DEPTH = 12


def identify_pipeline(dataset: Any) -> Dict[str, Dict[str, str]]:
    """Args:
        dataset: A data set, or wrappers around data sets to any depth.

    Returns:
        ``parameters``: each transform and wrapper, by its place, to a hash of its settings.
        ``code``: each module that is not of a released library, to a hash of its source; with the
        modules of the same package that it uses. ``packages``: each library to its version.
    """
    parameters: Dict[str, str] = {}
    classes: List[type] = []
    for place, part in _parts(dataset):
        parameters[place] = _hash(_plain(part))
        classes.append(type(part))
    modules = _closure(classes)
    ours = {m for m in modules if _root(m) not in _LIBRARIES}
    libraries = {_root(m) for m in modules if _root(m) in _LIBRARIES} | set(_ALWAYS)
    return {
        'parameters': parameters,
        'code': {name: _source(name) for name in sorted(ours)},
        'packages': {name: _version(name) for name in sorted(libraries)},
    }


def _parts(dataset: Any, place: str = 'dataset') -> Iterator[Tuple[str, Any]]:
    """Transforms, and wrappers that transform themselves, with their places."""
    inner = [name for name in _WRAPPED if hasattr(dataset, name)]
    for name in _PIPELINES:
        yield from _steps(getattr(dataset, name, None), f'{place}.{name}')
    for name in inner:
        value = getattr(dataset, name)
        many = isinstance(value, (list, tuple))
        for number, each in enumerate(value if many else [value]):
            yield from _parts(each, f'{place}.{name}[{number}]' if many else f'{place}.{name}')


def _steps(pipeline: Any, place: str) -> Iterator[Tuple[str, Any]]:
    steps = getattr(pipeline, 'transforms', pipeline)
    if not isinstance(steps, (list, tuple)):
        return
    for number, step in enumerate(steps):
        name = f'{place}[{number}] {type(step).__name__}'
        yield name, step
        yield from _steps(getattr(step, 'transforms', None), name)


def _plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON that tells it from others, whatever it is made of."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return _plain(value.detach().cpu().numpy(), depth)
    if depth > _DEPTH:
        return f'<{type(value).__name__}>'
    if isinstance(value, dict):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(each, depth + 1) for each in value), key=str)
    if isinstance(value, partial):
        return _plain([value.func, value.args, value.keywords], depth + 1)
    if (
        isinstance(value, (type, FunctionType, ModuleType))
        or callable(value)
        and not _has_state(value)
    ):
        return getattr(value, '__qualname__', getattr(value, '__name__', type(value).__name__))
    if isinstance(value, nn.Module):
        state = {name: _plain(each, depth + 1) for name, each in value.state_dict().items()}
        return [type(value).__qualname__, state]
    state = vars(value) if _has_state(value) else {}
    named = {key: _plain(each, depth + 1) for key, each in sorted(state.items())}
    return [f'{type(value).__module__}.{type(value).__qualname__}', named]


def _has_state(value: Any) -> bool:
    return hasattr(value, '__dict__')


def _closure(classes: List[type]) -> Set[str]:
    """Modules of these classes and their bases, and what our own of them use of their package."""
    queue = [base.__module__ for each in classes for base in each.__mro__]
    found: Set[str] = set()
    while queue:
        name = queue.pop()
        if name in found or name == 'builtins' or name not in sys.modules:
            continue
        found.add(name)
        if _root(name) in _LIBRARIES:
            continue
        for value in vars(sys.modules[name]).values():
            used = (
                value.__name__
                if isinstance(value, ModuleType)
                else getattr(value, '__module__', None)
            )
            used_here = isinstance(used, str) and (
                _root(used) == _root(name) or _root(used) in _LIBRARIES
            )
            # A registry knows every class of the package, and no pixel depends on it.
            if used_here and not used.endswith(('.registry', '.errors')):
                queue.append(used)
    return {name for name in found if _root(name) in _LIBRARIES or _has_source(name)}


def _has_source(name: str) -> bool:
    root = _root(name)
    return (
        root not in sys.builtin_module_names
        and root not in _STANDARD
        and hasattr(sys.modules[name], '__file__')
    )


_STANDARD = getattr(
    sys, 'stdlib_module_names', frozenset({'abc', 'typing', 'collections', 'functools', 'enum'})
)


def _source(name: str) -> str:
    try:
        text = inspect.getsource(sys.modules[name])
    except (OSError, TypeError):
        # Typed at a prompt, or compiled: there is nothing to read.
        return 'no source'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version(name: str) -> str:
    for distribution in _LIBRARIES[name]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return str(getattr(sys.modules.get(name), '__version__', 'unknown'))


def _root(name: str) -> str:
    return name.partition('.')[0]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
