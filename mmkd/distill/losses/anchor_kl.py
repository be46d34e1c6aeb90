"""The divergence of two heads' classes at each anchor."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mmkd.errors import MMKDError
from mmkd.registry import MODELS

from ..response import Response
from .anchors import AnchorLoss, clear, combine
from .common import exact, reduce


@MODELS.register_module()
class AnchorKLDistillLoss(AnchorLoss):
    """``T ** 2 * KL(p(teacher / T) || p(student / T))`` at each anchor, over its classes.

    The teacher-soft term of distilled Siamese networks (Shen et al., arXiv 1907.10586) on the
    classification of a tracker with anchors. Which anchors it is taken over is not public; here
    it is the choice ``places``.

    Args:
        classes: Classes of an anchor: 2, background and foreground, of SiamRPN.
        temperature: T, as in arXiv 1503.02531.
        places: 'matched', the anchors that the task itself trains on in this batch, by their
            weight in ``response.matched``; or 'all': nearly all of them are background.
        reduction: 'mean' over the anchors that count, 'sum', 'sample': the mean of each sample
            (N,), or 'none': (N, A, h, w).

    Raises:
        MMKDError: There is one class only, or an option is something else.
    """

    all_places = ('matched', 'all')

    def __init__(
        self,
        classes: int = 2,
        temperature: float = 1.0,
        places: str = 'matched',
        reduction: str = 'mean',
    ):
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
            raise MMKDError(
                'AnchorKLDistillLoss compares the classes of an anchor, 2 or more, but got '
                f"classes={classes!r}. For one score per anchor there is mode='sigmoid' of "
                'KLDistillLoss.'
            )
        super().__init__(classes, places, reduction)
        self.temperature = self.check_positive('temperature', temperature)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
        response: Optional[Response] = None,
    ) -> Tensor:
        """Args:
            student: Logits (N, classes * A, h, w), the first class of all anchors first, any
                floating type; computed in float32 even inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.
            response: ``matched`` is read, unless ``places='all'``.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if nothing counts.

        Raises:
            MMKDError: The shapes do not fit, or nobody says what is matched.
        """
        reduction = self.check_reduction(reduction)
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            s, t = self.anchors(s), self.anchors(t)
            counted = None if self.places == 'all' else self.given(response, 'matched', s)
            weights = combine(counted, mask)
            s, t = (clear(x, weights) / self.temperature for x in (s, t))
            log_s, log_t = s.log_softmax(1), t.log_softmax(1)
            values = (log_t.exp() * (log_t - log_s)).sum(1) * self.temperature**2
            return reduce(values, weights, reduction)

    def extra_repr(self) -> str:
        return f'classes={self.values}, temperature={self.temperature:g}, {super().extra_repr()}'
