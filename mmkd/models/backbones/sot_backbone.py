"""What the small backbones of Siamese trackers share: normalisation, freezing, unfreezing."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Dict, List, Optional, Set, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.errors import MMKDError

from .input_norm import build_input_norm

_RANDOM = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer='BatchNorm2d'),
]


class SOTBackbone(BaseModule, metaclass=ABCMeta):
    """Base of the backbones of Siamese trackers.

    **Freezing.** SiamRPN++ trains its heads first and the last stages of the backbone later: they
    are frozen to begin with, and mmtrack's ``SiamRPNBackboneUnfreezeHook`` names the ones to train
    from some epoch on (``layer2``, ...). That hook runs just before ``model.train()``, which
    freezes mmtrack's own ``SOTResNet`` again. Here what has been unfrozen stays unfrozen:

    - All parameters ask for gradients until the first ``train()``, so that distributed training
      registers them (frozen ones then need ``find_unused_parameters``).
    - ``train()`` freezes the stages up to ``frozen_stages``: no gradients, BatchNorm in eval mode.
    - A frozen stage whose BatchNorm somebody has put into training mode in between, as the hook
      does, has been released: its parameters and its BatchNorm train from there on, as in
      PySOT, whatever ``norm_eval`` says. (Stages without BatchNorm2d, SyncBatchNorm's included,
      are released by parameters that ask for gradients again; if the hook runs before the first
      ``train()``, as in a resumed training, that is when it runs for the second time.)

    Args:
        input_norm: None for raw BGR in 0..255, or ``dict(mean=, std=, to_rgb=)``; see
            :class:`~mmkd.models.backbones.input_norm.InputNorm`.
        frozen_stages: -1 trains everything; k freezes what comes before ``layer1`` and ``layer1``
            to ``layer<k>``.
        norm_eval: Whether BatchNorm keeps its statistics in training (but for released stages).
        init_cfg: mmengine's initialisation config. None: random.
    """

    def __init__(
        self,
        input_norm: Optional[dict] = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: Union[dict, List[dict], None] = None,
    ):
        super().__init__(_RANDOM if init_cfg is None else init_cfg)
        self.input_norm = build_input_norm(input_norm)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._frozen: Set[int] = set()
        self._released: Set[int] = set()

    @abstractmethod
    def stages(self) -> Dict[int, Tuple[nn.Module, ...]]:
        """The modules of each stage by its number: k for ``layer<k>``, 0 for what is before."""

    def _start(self) -> None:
        """Called by a subclass when its stages are there.

        Raises:
            MMKDError: There is no stage ``frozen_stages``.
        """
        last = max(self.stages())
        if not isinstance(self.frozen_stages, int) or not -1 <= self.frozen_stages <= last:
            raise MMKDError(
                f'{type(self).__name__}: frozen_stages is {self.frozen_stages!r}; expected -1 '
                f'(train everything) to {last}, the last layer that out_indices asks for.'
            )
        for number, modules in self.stages().items():
            if number <= self.frozen_stages:
                for norm in _norms(modules):
                    norm.eval()  # the mark by which a release is noticed

    def train(self, mode: bool = True) -> SOTBackbone:
        """Switches to training, but for what is frozen."""
        self._notice_released()
        super().train(mode)
        for number, modules in self.stages().items():
            if number <= self.frozen_stages and number not in self._released:
                self._frozen.add(number)
                for module in modules:
                    module.eval()
                    module.requires_grad_(False)
            elif mode and self.norm_eval and number not in self._released:
                for norm in _norms(modules):
                    norm.eval()
        return self

    def _notice_released(self) -> None:
        for number, modules in self.stages().items():
            if number > self.frozen_stages or number in self._released:
                continue
            parameters = [p for module in modules for p in module.parameters()]
            # Others than BatchNorm2d the hook does not touch; torch 2.0 makes SyncBatchNorm's in
            # training mode.
            norms = [norm for norm in _norms(modules) if isinstance(norm, nn.BatchNorm2d)]
            if any(norm.training for norm in norms) or (
                number in self._frozen and any(p.requires_grad for p in parameters)
            ):
                self._released.add(number)

    @abstractmethod
    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Args:
            x: (N, 3, H, W) float, raw BGR values in 0..255.

        Returns:
            One map (N, channels, h, w) of stride 8 for every entry of ``out_indices``.
        """


def check_out_indices(owner: str, out_indices, valid) -> Tuple[int, ...]:
    """Raises:
    MMKDError: ``out_indices`` are not different numbers of ``valid`` in rising order.
    """
    try:
        found = tuple(out_indices)
    except TypeError:
        found = (out_indices,)
    if not found or list(found) != sorted(set(found) & set(valid)):
        raise MMKDError(
            f'{owner}: out_indices is {out_indices!r}; expected different numbers of '
            f'{tuple(valid)} in rising order: the stages whose stride is 8.'
        )
    return found


def _norms(modules: Tuple[nn.Module, ...]) -> List[nn.Module]:
    return [m for module in modules for m in module.modules() if isinstance(m, _BatchNorm)]
