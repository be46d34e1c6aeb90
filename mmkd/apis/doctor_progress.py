"""How long a run is, and a moment in it at which everything works."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Optional, Tuple

from mmengine.logging import MessageHub
from torch import nn

from mmkd.distill import FeatureDistiller
from mmkd.distill.progress import read_progress

# Parts of the run, the likeliest moments first: warm-up is over, nothing has stopped.
_MOMENTS = (0.0, 0.5, 0.3, 0.1, 0.7, 0.9, 0.02, 0.99)


def run_length(cfg: Any, per_epoch: Optional[int]) -> Tuple[Optional[float], Optional[float]]:
    """Epochs and iterations of the whole run, None where they cannot be told.

    Args:
        cfg: The config.
        per_epoch: Iterations of an epoch, if known.
    """
    train = cfg.get('train_cfg') or {}
    if train.get('max_iters'):
        iters = train['max_iters']
        return (iters / per_epoch if per_epoch else None), iters
    epochs = train.get('max_epochs')
    if not epochs:
        return None, None
    return epochs, (epochs * per_epoch if per_epoch else None)


@contextmanager
def at_work(model: nn.Module, epochs: Optional[float], iters: Optional[float]) -> Iterator[int]:
    """Lets schedules see a run in which as many distillation losses are on as ever are.

    Args:
        model: A distiller; others have no schedules.
        epochs: Of the run, if known.
        iters: Of the run, if known.

    Yields:
        The iteration.
    """
    info = MessageHub.get_current_instance().runtime_info
    before = dict(info)
    info.update(iter=0, epoch=0, max_iters=int(iters or 0), max_epochs=epochs or 0)
    try:
        if isinstance(model, FeatureDistiller) and iters:
            best = max(_MOMENTS, key=lambda part: _working(model, info, int(part * iters)))
            info['iter'] = int(best * iters)
        yield info['iter']
    finally:
        info.clear()
        info.update(before)


def _working(model: FeatureDistiller, info: Any, iteration: int) -> int:
    info['iter'] = iteration
    progress = read_progress()
    pairs = [model.distill[pair['name']] for pair in model.report()['pairs']]
    on = sum(pair.weight_at(progress) > 0 for pair in pairs)
    return on if model.alpha_at(progress) > 0 else 0
