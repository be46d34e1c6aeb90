"""NaN and Inf: found, named, and kept out of checkpoints."""

from __future__ import annotations

import json
import logging
import os.path as osp
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.logging import MMLogger, print_log
from torch import Tensor, nn

from mmkd.errors import MMKDError, nearest

from ..uncompiled import uncompiled

POLICIES = ('stop', 'skip', 'off')
# So many bad batches in a row are no accident.
MAX_SKIPS = 20


class NaNGuard:
    """Looks at the tensors of each step.

    With 'stop' nobody waits for a GPU: what a step left is read when the next one begins, or
    before a state dict is made, whichever is first. With 'skip' the answer is needed at once, so
    each step waits once.

    Args:
        policy: 'stop' the training; 'skip' the batch, whose gradients become 0, whose effect on
            running statistics is undone, and of which :data:`MAX_SKIPS` in a row stop it; 'off'.
    """

    def __init__(self, policy: str = 'stop'):
        if policy not in POLICIES:
            raise MMKDError(f'There is no nan_policy={policy!r}. {nearest(policy, POLICIES)}')
        self.policy = policy
        self.skipped = 0
        self._in_a_row = 0
        self._names: List[str] = []
        self._sums: List[Tensor] = []
        self._pending: Optional[Tuple[int, List[str], List[str], Tensor, Any]] = None

    def __getstate__(self) -> Dict[str, Any]:
        # A copy has made no step yet, and an event of a GPU cannot be copied.
        return dict(self.__dict__, _pending=None, _names=[], _sums=[])

    @property
    def skips(self) -> bool:
        """Whether bad batches are skipped."""
        return self.policy == 'skip'

    @uncompiled
    def watch(
        self, name: str, value: Tensor, rows: Optional[Tensor] = None, count: int = 0
    ) -> None:
        """Adds a tensor (N, ...) or a scalar to what is looked at in this step.

        Args:
            name: What it is called; a name that is known in this step is not looked at again.
            value: The tensor.
            rows: (n,) long, if it is of these samples only.
            count: N, then.
        """
        if self.policy == 'off' or name in self._names:
            return
        value = value.detach()
        # NaN and Inf stay in a sum, and one pass reads a map faster than a test of each number.
        if value.dim() > 1:
            value = value.sum(tuple(range(1, value.dim())), dtype=_wide(value))
        if rows is not None:
            value = value.new_zeros(count).index_copy_(0, rows, value)
        self._names.append(name)
        self._sums.append(value)

    @uncompiled
    def finish(self, step: int, files: Sequence[str], images: int) -> bool:
        """Ends a step.

        Args:
            step: Its number.
            files: The batch's file names, one per image, as far as they are known.
            images: The number of images.

        Returns:
            Whether the step must be skipped.
        """
        if not self._sums:
            return False
        rows = []
        for value in self._sums:
            good = torch.isfinite(value)
            if good.dim() == 0 or len(good) != images:
                good = good.all().expand(images)
            rows.append(good)
        table = torch.stack(rows)
        names, self._names, self._sums = self._names, [], []
        event = None
        if table.is_cuda:
            host = torch.empty(table.shape, dtype=table.dtype, pin_memory=True)
            host.copy_(table, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            table = host
        self._pending = (step, names, list(files), table, event)
        if not self.skips:
            return False
        return self.read()

    @uncompiled
    def read(self) -> bool:
        """Reads what the last step left.

        Returns:
            Whether something was wrong with it ('skip').

        Raises:
            MMKDError: Something was ('stop'), or too often in a row ('skip').
        """
        if self._pending is None:
            return False
        (step, names, files, table, event), self._pending = self._pending, None
        if event is not None:
            event.synchronize()
        # On the host by now, so that nothing waits.
        if table.numpy().all():
            self._in_a_row = 0
            return False
        bad = {
            name: [i for i, good in enumerate(row) if not good]
            for name, row in zip(names, table.tolist())
            if not all(row)
        }
        record = {'step': step, 'tensors': bad, 'files': files}
        place = _write(record)
        text = _tell(record, table.shape[1]) + (f' Written to {place}.' if place else '')
        if not self.skips:
            raise MMKDError(
                text + " The last checkpoint is from before. With model.nan_policy='skip' such "
                'batches are left out.'
            )
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= MAX_SKIPS:
            raise MMKDError(f'{text} This was batch number {MAX_SKIPS} in a row.')
        print_log(f'{text} The batch is skipped.', logger='current', level=logging.WARNING)
        return True


def snapshot(module: nn.Module) -> List[Tuple[Tensor, Tensor]]:
    """Every buffer and a copy of it: running statistics, which a bad batch would spoil."""
    return [(buffer, buffer.detach().clone()) for buffer in module.buffers()]


def restore(buffers: List[Tuple[Tensor, Tensor]]) -> None:
    """Undoes what happened to buffers since :func:`snapshot`."""
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


def nothing(module: nn.Module) -> Tensor:
    """A 0 whose gradient is 0 for every trained parameter, so that DDP has one for each."""
    parts = [p.reshape(-1)[0] * 0 for p in module.parameters() if p.requires_grad and p.numel()]
    return torch.stack([part.float() for part in parts]).sum()


def batch_files(data_samples: Optional[Sequence], images: int) -> List[str]:
    """The file of each image, '' where it is not known."""
    files: List[str] = []
    for sample in data_samples or ():
        meta: Dict[str, Any] = getattr(sample, 'metainfo', {})
        path = next((v for k, v in meta.items() if k.endswith('img_path') and v), '')
        files.extend(map(str, path) if isinstance(path, (list, tuple)) else [str(path)])
    if files and images % len(files) == 0:
        # One sample may stand for a clip.
        files = [file for file in files for _ in range(images // len(files))]
    return files


def _wide(value: Tensor) -> torch.dtype:
    """What a sum of finite values cannot leave."""
    if value.dtype == torch.bfloat16:
        # It reaches as far as float32, and torch adds it up in float32 anyway; asked to return
        # float32, a processor takes ten times as long.
        return value.dtype
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def _tell(record: Dict[str, Any], images: int) -> str:
    parts = []
    culprits = []
    for name, samples in record['tensors'].items():
        everywhere = len(samples) == images and images > 1
        culprits.extend([] if everywhere else samples)
        where = 'of the whole batch' if everywhere else f'of sample {", ".join(map(str, samples))}'
        parts.append(f'{name} ({where})')
    files = record['files']
    known = [i for i in sorted(set(culprits)) or range(images) if i < len(files) and files[i]]
    named = ''.join(f' Sample {i} is {files[i]}.' for i in known[:4])
    return f'NaN or Inf in step {record["step"]}: {", ".join(parts)}.{named}'


def _write(record: Dict[str, Any]) -> str:
    """Writes the record beside the run's log; '' if the run has no log file."""
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            folder = osp.dirname(handler.baseFilename)
            rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
            path = osp.join(folder, f'nan_step{record["step"]}_rank{rank}.json')
            with open(path, 'w', encoding='utf-8') as file:
                json.dump(record, file, indent=1)
            return path
    return ''
