"""A runner that shows the model its training data before anything depends on the model's size."""

from __future__ import annotations

import os
from typing import Dict, List, Optional, Tuple, Union

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmkd.distill.copying import copy_beside
from mmkd.registry import RUNNERS

from .classes import check_classes
from .epoch_seed import EpochSeedHook
from .identities import assign_id_offsets

_REPLAY = 'mmkd.ReplayDataset'


@RUNNERS.register_module()
class TrackRunner(Runner):
    """mmengine's Runner, with the identity classifier sized by the data.

    FairMOT's classifier has one row per identity in the training set. mmengine makes the model,
    then DDP, then the data set, then the optimiser; here the data set comes before DDP, so that
    the classifier is right when DDP and the optimiser list the parameters. Nothing else differs,
    and models without ``set_num_ids`` are trained as by mmengine's own.

    A config asks for it with ``runner_type='mmkd.TrackRunner'``, which mmtrack's stock tools
    honour as well. With ``channels_last=True`` beside it the model is laid out so, which makes
    convolutions faster in mixed precision and changes nothing else. With ``compile=True`` (or
    torch.compile's options) the forward pass is compiled, in training, validation and test.
    A resumed run draws the random numbers of an uninterrupted one; see :class:`EpochSeedHook`.
    On a GPU the host does not wait for the device in a step: batches are pinned and copied beside
    its work, and losses are read a step later; see :class:`DeferredRuntimeInfoHook`.
    """

    _wrapper_cfg: Optional[dict] = None
    _compiled: Tuple[str, ...] = ()

    def register_hooks(
        self,
        default_hooks: Optional[Dict[str, Union[Hook, dict]]] = None,
        custom_hooks: Optional[List[Union[Hook, dict]]] = None,
    ) -> None:
        """mmengine's, of which one does not wait, and one that makes resumed runs whole."""
        default_hooks = dict(default_hooks or {})
        default_hooks.setdefault('runtime_info', dict(type='mmkd.DeferredRuntimeInfoHook'))
        super().register_hooks(default_hooks, custom_hooks)
        if not any(isinstance(hook, EpochSeedHook) for hook in self.hooks):
            self.register_hook(EpochSeedHook())

    def setup_env(self, env_cfg: dict) -> None:
        """mmengine's, and several processes on machines without a GPU, which it asks for one."""
        on_cpu = self.distributed and get_device() == 'cpu'
        if on_cpu and self.launcher == 'pytorch' and not torch.distributed.is_initialized():
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    def set_randomness(
        self, seed: Optional[int], diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """mmengine's, and what products of matrices need to be deterministic on a GPU."""
        if deterministic:
            # torch refuses them without; read when CUDA's library for them starts, which is later.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def wrap_model(self, model_wrapper_cfg: Optional[dict], model: nn.Module) -> nn.Module:
        """Waits, if there is something to wrap, until the loop that needs it begins."""
        if self.cfg.get('channels_last', False):
            model = model.to(memory_format=torch.channels_last)
        if not self.distributed or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        self._wrapper_cfg = model_wrapper_cfg
        return model.to(get_device())

    def _wrap_now(self) -> None:
        if self.distributed and not is_model_wrapper(self.model):
            if self._wrapper_cfg is None and get_device() == 'cpu':
                # mmengine's default names a GPU for each process.
                self._wrapper_cfg = dict(
                    type='MMDistributedDataParallel',
                    device_ids=None,
                    broadcast_buffers=False,
                    find_unused_parameters=self.cfg.get('find_unused_parameters', False),
                )
            self.model = super().wrap_model(self._wrapper_cfg, self.model)

    def train(self) -> nn.Module:
        """Counts the identities and checks the classes of the training data, then trains."""
        self._transfer_beside()
        needs = self._wrap_training_data()
        set_num_ids = getattr(self.model, 'set_num_ids', None)
        if (needs or set_num_ids is not None) and self._train_loop is not None:
            self._train_loop = self.build_train_loop(self._train_loop)
        if needs:
            start = self.rank / self.world_size
            self.model.prepare_data(self._train_loop.dataloader.dataset, start)
        if set_num_ids is not None and self._train_loop is not None:
            dataset = self._train_loop.dataloader.dataset
            num_classes = getattr(self.model, 'num_classes', None)
            if num_classes is not None:
                check_classes(dataset, num_classes)
            set_num_ids(assign_id_offsets(dataset))
        self._wrap_now()
        return super().train()

    def _transfer_beside(self) -> None:
        """On a GPU, lets pinned batches come over while it computes."""
        if not get_device().startswith('cuda'):
            return
        if isinstance(self._train_dataloader, dict):
            self._train_dataloader.setdefault('pin_memory', True)
        copy_beside(self.model)

    def _wrap_training_data(self) -> dict:
        """Makes the training samples such that a cached teacher finds its features.

        Returns:
            What the model needs; {} for a model without such a teacher.
        """
        ask = getattr(self.model, 'data_needs', None)
        needs = ask() if callable(ask) and self._train_loop is not None else {}
        loader = self._train_dataloader
        dataset = loader.get('dataset') if isinstance(loader, dict) else None
        if needs and isinstance(dataset, dict) and dataset.get('type') != _REPLAY:
            loader['dataset'] = dict(type=_REPLAY, dataset=dataset, **needs)
        return needs

    def _maybe_compile(self, target: str) -> None:
        """Compiles the forward pass rather than, as mmengine does, the whole training step.

        That makes half as many graphs, in half the time, and validation and test get them as well.

        Args:
            target: The step that mmengine would compile; for torch before 2.2.
        """
        options = self.cfg.get('compile')
        model = self.model.module if is_model_wrapper(self.model) else self.model
        if not options:
            return
        if hasattr(model, 'compile'):
            if model._compiled_call_impl is None:
                model.compile(**({} if options is True else options))
        elif target not in self._compiled:
            self._compiled += (target,)
            super()._maybe_compile(target)

    def val(self) -> dict:
        """mmengine's validation."""
        self._wrap_now()
        self._maybe_compile('val_step')
        return super().val()

    def test(self) -> dict:
        """mmengine's test."""
        self._wrap_now()
        self._maybe_compile('test_step')
        return super().test()
