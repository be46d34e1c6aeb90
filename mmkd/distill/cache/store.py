"""What lies in a cache's folder beside its shards."""

from __future__ import annotations

import os.path as osp
from typing import Mapping

from mmengine.model import ModuleDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmkd.errors import MMKDError

from .codec import Codec, join, parse_storage, share_out
from .layout import CODEC, MANIFEST
from .manifest import Manifest
from .publish import publish


def exists(path: str) -> bool:
    """Whether a cache was begun there."""
    return osp.isfile(osp.join(path, MANIFEST))


def make_codecs(manifest: Manifest, channels: Mapping[str, int]) -> ModuleDict:
    """One for each feature, not fitted.

    Args:
        manifest: Of the cache.
        channels: Of the teacher's features.
    """
    storage = parse_storage(manifest.storage)
    return ModuleDict({name: Codec(storage, channels[name]) for name in manifest.features})


def save_codecs(path: str, manifest: Manifest, codecs: Mapping[str, Codec]) -> None:
    """Writes what codecs have fitted; nothing if they fit nothing."""
    tensors = join(codecs)
    if tensors:
        metadata = {'cache': manifest.owner}
        publish(osp.join(path, CODEC), lambda draft: save_file(tensors, draft, metadata))


def load_codecs(path: str, manifest: Manifest, channels: Mapping[str, int]) -> ModuleDict:
    """The cache's codecs, ready to decode.

    Raises:
        MMKDError: Their file is missing or damaged.
    """
    codecs = make_codecs(manifest, channels)
    if not parse_storage(manifest.storage).fitted:
        return codecs
    file = osp.join(path, CODEC)
    try:
        share_out(codecs, load_file(file))
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise MMKDError(
            f"'{file}' is missing or damaged, and without it nothing in the cache can be decoded "
            f'({error}). Build the cache anew.'
        ) from error
    return codecs
