"""Identity across frames: the same object later is the same, by the teacher's measure."""

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
from .relations import DISTANCES, SHORTEST, check_temperature, compare_rows, masked_log_softmax

KEYS = ('teacher', 'student')


@MODELS.register_module()
class TemporalRelationalLoss(DistillLoss):
    """Objects followed through the frames of a batch, in the teacher's similarities.

    Both maps are pooled in the boxes whose identity is known: unit vectors ``s_i`` and ``t_i``.
    An anchor is a box i whose identity is also in another image of the batch (of one process). It
    costs ``relation_weight * relation_i + contrast_weight * contrast_i``:

    - relation: its similarities ``s_i . s_j`` to all boxes j of *other* images follow the
      teacher's ``t_i . t_j``: how far people look alike from one frame to the next. As KL of the
      softmax over j (with its temperature, times the square of that), or as mean squared
      difference. RKD (arXiv 1904.05068), between frames.
    - contrast: the boxes P of its identity in other images attract, other identities, in its own
      image too, repel::

          contrast_i = - mean over p in P of
                       log(exp(s_i . k_p / T) / sum over j of exp(s_i . k_j / T))

      the supervised contrastive loss (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2). Its
      keys k are the teacher's tokens t_j, which need as many channels as the student's map, or
      the student's own s_j. j runs over P and the other identities.

    A batch of which no identity is in two images gives 0. Such batches are the rule with shuffled
    single images; :class:`mmkd.ClipSampler` puts frames of one video next to each other.

    Args:
        relation_weight: 0 or more.
        contrast_weight: 0 or more.
        distance: Of the relation: 'kl' or 'mse'.
        relation_temperature: Of 'kl'.
        contrast_temperature: ``T``.
        keys: 'teacher' or 'student'.
        pooling: 'box', the mean over the box, or 'centre', the cell of its centre.
        reduction: 'mean' over the anchors, weighted by the mask in their boxes; 'sum'; 'sample':
            (N,), one mean per image, 0 without anchors; or 'none': (M,).

    Raises:
        MMKDError: For a value that an option does not have.
    """

    needs = ('instances',)
    trains_teacher_side = False

    def __init__(
        self,
        relation_weight: float = 1.0,
        contrast_weight: float = 1.0,
        distance: str = 'kl',
        relation_temperature: float = 0.1,
        contrast_temperature: float = 0.1,
        keys: str = 'teacher',
        pooling: str = 'box',
        reduction: str = 'mean',
    ):
        super().__init__(reduction)
        owner = type(self).__name__
        if not (relation_weight >= 0 and contrast_weight >= 0):
            raise MMKDError(
                f'{owner}: relation_weight and contrast_weight are 0 or more, but got '
                f'{relation_weight!r} and {contrast_weight!r}.'
            )
        if relation_weight == contrast_weight == 0:
            raise MMKDError(f'{owner}: with both of its weights 0 there is nothing to distil.')
        for name, value, choices in (('distance', distance, DISTANCES), ('keys', keys, KEYS)):
            if value not in choices:
                raise MMKDError(f'{owner} has no {name}={value!r}. {nearest(value, choices)}')
        self.relation_weight = float(relation_weight)
        self.contrast_weight = float(contrast_weight)
        self.distance = distance
        self.relation_temperature = check_temperature(relation_temperature, owner)
        self.contrast_temperature = check_temperature(contrast_temperature, owner)
        self.keys = keys
        self.pooling = check_pooling(pooling, owner)
        self.same_channels = keys == 'teacher' and contrast_weight > 0

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
            teacher: (N, C, h, w); (N, D, h, w) if the keys are the student's or the contrast is
                off.
            mask: (N, 1, h, w), True where the maps are real, or weights.
            reduction: Instead of the loss's own.
            instances: The M boxes of the N images.

        Returns:
            A scalar, or what 'sample' and 'none' give; 0 if no identity is in two images.

        Raises:
            MMKDError: The shapes differ.
        """
        reduction = self.check_reduction(reduction)
        with exact(student):
            # The mask is for the boxes only: clearing whole maps would cost more than all else.
            s, t, _ = self.prepare(student, teacher, None)
            s, weights = pool(s, instances, mask, self.pooling)
            t, _ = pool(t.detach(), instances, mask, self.pooling)
            s, t = unit(s, 1, SHORTEST), unit(t, 1, SHORTEST)
            ids, image = instances.ids, instances.image
            weights = weights * (ids >= 0)
            valid = weights > 0
            both = valid & valid[:, None]
            elsewhere = both & (image != image[:, None])
            alike = ids == ids[:, None]
            positives = elsewhere & alike
            values = s.new_zeros(len(s))
            if self.relation_weight > 0:
                relation = compare_rows(
                    s @ s.T, t @ t.T, elsewhere, self.distance, self.relation_temperature
                )
                values = values + self.relation_weight * relation
            if self.contrast_weight > 0:
                keys = t if self.keys == 'teacher' else s
                logs = masked_log_softmax(
                    s @ keys.T / self.contrast_temperature, positives | (both & ~alike)
                )
                logs = torch.where(positives, logs, logs.new_zeros(()))
                contrast = -logs.sum(1) / positives.sum(1).clamp(min=1)
                values = values + self.contrast_weight * contrast
            return per_box(values, weights * positives.any(1), instances, reduction)

    def extra_repr(self) -> str:
        return (
            f'relation_weight={self.relation_weight:g}, contrast_weight={self.contrast_weight:g}, '
            f'keys={self.keys!r}, {super().extra_repr()}'
        )
