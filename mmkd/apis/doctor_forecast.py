"""What the whole run will take: memory, time and disk."""

from __future__ import annotations

import math
from typing import Any, Dict, Optional, Tuple

import torch
from torch import nn

from .doctor_case import Case, teachers_of
from .doctor_environment import free_disk, memory
from .doctor_page import Section, duration, size_of
from .doctor_progress import run_length
from .doctor_stopwatch import state_bytes

# Kernels, their workspaces and the caching allocator's gaps, as a share of what is counted.
_MARGIN = 1.1


def look(case: Case, section: Section) -> None:
    """Forecasts from what was built and measured."""
    model = case.need_model()
    _memory(case, model, section)
    length = run_length(case.cfg, len(case.loader) if case.loader is not None else None)
    _time(case, length, section)
    _disk(case, model, length, section)


def optimiser_bytes(model: nn.Module, optim_cfg: Optional[dict]) -> int:
    """The size of an optimiser's state, from what its kind keeps of one small parameter."""
    if not optim_cfg or not isinstance(optim_cfg.get('optimizer'), dict):
        return 0
    from mmengine.optim import build_optim_wrapper

    small = nn.Linear(8, 8, bias=False)
    kind = dict(optim_cfg['optimizer'])
    wrapper = build_optim_wrapper(small, dict(type='OptimWrapper', optimizer=kind))
    small.weight.grad = torch.zeros_like(small.weight)
    wrapper.optimizer.step()
    kept = sum(
        value.numel()
        for state in wrapper.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim()
    )
    return int(_trained_bytes(model) * kept / small.weight.numel())


def saves(hook: Dict[str, Any], epochs: Optional[float], iters: Optional[float]) -> Optional[int]:
    """How many checkpoints lie on disk at the end, None if the run's length is unknown.

    Args:
        hook: Config of mmengine's CheckpointHook.
        epochs: Of the run.
        iters: Of the run.
    """
    total = epochs if hook.get('by_epoch', True) else iters
    if total is None:
        return None
    interval = hook.get('interval', -1)
    last = bool(hook.get('save_last', True))
    made = 0
    if interval > 0:
        begin = hook.get('save_begin', 0)
        after = math.ceil(total) - begin
        # The one at save_begin itself counts; there is no epoch 0.
        made = after // interval + (begin > 0) if after >= 0 else 0
        last = last and (after < 0 or after % interval != 0)
    made += int(last)
    limit = hook.get('max_keep_ckpts', -1)
    kept = min(made, limit) if limit > 0 else made
    best = hook.get('save_best')
    return kept + (len(best) if isinstance(best, (list, tuple)) else int(bool(best)))


def _trained_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def _network_state(teacher: Any) -> dict:
    """Of a cached teacher, that of the one it wraps, which is let go once it has been compared."""
    net = getattr(teacher, 'inner', teacher).net
    return {} if net is None else dict(net.state_dict())


def _memory(case: Case, model: nn.Module, section: Section) -> None:
    parts = {
        'weights': state_bytes(model.state_dict()),
        'gradients': _trained_bytes(model),
        'optimiser': _optimiser(case, model),
        'teachers': sum(
            state_bytes(_network_state(t))
            for t in (teachers_of(case.distiller).values() if case.distiller is not None else ())
            if t.loaded
        ),
    }
    measured = case.measured
    if measured is not None:
        parts['maps for the backward pass'] = measured.saved
    told = ' + '.join(f'{name} {size_of(size)}' for name, size in parts.items() if size)
    total, limit = sum(parts.values()), memory(case.device)
    if measured is None:
        section.fact('memory', f'{told}, and the maps, which only a timed step can tell')
        section.data['memory'] = dict(parts)
        return
    predicted = int(total * _MARGIN)
    if case.device.type == 'cuda':
        predicted = max(predicted, measured.peak)
        section.fact('memory', f'{size_of(measured.peak)} at the peak of the timed steps')
        section.fact('', f'of it {told}')
    else:
        margin = f'with {_MARGIN - 1:.0%} margin'
        section.fact('memory', f'{size_of(predicted)} on a GPU, {margin}: {told}')
        section.fact('', f'here this process used {size_of(measured.peak)}, Python and all')
        predicted = max(predicted, measured.peak)
    section.data['memory'] = dict(parts, peak=measured.peak, predicted=predicted, limit=limit)
    if limit and predicted > limit:
        section.stop(
            f'The step needs about {size_of(predicted)}, but {case.device} has {size_of(limit)}.',
            'Take a smaller batch_size with optim_wrapper.accumulative_counts, mixed precision '
            "(tools/train.py --amp), or a teacher in half precision (dtype='bf16').",
        )


def _optimiser(case: Case, model: nn.Module) -> int:
    if case.measured is not None:
        return case.measured.optimiser
    return optimiser_bytes(model, case.cfg.get('optim_wrapper'))


def _time(case: Case, length: Tuple[Optional[float], Optional[float]], section: Section) -> None:
    epochs, iters = length
    section.data.update(epochs=epochs, iters=iters)
    if iters is None:
        told = 'unknown: train_cfg has neither max_epochs nor max_iters'
        if epochs is not None:
            told = f'{epochs:g} epochs; of how many iterations, only the data can tell'
        section.fact('length', told)
        return
    told = f'{iters:,.0f} iterations'
    if epochs is not None:
        told = f'{epochs:g} epochs, {told}'
    if case.loader is not None:
        told += f' of batch size {case.batch_size}, one process'
    section.fact('length', told)
    if case.measured is None:
        section.fact('time', 'unknown without a timed step')
        return
    each = case.measured.step + case.measured.wait
    section.data['seconds'] = iters * each
    section.fact(
        'time',
        f'{duration(iters * each)} at {duration(each)} a step, validation left out; n processes '
        'share the iterations',
    )


def _disk(
    case: Case,
    model: nn.Module,
    length: Tuple[Optional[float], Optional[float]],
    section: Section,
) -> None:
    hook = (case.cfg.get('default_hooks') or {}).get('checkpoint')
    if not isinstance(hook, dict):
        # mmengine's own default: every epoch, all of them kept.
        hook = dict(type='CheckpointHook', interval=1)
    weights = state_bytes(model.state_dict())
    hooks = case.cfg.get('custom_hooks') or []
    averaged = any(str(item.get('type')).endswith('EMAHook') for item in hooks)
    one = weights * (2 if averaged else 1)
    if hook.get('save_optimizer', True):
        one += _optimiser(case, model)
    count = saves(hook, *length)
    folder = hook.get('out_dir') or case.cfg.get('work_dir') or '.'
    free = None if '://' in folder else free_disk(folder)
    section.data['disk'] = dict(checkpoint=one, checkpoints=count, free=free)
    if count is None:
        section.fact('disk', f'{size_of(one)} a checkpoint; how many is unknown')
        return
    total = one * count
    plural = '' if count == 1 else 's'
    text = f'{size_of(total)}: {count} checkpoint{plural} of {size_of(one)} in {folder}'
    section.fact('disk', text if free is None else f'{text}, where {size_of(free)} are free')
    if not count:
        section.warn('No checkpoint would be written.', 'Set default_hooks.checkpoint.interval.')
    if free is not None and total > free:
        section.stop(
            f'The checkpoints need {size_of(total)}, but {folder} has {size_of(free)} free.',
            'Set default_hooks.checkpoint.max_keep_ckpts, or another --work-dir.',
        )
