"""Teachers whose network is timm's: features by the number of a block or a stage."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from .teacher import Teacher

# The same random network on every rank and after every resume.
RANDOM_SEED = 0


class IntermediatesTeacher(Teacher):
    """A network with timm's ``forward_intermediates``.

    Features: ``'<unit>_<i>'``, what its i-th block or stage (from 0) gives, and ``'last'``, what
    the whole network gives, final norm and all, before any pooling. All are (N, C, h, w); class
    and register tokens are left out. What lies behind the deepest that is read is thrown away.

    A subclass calls :meth:`_set_features` once and writes :meth:`_random` and :meth:`_pretrained`.

    Args:
        weights: See the subclass; 'random' is announced.
        norm: Whether 'last' is behind the final norm. If not, it is the last block's or stage's.
        kwargs: See :class:`Teacher`.

    Raises:
        MMKDError: ``weights`` was not given.
    """

    def __init__(self, weights: Optional[str], norm: bool = True, **kwargs):
        super().__init__(**kwargs)
        if weights is None:
            raise MMKDError(
                f"{type(self).__name__} needs weights: 'timm' to download them, the path of a "
                "file, or 'random' if a random teacher is really meant."
            )
        self.weights = str(weights)
        self.is_random = self.weights == 'random'
        self.norm = norm

    # What a subclass writes.

    def _random(self) -> nn.Module:
        """The network with random weights."""
        raise NotImplementedError

    def _pretrained(self) -> nn.Module:
        """The network with the weights that ``self.weights`` means, every one of them."""
        raise NotImplementedError

    def _final(self, x: Tensor) -> Tensor:
        """What is applied to the whole network's map for 'last', beyond what timm does."""
        return x

    # What it gets for it.

    def _set_features(
        self,
        unit: str,
        channels: Sequence[int],
        strides: Sequence[int],
        last_channels: Optional[int] = None,
        only: Union[None, str, int, Sequence[Union[str, int]]] = None,
    ) -> None:
        """Names the features.

        Args:
            unit: 'block' or 'stage'.
            channels: Of each.
            strides: Of each, in pixels.
            last_channels: Of 'last' with its norm, if not those of the last block.
            only: Names or numbers of those that it can be asked for, and will be. None: all.
        """
        self.depth = len(channels)
        names = [f'{unit}_{i}' for i in range(self.depth)]
        last = last_channels if last_channels is not None and self.norm else channels[-1]
        self.channels = {'last': last, **dict(zip(names, channels))}
        self.strides = {'last': strides[-1], **dict(zip(names, strides))}
        self._depths = {'last': self.depth - 1, **{name: i for i, name in enumerate(names)}}
        if only is None:
            return
        chosen = self._chosen(unit, only)
        self.channels = {name: self.channels[name] for name in chosen}
        self.strides = {name: self.strides[name] for name in chosen}
        self.request(chosen)

    def _chosen(
        self, unit: str, only: Union[str, int, Sequence[Union[str, int]]]
    ) -> Tuple[str, ...]:
        if isinstance(only, (str, int)):
            only = (only,)
        names = tuple(f'{unit}_{item}' if isinstance(item, int) else item for item in only)
        for name in names:
            if name not in self._depths:
                raise MMKDError(
                    f'This {type(self).__name__} has {self.depth} {unit}s, 0 to '
                    f'{self.depth - 1}, and no {name!r}. {nearest(name, self._depths)}'
                )
        if not names:
            raise MMKDError(
                f"{unit}s=() leaves the teacher nothing to give; {unit}s=('last',) is usual."
            )
        return names

    def build(self) -> nn.Module:
        if self.is_random:
            print_log(
                f'{type(self).__name__} has RANDOM weights, because its config says '
                "weights='random'. Nothing that was ever learned can reach the student.",
                logger='current',
                level=30,
            )
            torch.manual_seed(RANDOM_SEED)
            net = self._random()
        else:
            net = self._pretrained()
        names = self._names()
        if 'last' not in names:
            deepest = max(self._depths[name] for name in names)
            net.prune_intermediate_layers([deepest], prune_norm=True, prune_head=True)
        return net

    def extract(self, x: Tensor) -> Dict[str, Tensor]:
        names = self._names()
        depths = sorted({self._depths[name] for name in names})
        whole = 'last' in names and self.norm
        output = self.net.forward_intermediates(
            x,
            indices=depths,
            norm=False,
            stop_early=not whole,
            output_fmt='NCHW',
            intermediates_only=not whole,
        )
        last, maps = output if whole else (None, output)
        by_depth = dict(zip(depths, maps))
        features = {name: by_depth[self._depths[name]] for name in names}
        if whole:
            features['last'] = self._final(self._as_map(last, features['last']))
        return features

    def _as_map(self, x: Tensor, like: Tensor) -> Tensor:
        """Tokens (N, L, C) or a map (N, h, w, C) or (N, C, h, w), as (N, C, h, w)."""
        height, width = like.shape[2:]
        if not isinstance(x, Tensor):
            raise MMKDError(
                f"{self.describe()}: 'last' is not one map but a {type(x).__name__}. "
                f'{nearest("", [name for name in self._depths if name != "last"])}'
            )
        if x.dim() == 3:
            # Class and register tokens come first.
            x = x[:, x.shape[1] - height * width :].unflatten(1, (height, width))
        elif getattr(self.net, 'output_fmt', '') != 'NHWC' and x.shape[1] == self.channels['last']:
            return x
        return x.permute(0, 3, 1, 2)

    def _names(self) -> Tuple[str, ...]:
        return self._requested or ('last',)

    def _preprocessing(self) -> Dict[str, Any]:
        return dict(super()._preprocessing(), norm=self.norm)

    def _weights_told(self) -> str:
        return 'RANDOM weights' if self.is_random else f'weights {self.weights!r}'


def parse_dict_arch(arch: dict, kinds: Sequence[type]) -> Any:
    """An architecture written out as a dict, as one of these named tuples.

    Raises:
        MMKDError: It has an unknown key, or lacks one.
    """
    fields = [field for kind in kinds for field in kind._fields]
    for name in arch:
        if name not in fields:
            raise MMKDError(f'arch has no {name!r}. {nearest(name, fields)}')
    kind = next((k for k in kinds if set(arch) <= set(k._fields)), kinds[0])
    try:
        return kind(**arch)
    except TypeError as error:
        needed = [f for f in kind._fields if f not in kind._field_defaults]
        raise MMKDError(
            f'arch=dict(...) needs {", ".join(needed[:-1])} and {needed[-1]}, but got {arch}.'
        ) from error
