"""Channel-wise distillation: where each channel looks."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.registry import MODELS

from .common import DistillLoss, any_valid, exact, reduce
from .masked import log_softmax_over_places


@MODELS.register_module()
class CWDLoss(DistillLoss):
    """Makes each channel of the student a distribution over the places, as the teacher's is.

    ``T ** 2 * KL(softmax(teacher / T) || softmax(student / T))``, the softmax over the valid
    places of a channel and the mean over channels (arXiv 2011.13256). What is large in a channel
    matters; a constant that is added to it does not.

    Args:
        temperature: T; a higher one takes more of the map into account.
        reduction: 'mean' over channels and images that have a valid place, 'sum', 'sample': (N,),
            or 'none': (N, C).
    """

    def __init__(self, temperature: float = 1.0, reduction: str = 'mean'):
        super().__init__(reduction)
        self.temperature = self.check_positive('temperature', temperature)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w) of more than one place, any floating type; computed in float32
                even inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights: the others get no share
                of the softmax.
            reduction: Instead of the loss's own.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing is valid.

        Raises:
            MMKDError: The shapes differ, or there is one place only.
        """
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            self.check_places(s)
            log_s = log_softmax_over_places(s / self.temperature, mask)
            log_t = log_softmax_over_places(t / self.temperature, mask)
            # Where nothing counts both are 0, and so is their difference.
            values = (log_t.exp() * (log_t - log_s)).sum(2) * self.temperature**2
            valid = None if mask is None else any_valid(mask)[:, None]
            return reduce(values, valid, self.check_reduction(reduction))

    def extra_repr(self) -> str:
        return f'temperature={self.temperature:g}, {super().extra_repr()}'
