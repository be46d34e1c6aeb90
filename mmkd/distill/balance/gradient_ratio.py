"""The weight of distillation, from what it does to the parameters it shares with the task."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

# What float16 needs, and GradScaler starts with: gradients of a mean over a large map are below
# its smallest number. The ratio and the cosine do not change with it.
_LOSS_SCALE = 2.0**16


@MODELS.register_module()
class GradientRatio(nn.Module):
    """Keeps the distillation's gradient at a fixed share of the task's.

    Now and then both gradients on the shared parameters are measured, those parameters that both
    of them reach, and the factor on the distillation loss becomes

        scale = target * |gradient of the task| / |gradient of the distillation|,

    averaged over the measurements as a geometric mean with momentum: a factor is a matter of
    proportions, and one step with a tiny gradient must not outweigh a hundred others. Logged
    besides are their ratio as they came and their cosine: below 0 the two pull in opposite
    directions.

    That weights follow from gradient norms on shared parameters is GradNorm's idea (arXiv
    1711.02257); the closed form without training, that of VQGAN's discriminator weight (arXiv
    2012.09841, CompVis/taming-transformers, taming/modules/losses/vqperceptual.py).

    Give both losses without a schedule's factor, which goes on top: a warm-up that is part of
    what is measured would be calibrated away.

    Args:
        ratio: The share that is wanted, above 0.
        interval: Steps from one measurement to the next, see :meth:`due`. One costs two backward
            passes more.
        momentum: The old scale's share in the mean, in [0, 1).
        shared: Dotted path of the student's module whose parameters are looked at, such as
            'backbone'; the distiller looks it up. All of the student's by default.
        max_scale: The scale never goes beyond it, however small the distillation's gradient is.

    Attributes:
        scale: The factor on the distillation loss, a buffer, as are the others; 1 before the first
            measurement.
        ratio: Distillation over task, the norms as last measured, before scaling.
        cosine: Between both gradients.
        measured: How many measurements counted.

    Raises:
        MMKDError: An option is out of its range.
    """

    scale: Tensor
    ratio: Tensor
    cosine: Tensor
    measured: Tensor
    loss_scales: Tensor

    def __init__(
        self,
        ratio: float = 0.1,
        interval: int = 50,
        momentum: float = 0.9,
        shared: Optional[str] = None,
        max_scale: float = 1e4,
    ):
        super().__init__()
        self.target = _number('ratio', ratio, above=0)
        self.momentum = _number('momentum', momentum, below=1)
        self.max_scale = _number('max_scale', max_scale, above=0)
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise MMKDError(f'GradientRatio takes interval= 1, 2, ... steps, but got {interval!r}.')
        if shared is not None and not isinstance(shared, str):
            raise MMKDError(
                f'GradientRatio takes shared= as the dotted path of a module, but got {shared!r}.'
            )
        self.interval = interval
        self.shared = shared
        self.register_buffer('scale', torch.tensor(1.0))
        self.register_buffer('ratio', torch.tensor(0.0))
        self.register_buffer('cosine', torch.tensor(0.0))
        # Not bool: torch 2.0's gloo cannot broadcast that, and DDP broadcasts buffers.
        self.register_buffer('measured', torch.tensor(0))
        # Of the task and of the distillation, each lowered where its gradient overflows.
        self.register_buffer('loss_scales', torch.full((2,), _LOSS_SCALE))

    def due(self, iter: int) -> bool:
        """Whether to measure in this step.

        Every ``interval`` steps; within the first interval also at the steps 1, 2, 4, 8, ...: new
        layers change fastest then, and in half precision the first gradients may overflow.
        """
        if iter % self.interval == 0:
            return True
        return iter < self.interval and iter & (iter - 1) == 0

    def measure(self, task: Tensor, kd: Tensor, params: Sequence[Tensor]) -> None:
        """Measures both gradients and updates the scale; both graphs stay for the backward pass.

        Nothing is added to any ``.grad``, and DDP does not notice. With several processes the
        gradients are averaged first, as DDP does, so that the result is that of one process with
        the whole batch and equal on all ranks. If one of them is zero or not finite, nothing
        changes.

        Args:
            task: The task's loss as it will be summed, a scalar.
            kd: The distillation's, likewise, but for this scale (and any schedule).
            params: Where to look; those that both losses reach are used.

        Raises:
            MMKDError: There is no such parameter, or the student cannot be measured.
        """
        # On every rank alike: whether there is a graph does not hang on the data.
        if not (task.requires_grad and kd.requires_grad):
            return
        params = [p for p in params if p.requires_grad]
        pair = [_gradients(loss, params, s) for loss, s in zip((task, kd), self.loss_scales)]
        both = [all(grad is not None for grad in grads) for grads in zip(*pair)]
        if not any(both):
            raise MMKDError(
                'GradientRatio compares the gradients of task and distillation where both arrive, '
                f'but none of the {len(params)} parameters it was given is reached by both. Name '
                'a module before the tapped one with shared=. (Parameters within reentrant '
                'gradient checkpointing, with_cp=True, cannot be seen.)'
            )
        flat = [_flatten(grads, both) for grads in pair]
        del pair
        self._update(*(g / s for g, s in zip(flat, self.loss_scales.float())))

    @torch.no_grad()
    def _update(self, task: Tensor, kd: Tensor) -> None:
        """Args:
        task: The task's gradient, (P,) float32.
        kd: The distillation's.
        """
        norms = torch.stack([torch.linalg.vector_norm(g) for g in (task, kd)])
        finite = norms.isfinite()
        usable = (finite & (norms > 0)).all()
        # The old values may be anything where they are not used: where() drops them.
        new = (self.target * norms[0] / norms[1]).clamp(max=self.max_scale)
        log_mean = self.momentum * self.scale.log() + (1 - self.momentum) * new.log()
        new = torch.where(self.measured > 0, log_mean.exp(), new)
        cosine = ((task / norms[0]) * (kd / norms[1])).sum()
        for buffer, value in (
            (self.scale, new),
            (self.ratio, norms[1] / norms[0]),
            (self.cosine, cosine),
        ):
            buffer.copy_(torch.where(usable, value, buffer))
        self.measured.add_(usable)
        scales = torch.where(finite, self.loss_scales * 2, self.loss_scales / 16)
        self.loss_scales.copy_(scales.clamp(1, _LOSS_SCALE))

    def forward(self, kd: Tensor) -> Tensor:
        """The distillation loss, scaled."""
        # A copy: the next measurement writes to the buffer, perhaps before this one's backward.
        return kd * self.scale.clone()

    def logs(self) -> Dict[str, Tensor]:
        """The last measurement: ``kd_scale``, ``kd_gradient_ratio`` and ``kd_gradient_cosine``."""
        return {
            'kd_scale': self.scale.clone(),
            'kd_gradient_ratio': self.ratio.clone(),
            'kd_gradient_cosine': self.cosine.clone(),
        }

    def extra_repr(self) -> str:
        return (
            f'ratio={self.target:g}, interval={self.interval}, momentum={self.momentum:g}, '
            f'shared={self.shared!r}, max_scale={self.max_scale:g}'
        )


def _gradients(
    loss: Tensor, params: Sequence[Tensor], loss_scale: Tensor
) -> Tuple[Optional[Tensor], ...]:
    try:
        return torch.autograd.grad(
            loss,
            params,
            grad_outputs=loss_scale.to(loss.dtype).reshape(loss.shape),
            retain_graph=True,
            allow_unused=True,
        )
    except RuntimeError as error:
        told = str(error)
        for sign, remedy in (
            ('heckpoint', 'Gradient checkpointing (with_cp=True) of the reentrant kind forbids it'),
            (
                'donated',
                'A student compiled by torch forbids it while '
                'torch._functorch.config.donated_buffer is on',
            ),
        ):
            if sign in told:
                raise MMKDError(
                    'GradientRatio measures gradients before the backward pass, and this student '
                    f'does not let it. {remedy}; switch that off, or weigh the distillation by '
                    f'hand, without balance=. torch says: {told}'
                ) from error
        raise


def _flatten(grads: Sequence[Optional[Tensor]], used: List[bool]) -> Tensor:
    """One float32 vector of what is used, averaged over the processes."""
    flat = torch.cat([g.reshape(-1).float() for g, use in zip(grads, used) if use])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    return flat


def _number(
    name: str, value: Any, above: Optional[float] = None, below: Optional[float] = None
) -> float:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    low = real and (value >= 0 if above is None else value > above)
    if not low or value >= (float('inf') if below is None else below):
        span = ('0 or more' if above is None else f'above {above:g}') + (
            '' if below is None else f' and below {below:g}'
        )
        raise MMKDError(f'GradientRatio takes {name}= {span}, but got {value!r}.')
    return float(value)
