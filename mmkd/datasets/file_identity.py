"""The content of a data set's pictures, which is read again only where a file may have changed."""

from __future__ import annotations

import contextlib
import json
import os.path as osp
from typing import Any, Optional, Tuple

from mmkd.distill.cache.publish import publish_json

from .data_identity import Known, identify_files

FILES = 'files.json'


def identify_files_kept(
    dataset: Any, cache: Optional[str], known: Optional[Known] = None
) -> Tuple[str, Known]:
    """:func:`identify_files`, remembered in a cache's folder.

    A cache that lies on another machine, or of which the pictures were copied, is looked at anew:
    every picture is read once.

    Args:
        dataset: Its records name their files.
        cache: The folder; None remembers nothing.
        known: Of an earlier call, if it is known already.

    Returns:
        As :func:`identify_files`.
    """
    file = None if cache is None else osp.join(cache, FILES)
    known = dict(known or {})
    if not known and file is not None and osp.isfile(file):
        try:
            with open(file) as stream:
                known = {path: tuple(each) for path, each in json.load(stream).items()}
        except (ValueError, AttributeError):
            # Only a memory: what is not remembered is read.
            known = {}
    found, now = identify_files(dataset, known)
    if file is not None and osp.isdir(cache) and now != known:
        remember_files(cache, now)
    return found, now


def remember_files(cache: str, known: Known) -> None:
    """Writes down what is known of files, where a cache can be written to."""
    with contextlib.suppress(OSError):
        publish_json(osp.join(cache, FILES), known)
