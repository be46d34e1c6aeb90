"""The difference of two heads' boxes, at anchors where a box means something."""

from __future__ import annotations

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..response import Response
from .anchors import AnchorLoss, clear, combine
from .common import at_least_float32, exact, reduce

KINDS = ('smooth_l1', 'l1')

# Of the two classes of an anchor, background and foreground.
_CLASSES, _FOREGROUND = 2, 1


@MODELS.register_module()
class AnchorRegressionDistillLoss(AnchorLoss):
    """``|student - teacher|`` of the encoded boxes at some anchors, round at its tip.

    What a head says about the box of a background anchor was never trained, by nobody. An anchor
    counts if it belongs to an object of the ground truth, or if the teacher is sure that it does.
    The soft term of distilled Siamese networks (Shen et al., arXiv 1907.10586) for regression;
    this choice of anchors is ours.

    Args:
        values: Numbers of an anchor's box.
        kind: 'smooth_l1' or 'l1'.
        beta: Where the parabola of 'smooth_l1' becomes a line, in units of the encoded boxes.
        trust: Foreground probability of the teacher, in [0, 1), above which an anchor counts,
            read from ``response.teacher['cls']`` (N, 2 * A, h, w), backgrounds first. None:
            the ground truth decides alone.
        places: 'positive' as above, or 'all'.
        reduction: 'mean' over the anchors that count, 'sum', 'sample': the mean of each sample
            (N,), or 'none': (N, values, A, h, w).

    Raises:
        MMKDError: An option is something else.
    """

    all_places = ('positive', 'all')

    def __init__(
        self,
        values: int = 4,
        kind: str = 'smooth_l1',
        beta: float = 1.0,
        trust: Optional[float] = 0.9,
        places: str = 'positive',
        reduction: str = 'mean',
    ):
        if isinstance(values, bool) or not isinstance(values, int) or values < 1:
            raise MMKDError(
                f'AnchorRegressionDistillLoss takes values=, numbers per anchor, not {values!r}.'
            )
        super().__init__(values, places, reduction)
        if kind not in KINDS:
            raise MMKDError(
                f'AnchorRegressionDistillLoss has no kind={kind!r}. {nearest(kind, KINDS)}'
            )
        _check_trust(trust)
        self.kind = kind
        self.beta = self.check_positive('beta', beta)
        self.trust = trust

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
        response: Optional[Response] = None,
    ) -> Tensor:
        """Args:
            student: (N, values * A, h, w), the first value of all anchors first, any floating
                type; computed in float32 even inside autocast.
            teacher: The same shape.
            mask: (N, 1, h, w), True where the loss counts, or weights.
            reduction: Instead of the loss's own.
            response: ``positive`` is read and, with ``trust``, ``teacher['cls']``, unless
                ``places='all'``.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if no anchor counts.

        Raises:
            MMKDError: The shapes do not fit, or nobody says what is positive.
        """
        reduction = self.check_reduction(reduction)
        with exact(student):
            s, t, mask = self.prepare(student, teacher, mask)
            s, t = self.anchors(s), self.anchors(t)
            counted = None if self.places == 'all' else self._counted(response, s)
            weights = combine(counted, mask)
            s, t = clear(s, weights), clear(t, weights)
            if self.kind == 'l1':
                values = (s - t).abs()
            else:
                values = F.smooth_l1_loss(s, t, reduction='none', beta=self.beta)
            return reduce(values, None if weights is None else weights[:, None], reduction)

    def _counted(self, response: Optional[Response], like: Tensor) -> Tensor:
        positive = self.given(response, 'positive', like) > 0
        if self.trust is None:
            return positive
        logits = response.teacher.get('cls')
        wanted = (like.shape[0], _CLASSES * like.shape[2], *like.shape[3:])
        if logits is None or tuple(logits.shape) != wanted:
            found = sorted(response.teacher) if logits is None else tuple(logits.shape)
            raise MMKDError(
                "AnchorRegressionDistillLoss trusts the teacher by its classes, a map 'cls' of "
                f'{wanted} in the response, but found {found}. trust=None does without.'
            )
        classes = self.anchors(at_least_float32(logits.detach()), _CLASSES)
        # A NaN is no probability above anything.
        return positive | (classes.softmax(1)[:, _FOREGROUND] > self.trust)

    def extra_repr(self) -> str:
        trust = 'None' if self.trust is None else f'{self.trust:g}'
        return f'{self.kind}, beta={self.beta:g}, trust={trust}, {super().extra_repr()}'


def _check_trust(trust: Any) -> None:
    real = isinstance(trust, (int, float)) and not isinstance(trust, bool)
    if trust is not None and not (real and 0 <= trust < 1):
        raise MMKDError(
            'AnchorRegressionDistillLoss takes trust=, a probability in [0, 1), or None, but got '
            f'{trust!r}.'
        )
