"""Reading checkpoints of other projects without running their code, and writing ours whole."""

from __future__ import annotations

import hashlib
import os
import os.path as osp
import tempfile
from typing import Dict, Optional, Tuple

import torch
from torch import Tensor

from mmkd.errors import MMKDError


def check_target(source: str, target: str, force: bool) -> None:
    """Sees that a checkpoint may be written.

    Args:
        source: What is converted.
        target: Where to.
        force: Whether a file may be replaced.

    Raises:
        MMKDError: It is the source, a folder, or there already.
    """
    if osp.exists(target) and osp.exists(source) and osp.samefile(source, target):
        raise MMKDError(f'{target!r} is the source itself; name another file to write.')
    if osp.isdir(target):
        raise MMKDError(f'{target!r} is a folder; name the file to write.')
    if osp.exists(target) and not force:
        raise MMKDError(f'{target!r} exists and was left as it is; --force replaces it.')


def read_original(path: str) -> Tuple[Dict[str, Tensor], Optional[int]]:
    """Reads ``dict(epoch=..., state_dict=..., optimizer=...)`` or a bare state dict.

    Nothing but tensors and plain containers is unpickled: a file from somewhere runs no code.

    Returns:
        The state dict as it is in the file, and the epoch if it is there.

    Raises:
        MMKDError: If there is no such file, or it holds something else.
    """
    if not osp.isfile(path):
        raise MMKDError(f'There is no file {path!r}.')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # unpickling can raise anything
        raise MMKDError(
            f'{path!r} cannot be read as tensors alone: {str(error).splitlines()[0]} If it is a '
            'checkpoint that you trust, load it with torch.load(path, weights_only=False) and '
            "save its content['state_dict'] to a new file."
        ) from error
    state = content.get('state_dict', content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(torch.is_tensor(v) for v in state.values()):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise MMKDError(
            f'{path!r} holds no weights: expected names and tensors, at the top or under '
            f"'state_dict'; found {found}."
        )
    epoch = content.get('epoch')
    return state, epoch if isinstance(epoch, int) else None


def write_checkpoint(content: dict, target: str) -> None:
    """Writes a file, which appears when it is complete, and its folder."""
    folder = osp.dirname(osp.abspath(target))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix='.pth', dir=folder)
    try:
        # Given a path, torch would write its random name into the file.
        with os.fdopen(handle, 'wb') as file:
            torch.save(content, file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    finally:
        if osp.exists(temporary):
            os.remove(temporary)


def sha256(path: str) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()
