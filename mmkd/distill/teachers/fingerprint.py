"""What tells one teacher from another: a hash of its weights and of how its input is made."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, Mapping, NamedTuple

import torch
from torch import Tensor

# Enough to tell tensors of one network apart; a checkpoint keeps hundreds of them.
_SHORT = 16
_SHOWN = 3


class Fingerprint(NamedTuple):
    """A teacher's identity, and the parts that it is made of.

    Attributes:
        hash: SHA-256 over everything, in hex.
        tensors: Name to the beginning of that tensor's own hash.
        preprocessing: What its input is made by, as plain values.
    """

    hash: str
    tensors: Dict[str, str]
    preprocessing: Dict[str, Any]


def identify(state: Mapping[str, Tensor], preprocessing: Mapping[str, Any]) -> Fingerprint:
    """Hashes a network.

    Numbers count, not how they are stored: a network that was moved to another device, or cast
    to a type that holds its numbers exactly, keeps its fingerprint. One that was rounded, float32
    to bfloat16 for instance, has another, as it gives other features.

    Args:
        state: Its state dict.
        preprocessing: Plain values.
    """
    # As a checkpoint and JSON give them back: tuples become lists.
    plain = json.loads(json.dumps(dict(preprocessing), sort_keys=True))
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    tensors = {}
    for name, tensor in sorted(state.items()):
        own = _hash(tensor)
        digest.update(f'{name} {own}\n'.encode())
        tensors[name] = own[:_SHORT]
    return Fingerprint(digest.hexdigest(), tensors, plain)


def explain(saved: Fingerprint, current: Fingerprint) -> str:
    """Says in a sentence or two what differs; an empty string if nothing does."""
    words: List[str] = []
    for key in sorted({*saved.preprocessing, *current.preprocessing}):
        before, now = saved.preprocessing.get(key), current.preprocessing.get(key)
        if before != now:
            words.append(f'{key} was {before!r} and is {now!r}.')
    both = [name for name in current.tensors if name in saved.tensors]
    changed = [name for name in both if saved.tensors[name] != current.tensors[name]]
    for kind, names in (
        ('differ', changed),
        ('are new', [name for name in current.tensors if name not in saved.tensors]),
        ('are gone', [name for name in saved.tensors if name not in current.tensors]),
    ):
        if names:
            shown = ', '.join(names[:_SHOWN]) + (', ...' if len(names) > _SHOWN else '')
            words.append(f'{len(names)} of {len(both) or "no common"} tensors {kind}: {shown}.')
    if changed and len(changed) == len(both):
        words.append('Either these are other weights, or they were rounded to another dtype.')
    return ' '.join(words)


def _hash(tensor: Tensor) -> str:
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.is_floating_point():
        tensor = tensor.float()
        kind = 'float'
    else:
        kind = str(tensor.dtype)
    digest = hashlib.sha256(f'{kind} {tuple(tensor.shape)} '.encode())
    flat = tensor.cpu().contiguous().reshape(-1)
    digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
