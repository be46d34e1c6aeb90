"""Randomness that depends on the epoch alone, so that a resumed run is the uninterrupted one."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from mmkd.registry import HOOKS

# Far apart, so that no two of (seed, rank, epoch) meet within any training.
_PER_RANK, _PER_EPOCH = 1_000_003, 7_919


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, NumPy, torch and the data loader's workers at the beginning of each epoch.

    mmengine's checkpoints hold no state of random number generators, and workers that persist
    carry theirs on from epoch to epoch: a resumed run would see other augmentations and other
    dropout than one that was never interrupted. With this hook both see the same. As a price,
    persistent workers are started anew in each epoch.

    mmkd.TrackRunner has it by itself; in other runners say
    ``custom_hooks=[dict(type='mmkd.EpochSeedHook')]``. Epochs are mmengine's: a loop that counts
    iterations has one, and is not exact.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Any) -> None:
        """Seeds this process, and the workers that this epoch starts."""
        seed = self.seed(runner.seed or 0, get_rank(), runner.epoch)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        loader = runner.train_dataloader
        set_epoch = getattr(getattr(loader, 'dataset', None), 'set_epoch', None)
        if set_epoch is not None and not isinstance(runner.train_loop, IterBasedTrainLoop):
            # A data set whose augmentations are replayed shows another one in each epoch; to a
            # loop of iterations all of training is one.
            set_epoch(runner.epoch)
        if not isinstance(loader, DataLoader) or not loader.num_workers:
            return
        if isinstance(loader.worker_init_fn, partial) and 'seed' in loader.worker_init_fn.keywords:
            # mmengine's; it adds the worker's and the rank's number itself.
            init = loader.worker_init_fn
            keywords = dict(init.keywords, seed=seed)
            loader.worker_init_fn = partial(init.func, *init.args, **keywords)
        loader._iterator = None

    @staticmethod
    def seed(seed: int, rank: int, epoch: int) -> int:
        """The seed of one epoch on one rank, as NumPy takes it."""
        return (seed + rank * _PER_RANK + epoch * _PER_EPOCH) % 2**32
