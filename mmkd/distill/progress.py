"""How far training has come, as mmengine's runners announce it."""

from __future__ import annotations

from mmengine.logging import MessageHub

from .schedules import Progress


def read_progress() -> Progress:
    """What the current runner's message hub says; zeros where nobody trains by a runner.

    Every mmengine runner keeps these up to date by itself, so that schedules need no hook.
    """
    info = MessageHub.get_current_instance().runtime_info
    step, last = int(info.get('iter', 0)), int(info.get('max_iters', 0))
    epochs = float(info.get('max_epochs', 0) or 0)
    epoch = float(info.get('epoch', 0))
    if epochs and last:
        # Between the epochs' beginnings, too.
        epoch = step * epochs / last
    return Progress(iter=step, max_iters=last, epoch=epoch, max_epochs=epochs)
