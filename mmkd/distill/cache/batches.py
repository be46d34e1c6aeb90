"""Stored records of a batch as one tensor on the device; pieces of a batch of pictures."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple, Union

import torch
from torch import Tensor

from .record import StoredRecord

Images = Union[Tensor, Dict[str, Tensor]]


def gather(records: Sequence[StoredRecord], name: str, device: torch.device) -> Tensor:
    """One feature of several samples.

    Each record is copied once: into the batch, which is in pinned memory if a GPU is to fetch it.

    Args:
        records: They all have it, in one shape (T, ...).
        name: The feature's.
        device: Where to.

    Returns:
        (N * T, ...) of the stored type.
    """
    parts = [record.tensors[name] for record in records]
    if device.type != 'cuda':
        return torch.cat(parts).to(device)
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    batch = torch.empty(shape, dtype=parts[0].dtype, pin_memory=True)
    torch.cat(parts, out=batch)
    return batch.to(device, non_blocking=True)


def picture_size(images: Images) -> Tuple[int, int]:
    """(H, W) of a batch; of several entries, those of the last by name."""
    if isinstance(images, dict):
        images = images[sorted(images)[-1]]
    return int(images.shape[-2]), int(images.shape[-1])


def device_of(images: Images) -> torch.device:
    """Where a batch is."""
    return next(iter(images.values())).device if isinstance(images, dict) else images.device


def take(images: Images, samples: List[int], count: int) -> Images:
    """The pictures of some samples.

    Args:
        images: (N * T, 3, H, W) of N samples, or a dict of entries with one row for each.
        samples: Their numbers, ascending.
        count: N.
    """
    if len(samples) == count:
        return images
    if isinstance(images, dict):
        return {key: value[samples] for key, value in images.items()}
    frames = len(images) // count
    return images[rows_of(samples, frames)]


def rows_of(samples: Sequence[int], frames: int) -> List[int]:
    """Rows of samples that have as many frames each."""
    return [sample * frames + frame for sample in samples for frame in range(frames)]
