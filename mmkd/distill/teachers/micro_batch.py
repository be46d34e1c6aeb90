"""A teacher's batch in pieces, as many as its memory asks for."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmkd.errors import MMKDError

Features = Dict[str, Tensor]
Forward = Callable[[Tensor], Features]

_UNITS = {'': 1, **{u + 'B': 1000**i for i, u in enumerate(('', 'K', 'M', 'G', 'T'))}}
_UNITS.update({u + 'iB': 1024**i for i, u in enumerate(('', 'K', 'M', 'G', 'T')) if i})


def parse_bytes(value: Union[int, str], owner: str) -> int:
    """Bytes of '4GiB', '500 MB' or a plain number.

    Raises:
        MMKDError: It is none of them.
    """
    match = None
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B|)\s*', str(value))
    number = int(float(match[1]) * _UNITS.get(match[2], 0)) if match else 0
    if number <= 0:
        raise MMKDError(
            f"{owner} takes memory_budget='4GiB', '800MB' or a number of bytes, but got {value!r}."
        )
    return number


class Cost(NamedTuple):
    """Bytes of a forward pass, beside the weights.

    Attributes:
        fixed: Whatever the batch.
        image: Per image, at the peak.
        features: Per image, of what is given back.
    """

    fixed: int
    image: int
    features: int


class MicroBatch:
    """Runs a function on a batch in pieces; the result is that of the whole batch.

    Args:
        size: Images of a piece at most; None: all.
        memory_budget: Instead of it, what a forward pass may take beside the weights. Before the
            first batch of a size, one and two images are run to see what each takes: measured on
            a GPU, elsewhere estimated from the tensors that are alive after each operator.
        owner: For messages.

    Raises:
        MMKDError: Both were given, or one is no such number.
    """

    def __init__(
        self,
        size: Optional[int] = None,
        memory_budget: Union[None, int, str] = None,
        owner: str = 'Teacher',
    ):
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise MMKDError(f'{owner} takes micro_batch=, images at a time, but got {size!r}.')
        if size is not None and memory_budget is not None:
            raise MMKDError(f'{owner} takes micro_batch or memory_budget, not both.')
        self.size = size
        self.budget = None if memory_budget is None else parse_bytes(memory_budget, owner)
        self._owner = owner
        self._costs: Dict[Tuple[Any, ...], Cost] = {}

    def __call__(
        self, forward: Forward, images: Tensor, plain: Optional[Forward] = None
    ) -> Features:
        """Args:
            forward: What to run; its features have the images first.
            images: (N, 3, H, W).
            plain: The same, for measuring: without a compiler, which would compile for one image
                and for two.

        Returns:
            Feature name to (N, ...).
        """
        parts = -(-len(images) // self.limit(plain or forward, images)) if len(images) > 1 else 1
        if parts == 1:
            return forward(images)
        features: Features = {}
        done = 0
        # Equal pieces: a smaller peak than a full one and a rest, and fewer shapes to compile.
        for piece in images.tensor_split(parts):
            for name, value in forward(piece).items():
                if name not in features:
                    features[name] = _like(value, len(images))
                features[name][done : done + len(piece)] = value
            done += len(piece)
        return features

    def limit(self, forward: Forward, images: Tensor) -> int:
        """How many images may run at once."""
        if self.size is not None:
            return self.size
        if self.budget is None:
            return max(len(images), 1)
        device = images.device
        key = (device, tuple(images.shape[1:]), images.dtype)
        if key not in self._costs:
            self._costs[key] = self._measure(forward, images)
        cost = self._costs[key]
        left = self.budget - cost.fixed - cost.features * len(images)
        return max(left // max(cost.image, 1), 1)

    def reset(self) -> None:
        """Forgets what was measured."""
        self._costs.clear()

    def _measure(self, forward: Forward, images: Tensor) -> Cost:
        # The first use of a library takes workspace that stays: not a batch's own.
        given = forward(images[:1])
        features = sum(value.numel() * value.element_size() for value in given.values())
        del given
        one, two = (peak_bytes(forward, images[:n]) for n in (1, 2))
        cost = Cost(max(2 * one - two, 0), max(two - one, 1), features)
        mebi = 2.0**20
        limit = (self.budget - cost.fixed - features * len(images)) // cost.image
        print_log(
            f'{self._owner}: a forward pass takes {cost.fixed / mebi:.0f} MiB and '
            f'{cost.image / mebi:.0f} MiB per image of {tuple(images.shape[2:])}; of '
            f'{len(images)}, {min(max(limit, 1), len(images))} run at once.'
            + ('' if limit >= 1 else ' One alone is more than memory_budget.'),
            logger='current',
            level=20 if limit >= 1 else 30,
        )
        return cost


def peak_bytes(forward: Forward, images: Tensor) -> int:
    """The most that a forward pass holds at a time, beside what was there before."""
    if images.device.type == 'cuda':
        # mmengine resets the peak as well, each time that it logs it.
        torch.cuda.reset_peak_memory_stats(images.device)
        before = torch.cuda.memory_allocated(images.device)
        forward(images)
        return torch.cuda.max_memory_allocated(images.device) - before
    with LiveBytes() as live:
        forward(images)
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that operators made and that are still alive.

    Workspace within operators is not seen.

    Attributes:
        peak: The most so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: Dict[int, Tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {ref.cdata for ref, _ in _storages((args, kwargs))}
        out = func(*args, **kwargs)
        for ref, size in _storages(out):
            # A view of what came from outside, such as a weight, is nothing new.
            if ref.cdata not in given:
                self._live.setdefault(ref.cdata, (ref, size))
        self._live = {key: item for key, item in self._live.items() if not item[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return out


def _storages(tree: Any) -> List[Tuple[StorageWeakRef, int]]:
    tensors = [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return [(StorageWeakRef(storage), storage.nbytes()) for storage in storages]


def _like(piece: Tensor, images: int) -> Tensor:
    """An empty tensor for all images, laid out as that of some."""
    # Of tokens, with or without the class token's place between two images.
    last = piece.dim() == 4 and piece.stride(1) == 1
    return torch.empty(
        (images, *piece.shape[1:]),
        dtype=piece.dtype,
        device=piece.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )
