"""Embeddings of objects: what a tracker recognises people by."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from mmkd.errors import MMKDError, nearest
from mmkd.registry import MODELS

from ..box_pool import check_pooling, per_box, pool
from ..instances import Instances
from .common import DistillLoss, exact
from .masked import unit
from .relations import DISTANCES, SHORTEST, check_temperature, compare_rows

MODES = ('cosine', 'relational')


@MODELS.register_module()
class EmbeddingDistillLoss(DistillLoss):
    """Compares what the maps say about the annotated objects.

    - 'cosine': ``1 - cos(s_i, t_i)`` of each object i; as many channels on both sides.
    - 'relational': each object's cosines to the others of the batch (of one process) agree, in the
      spirit of RKD (arXiv 1904.05068) and of similarity-preserving distillation (arXiv
      1907.09682). With 'kl' the cosines of a row, divided by the temperature, are a softmax over
      the other objects, and the row costs ``temperature ** 2 * KL(teacher, student)`` (Hinton et
      al., arXiv 1503.02531); with 'mse' their mean squared difference. Channels may differ.

    An object outside the picture or the mask is left out. In clips, or with a sampler of clips
    such as :class:`mmkd.ClipSampler`, an identity is among the others several times.

    Args:
        mode: 'cosine' or 'relational'.
        pooling: 'centre', the cell of the box's centre, where FairMOT reads its embeddings, or
            'box', the mean over the box, for maps that say where rather than who.
        distance: 'kl' or 'mse'; 'relational'.
        temperature: Of 'kl'.
        known_only: Whether objects without a known identity are left out. The losses do not need
            identities, but boxes without one may be groups or reflections.
        reduction: 'mean' over the objects, weighted by the mask there; 'sum'; 'sample': (N,), one
            mean per image, 0 without objects; or 'none': (M,).

    Raises:
        MMKDError: For a value that an option does not have.
    """

    needs = ('instances',)
    trains_teacher_side = False

    def __init__(
        self,
        mode: str = 'cosine',
        pooling: str = 'centre',
        distance: str = 'kl',
        temperature: float = 0.1,
        known_only: bool = False,
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        owner = type(self).__name__
        if mode not in MODES:
            raise MMKDError(f'{owner} has no mode={mode!r}. {nearest(mode, MODES)}')
        if distance not in DISTANCES:
            raise MMKDError(f'{owner} has no distance={distance!r}. {nearest(distance, DISTANCES)}')
        self.mode = mode
        self.pooling = check_pooling(pooling, owner)
        self.distance = distance
        self.temperature = check_temperature(temperature, owner)
        self.known_only = known_only
        self.same_channels = mode == 'cosine'

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        mask: Optional[Tensor] = None,
        reduction: Optional[str] = None,
        *,
        instances: Instances,
    ) -> Tensor:
        """Args:
            student: (N, C, h, w), any floating type; computed in float32 even inside autocast.
            teacher: (N, C, h, w); (N, D, h, w) if relational.
            mask: (N, 1, h, w), True where the maps are real, or weights.
            reduction: Instead of the loss's own.
            instances: The M objects of the N images.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if there is no object, or, relational, no
            two: with 'kl' no three, as a softmax over one other object is 1 whatever it is like.

        Raises:
            MMKDError: The shapes differ.
        """
        reduction = self.check_reduction(reduction)
        with exact(student):
            # The mask is for the boxes only: clearing whole maps would cost more than all else.
            s, t, _ = self.prepare(student, teacher, None)
            s, weights = pool(s, instances, mask, self.pooling)
            t, _ = pool(t.detach(), instances, mask, self.pooling)
            if self.known_only:
                weights = weights * (instances.ids >= 0)
            s, t = unit(s, 1, SHORTEST), unit(t, 1, SHORTEST)
            if self.mode == 'cosine':
                return per_box(1 - (s * t).sum(1), weights, instances, reduction)
            valid = weights > 0
            others = valid & valid[:, None]
            others = others & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
            values = compare_rows(s @ s.T, t @ t.T, others, self.distance, self.temperature)
            return per_box(values, weights * others.any(1), instances, reduction)

    def extra_repr(self) -> str:
        return f'mode={self.mode!r}, pooling={self.pooling!r}, {super().extra_repr()}'
