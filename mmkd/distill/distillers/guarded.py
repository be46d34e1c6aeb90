"""What every distiller sees to in each step: its teachers, its gradients, its numbers."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..uncompiled import uncompiled
from . import nan_guard
from .distiller import Distiller
from .nan_guard import NaNGuard
from .startup import ArrivalCheck, ConstancyCheck, check_ranks, check_student_first
from .state_dict import KD


class GuardedDistiller(Distiller):
    """A distiller with the checks of :mod:`.startup` and the guard of :mod:`.nan_guard`.

    Args:
        args: See :class:`Distiller`.
        nan_policy: 'stop', 'skip' or 'off'; see :class:`.nan_guard.NaNGuard`.
        kwargs: See :class:`Distiller`.
    """

    def __init__(self, *args, nan_policy: str = 'stop', **kwargs):
        super().__init__(*args, **kwargs)
        self.guard = NaNGuard(nan_policy)
        self._arrival: Optional[ArrivalCheck] = ArrivalCheck()
        self._constancy: Optional[ConstancyCheck] = None
        self._steps = 0

    @uncompiled
    def begin_step(self) -> None:
        super().begin_step()
        self._free()
        for name in self.needed:
            # Also while its entries rest: an average is one of all steps.
            if self._pool[name].loaded:
                self._pool[name].update(self.student)

    def _free(self) -> None:
        """Lets go of teachers whose work is done for good."""
        for name in self._pool:
            if self._started and self._pool[name].loaded and self._over(name, self._progress):
                self._pool[name].release()
                print_log(f'Teacher {name!r} has done its work and is freed.', logger='current')

    def before_saving(self) -> None:
        self.guard.read()

    @uncompiled
    def _look_at_teachers(self) -> None:
        if self._constancy is None:
            check_student_first(self, self.student, KD)
            check_ranks({name: found.hash for name, found in self._identities.items()})
            self._constancy = ConstancyCheck(
                {n: f for n, f in self._identities.items() if not self._pool[n].stateful}
            )
        elif self._constancy.pending and self._steps > 0:
            self._constancy.look(self.identities())

    def _look_at_gradient(
        self,
        name: str,
        value: Tensor,
        model: nn.Module,
        path: str,
        seen: Tensor,
        patient: bool = False,
    ) -> None:
        """Sees, until it has once, that a loss's gradient reaches a model; see ArrivalCheck."""
        if self._arrival.done(name):
            return
        self._arrival.look(name, value, model, path, seen, patient)
        if self._arrival.done(name):
            print_log(
                f'  {name}: its gradient reaches the student '
                f'(norm {self._arrival.arrived[name]:.3g} at its nearest parameters).',
                logger='current',
            )

    def _guarded(
        self,
        out: Dict[str, Any],
        images: Optional[Tensor],
        data_samples: Optional[Sequence],
        undo: list,
    ) -> Dict[str, Any]:
        """The step's losses, if they are numbers; see NaNGuard.

        Args:
            out: The loss dict.
            images: (N, ...) what teachers saw; None if none ran.
            data_samples: The batch's.
            undo: What :func:`.nan_guard.snapshot` kept, if bad batches are skipped.
        """
        if self.guard.policy == 'off':
            return out
        if images is not None:
            self.guard.watch('the images', images)
            count = len(images)
        else:
            count = max(len(data_samples or ()), 1)
        for name, value in out.items():
            if 'loss' in name:
                items = [value] if isinstance(value, Tensor) else value
                self.guard.watch(
                    name, torch.stack([v.detach().float().mean() for v in items]).sum()
                )
        files = nan_guard.batch_files(data_samples, count)
        if self.guard.finish(self._progress.iter, files, count):
            nan_guard.restore(undo)
            zero = nan_guard.nothing(self)
            first = next(name for name in out if 'loss' in name)
            for name in out:
                if 'loss' in name:
                    out[name] = zero if name == first else torch.zeros_like(zero)
        return out
