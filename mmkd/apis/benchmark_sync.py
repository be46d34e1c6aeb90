"""Whether distillation makes the host wait for the device."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Dict, List

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from .benchmark_kd import Runner

# Operators whose result has a size, or a value, that the host asks the device for.
_ASKING = {
    '_local_scalar_dense',
    'nonzero',
    'masked_select',
    '_unique2',
    'unique_dim',
    'unique_consecutive',
    'equal',
    'is_nonzero',
}
_INDEXING = {'index', 'index_put', 'index_put_', '_index_put_impl_'}


def syncs(runner: Runner) -> Dict[str, Any]:
    """Looks at the distiller's own part of a step: all of its loss but the student's.

    On CUDA, torch raises where the host would wait (its sync debug mode). On a processor nobody
    waits; there, operators are named that would make it wait on a GPU, if their tensors were
    there: a tensor that is always the host's looks the same.

    Returns:
        ``how``: 'cuda' or 'operators'; ``found``: a line of mmkd's for each place.
    """
    if torch.device(runner.settings.device).type == 'cuda':
        return dict(how='cuda', found=_by_cuda(runner))
    return dict(how='operators', found=_by_operators(runner))


def _by_cuda(runner: Runner) -> List[str]:
    student = runner.distiller.student

    def mode(name: str):
        return lambda *_: torch.cuda.set_sync_debug_mode(name)

    before = student.register_forward_pre_hook(mode('default'))
    after = student.register_forward_hook(mode('error'))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        _loss(runner)
    except RuntimeError as error:
        if 'synchroniz' not in str(error):
            raise
        return [
            f'{str(error).splitlines()[0]} at {_ours(traceback.extract_tb(error.__traceback__))}'
        ]
    finally:
        torch.cuda.set_sync_debug_mode('default')
        before.remove()
        after.remove()
    return []


def _by_operators(runner: Runner) -> List[str]:
    watch = _Watch()
    student = runner.distiller.student
    before = student.register_forward_pre_hook(lambda *_: watch.pause(True))
    after = student.register_forward_hook(lambda *_: watch.pause(False))
    try:
        with watch:
            _loss(runner)
    finally:
        before.remove()
        after.remove()
    return list(dict.fromkeys(watch.found))


def _loss(runner: Runner) -> Any:
    with runner.autocast():
        return runner.distiller(runner.batch.inputs, runner.batch.samples, mode='loss')


class _Watch(TorchDispatchMode):
    """Writes down who calls an operator that asks the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: List[str] = []
        self._paused = False

    def pause(self, paused: bool) -> None:
        self._paused = paused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split('.')[0]
        asks = name in _ASKING or (name in _INDEXING and _by_mask(args[1]))
        if asks and not self._paused:
            self.found.append(f'{name} at {_ours(traceback.extract_stack())}')
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Any) -> bool:
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _ours(stack: traceback.StackSummary) -> str:
    """The innermost line of mmkd, the benchmark's own left out."""
    for frame in reversed(stack):
        place = frame.filename.replace('\\', '/')
        if '/mmkd/' in place and 'benchmark_' not in place:
            return f'mmkd/{place.rsplit("/mmkd/", maxsplit=1)[1]}:{frame.lineno}: {frame.line}'
    return 'an unknown place'
