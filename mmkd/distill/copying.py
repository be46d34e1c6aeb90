"""Batches that come over while a GPU computes."""

from __future__ import annotations

from mmengine.model import BaseDataPreprocessor
from torch import nn


def copy_beside(model: nn.Module) -> None:
    """Lets data preprocessors not wait for their copies, as ``non_blocking=True`` does.

    mmtrack's has no such argument, and would stop the host in every step until the device has done
    everything before. Pinned memory is what makes it pay; without it nothing is wrong.

    Args:
        model: A model, or a data preprocessor.
    """
    for module in model.modules():
        if isinstance(module, BaseDataPreprocessor):
            module._non_blocking = True
