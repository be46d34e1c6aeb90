"""Finds, reads and compares files of pretrained weights, whatever program wrote them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Callable, Dict, Iterable, Iterator, List, Sequence

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

State = Dict[str, Tensor]

_SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin')
# What a folder is searched for, best first.
_FOLDER_FILES = (
    'model.safetensors',
    'pytorch_model.bin',
    '*.safetensors',
    '*.pth',
    '*.pt',
    '*.bin',
)
# Says which tensor is in which of several files.
_INDEX_FILES = ('model.safetensors.index.json', 'pytorch_model.bin.index.json')
# Averaged weights before the others, as timm does it.
_WRAPPERS = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'teacher')
# How many keys an error message lists of each kind.
_SHOWN = 20


def import_timm(owner: str) -> ModuleType:
    """timm, which importing mmkd does not cost.

    Raises:
        MMKDError: There is none.
    """
    try:
        import timm
    except ImportError as error:
        raise MMKDError(f'{owner} needs timm: pip install timm.') from error
    return timm


@contextmanager
def without_memory(owner: str) -> Iterator[None]:
    """Networks of timm that are made here have no memory.

    timm is imported before: what is imported within would keep tensors of the meta device.
    """
    import_timm(owner)
    with torch.device('meta'):
        yield


def read_weights(weights: str, kind: str) -> State:
    """The tensors that ``weights`` means.

    Args:
        weights: A file, or a folder with one, or with several and Hugging Face's index of them.
        kind: What they should be of, for messages.

    Raises:
        MMKDError: Something is missing or cannot be read.
    """
    state: State = {}
    for path in find_files(weights, kind):
        state.update(read_file(path))
    return state


def find_files(weights: str, kind: str) -> List[Path]:
    """The files that ``weights`` means: itself, or what is in that folder."""
    path = Path(weights).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        hint = nearest(weights, ('timm', 'random')) if path.name == weights else ''
        if path.parent != Path('.') and path.parent.is_dir():
            hint = nearest(path.name, (file.name for file in path.parent.iterdir()))
        raise MMKDError(f'There is no {kind} weights file {str(path)!r}. {hint}'.rstrip())
    return [path]


def _in_folder(folder: Path) -> List[Path]:
    for name in _INDEX_FILES:
        if (folder / name).is_file():
            named = json.loads((folder / name).read_text())['weight_map'].values()
            files = [folder / file for file in sorted(set(named))]
            lacking = [file.name for file in files if not file.is_file()]
            if lacking:
                raise MMKDError(f'{folder / name} names files that are not there: {some(lacking)}.')
            return files
    for pattern in _FOLDER_FILES:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            names = ', '.join(file.name for file in found)
            raise MMKDError(f'The folder {folder} has several weights files: {names}. Name one.')
        if found:
            return found
    raise MMKDError(f'The folder {folder} has no weights file ({", ".join(_SUFFIXES)}).')


def read_file(path: Path) -> State:
    """The tensors of a file, unwrapped from what training programs put around them.

    Raises:
        MMKDError: It cannot be read, or it holds no tensors.
    """
    with open(path, 'rb') as file:
        head = file.read(64)
    if head.startswith(b'version https://git-lfs'):
        raise MMKDError(
            f'{path} is a Git LFS pointer, not the weights themselves: run git lfs pull there.'
        )
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            state = load_file(str(path))
        else:
            state = torch.load(str(path), map_location='cpu', weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each fail in several ways
        reason = str(error).strip().splitlines()
        raise MMKDError(
            f'The weights file {path} ({path.stat().st_size} bytes) cannot be read: it is corrupt, '
            f'cut short, or no checkpoint of tensors ({type(error).__name__}: '
            f'{reason[0] if reason else "no reason given"}).'
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise MMKDError(
            f'The weights file {path} holds no state dict but a {type(state).__name__}.'
        )
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def strip_prefixes(state: State, prefixes: Sequence[str]) -> State:
    """Takes these beginnings off the keys that have them, one after the other."""
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in state):
            # What else is in the file (a head beside 'backbone.') keeps its name.
            state = {
                key[len(prefix) :] if key.startswith(prefix) else key: v for key, v in state.items()
            }
    return state


def download(name: str, create: Callable[[], nn.Module]) -> nn.Module:
    """A network that timm fetches the weights of.

    Raises:
        MMKDError: The hub cannot be reached, or does not hand the weights out.
    """
    try:
        return create()
    except Exception as error:  # the hub raises its own, requests' and the system's errors
        raise MMKDError(
            f'timm could not get the weights {name!r} ({type(error).__name__}: {error}). On a '
            'machine without network, copy the file there and give its path as weights=.'
        ) from error


def check_complete(state: State, expected: State, source: str, what: str) -> None:
    """Raises:
    MMKDError: ``state`` is not exactly what ``expected`` (its shapes count) asks for.
    """
    missing, extra = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if missing or extra:
        raise MMKDError(
            f'{source} does not cover {what}: {len(missing)} tensors are missing '
            f'({some(missing)}), {len(extra)} are not known ({some(extra)}).'
        )
    check_shapes(state, expected, source, what)


def check_shapes(state: State, expected: State, source: str, what: str) -> None:
    """Raises:
    MMKDError: A tensor of ``expected`` has another shape in ``state``.
    """
    for key, value in expected.items():
        if value.shape != state[key].shape:
            raise MMKDError(
                f'{source} has {key!r} of shape {tuple(state[key].shape)}, but {what} needs '
                f'{tuple(value.shape)}.'
            )


def fill(net: nn.Module, state: State) -> nn.Module:
    """Gives a network of the meta device its memory and these weights, all of them."""
    net = net.to_empty(device='cpu')
    net.load_state_dict(state, strict=True)
    for name, module in net.named_modules():
        unsaved = module._non_persistent_buffers_set
        if not unsaved:
            continue
        # Not in any file, and without values since to_empty.
        if not hasattr(module, 'init_non_persistent_buffers'):
            raise RuntimeError(f'Nothing can set {sorted(unsaved)} of {name!r}.')
        module.init_non_persistent_buffers()
    return net


def some(keys: Iterable[str], limit: int = _SHOWN) -> str:
    """The first of several names, for a message."""
    keys = list(keys)
    rest = f' and {len(keys) - limit} more' if len(keys) > limit else ''
    return (', '.join(repr(key) for key in keys[:limit]) + rest) or 'none'
