"""What FairMOT's identity classifier is trained with: cross entropy, or a focal loss per identity.

Formulas and constants: ``trains/mot.py`` of `ifzhang/FairMOT <https://github.com/ifzhang/FairMOT>`_
(``--id_loss ce`` and ``--id_loss focal``).
"""

from __future__ import annotations

import math
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOSSES_ID = ('cross_entropy', 'focal')

ALPHA = 0.25
GAMMA = 2.0
# Before training, a classifier for the focal loss gives every identity this probability.
PRIOR = 0.01


def make_classifier(embed_dims: int, num_ids: int, loss_id: str) -> nn.Linear:
    """A classifier that starts as the original's does for this loss."""
    classifier = nn.Linear(embed_dims, num_ids)
    if loss_id == 'focal':
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.constant_(classifier.bias, -math.log((1 - PRIOR) / PRIOR))
    return classifier


def embedding_scale(num_ids: int) -> float:
    """The length of the embeddings that are classified: sqrt(2) * ln(n - 1) as published; two
    identities or one would make that 0 or -inf.
    """
    return math.sqrt(2) * math.log(max(num_ids - 1, 2))


def identity_loss(logits: Tensor, ids: Tensor, loss_id: str) -> Tuple[Tensor, Tensor]:
    """The loss of the objects whose identity is known.

    Where there is none, the original's cross entropy is NaN (a mean over nothing); here it is an
    exact 0 with a gradient. The original's focal loss cannot take unknown identities at all.

    Args:
        logits: (K, n) float32.
        ids: (K,) long, -1 where unknown.
        loss_id: 'cross_entropy' or 'focal': sum over the n sigmoids of each object.

    Returns:
        The mean over the known objects, (), and 1 or 0: whether there was one.
    """
    known = (ids >= 0).to(logits.dtype)
    if loss_id == 'focal':
        truth = (ids[:, None] == torch.arange(logits.shape[1], device=ids.device)).to(logits.dtype)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction='none')
        score = logits.sigmoid()
        missing = truth * (1 - score) + (1 - truth) * score
        weight = truth * ALPHA + (1 - truth) * (1 - ALPHA)
        total = (weight * missing**GAMMA * entropy * known[:, None]).sum()
    else:
        total = F.cross_entropy(logits, ids, ignore_index=-1, reduction='sum')
    count = known.sum()
    return total / count.clamp(min=1), (count > 0).to(logits.dtype)
