"""Scalars of training steps, brought to the host without waiting for the device."""

from __future__ import annotations

from typing import Any, Dict, Optional

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from torch import Tensor

from mmkd.registry import HOOKS


class Held:
    """Scalars of one step on their way to the host.

    Args:
        outputs: Name to number, or to a tensor of one element; those on a GPU are copied together
            and beside its other work.
    """

    def __init__(self, outputs: Dict[str, Any]):
        # Detached, or a step's graph would live on through the next one.
        self._plain = {
            name: value.detach() if torch.is_tensor(value) else value
            for name, value in outputs.items()
        }
        self._event: Optional[torch.cuda.Event] = None
        self._host: Optional[Tensor] = None
        self._names = [
            name
            for name, value in outputs.items()
            if torch.is_tensor(value) and value.is_cuda and value.numel() == 1
        ]
        if self._names:
            # float64 holds whatever type they have.
            values = [self._plain[name].reshape(()).double() for name in self._names]
            stacked = torch.stack(values)
            self._host = torch.empty(len(values), dtype=torch.float64, pin_memory=True)
            self._host.copy_(stacked, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def read(self) -> Dict[str, Any]:
        """Waits for the copy, not for what the device does after it.

        Returns:
            The outputs, in their order.
        """
        if self._event is not None:
            self._event.synchronize()
            self._plain.update(zip(self._names, self._host.tolist()))
            self._event = None
        return self._plain


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's RuntimeInfoHook that does not stop the device after each step.

    mmengine's reads every logged scalar when its step is launched: on a GPU the host then waits
    until the step is done, and the GPU waits for the host to launch the next one. Here scalars are
    written down one step later, when they are there; before anything is logged, and at the end of
    an epoch, all of them are, so that logs are the same.

    :class:`mmkd.TrackRunner` takes it in place of mmengine's; with another runner the config says
    ``default_hooks=dict(runtime_info=dict(type='mmkd.DeferredRuntimeInfoHook'))``.
    """

    _held: Optional[Held] = None

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Writes down what the step before gave; of this step too if it is read now."""
        self._write(runner)
        if outputs is not None:
            self._held = Held(outputs)
        if self._is_read(runner, batch_idx):
            self._write(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Leaves nothing behind for validation, whose schedules may look at losses."""
        self._write(runner)
        super().after_train_epoch(runner)

    def before_val(self, runner: Any) -> None:
        """The same, where validation interrupts an epoch."""
        self._write(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """A checkpoint has the history of all steps before it."""
        if self._held is not None:
            self._write(runner)
            if 'message_hub' in checkpoint:
                # Copied a moment ago, without it.
                checkpoint['message_hub'] = runner.message_hub.state_dict()
        super().before_save_checkpoint(runner, checkpoint)

    def after_train(self, runner: Any) -> None:
        """The last step's."""
        self._write(runner)
        super().after_train(runner)

    def _is_read(self, runner: Any, batch_idx: int) -> bool:
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            return True
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        return any(hook.every_n_inner_iters(batch_idx, hook.interval) for hook in loggers)

    def _write(self, runner: Any) -> None:
        held, self._held = self._held, None
        if held is not None:
            for name, value in held.read().items():
                runner.message_hub.update_scalar(f'train/{name}', value)
