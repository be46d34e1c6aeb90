"""Files that are there whole or not at all, whatever kills the process that writes them."""

from __future__ import annotations

import json
import os
import os.path as osp
import stat
import uuid
from typing import Any, Callable

_SUFFIX = '.tmp'


def publish(path: str, write: Callable[[str], None]) -> None:
    """Writes a file beside its place, makes sure that it is on the disk, and moves it there.

    Args:
        path: Where to; what is there is replaced in one step.
        write: Writes everything to the path that it is given.
    """
    folder, name = osp.split(path)
    draft = osp.join(folder, f'.{name}.{uuid.uuid4().hex}{_SUFFIX}')
    try:
        with open(draft, 'xb') as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        write(draft)
        # As the umask says: safetensors makes files that nobody else may read.
        os.chmod(draft, mode)
        with open(draft, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        if osp.exists(draft):
            os.unlink(draft)
        raise
    _sync_folder(folder)


def publish_json(path: str, content: Any) -> None:
    """:func:`publish` of JSON."""

    def write(draft: str) -> None:
        with open(draft, 'w') as file:
            json.dump(content, file, sort_keys=True)
            file.flush()

    publish(path, write)


def sweep(folder: str, older_than: float, now: float) -> int:
    """Removes drafts that a killed process left behind.

    Args:
        folder: Where to look.
        older_than: Seconds since a draft was last written to; a living process writes.
        now: Seconds since the epoch.

    Returns:
        How many there were.
    """
    found = 0
    for name in os.listdir(folder):
        if not (name.startswith('.') and name.endswith(_SUFFIX)):
            continue
        path = osp.join(folder, name)
        try:
            if now - osp.getmtime(path) > older_than:
                os.unlink(path)
                found += 1
        except FileNotFoundError:
            # Its owner finished, or another process sweeps too.
            continue
    return found


def _sync_folder(folder: str) -> None:
    """The new name itself is on the disk only after this; some file systems cannot do it."""
    try:
        handle = os.open(folder or '.', os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
