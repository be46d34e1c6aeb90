"""Mixed precision in bfloat16, on processors as well."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from mmkd.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper with the forward pass under bfloat16 autocast.

    bfloat16 has float32's range, so there is no loss scale to keep. mmengine's AmpOptimWrapper
    refuses to run without a GPU; this one trains on a processor, where the newer ones multiply
    bfloat16 several times faster than float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast, on top of what mmengine does for gradient accumulation."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
