"""Reads a cache, in as many processes as like."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple, Union

from .layout import Layout
from .manifest import Manifest
from .record import StoredRecord
from .shards import BadShardError, OpenShard, Record, read_seal


class CacheReader:
    """Opens shards when they are first read and keeps them open.

    A copy in another process (a data loader's worker, by fork or spawn) opens its own.

    Args:
        path: The cache's folder.

    Raises:
        MMKDError: There is no cache that this version can read.
    """

    def __init__(self, path: str):
        self.path = path
        self.manifest = Manifest.load(path)
        self._owner = self.manifest.owner
        # A shard that is bad is bad for good; one that is missing may still be built.
        self._open: Dict[int, Union[OpenShard, BadShardError]] = {}

    @property
    def layout(self) -> Layout:
        """Where records stand."""
        return self.manifest.layout

    def read(self, sample: int, variant: int) -> StoredRecord:
        """The record, or why there is none: a reader stops nobody's training."""
        number, row = self.layout.place(sample, variant)
        try:
            tensors, picture = self.row(number, row)
        except FileNotFoundError:
            return StoredRecord(variant, problem=f'shard {number} has not been built')
        except BadShardError as error:
            return StoredRecord(variant, problem=str(error))
        return StoredRecord(variant, tensors, picture)

    def row(self, number: int, row: int) -> Tuple[Record, Tuple[int, int]]:
        """A record by its place.

        Raises:
            BadShardError: It is damaged.
            FileNotFoundError: Its shard has not been built.
        """
        shard = self._open.get(number)
        if shard is None:
            try:
                shard = OpenShard(self.path, number, self._owner)
            except BadShardError as error:
                shard = error
            self._open[number] = shard
        if isinstance(shard, BadShardError):
            raise shard
        return shard.read(row), shard.seal.pictures[row]

    def missing(self) -> List[int]:
        """Shards without a seal."""
        found = []
        for number in self.layout.numbers:
            try:
                if read_seal(self.path, number) is None:
                    found.append(number)
            except BadShardError:
                found.append(number)
        return found

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _open={})
