"""Named capture of what a module of the student gives, by dotted path."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

_INDEX = re.compile(r'\[([^\[\]]+)\]')


def split_run(path: str) -> Tuple[str, Optional[int]]:
    """'neck[0]@1' as the path and the run of the module that is meant; None if not said."""
    bare, at, run = path.partition('@')
    if at and not run.isdigit():
        raise MMKDError(
            f'The tap {path!r} names a run of its module after @, counted from 0, as in '
            "'neck[0]@1'."
        )
    return bare, int(run) if at else None


class Tap:
    """A module of a model, and which part of its output is meant.

    ``'neck'`` is the neck's output, which must then be one tensor (or a tuple or list of one);
    ``'neck[0]'`` and ``'neck.0'`` are its first; ``'head[heatmap]'`` is an entry of a dict. A
    child of that name goes before an index: ``'backbone.layers.2'`` is a module if there is one.

    What is read is the output as the forward pass leaves it: where the next module writes into it
    (``ReLU(inplace=True)``), that is included.

    Args:
        model: The model.
        path: The path.
        owner: Whose model it is, for messages.

    Raises:
        MMKDError: There is no such module; the message names the nearest and shows its level.
    """

    def __init__(self, model: nn.Module, path: str, owner: str = 'the student'):
        if not isinstance(path, str) or not path:
            raise MMKDError(f'A tap is the dotted path of a module, but got {path!r}.')
        self.path = path
        self.module_path, index = _split(model, path, owner)
        self.index: Tuple[Union[int, str], ...] = tuple(
            int(part) if re.fullmatch(r'-?\d+', part) else part for part in index
        )

    def module(self, model: nn.Module) -> nn.Module:
        """The tapped module of ``model``."""
        return model.get_submodule(self.module_path)

    def select(self, output: Any) -> Tensor:
        """The tensor, (N, C, H, W) or (N, C), that the path means, out of the module's output."""
        for part in self.index:
            try:
                if isinstance(output, Tensor):
                    # It would pick one image out of the batch.
                    raise TypeError
                output = output[part]
            except (IndexError, KeyError, TypeError):
                raise MMKDError(
                    f'The tap {self.path!r} asks for [{part}] of what {self.module_path!r} '
                    f'gives, which is {describe(output)}.'
                ) from None
        while isinstance(output, (tuple, list)) and len(output) == 1:
            output = output[0]
        if not isinstance(output, Tensor):
            several = isinstance(output, (dict, tuple, list))
            keys = output if isinstance(output, dict) else range(len(output) if several else 0)
            choices = ', '.join(repr(f'{self.module_path}[{key}]') for key in keys)
            raise MMKDError(
                f'The tap {self.path!r} must be one tensor, but that module gives '
                f'{describe(output)}.' + (f' Choose one of {choices}.' if choices else '')
            )
        if output.dim() not in (2, 4):
            raise MMKDError(
                f'The tap {self.path!r} must be a map (N, C, H, W) or a vector (N, C), but it '
                f'gives {describe(output)}.'
            )
        return output


def describe(output: Any) -> str:
    """The shapes within a module's output, for a message."""
    if isinstance(output, Tensor):
        return f'a tensor {tuple(output.shape)}'
    if isinstance(output, dict):
        return '{' + ', '.join(f'{key}: {describe(value)}' for key, value in output.items()) + '}'
    if isinstance(output, (tuple, list)):
        return f'a {type(output).__name__} of [' + ', '.join(map(describe, output)) + ']'
    return f'a {type(output).__name__}'


def _split(model: nn.Module, path: str, owner: str) -> Tuple[str, List[str]]:
    """The longest part of a path that is a module, and the indices after it."""
    if re.search(r'\][^\[]', path):
        raise MMKDError(
            f'The tap {path!r} has an index before the end: brackets pick a part of an output, '
            "children are named after dots, as in 'layers.2.conv'."
        )
    bracketed = _INDEX.findall(path)
    names = _INDEX.sub('', path).split('.')
    found: List[str] = []
    module = model
    for position, name in enumerate(names):
        children = dict(module.named_children())
        if name in children:
            module = children[name]
            found.append(name)
        elif found and all(re.fullmatch(r'-?\d+', rest) for rest in names[position:]):
            return '.'.join(found), names[position:] + bracketed
        else:
            parent = '.'.join(found)
            raise MMKDError(_no_such_module(model, path, '.'.join(names), parent, owner))
    return '.'.join(found), bracketed


def _no_such_module(model: nn.Module, path: str, dotted: str, parent: str, owner: str) -> str:
    everything = [name for name, _ in model.named_modules() if name]
    level = dict(model.get_submodule(parent).named_children())
    where = repr(parent) if parent else f'{owner} ({type(model).__name__})'
    if level:
        tree = '; '.join(f'{name} ({type(child).__name__})' for name, child in level.items())
        tree = f'Children of {where}: {tree}.'
    else:
        tree = f'{where} has no children.'
    return f'There is no module {path!r} in {owner}. {nearest(dotted, everything)} {tree}'


class TapRecorder:
    """What the taps saw during one forward pass, every call of a module apart."""

    def __init__(self, taps: Sequence[Tap]):
        self._taps = {tap.path: tap for tap in taps}
        self._outputs: Dict[str, List[Any]] = {path: [] for path in self._taps}

    def calls(self, path: str) -> int:
        """How often that module ran."""
        return len(self._outputs[path])

    def get(self, path: str, call: Optional[int] = None) -> Tensor:
        """The map that a tap saw.

        Args:
            path: The tap's path.
            call: Which call of the module; None if there can be only one.

        Raises:
            MMKDError: The module did not run, ran less often than that, or ran several times and
                ``call`` does not say which is meant.
        """
        outputs = self._outputs[path]
        if not outputs:
            raise MMKDError(
                f'The module behind the tap {path!r} did not run while the student computed its '
                'loss, so there is nothing to distil. Tap a module that takes part in training.'
            )
        if call is None:
            if len(outputs) > 1:
                raise MMKDError(
                    f'The module behind the tap {path!r} ran {len(outputs)} times in one step. '
                    f'Say which run is meant: call=0 to call={len(outputs) - 1}.'
                )
            call = 0
        if not -len(outputs) <= call < len(outputs):
            raise MMKDError(
                f'The tap {path!r} asks for call={call}, but its module ran {len(outputs)} '
                'time(s) in this step.'
            )
        return self._taps[path].select(outputs[call])

    @contextmanager
    def record(self, model: nn.Module) -> Iterator[TapRecorder]:
        """Records while the context is open; the hooks are gone after it, come what may."""
        handles = []
        try:
            for path, tap in self._taps.items():
                handles.append(tap.module(model).register_forward_hook(self._hook(path)))
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, path: str):
        outputs = self._outputs[path]

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            outputs.append(output)

        return keep
