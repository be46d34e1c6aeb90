"""The two networks that a Siamese tracker deploys, as functions from tensors to tensors.

They are born in the model's mode: torch's exporter puts back that of what it is given, children
and all, and would leave an eval model in training.
"""

from __future__ import annotations

from typing import Any, List, Tuple

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError
from mmkd.models.heads.siamese_rpn_head import TemplateKernels


def check_siamese(model: nn.Module) -> None:
    """Refuses what is no Siamese RPN tracker.

    Raises:
        MMKDError: If the model is another.
    """
    if not hasattr(model, 'forward_search') or not hasattr(model, 'forward_template'):
        raise MMKDError(
            f'{type(model).__name__} is no Siamese tracker: it has no forward_template and '
            "forward_search. Give a config of type='mmkd.SiamRPN'."
        )


class TemplateBranch(nn.Module):
    """Once per video: from the template to what the frames are correlated with.

    Args:
        model: :class:`mmkd.SiamRPN`, or mmtrack's.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.training = model.training

    @property
    def names(self) -> List[str]:
        """Names of what it returns."""
        levels = range(len(self.model.head.cls_heads))
        return [f'{branch}_kernel_{i}' for branch in ('cls', 'reg') for i in levels]

    def forward(self, template: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            template: (1, 3, h, w) float BGR 0..255.

        Returns:
            Kernels (1, C, k, k): of the classification, a level each, then of the regression; the
            maps that they are made of, a level each, if the head is mmtrack's own.
        """
        seen = self.model.forward_template(template)
        if not hasattr(self.model.head, 'kernels'):
            return tuple(seen)
        kernels = self.model.head.kernels(seen)
        return (*kernels.cls, *kernels.reg)


class SearchBranch(nn.Module):
    """Once per frame: backbone, neck and head.

    Args:
        model: :class:`mmkd.SiamRPN`.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, search: Tensor, *kernels: Tensor) -> Tuple[Tensor, Tensor]:
        """Args:
            search: (1, 3, H, W) float BGR 0..255.
            kernels: Of :class:`TemplateBranch`.

        Returns:
            ``cls`` (1, 2A, h, w) and ``reg`` (1, 4A, h, w), before softmax and decoding.
        """
        levels = len(kernels) // 2
        both = TemplateKernels(tuple(kernels[:levels]), tuple(kernels[levels:]))
        return self.model.head(both, self.model.forward_search(search))


class FixedTemplate(nn.Module):
    """Search branch and head for one template, mmtrack's own SiamRPN included.

    Args:
        model: mmtrack's SiamRPN or ours.
        template: (1, 3, h, w) float.
    """

    def __init__(self, model: nn.Module, template: Tensor):
        super().__init__()
        self.model = model
        self.training = model.training
        with torch.no_grad():
            self.seen: Any = model.forward_template(template)
            if hasattr(model.head, 'kernels'):
                self.seen = model.head.kernels(self.seen)

    def forward(self, search: Tensor) -> Tuple[Tensor, Tensor]:
        """``search`` (1, 3, H, W) to ``cls`` and ``reg``."""
        return self.model.head(self.seen, self.model.forward_search(search))
