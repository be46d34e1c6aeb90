"""What a model answers to each sample of a batch, and how good the answer is."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Protocol, Sequence

import torch
from torch import Tensor


class Response(NamedTuple):
    """A student's and a teacher's answers to the same samples.

    Losses with ``needs = ('response',)`` get it. Maps of the teacher stand on the student's grid
    and carry no gradient. In a distiller a response may be of a part of the batch; then all of its
    tensors are.
    """

    matched: Optional[Tensor] = None
    """(N, A, h, w), 0 or more: how much each answer counts for the task, A answers per cell."""
    positive: Optional[Tensor] = None
    """(N, A, h, w) bool: whether it belongs to an object of the ground truth."""
    student: Dict[str, Tensor] = {}
    """Name to the student's map, by the names of its ``response_taps``."""
    teacher: Dict[str, Tensor] = {}
    """Name to the teacher's map."""
    student_loss: Optional[Tensor] = None
    """(N,): the student's task loss of each sample, with its gradient."""
    teacher_loss: Optional[Tensor] = None
    """(N,): the teacher's, of the same targets."""


class Respondent(Protocol):
    """What a student offers so that answers, not only features, can be distilled sample by sample.

    Features need none of it. ``mmkd.SiamRPN`` and ``mmkd.FairMOT`` are examples.
    """

    response_taps: Dict[str, str]
    """Name to the tap of each part of the answer: ``dict(cls='head[0]', reg='head[1]')``."""

    def loss(self, inputs: Any, data_samples: Sequence, targets: Any = None) -> Dict[str, Tensor]:
        """As mmengine's models have it, with targets that are sampled already."""

    def sample_targets(self, data_samples: Sequence, device: Optional[torch.device] = None) -> Any:
        """The task's targets for a batch, whatever they are.

        They have ``index(rows)``, which gives those of a part of the samples, by a (n,) tensor of
        row numbers.
        """

    def sample_losses(self, outputs: Dict[str, Tensor], targets: Any) -> Tensor:
        """(N,): the task's loss of each sample, of anybody's answer; no gradient stops in it."""

    def response_masks(self, targets: Any) -> Dict[str, Tensor]:
        """``matched`` and ``positive`` of a :class:`Response`, as far as the task has them."""
