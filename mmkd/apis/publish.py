"""From a training checkpoint to a file that one gives away: the student, and nothing else."""

from __future__ import annotations

import hashlib
import os
import os.path as osp
import tempfile
from typing import Optional

import torch

from mmkd.errors import MMKDError

# Trained for distillation and useless after it; the name is the distiller's contract.
DISTILL_PREFIX = 'distill.'
# Read in training only.
ID_CLASSIFIER = 'id_classifier.'


def publish_model(source: str, target: Optional[str] = None, inference: bool = False) -> str:
    """Writes the student of a checkpoint without optimiser, schedules or distillation parts.

    The first 8 digits of the file's SHA-256 become part of its name, as OpenMMLab's model zoos
    have it, so that a download can be checked.

    Args:
        source: A checkpoint that training saved.
        target: Where to write; ``student.pth`` becomes ``student-1a2b3c4d.pth``. Beside the
            source, under its name, if unset.
        inference: Leave out the identity classifier too, which only training reads.

    Returns:
        Path of the new file.

    Raises:
        MMKDError: If the source is no checkpoint, or another file has the new name already.
    """
    if not osp.isfile(source):
        raise MMKDError(f'There is no checkpoint {source!r}.')
    try:
        # A training checkpoint holds mmengine's own history objects beside the tensors.
        checkpoint = torch.load(source, map_location='cpu', weights_only=False)
    except Exception as error:
        raise MMKDError(f'{source!r} cannot be read as a checkpoint: {error}') from error
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise MMKDError(f"{source!r} holds no 'state_dict'; expected a checkpoint of a training.")

    state = {
        key: value.detach().clone()
        for key, value in checkpoint['state_dict'].items()
        if not key.startswith(DISTILL_PREFIX) and not (inference and ID_CLASSIFIER in key)
    }
    kept_meta = ('cfg', 'dataset_meta', 'epoch', 'iter', 'mmengine_version', 'seed')
    meta = {k: v for k, v in checkpoint.get('meta', {}).items() if k in kept_meta}
    stem, extension = osp.splitext(target or source)
    folder = osp.dirname(osp.abspath(stem))
    os.makedirs(folder, exist_ok=True)

    handle, temporary = tempfile.mkstemp(suffix='.pth', dir=folder)
    os.close(handle)
    try:
        # Given a path, torch would write its random name into the file, and so into the hash.
        with open(temporary, 'wb') as file:
            torch.save(dict(meta=meta, state_dict=state), file)
        with open(temporary, 'rb') as file:
            digest = hashlib.sha256(file.read()).hexdigest()[:8]
        final = f'{stem}-{digest}{extension or ".pth"}'
        if osp.exists(final):
            with open(final, 'rb') as file:
                same = hashlib.sha256(file.read()).hexdigest()[:8] == digest
            if not same:
                raise MMKDError(f'{final!r} exists and is another file; it was left as it is.')
        os.chmod(temporary, 0o644)
        os.replace(temporary, final)
    finally:
        if osp.exists(temporary):
            os.remove(temporary)
    return final
