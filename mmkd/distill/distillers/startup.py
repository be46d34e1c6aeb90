"""Checks at the start of every training: a distillation that does nothing does not run."""

from __future__ import annotations

from collections import deque
from typing import Dict, List, Optional

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.errors import MMKDError

from ..teachers.fingerprint import Fingerprint, explain
from ..uncompiled import uncompiled

# Parameters next to the tapped map are enough to see that a gradient arrives.
_NEAREST = 8
# Losses over boxes or identities may have nothing to say about the first batches.
PATIENCE = 20
# Keeps a small gradient from vanishing in half precision.
_SCALE = 1024.0


class ArrivalCheck:
    """Sees that the gradient of every distillation loss reaches a student's parameter.

    It looks at each loss until it has arrived once; from then on it costs nothing. A loss that
    is not connected stops the training at once, one whose gradient is 0 after :data:`PATIENCE`
    steps in a row.
    """

    def __init__(self) -> None:
        self.arrived: Dict[str, float] = {}
        self._empty: Dict[str, int] = {}

    def done(self, name: str) -> bool:
        """Whether that loss has arrived."""
        return name in self.arrived

    @uncompiled
    def look(
        self,
        name: str,
        loss: Tensor,
        student: nn.Module,
        path: str,
        seen: Tensor,
        patient: bool = False,
    ) -> None:
        """Args:
            name: The loss's.
            loss: Its value, as it will be summed, before the backward pass.
            student: Whose parameters are meant.
            path: The tapped module.
            seen: The tapped map.
            patient: Whether it may be 0 for as long as it likes, as a loss with a gate is.

        Raises:
            MMKDError: The gradient does not arrive.
        """
        if not loss.requires_grad or not seen.requires_grad:
            raise MMKDError(
                f'The distillation loss {name!r} cannot teach the student anything: '
                + _why_detached(student, path)
            )
        norm = self._norm(loss, student, seen, name, path)
        if norm != norm:
            # NaN is the guard's business, and says nothing of what a good batch does.
            return
        if norm > 0:
            self.arrived[name] = norm
            return
        if patient:
            return
        self._empty[name] = self._empty.get(name, 0) + 1
        if self._empty[name] >= PATIENCE:
            raise MMKDError(
                f'The distillation loss {name!r} has had a gradient of exactly 0 at {path!r} in '
                f'the first {PATIENCE} steps. There may be nothing in the batches that it looks '
                'at (no boxes, padding everywhere, no identity in two images, for which there is '
                'mmkd.ClipSampler), or the teacher gives a constant.'
            )

    def _norm(self, loss: Tensor, student: nn.Module, seen: Tensor, name: str, path: str) -> float:
        targets: List[Tensor] = nearest_parameters(loss, student)
        reentrant = not targets and seen.grad_fn is not None
        if reentrant and not _hides_parameters(seen):
            raise MMKDError(
                f'The distillation loss {name!r} reaches no trainable parameter of the student: '
                + _why_detached(student, path)
            )
        if not targets:
            targets = [seen]
        grads = torch.autograd.grad(loss * _SCALE, targets, retain_graph=True, allow_unused=True)
        norms = [grad.detach().float().norm() for grad in grads if grad is not None]
        if not norms:
            return 0.0
        total = torch.stack(norms).norm()
        # The one wait of the check, in the first steps only.
        return float(total) / _SCALE


def nearest_parameters(loss: Tensor, student: nn.Module, count: int = _NEAREST) -> List[Tensor]:
    """The trainable parameters of the student that are nearest to a loss in its graph."""
    ours = {id(p) for p in student.parameters() if p.requires_grad}
    found: List[Tensor] = []
    queue, known = deque([loss.grad_fn]), {loss.grad_fn}
    while queue and len(found) < count:
        node = queue.popleft()
        variable = getattr(node, 'variable', None)
        if variable is not None and id(variable) in ours:
            found.append(variable)
        for following, _ in node.next_functions:
            if following is not None and following not in known:
                known.add(following)
                queue.append(following)
    return found


def _hides_parameters(seen: Tensor) -> bool:
    """Whether a checkpointed segment (torch's reentrant kind) stands between the two."""
    queue, known = deque([seen.grad_fn]), {seen.grad_fn}
    while queue:
        node = queue.popleft()
        if 'CheckpointFunction' in type(node).__name__:
            return True
        for following, _ in node.next_functions:
            if following is not None and following not in known:
                known.add(following)
                queue.append(following)
    return False


def _why_detached(student: nn.Module, path: str) -> str:
    module = student.get_submodule(path)
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        return (
            f'the tapped module {path!r} is frozen, and everything before it. Tap a later module, '
            'or train that one (frozen_stages, requires_grad).'
        )
    return (
        f'what {path!r} gives has no gradient. It may be computed under no_grad or detached; tap '
        'a module before that.'
    )


def check_student_first(distiller: nn.Module, student: nn.Module, kd: str) -> None:
    """Sees that what will be saved is what the plain student would save, under its own names.

    Args:
        distiller: The wrapper.
        student: What it wraps.
        kd: The prefix of everything that is not the student's.

    Raises:
        MMKDError: A hook or wrapper within the model changes names.
    """
    saved = [key for key in distiller.state_dict() if not key.startswith(kd + '.')]
    plain = list(student.state_dict())
    if saved != plain:
        odd = sorted(set(saved) ^ set(plain)) or ['their order']
        raise MMKDError(
            'A checkpoint of this run would not fit the plain model: they differ in '
            f'{", ".join(map(repr, odd[:5]))}. A state dict hook of the student, or something that '
            'wraps one of its parts, may rename keys.'
        )


def check_ranks(prints: Dict[str, str]) -> None:
    """Sees that all processes have the same teachers.

    Args:
        prints: Name to fingerprint, on this rank.

    Raises:
        MMKDError: A rank has another one.
    """
    if get_world_size() == 1:
        return
    everyone = all_gather_object(prints)
    for name in prints:
        found = [others.get(name, 'none') for others in everyone]
        if len(set(found)) > 1:
            told = ', '.join(f'rank {i}: {value[:16]}' for i, value in enumerate(found))
            raise MMKDError(
                f'The processes of this run have different teachers {name!r} ({told}). Do all '
                'machines read the same file?'
            )


class ConstancyCheck:
    """Sees that a step of training has left the teachers as they were.

    Args:
        before: Name to fingerprint before the first step.
    """

    def __init__(self, before: Dict[str, Fingerprint]):
        self._before: Optional[Dict[str, Fingerprint]] = dict(before)

    def look(self, present: Dict[str, Fingerprint]) -> None:
        """Args:
            present: Name to fingerprint, after a step.

        Raises:
            MMKDError: A parameter or buffer of a teacher has changed.
        """
        before, self._before = self._before, None
        for name, fingerprint in (before or {}).items():
            if name in present and present[name].hash != fingerprint.hash:
                raise MMKDError(
                    f'Teacher {name!r} was changed by the first step of training. '
                    f'{explain(fingerprint, present[name])} A teacher must stay as it is; is one '
                    "of its modules the student's own, or does a hook write to it?"
                )
        print_log('The teachers are unchanged after the first step.', logger='current')

    @property
    def pending(self) -> bool:
        """Whether it has still to look."""
        return self._before is not None
