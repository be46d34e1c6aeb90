"""How features are stored: rounded, or projected on what varies most, or that in bytes."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from .pca import Basis, fit_basis

FLOATS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
_FORMS = ('bf16', 'fp16', 'fp32', 'pca-128', 'pca-128-int8')
# -128 is left out, so that a sign never changes what fits.
_LEVELS = 127


class Storage(NamedTuple):
    """A ``storage=`` that was read.

    Attributes:
        dims: Of the projection; None without one.
        dtype: Of what is stored; int8 has a scale for each channel.
    """

    dims: Optional[int]
    dtype: torch.dtype

    @property
    def fitted(self) -> bool:
        """Whether it must see features before it can store any."""
        return self.dims is not None


def parse_storage(storage: Any) -> Storage:
    """Reads 'bf16', 'fp16', 'fp32', 'pca-N' (in bf16) or 'pca-N-int8'.

    Raises:
        MMKDError: It is something else.
    """
    if storage in FLOATS:
        return Storage(None, FLOATS[storage])
    found = re.fullmatch(r'pca-([1-9]\d*)(-int8)?', storage) if isinstance(storage, str) else None
    if found is None:
        raise MMKDError(
            "storage= is 'bf16', 'fp16', 'fp32', 'pca-N' (the N directions of most variance) or "
            f"'pca-N-int8', but got {storage!r}. {nearest(str(storage), _FORMS)}"
        )
    return Storage(int(found[1]), torch.int8 if found[2] else torch.bfloat16)


class Codec(nn.Module):
    """Encodes one feature, and decodes it on the student's device.

    Args:
        storage: See :func:`parse_storage`.
        channels: Of the feature.

    Raises:
        MMKDError: More directions are asked for than the feature has channels.
    """

    def __init__(self, storage: Storage, channels: int):
        super().__init__()
        self.storage, self.channels = storage, channels
        dims = storage.dims
        if dims is not None and dims > channels:
            raise MMKDError(
                f"storage='pca-{dims}': the teacher's feature has {channels} channels, and no more "
                'directions than that.'
            )
        if dims is not None:
            # Not persistent: a checkpoint of training has nothing of a cache.
            self.register_buffer('mean', torch.zeros(channels), persistent=False)
            self.register_buffer('basis', torch.zeros(dims, channels), persistent=False)
            self.register_buffer('scale', torch.ones(dims), persistent=False)

    def _apply(self, fn, *args, **kwargs):
        """Follows devices, not types: half of a basis is another one."""

        def follow(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(follow, *args, **kwargs)

    def fit(self, values: Tensor) -> float:
        """Finds the directions.

        Args:
            values: (n, channels), some of the feature's places.

        Returns:
            The share of the variance that they hold, in [0, 1].
        """
        found: Basis = fit_basis(values, self.storage.dims)
        self.mean.copy_(found.mean)
        self.basis.copy_(found.directions)
        z = (values.float() - found.mean) @ found.directions.T
        if self.storage.dtype == torch.int8:
            self.scale.copy_(z.abs().amax(0).clamp_min(1e-12) / _LEVELS)
        return found.explained

    def encode(self, feature: Tensor) -> Tensor:
        """Args:
            feature: (N, channels, ...) of any floating type.

        Returns:
            (N, channels or dims, ...) of the stored type.
        """
        if self.storage.dims is None:
            return feature.to(self.storage.dtype)
        flat = feature.float().flatten(2) if feature.dim() > 2 else feature.float()[..., None]
        z = self.basis @ (flat - self.mean[:, None])
        if self.storage.dtype == torch.int8:
            z = (z / self.scale[:, None]).round_().clamp_(-_LEVELS, _LEVELS)
        z = z.to(self.storage.dtype)
        return z.reshape(len(feature), self.storage.dims, *feature.shape[2:])

    def decode(self, stored: Tensor) -> Tensor:
        """Args:
            stored: (N, channels or dims, ...), of :meth:`encode`.

        Returns:
            (N, channels, ...); of a stored floating type as it is, else float32.
        """
        if self.storage.dims is None:
            return stored
        z = stored.flatten(2) if stored.dim() > 2 else stored[..., None]
        with torch.autocast(z.device.type, enabled=False):
            basis = (
                (self.basis * self.scale[:, None]).T
                if stored.dtype == torch.int8
                else (self.basis.T)
            )
            flat = torch.baddbmm(self.mean[None, :, None], basis.expand(len(z), -1, -1), z.float())
        return flat.reshape(len(stored), self.channels, *stored.shape[2:])

    def size(self, shape: Sequence[int]) -> int:
        """Bytes of one stored feature.

        Args:
            shape: (channels, ...) of it.
        """
        places = 1
        for side in shape[1:]:
            places *= side
        width = shape[0] if self.storage.dims is None else self.storage.dims
        return places * width * torch.empty((), dtype=self.storage.dtype).element_size()

    def tensors(self) -> Dict[str, Tensor]:
        """What was fitted."""
        return {name: value.detach().cpu() for name, value in self.named_buffers()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what :meth:`tensors` gave."""
        for name, value in self.named_buffers():
            value.copy_(tensors[name])


def join(codecs: Mapping[str, Codec]) -> Dict[str, Tensor]:
    """What several codecs have fitted, in one dict."""
    return {
        f'{feature}/{name}': value
        for feature, codec in codecs.items()
        for name, value in codec.tensors().items()
    }


def share_out(codecs: Mapping[str, Codec], tensors: Mapping[str, Tensor]) -> None:
    """Gives each codec its part of what :func:`join` made."""
    for feature, codec in codecs.items():
        own: Dict[str, Tensor] = {}
        for key, value in tensors.items():
            name, _, part = key.rpartition('/')
            if name == feature:
                own[part] = value
        codec.load(own)


def places_of(feature: Tensor) -> Tensor:
    """(N, C, h, w) or (N, C) as (places, C)."""
    return feature.flatten(2).transpose(1, 2).flatten(0, 1) if feature.dim() > 2 else feature
