"""One file of a cache: written once, sealed by a second file, never seen half."""

from __future__ import annotations

import hashlib
import json
import os.path as osp
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmkd.errors import MMKDError

from .layout import seal_file, shard_file
from .publish import publish, publish_json

_CHUNK = 1 << 22
_SELF = 'mmkd'

Record = Dict[str, Tensor]


class Seal(NamedTuple):
    """What a complete shard is known by.

    Attributes:
        size: Bytes of the file.
        digest: BLAKE2b over all of them, in hex.
        checks: CRC-32 of each record.
        pictures: (H, W) of the student's input of each record.
    """

    size: int
    digest: str
    checks: Tuple[int, ...]
    pictures: Tuple[Tuple[int, int], ...]


class BadShardError(MMKDError):
    """A shard that is there but cannot be trusted."""


def write_shard(
    path: str, number: int, owner: str, records: Sequence[Record], pictures: Sequence[Sequence[int]]
) -> Seal:
    """Writes a shard and then its seal, each in one step.

    Args:
        path: The cache's folder.
        number: Of the shard.
        owner: The cache's identity: a shard of another cache is none of this one.
        records: Name to tensor, one dict for each row.
        pictures: (H, W) of the input that each record belongs to.
    """
    file = shard_file(path, number)
    tensors = {
        _name(row, name): value.detach().cpu().contiguous()
        for row, record in enumerate(records)
        for name, value in record.items()
    }
    # One entry: safetensors writes several in any order, and a shard that is built twice should
    # be the same file twice.
    metadata = {_SELF: json.dumps(dict(cache=owner, shard=number, rows=len(records)))}
    publish(file, lambda draft: save_file(tensors, draft, metadata))
    seal = Seal(
        osp.getsize(file),
        digest_of(file),
        tuple(check_of(record) for record in records),
        tuple((int(h), int(w)) for h, w in pictures),
    )
    publish_json(seal_file(path, number), seal._asdict())
    return seal


def read_seal(path: str, number: int) -> Optional[Seal]:
    """The seal of a shard, None if it is not complete.

    Raises:
        BadShardError: The seal is no seal.
    """
    try:
        with open(seal_file(path, number)) as file:
            content = json.load(file)
        return Seal(
            int(content['size']),
            str(content['digest']),
            tuple(map(int, content['checks'])),
            tuple((int(h), int(w)) for h, w in content['pictures']),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadShardError(
            f"'{seal_file(path, number)}' is damaged ({type(error).__name__}: {error})."
        ) from error


class OpenShard:
    """A shard's records, read through a memory map: a record is one place in one file.

    Args:
        path: The cache's folder.
        number: Of the shard.
        owner: The cache's identity.

    Raises:
        BadShardError: The file is not the one that was sealed, as far as its size and its header
            tell; :meth:`read` looks at the bytes.
        FileNotFoundError: There is no such shard.
    """

    def __init__(self, path: str, number: int, owner: str):
        self.file = shard_file(path, number)
        seal = read_seal(path, number)
        if seal is None:
            raise FileNotFoundError(self.file)
        self.seal = seal
        if not osp.isfile(self.file):
            raise BadShardError(f"'{self.file}' is gone, but its seal is there.")
        size = osp.getsize(self.file)
        if size != seal.size:
            raise BadShardError(
                f"'{self.file}' has {size:,} bytes, but had {seal.size:,} when it was written."
            )
        try:
            self._tensors = safe_open(self.file, framework='pt')
            metadata = json.loads((self._tensors.metadata() or {}).get(_SELF, '{}'))
        except (SafetensorError, OSError, ValueError) as error:
            raise BadShardError(f"'{self.file}' is damaged ({error}).") from error
        expected = dict(cache=owner, shard=number, rows=len(seal.checks))
        for key, value in expected.items():
            if metadata.get(key) != value:
                raise BadShardError(
                    f"'{self.file}' says of itself {key}={metadata.get(key)!r}, but its place is "
                    f'that of {key}={value!r}.'
                )
        self._names: Dict[str, List[str]] = {}
        for name in list(self._tensors.keys()):
            row, _, feature = name.partition('.')
            self._names.setdefault(row, []).append(feature)

    def read(self, row: int) -> Record:
        """The tensors of one record, copied out of the map when they are first used.

        Raises:
            BadShardError: They are not what was written.
        """
        try:
            record = {
                feature: self._tensors.get_tensor(_name(row, feature))
                for feature in self._names.get(_row(row), ())
            }
        except (SafetensorError, OSError) as error:
            raise BadShardError(f"'{self.file}' is damaged ({error}).") from error
        if check_of(record) != self.seal.checks[row]:
            raise BadShardError(
                f"Record {row} of '{self.file}' is not what was written: its checksum differs."
            )
        return record


def verify_shard(path: str, number: int, owner: str, rows: int) -> None:
    """Reads all bytes of a shard.

    Args:
        path: The cache's folder.
        number: Of the shard.
        owner: The cache's identity.
        rows: How many records it must have.

    Raises:
        BadShardError: It is not as it was written.
        FileNotFoundError: It is not complete.
    """
    shard = OpenShard(path, number, owner)
    if len(shard.seal.checks) != rows:
        raise BadShardError(f"'{shard.file}' has {len(shard.seal.checks)} records, not {rows}.")
    if digest_of(shard.file) != shard.seal.digest:
        raise BadShardError(f"'{shard.file}' is not what was written: its checksum differs.")


def digest_of(file: str) -> str:
    """BLAKE2b over a file, in hex."""
    digest = hashlib.blake2b(digest_size=32)
    with open(file, 'rb') as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b''):
            digest.update(chunk)
    return digest.hexdigest()


def check_of(record: Record) -> int:
    """CRC-32 over a record: its names, types, shapes and bytes."""
    check = 0
    for name in sorted(record):
        value = record[name]
        check = zlib.crc32(f'{name} {value.dtype} {tuple(value.shape)}'.encode(), check)
        check = zlib.crc32(_bytes(value), check)
    return check


def _bytes(value: Tensor) -> Any:
    return memoryview(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _name(row: int, feature: str) -> str:
    # safetensors lays tensors of one type out by name: a record's stand together.
    return f'{_row(row)}.{feature}'


def _row(row: int) -> str:
    return f'{row:06d}'
